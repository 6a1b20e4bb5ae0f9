//! The description of the API is the golden one, and what the server answers is what it describes.

mod alerts;
mod orders;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use streamkeeper_core::cluster::{Availability, Slot, StreamRecord, UnplacedReason};
use streamkeeper_core::consistency_checker::{Finding, FindingKind, Policy, Repair};
use streamkeeper_core::request::ApplyError;
use streamkeeper_orchestrator::adapter::http::openapi_json;
use streamkeeper_orchestrator::port::{BusError, OrderError, StepDownError};
use streamkeeper_protocol::HostMetrics;

use super::events::stored;
use super::lines::reply;
use super::samples::{
    assignment, cluster, performance, record, running, stored_alert, stream_id, worker, worker_id,
};
use super::schema::Described;
use super::world::{NOW, World};

/// Set it to write the golden copy instead of comparing with it.
const REGENERATE: &str = "REGENERATE";
const SWITCH: &str = r#"{"enabled": false}"#;
const SPEC: &str = r#"{"source": "http://host/radio"}"#;
const ACTION: &str = r#"{"action": "enable", "names": ["radio"]}"#;
const CHANGE: &str = r#"{"streams": [{"name": "radio", "source": "http://host/radio"}], "delete": ["old"]}"#;

#[test]
fn the_description_is_the_golden_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os(REGENERATE).is_some() {
        std::fs::write(&path, openapi_json()).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == openapi_json(),
        "docs/openapi.json is not what the code describes. If the change of the API is meant, run\n  {REGENERATE}=1 \
         cargo test -p streamkeeper-tests --test integration openapi\nand look at the difference"
    );
}

/// A world in which every list has an entry.
fn full(fault_injection: bool) -> World {
    let world = World::with(fault_injection);
    let radio = StreamRecord {
        observed: running(),
        performance: performance().map(Box::new),
        ..record("radio", Slot::Held(assignment("agent-1")))
    };
    let waiting = StreamRecord {
        unplaced: Some(UnplacedReason::NoCapacity),
        ..record("waiting", Slot::Vacant)
    };
    let mut agent = worker("agent-1", Availability::Alive);
    agent.host = Some(HostMetrics {
        cpu_share: 0.5,
        memory_used_bytes: 1,
        memory_total_bytes: 2,
        load1: 0.25,
        cores: Some(2),
    });
    let mut known = cluster(vec![radio, waiting], vec![agent]);
    orders::drained(&mut known);
    orders::moving(&mut known);
    world.cluster.send_replace(known);
    world.behind.events.lock().unwrap().push(stored(1, "assigned"));
    let alert = stored_alert("00000000000000aa", "it is away");
    world.behind.stored_alerts.lock().unwrap().push(alert.clone());
    world.alerts.send_replace(vec![Arc::new(alert)]);
    world.recovery.send_replace(orders::recovered());
    world.findings.send_replace(vec![Finding {
        kind: FindingKind::Ghost,
        stream: Some(stream_id("radio")),
        worker: None,
        detail: "runs where it should not".to_owned(),
        repair: Some(Repair::Resync {
            worker: worker_id("agent-1"),
        }),
        policy: Policy::Repair,
        since: NOW,
    }]);
    world
}

/// What is asked, and whether the actors refuse it.
struct Call {
    method: Method,
    template: &'static str,
    path: &'static str,
    body: &'static str,
    refused: Option<ApplyError>,
    status: u16,
}

fn call(method: Method, template: &'static str, path: &'static str, body: &'static str, status: u16) -> Call {
    Call {
        method,
        template,
        path,
        body,
        refused: None,
        status,
    }
}

fn reads() -> Vec<Call> {
    const WORKER: &str = "/api/v1/workers/{id}";
    let get = |template, path| call(Method::GET, template, path, "", 200);
    vec![
        get("/livez", "/livez"),
        get("/readyz", "/readyz"),
        get("/startupz", "/startupz"),
        get("/health", "/health"),
        get("/metrics", "/metrics"),
        get("/api/v1/status", "/api/v1/status"),
        get("/api/v1/streams", "/api/v1/streams?limit=1"),
        get("/api/v1/streams/{name}", "/api/v1/streams/radio"),
        get("/api/v1/streams/{name}", "/api/v1/streams/waiting"),
        get("/api/v1/workers", "/api/v1/workers"),
        get(WORKER, "/api/v1/workers/agent-1"),
        get("/api/v1/assignments", "/api/v1/assignments"),
        get("/api/v1/alerts", "/api/v1/alerts"),
        get(
            "/api/v1/events",
            "/api/v1/events?limit=1&kind=assigned&since=2026-01-01T00:00:00Z",
        ),
        get("/api/v1/metrics/history", "/api/v1/metrics/history?name=streams"),
        get("/api/v1/consistency", "/api/v1/consistency"),
        call(
            Method::GET,
            "/api/v1/streams/{name}",
            "/api/v1/streams/none",
            "",
            404,
        ),
        call(Method::GET, WORKER, "/api/v1/workers/none", "", 404),
    ]
}

