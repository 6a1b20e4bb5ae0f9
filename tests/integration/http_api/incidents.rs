//! Incidents, and alerts that are over.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};
use streamkeeper_protocol::Term;

use super::samples::stored_alert;
use super::world::World;

/// An alert of this incident, over so many milliseconds after it began; it fires where that is none.
fn alert(number: u32, lasted: Option<i64>) -> StoredAlert {
    let term = Term::new(17).unwrap();
    let mut alert = stored_alert(&format!("00000000000000a{number}"), "http://u:s3cret@h is away");
    alert.incident = Some(IncidentId { term, number });
    alert.resolved_ms = lasted.map(|lasted| alert.began_ms + lasted);
    alert
}

fn world() -> World {
    let world = World::new();
    let alerts = [alert(3, None), alert(2, Some(2_000)), alert(1, Some(1_000))];
    world.behind.stored_alerts.lock().unwrap().extend(alerts);
    world
}

fn names(page: &Value, list: &str, key: &str) -> Vec<String> {
    let items = page[list].as_array().unwrap().iter();
    items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[actix::test]
async fn incidents_are_listed_the_newest_first() {
    let world = world();
    let page = world.get("/api/v1/incidents?limit=1").await;
    assert_eq!(page["next"], "17-3");
    let expected = json!([{
        "id": "17-3",
        "status": "open",
        "severity": "critical",
        "summary": "http://u:***@h is away",
        "rule": "worker_lost",
        "cause": "00000000000000a3",
        "opened": "2026-01-01T00:00:02.000Z",
        "ended": null,
        "alerts": 1,
        "firing": 1,
    }]);
    assert_eq!(page["incidents"], expected);
    let page = world.get("/api/v1/incidents?after=17-3").await;
    assert_eq!(
        (names(&page, "incidents", "id"), &page["next"]),
        (vec!["17-2".to_owned(), "17-1".to_owned()], &Value::Null)
    );
    let page = world.get("/api/v1/incidents?status=ended&limit=1").await;
    assert_eq!(names(&page, "incidents", "id"), ["17-2"]);
}

#[actix::test]
async fn an_incident_is_shown_with_its_alerts() {
    let world = world();
    let shown = world.get("/api/v1/incidents/17-2").await;
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&json!("17-2"), &json!("ended"))
    );
    assert_eq!(shown["ended"], "2026-01-01T00:00:04.000Z");
    assert_eq!(names(&shown, "members", "status"), ["resolved"]);
    assert_eq!(shown["events"], json!([]));
    for (id, words) in [
        ("17-9", "there is no incident 17-9"),
        ("x", "\"x\" names no incident"),
    ] {
        let (status, problem) = world
            .ask(Method::GET, &format!("/api/v1/incidents/{id}"), "")
            .await;
        assert_eq!(
            (status, &problem["type"]),
            (
                StatusCode::NOT_FOUND,
                &json!("urn:streamkeeper:problem:unknown-incident")
            ),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
}

#[actix::test]
async fn alerts_that_are_over_are_listed_the_last_one_first() {
    let world = world();
    let page = world.get("/api/v1/alerts?status=resolved&limit=1").await;
    assert_eq!(names(&page, "alerts", "fingerprint"), ["00000000000000a2"]);
    assert_eq!(page["alerts"][0]["resolved"], "2026-01-01T00:00:04.000Z");
    let next = page["next"].as_str().unwrap();
    assert_eq!(next, "1767225604000-00000000000000a2");
    let page = world
        .get(&format!("/api/v1/alerts?status=resolved&after={next}"))
        .await;
    assert_eq!(names(&page, "alerts", "fingerprint"), ["00000000000000a1"]);
    assert_eq!(page["next"], Value::Null);
    let (status, problem) = world
        .ask(Method::GET, "/api/v1/alerts?status=resolved&after=x", "")
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{problem}");
    assert!(problem.to_string().contains("of the page before"), "{problem}");
}
