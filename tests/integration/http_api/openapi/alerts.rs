//! Silences and acknowledgements: taken, with a wrong body, and refused for every reason that is described.

use reqwest::Method;
use streamkeeper_orchestrator::port::AlertOrderError;

use super::super::schema::Described;
use super::super::world::World;
use super::{Call, Seen, ask, call};

const SILENCE: &str = r#"{"matchers": ["worker=a"], "for": "1h", "by": "Ada", "reason": "update"}"#;

/// What is read from the database, and how that is answered.
pub(super) fn stored(status: u16) -> Vec<Call> {
    const ALERTS: &str = "/api/v1/alerts";
    const ALL: &str = "/api/v1/incidents";
    const ONE: &str = "/api/v1/incidents/{id}";
    let get = |template, path, status| call(Method::GET, template, path, "", status);
    let mut calls = vec![
        get(ALERTS, "/api/v1/alerts?status=resolved", status),
        get(ALL, "/api/v1/incidents?status=open", status),
        get(ONE, "/api/v1/incidents/17-3", status),
    ];
    if status == 200 {
        calls.push(get(ONE, "/api/v1/incidents/17-4", 404));
    }
    calls
}

pub(super) async fn ask_all(world: &World, described: &Described, seen: &mut Seen) {
    const ALL: &str = "/api/v1/silences";
    const ONE: &str = "/api/v1/silences/{id}";
    const ACK: &str = "/api/v1/alerts/{fingerprint}/acknowledge";
    const AA: &str = "/api/v1/alerts/00000000000000aa/acknowledge";
    let unknown = || AlertOrderError::Unknown("alert", "aa".to_owned());
    let full = || AlertOrderError::Full(1);
    let orders = [
        (Method::POST, ALL, ALL, SILENCE, 201, full(), 412),
        (Method::DELETE, ONE, "/api/v1/silences/s", "", 200, unknown(), 404),
        (
            Method::POST,
            ACK,
            AA,
            r#"{"by": "Ada", "for": "1h"}"#,
            200,
            unknown(),
            404,
        ),
    ];
    for (method, template, path, body, status, refusal, refused) in orders {
        let with = |body, status| vec![call(method.clone(), template, path, body, status)];
        ask(world, described, with(body, status), seen).await;
        if !body.is_empty() {
            ask(world, described, with("{", 400), seen).await;
            ask(world, described, with(r#"{"colour": 1}"#, 422), seen).await;
        }
        let refusals = [
            (refusal, refused),
            (AlertOrderError::NotLeading, 503),
            (AlertOrderError::NotStored("disk full".to_owned()), 504),
        ];
        for (refusal, status) in refusals {
            *world.behind.alert_order.lock().unwrap() = Some(refusal);
            ask(world, described, with(body, status), seen).await;
        }
    }
    let silence = world.behind.silences.lock().unwrap()[0].clone();
    world.silences.send_replace(vec![silence.into()]);
    ask(world, described, vec![call(Method::GET, ALL, ALL, "", 200)], seen).await;
}
