//! The report, a check at once, repairs, and a worker that exchanges everything.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use streamkeeper_core::consistency_checker::{Checks, Finding, FindingKind, Policy, Proposed, Repair};
use streamkeeper_orchestrator::port::OrderError;
use streamkeeper_protocol::Epoch;

use super::samples::{cluster, record, stream_id, worker, worker_id};
use super::world::{NOW, World};
use streamkeeper_core::cluster::{Availability, Slot};

const PATH: &str = "/api/v1/consistency";

fn restore() -> Repair {
    Repair::Restore {
        stream: stream_id("radio"),
        epoch: Epoch::from_i64(7).unwrap(),
    }
}

fn troubled() -> World {
    let world = World::new();
    let streams = ["radio", "b", "c", "d"].map(|name| record(name, Slot::Vacant));
    let state = cluster(streams.to_vec(), vec![worker("agent-1", Availability::Alive)]);
    world.cluster.send_replace(state);
    let mismatch = Finding {
        kind: FindingKind::StateMismatch,
        stream: Some(stream_id("radio")),
        worker: Some(worker_id("agent-1")),
        detail: "is stored elsewhere".to_owned(),
        repair: Some(restore()),
        policy: Policy::Repair,
        since: NOW,
    };
    let hopeless = Finding {
        kind: FindingKind::SpecMismatch,
        stream: None,
        worker: None,
        detail: "rtsp://user:s3cret@host makes no sense".to_owned(),
        repair: None,
        policy: Policy::Propose,
        since: NOW,
    };
    world.findings.send_replace(vec![mismatch, hopeless]);
    world.checks.send_replace(Checks {
        sweeps: 9,
        swept_at: Some(NOW),
        sweep_took: Duration::from_millis(30),
        passes: 3,
        rows: 4,
        unsure: true,
        repairs: vec![Proposed {
            at: NOW,
            kind: FindingKind::StateMismatch,
            repair: restore(),
            asked: false,
        }],
        waiting: 2,
        ..Checks::default()
    });
    world
}

#[actix::test]
async fn the_report_tells_what_was_found_and_done() {
    let world = troubled();
    let report = world.get(PATH).await;
    assert_eq!((&report["score"], &report["count"]), (&json!(0.5), &json!(2)));
    let at = report["findings"][0]["since"].clone();
    assert!(at.is_string());
    let expected = json!([
        {
            "kind": "state_mismatch", "stream": "radio", "worker": "agent-1", "detail": "is stored elsewhere",
            "policy": "repair", "repair": "store the assignment of radio under epoch 7 once more", "since": at,
        },
        {
            "kind": "spec_mismatch", "stream": null, "worker": null,
            "detail": "rtsp://user:***@host makes no sense", "policy": "propose", "repair": null, "since": at,
        },
    ]);
    assert_eq!(report["findings"], expected);
    let checks = json!({
        "sweeps": 9, "swept_at": at, "sweep_ms": 30, "passes": 3, "passed_at": null, "rows": 4, "unsure": true,
        "database_error": null,
    });
    assert_eq!(report["checks"], checks);
    assert_eq!(report["repairs"][0]["repair"], json!("restore"));
    assert_eq!(report["waiting_repairs"], json!(2));
    let metrics = world
        .send(Method::GET, "/metrics", "")
        .await
        .text()
        .await
        .unwrap();
    for line in [
        "streamkeeper_findings{kind=\"state_mismatch\"} 1",
        "streamkeeper_findings{kind=\"ghost\"} 0",
        "streamkeeper_consistency_score 0.5",
    ] {
        assert!(
            metrics.lines().any(|shown| shown == line),
            "{line} is not in\n{metrics}"
        );
    }
}

#[actix::test]
async fn a_check_and_repairs_are_asked_for() {
    let world = troubled();
    let (status, begun) = world.ask(Method::POST, &format!("{PATH}/check"), "").await;
    assert_eq!(
        (status.as_u16(), begun),
        (202, json!({ "sweeps": 9, "passes": 3 }))
    );
    let repairs = |dry_run: bool| {
        json!({
            "dry_run": dry_run, "count": 1, "unrepairable": 1,
            "repairs": [{
                "kind": "state_mismatch", "stream": "radio", "worker": "agent-1", "repair": "restore",
                "detail": "store the assignment of radio under epoch 7 once more",
            }],
        })
    };
    let target = format!("{PATH}/repair?dry_run=true");
    let (status, shown) = world.ask(Method::POST, &target, "").await;
    assert_eq!((status.as_u16(), shown), (200, repairs(true)));
    assert_eq!(*world.behind.wishes.lock().unwrap(), ["check"]);
    let (status, begun) = world.ask(Method::POST, &format!("{PATH}/repair"), "").await;
    assert_eq!((status.as_u16(), begun), (202, repairs(false)));
    assert_eq!(*world.behind.wishes.lock().unwrap(), ["check", "repair"]);

    world.behind.busy.store(true, Ordering::SeqCst);
    for verb in ["check", "repair"] {
        let (status, problem) = world.ask(Method::POST, &format!("{PATH}/{verb}"), "").await;
        assert_eq!(status.as_u16(), 503, "{problem}");
    }
    let (status, _) = world
        .ask(Method::POST, &format!("{PATH}/repair?dry=true"), "")
        .await;
    assert_eq!(status.as_u16(), 400, "a misspelt dry run changes nothing");
}

#[actix::test]
async fn a_worker_is_synchronized_or_it_is_said_why_not() {
    let world = troubled();
    let ask = async |id: &str| {
        let target = format!("/api/v1/workers/{id}/synchronize");
        world.ask(Method::POST, &target, "").await
    };
    let (status, answer) = ask("agent-1").await;
    assert_eq!(status.as_u16(), 200, "{answer}");
    assert_eq!(answer, json!({ "worker": "agent-1", "synchronized": true }));
    for unknown in ["agent-9", "no%20id"] {
        let (status, problem) = ask(unknown).await;
        assert_eq!(status.as_u16(), 404, "{problem}");
    }
    for (error, expected) in [
        (
            OrderError::NoAnswer {
                worker: worker_id("agent-1"),
                reason: "nobody listens".to_owned(),
            },
            504,
        ),
        (
            OrderError::Refused {
                worker: worker_id("agent-1"),
                reason: "term 3 is below 4".to_owned(),
            },
            409,
        ),
    ] {
        *world.behind.order.lock().unwrap() = Some(Err(error.clone()));
        let (status, problem) = ask("agent-1").await;
        assert_eq!(
            (status.as_u16(), &problem["detail"]),
            (expected, &json!(error.to_string()))
        );
    }
    assert_eq!(*world.behind.wishes.lock().unwrap(), ["synchronize agent-1"; 3]);
}
