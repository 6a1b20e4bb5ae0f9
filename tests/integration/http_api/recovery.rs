//! Recovery of workers and the health of the whole, under `/api/v1/` and under the classic paths.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::json;
use streamkeeper_core::cluster::{Availability, Slot};
use streamkeeper_core::recovery_manager::{Attempt, Level, Outcome, Rate, Status};

use super::samples::{cluster, record, worker, worker_id};
use super::world::{NOW, World};

fn attempt(id: u64, outcome: Outcome) -> Attempt {
    Attempt {
        id,
        worker: worker_id("agent-1"),
        level: Level::Emergency,
        asked: true,
        reason: "rtsp://user:s3cret@host is stuck".to_owned(),
        began: NOW,
        ended: (outcome != Outcome::Running).then_some(NOW),
        outcome,
        detail: "its streams run elsewhere".to_owned(),
    }
}

fn world() -> World {
    let world = World::new();
    let streams = vec![record("radio", Slot::Vacant)];
    let workers = vec![
        worker("agent-1", Availability::Alive),
        worker("agent-2", Availability::Lost),
    ];
    world.cluster.send_replace(cluster(streams, workers));
    let mut status = Status {
        running: vec![attempt(8, Outcome::Running)],
        waiting: vec![(worker_id("agent-2"), Level::Medium)],
        exhausted: vec![worker_id("agent-2")],
        ended: [attempt(6, Outcome::Failed), attempt(u64::MAX, Outcome::Succeeded)].into(),
        ..Status::default()
    };
    status.rates[Level::Emergency as usize] = Rate {
        tried: 2,
        succeeded: 1,
    };
    world.recovery.send_replace(status);
    world
}

async fn refused(world: &World, method: Method, path: &str, wanted: u16, kind: &str) {
    let (status, problem) = world.ask(method, path, "").await;
    assert_eq!(status.as_u16(), wanted, "{path}: {problem}");
    let found = problem["type"].as_str().unwrap_or_default();
    assert!(found.ends_with(kind), "{path}: {problem}");
}

#[actix::test]
async fn attempts_and_their_rates_are_shown_newest_first_without_secrets() {
    let world = world();
    let shown = world.get("/api/v1/recovery").await;
    assert_eq!(shown["rates"][3]["success_rate"], 0.5);
    assert_eq!(shown["rates"][0]["success_rate"], json!(null));
    assert_eq!(shown["running"][0]["outcome"], "running");
    assert_eq!(
        shown["waiting"][0],
        json!({"worker": "agent-2", "level": "medium"})
    );
    assert_eq!(shown["exhausted"], json!(["agent-2"]));
    let newest = &shown["attempts"][0];
    // A number of 64 bits is a text.
    assert_eq!(newest["attempt"], u64::MAX.to_string());
    assert!(!shown.to_string().contains("s3cret"), "{shown}");
    let one = world.get(&format!("/api/v1/recovery/{}", u64::MAX)).await;
    assert_eq!(one, *newest);
    for unknown in ["7", "x"] {
        let path = format!("/api/v1/recovery/{unknown}");
        refused(&world, Method::GET, &path, 404, "unknown-attempt").await;
    }
}

#[actix::test]
async fn what_is_ordered_reaches_the_manager_and_bad_input_does_not() {
    let world = world();
    for (path, wish) in [
        (
            "/api/v1/workers/agent-1/recover",
            "soft agent-1: an operator asked for it",
        ),
        (
            "/api/v1/workers/agent-1/recover?level=hard&reason=leaks",
            "hard agent-1: leaks",
        ),
        (
            "/api/v1/workers/agent-1/emergency?reason=stuck",
            "emergency agent-1: stuck",
        ),
        (
            "/resilience/recovery/agent-1?level=medium",
            "medium agent-1: an operator asked for it",
        ),
        (
            "/resilience/emergency/agent-1?reason=stuck",
            "emergency agent-1: stuck",
        ),
    ] {
        let (status, answer) = world.ask(Method::POST, path, "").await;
        assert_eq!(
            (status.as_u16(), &answer["attempt"]),
            (202, &json!("77")),
            "{path}"
        );
        assert_eq!(world.behind.wishes.lock().unwrap().pop().unwrap(), wish);
    }
    let long = format!("/resilience/emergency/agent-1?reason={}", "x".repeat(501));
    for (path, status, kind) in [
        (
            "/api/v1/workers/agent-1/recover?level=brutal",
            400,
            "invalid-query",
        ),
        (
            "/api/v1/workers/agent-1/recover?level=emergency",
            400,
            "invalid-query",
        ),
        ("/api/v1/workers/agent-1/emergency", 400, "invalid-query"),
        ("/resilience/emergency/agent-1?reason=%20", 400, "invalid-query"),
        (&long, 400, "invalid-query"),
        (
            "/resilience/emergency/agent-1?reason=x&force=1",
            400,
            "invalid-query",
        ),
        ("/resilience/emergency/nobody?reason=x", 404, "unknown-worker"),
        ("/resilience/recovery/nobody", 404, "unknown-worker"),
    ] {
        refused(&world, Method::POST, path, status, kind).await;
    }
    assert!(world.behind.wishes.lock().unwrap().is_empty());
    world.behind.busy.store(true, Ordering::SeqCst);
    refused(&world, Method::POST, "/resilience/recovery/agent-1", 503, "busy").await;
}

#[actix::test]
async fn the_whole_and_each_worker_are_judged() {
    let world = world();
    let status = world.get("/resilience/status").await;
    let health = &status["health"];
    assert_eq!(health["overall"], "EMERGENCY", "{status}");
    assert_eq!(health["needs_intervention"], true);
    assert_eq!(health["performance_score"], 0.0);
    assert_eq!(status["mass_failure"], false);
    assert_eq!(status["recovery"]["running"][0]["attempt"], "8");
    assert_eq!(world.get("/api/v1/status").await["health"], *health);
    let shown = world.get("/resilience/health").await;
    assert_eq!(shown["system"], *health);
    assert_eq!(shown["workers"][1]["worker_id"], "agent-2");
    assert_eq!(shown["workers"][1]["health_score"], 0.0);
    assert_eq!(shown["workers"][1]["should_receive_streams"], false);
}