/// Every change: taken, with a wrong body, and refused further in for every reason that has a status of its own.
fn changes() -> Vec<Call> {
    const ALL: &str = "/api/v1/streams";
    const ONE: &str = "/api/v1/streams/{name}";
    const RADIO: &str = "/api/v1/streams/radio";
    let mut calls = Vec::new();
    for (method, template, path, body, status) in [
        (Method::PUT, ALL, ALL, CHANGE, 200),
        (Method::POST, ALL, ALL, ACTION, 200),
        (Method::PUT, ONE, RADIO, SPEC, 201),
        (Method::PUT, ONE, "/api/v1/streams/radio?dry_run=true", SPEC, 200),
        (Method::PATCH, ONE, RADIO, SWITCH, 200),
        (Method::DELETE, ONE, RADIO, "", 200),
        (
            Method::POST,
            "/api/v1/streams/{name}/restart",
            "/api/v1/streams/radio/restart",
            "",
            202,
        ),
    ] {
        calls.push(call(method.clone(), template, path, body, status));
        if !body.is_empty() {
            calls.push(call(method.clone(), template, path, "{", 400));
            calls.push(call(method.clone(), template, path, r#"{"colour": 1}"#, 422));
        }
        let unknown = ApplyError::Unknown(stream_id("radio"));
        // A stream that is put need not exist.
        let refusals = [
            (ApplyError::NotLeading, 503),
            (ApplyError::Ambiguous("reset".to_owned()), 504),
            (unknown, 404),
            (ApplyError::NotWaiting(stream_id("radio")), 409),
        ];
        let possible = match (&method, template) {
            (&Method::PUT, ONE) => 2,
            // The one that can release.
            (&Method::POST, ALL) => 4,
            _ => 3,
        };
        for (refusal, status) in refusals.into_iter().take(possible) {
            let refused = call(method.clone(), template, path, body, status);
            calls.push(Call {
                refused: Some(refusal),
                ..refused
            });
        }
    }
    calls
}

type Seen = BTreeSet<(String, String, u16)>;

async fn ask(world: &World, described: &Described, calls: Vec<Call>, seen: &mut Seen) {
    for call in calls {
        if let Some(refusal) = call.refused {
            world.behind.answers.lock().unwrap().push_back(Ok(Err(refusal)));
        }
        let response = world.send(call.method.clone(), call.path, call.body).await;
        let shown = format!("{} {} -> {}", call.method, call.path, response.status());
        assert_eq!(response.status().as_u16(), call.status, "{shown}");
        described
            .check(&call.method, call.template, response, &shown)
            .await;
        seen.insert((
            call.template.to_owned(),
            call.method.as_str().to_lowercase(),
            call.status,
        ));
    }
}

/// Every way in which lines of a stream are shown, or not.
async fn ask_for_lines(world: &World, described: &Described, seen: &mut Seen) {
    const TEMPLATE: &str = "/api/v1/streams/{name}/logs";
    const RADIO: &str = "/api/v1/streams/radio/logs";
    let silent = BusError::Timeout {
        subject: "sk.v1.logs.agent-1".to_owned(),
        timeout: Duration::from_secs(2),
    };
    let nobody = BusError::NoResponders("sk.v1.logs.agent-1".to_owned());
    for (answer, path, status) in [
        (Some(Ok(reply(2, &[(1, 5, "hear me")]))), RADIO, 200),
        (None, "/api/v1/streams/none/logs", 404),
        (None, "/api/v1/streams/waiting/logs", 409),
        (Some(Err(nobody)), RADIO, 502),
        (Some(Err(BusError::Disconnected)), RADIO, 503),
        (Some(Err(silent)), RADIO, 504),
    ] {
        world.behind.lines.lock().unwrap().extend(answer);
        let calls = vec![call(Method::GET, TEMPLATE, path, "", status)];
        ask(world, described, calls, seen).await;
    }
}

/// Checks, repairs, and workers that exchange everything or do not.
async fn ask_for_consistency(world: &World, described: &Described, seen: &mut Seen) {
    const CHECK: &str = "/api/v1/consistency/check";
    const REPAIR: &str = "/api/v1/consistency/repair";
    const SYNCHRONIZE: &str = "/api/v1/workers/{id}/synchronize";
    let post = |template, path, status| call(Method::POST, template, path, "", status);
    let agent = |status| post(SYNCHRONIZE, "/api/v1/workers/agent-1/synchronize", status);
    let busy = &world.behind.busy;
    let dry_run = "/api/v1/consistency/repair?dry_run=true";
    let calls = vec![
        post(CHECK, CHECK, 202),
        post(REPAIR, REPAIR, 202),
        post(REPAIR, dry_run, 200),
        agent(200),
    ];
    ask(world, described, calls, seen).await;
    busy.store(true, std::sync::atomic::Ordering::SeqCst);
    ask(
        world,
        described,
        vec![post(CHECK, CHECK, 503), post(REPAIR, REPAIR, 503)],
        seen,
    )
    .await;
    busy.store(false, std::sync::atomic::Ordering::SeqCst);
    let (worker, reason) = (worker_id("agent-1"), "why".to_owned());
    let no_answer = OrderError::NoAnswer {
        worker: worker.clone(),
        reason: reason.clone(),
    };
    for (error, status) in [(no_answer, 504), (OrderError::Refused { worker, reason }, 409)] {
        *world.behind.order.lock().unwrap() = Some(Err(error));
        ask(world, described, vec![agent(status)], seen).await;
    }
    let unknown = post(SYNCHRONIZE, "/api/v1/workers/none/synchronize", 404);
    ask(world, described, vec![unknown], seen).await;
}

#[actix::test]
async fn every_path_answers_as_described() {
    let described = Described::new();
    let mut seen = Seen::new();
    let world = full(false);
    ask(&world, &described, reads(), &mut seen).await;
    ask(&world, &described, changes(), &mut seen).await;
    ask(&world, &described, orders::reads(), &mut seen).await;
    ask(&world, &described, alerts::stored(200), &mut seen).await;
    ask(&world, &described, orders::calls(), &mut seen).await;
    ask(&world, &described, orders::recovery(), &mut seen).await;
    ask_for_lines(&world, &described, &mut seen).await;
    ask_for_consistency(&world, &described, &mut seen).await;
    alerts::ask_all(&world, &described, &mut seen).await;
    const PANIC: &str = "/api/v1/faults/panic/{actor}";
    let panic = |path, status| call(Method::POST, PANIC, path, "", status);
    let closed = vec![panic("/api/v1/faults/panic/coordinator", 403)];
    ask(&world, &described, closed, &mut seen).await;
    let open = vec![
        panic("/api/v1/faults/panic/coordinator", 202),
        panic("/api/v1/faults/panic/nobody", 404),
    ];
    ask(&full(true), &described, open, &mut seen).await;

    const LEADER: &str = "/api/v1/leader";
    const STEP_DOWN: &str = "/api/v1/leader/step-down";
    ask(
        &world,
        &described,
        vec![call(Method::GET, LEADER, LEADER, "", 200)],
        &mut seen,
    )
    .await;
    for (answer, status) in [
        (Ok(()), 202),
        (Err(StepDownError::Alone), 409),
        (Err(StepDownError::Busy(1)), 503),
    ] {
        *world.behind.step_down.lock().unwrap() = Some(answer);
        let asked = vec![call(Method::POST, STEP_DOWN, STEP_DOWN, "", status)];
        ask(&world, &described, asked, &mut seen).await;
    }

    // A parameter that nobody knows is refused wherever that is described.
    for (template, method, status) in described.responses() {
        if status == 400 && !seen.contains(&(template.clone(), method.clone(), status)) {
            let path = template
                .replace("{name}", "radio")
                .replace("{id}", "agent-1")
                .replace("{actor}", "coordinator");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let response = world
                .send(method.clone(), &format!("{path}?nonsense=1"), "")
                .await;
            let shown = format!("{method} {path}?nonsense=1");
            assert_eq!(response.status().as_u16(), 400, "{shown}");
            described.check(&method, &template, response, &shown).await;
            seen.insert((template, method.as_str().to_lowercase(), 400));
        }
    }

    world.start.send_modify(|start| start.through = false);
    world
        .behind
        .database_down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let down = |path| call(Method::GET, path, path, "", 503);
    let probes = vec![
        down("/readyz"),
        down("/startupz"),
        down("/health"),
        down("/api/v1/events"),
        call(
            Method::GET,
            "/api/v1/metrics/history",
            "/api/v1/metrics/history?name=moves_total",
            "",
            503,
        ),
    ];
    ask(&world, &described, probes, &mut seen).await;
    ask(&world, &described, alerts::stored(503), &mut seen).await;

    // What takes too long or too much is tested elsewhere.
    let unseen: Vec<_> = described
        .responses()
        .into_iter()
        .filter(|response| !seen.contains(response) && ![408, 413].contains(&response.2))
        .collect();
    assert!(unseen.is_empty(), "described, but never answered: {unseen:?}");
}

#[actix::test]
async fn every_path_takes_the_described_methods_and_no_other() {
    let world = World::new();
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (template, method, _) in Described::new().responses() {
        methods.entry(template).or_default().insert(method.to_uppercase());
    }
    for (template, mut expected) in methods {
        let path = template.replace(['{', '}'], "");
        let response = world.send(Method::TRACE, &path, "").await;
        assert_eq!(response.status().as_u16(), 405, "{path}");
        let allowed = response.headers()["allow"].to_str().unwrap().split(", ");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        if expected.contains("GET") {
            expected.insert("HEAD".to_owned());
        }
        assert_eq!(allowed, expected, "{path}");
    }
}
