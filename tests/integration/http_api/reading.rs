//! Reading: every path, filters, pages, masking.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use streamkeeper_core::cluster::{Availability, MoveReason, Observed, Slot, StreamRecord, UnplacedReason};
use streamkeeper_core::consistency_checker::{Finding, FindingKind, Policy};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::RunState;

use super::samples::{
    assignment, cluster, performance, record, running, stored_alert, stream_id, worker, worker_id,
};
use super::world::{NOW, World};

/// One stream of each sort, sorted by name.
fn samples() -> Vec<StreamRecord> {
    let mut spec = StreamSpec::new(stream_id("cam"), "rtsp://admin:s3cret@10.0.0.7/live?token=abc");
    spec.labels.insert("site".to_owned(), "north".to_owned());
    let cam = StreamRecord {
        spec: Arc::new(spec),
        observed: Some(Observed {
            state: RunState::Failing,
            restarts: 4,
            reason: Some("rtsp://admin:s3cret@10.0.0.7/live: refused".into()),
        }),
        ..record("cam", Slot::Held(assignment("agent-1")))
    };
    let orphan = record(
        "orphan",
        Slot::Orphaned {
            last: assignment("agent-2"),
        },
    );
    let radio = StreamRecord {
        observed: running(),
        performance: performance().map(Box::new),
        reason: MoveReason::WorkerLost,
        ..record("radio", Slot::Held(assignment("agent-1")))
    };
    let waiting = StreamRecord {
        unplaced: Some(UnplacedReason::NoCapacity),
        ..record("waiting", Slot::Vacant)
    };
    vec![cam, orphan, radio, waiting]
}

fn names(page: &Value, list: &str, key: &str) -> Vec<String> {
    let items = page[list].as_array().unwrap().iter();
    items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[actix::test]
async fn a_stream_shows_what_it_is_and_why_and_no_secret() {
    let world = World::new();
    let workers = vec![
        worker("agent-1", Availability::Alive),
        worker("agent-2", Availability::Lost),
    ];
    world.cluster.send_replace(cluster(samples(), workers));

    let radio = world.get("/api/v1/streams/radio").await;
    assert_eq!(radio["state"], "running");
    assert_eq!(radio["worker"], "agent-1");
    assert_eq!(radio["since"], "2026-01-01T00:00:01.000Z");
    assert_eq!(radio["assignment"]["epoch"], "9007199254740993");
    assert_eq!(
        radio["performance"],
        json!({"cpu_cores": 0.25, "memory_bytes": 5_000_000_000_u64, "bytes_per_second": 16_000,
            "stalls": 1, "reconnects": 2})
    );
    let explanation = radio["explanation"].as_str().unwrap();
    assert!(
        explanation.contains("agent-1") && explanation.contains("was lost"),
        "{explanation}"
    );

    let worker = world.get("/api/v1/workers/agent-1").await;
    assert_eq!(worker["running"][0]["performance"], radio["performance"]);
    assert_eq!(worker["performance"]["cpu_cores"], 0.25, "the sum of one");

    let cam = world.get("/api/v1/streams/cam").await;
    assert_eq!(cam["performance"], Value::Null);
    assert_eq!(cam["source"], "rtsp://admin:***@10.0.0.7/live?token=***");
    assert_eq!(cam["failure"], "rtsp://admin:***@10.0.0.7/live: refused");
    assert_eq!(cam["restarts"], 4);
    assert_eq!(cam["labels"], json!({"site": "north"}));

    let waiting = world.get("/api/v1/streams/waiting").await;
    assert_eq!(
        (&waiting["state"], &waiting["worker"]),
        (&json!("unplaced"), &Value::Null)
    );
    assert_eq!(waiting["unplaced"]["reason"], "no_capacity");
    assert!(
        waiting["explanation"]
            .as_str()
            .unwrap()
            .contains("every worker that fits is full")
    );

    let orphan = world.get("/api/v1/streams/orphan").await;
    let explanation = orphan["explanation"].as_str().unwrap();
    assert!(explanation.contains("Worker agent-2 is silent"), "{explanation}");

    for path in [
        "/api/v1/streams",
        "/api/v1/streams/cam",
        "/api/v1/workers/agent-1",
    ] {
        let text = world.get(path).await.to_string();
        assert!(
            !text.contains("s3cret") && !text.contains("abc"),
            "{path} shows a secret: {text}"
        );
    }
}

#[actix::test]
async fn lists_are_filtered() {
    let world = World::new();
    let workers = vec![
        worker("agent-1", Availability::Alive),
        worker("agent-2", Availability::Lost),
    ];
    world.cluster.send_replace(cluster(samples(), workers));
    let cases: &[(&str, &[&str])] = &[
        ("", &["cam", "orphan", "radio", "waiting"]),
        ("?state=orphaned", &["orphan"]),
        ("?worker=agent-1", &["cam", "radio"]),
        ("?worker=agent-2", &[]),
        ("?label.site=north", &["cam"]),
        ("?label.site=south", &[]),
        ("?label.site=north&label.floor=1", &[]),
        ("?prefix=ra", &["radio"]),
        ("?prefix=ra&after=cam", &["radio"]),
        ("?prefix=ra&after=radio", &[]),
        ("?prefix=ca&after=orphan", &[]),
        ("?worker=agent-1&state=failing", &["cam"]),
    ];
    for (query, expected) in cases {
        let page = world.get(&format!("/api/v1/streams{query}")).await;
        assert_eq!(names(&page, "streams", "name"), *expected, "{query}");
        assert_eq!(page["next"], Value::Null, "{query}");
    }
    let cases: &[(&str, &[&str])] = &[
        ("", &["cam", "orphan", "radio"]),
        ("?worker=agent-2", &["orphan"]),
        ("?prefix=r", &["radio"]),
    ];
    for (query, expected) in cases {
        let page = world.get(&format!("/api/v1/assignments{query}")).await;
        assert_eq!(names(&page, "assignments", "stream"), *expected, "{query}");
    }
    let page = world.get("/api/v1/workers?availability=lost").await;
    assert_eq!(names(&page, "workers", "id"), ["agent-2"]);
}

#[actix::test]
async fn long_lists_come_page_by_page_and_nothing_twice() {
    let world = World::new();
    let all: Vec<String> = (0..2_500).map(|number| format!("s{number:05}")).collect();
    let streams = all
        .iter()
        .map(|name| record(name, Slot::Held(assignment("agent-1"))));
    world.cluster.send_replace(cluster(streams.collect(), Vec::new()));

    assert_eq!(
        world.get("/api/v1/streams").await["streams"]
            .as_array()
            .unwrap()
            .len(),
        100
    );
    for (list, key) in [("streams", "name"), ("assignments", "stream")] {
        let mut seen = Vec::new();
        let mut after = String::new();
        let mut pages = 0;
        loop {
            let page = world.get(&format!("/api/v1/{list}?limit=1000{after}")).await;
            seen.extend(names(&page, list, key));
            pages += 1;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(pages, 3);
        assert_eq!(seen, all);
    }
    // A page that ends with the list has no next one.
    let page = world.get("/api/v1/streams?limit=500&after=s01999").await;
    assert_eq!(
        (page["streams"].as_array().unwrap().len(), &page["next"]),
        (500, &Value::Null)
    );
}

#[actix::test]
async fn an_assignment_says_who_may_run_what() {
    let world = World::new();
    world.cluster.send_replace(cluster(samples(), Vec::new()));
    let page = world.get("/api/v1/assignments?prefix=radio").await;
    let expected = json!({
        "stream": "radio",
        "worker": "agent-1",
        "session": "00000000000000000000000000000007",
        "epoch": "9007199254740993",
        "since": "2026-01-01T00:00:01.000Z",
        "reason": "worker_lost",
        "slot": "held",
        "moves_to": null,
    });
    assert_eq!(page["assignments"], json!([expected]));
}

#[actix::test]
async fn workers_say_when_they_were_heard_and_what_they_carry() {
    let world = World::new();
    let mut unheard = worker("agent-9", Availability::Warning);
    unheard.heard = false;
    unheard.capacity.weight = 0.0;
    unheard.last_heard = Timestamp::ZERO;
    world.cluster.send_replace(cluster(
        Vec::new(),
        vec![worker("agent-1", Availability::Alive), unheard],
    ));

    let page = world.get("/api/v1/workers").await;
    assert_eq!(names(&page, "workers", "id"), ["agent-1", "agent-9"]);
    let alive = &page["workers"][0];
    assert_eq!(alive["last_heard_ms_ago"], 1_234);
    assert_eq!(alive["load_ratio"], 0.25);
    assert_eq!(alive["takes_streams"], true);
    assert_eq!(alive["phase"], "ready");
    let unheard = &page["workers"][1];
    assert_eq!(
        (&unheard["last_heard_ms_ago"], &unheard["load_ratio"]),
        (&Value::Null, &Value::Null)
    );

    let detail = world.get("/api/v1/workers/agent-1").await;
    assert_eq!(detail["assigned"], json!(["radio"]));
    assert_eq!(detail["running"][0]["epoch"], "9007199254740993");
    assert_eq!(detail["running"][0]["reason"], "lost http://u:***@host/radio");
}

#[actix::test]
async fn status_counts_everything() {
    let world = World::new();
    let workers = vec![
        worker("agent-1", Availability::Alive),
        worker("agent-2", Availability::Lost),
    ];
    world.cluster.send_replace(cluster(samples(), workers));
    let status = world.get("/api/v1/status").await;
    let expected =
        json!({"leader": "first", "role": "leading", "term": 17, "since": "2026-01-01T00:00:00.500Z"});
    assert_eq!(status["leadership"], expected);
    assert_eq!(status["version"], "1.2.3");
    assert_eq!(status["streams"]["total"], 4);
    for (state, count) in [
        ("running", 1),
        ("failing", 1),
        ("orphaned", 1),
        ("unplaced", 1),
        ("moving", 0),
    ] {
        assert_eq!(status["streams"]["by_state"][state], count, "{state}");
    }
    assert_eq!(
        status["workers"]["by_availability"],
        json!({"alive": 1, "warning": 0, "lost": 1, "dead": 0})
    );
    assert_eq!(status["workers"]["take_streams"], 1);
    let expected = json!([{"name": "coordinator", "restarts": 3, "restarting": false, "waiting": 2}]);
    assert_eq!(status["actors"], expected);
}

#[actix::test]
async fn alerts_and_findings_are_shown() {
    let world = World::new();
    world.cluster.send_replace(cluster(samples(), Vec::new()));
    let alert = |fingerprint: &str| {
        let mut alert = stored_alert(fingerprint, "http://u:s3cret@h is away");
        alert.delivered = BTreeMap::from([("alerts_nats".to_owned(), 1), ("other".to_owned(), 0)]);
        Arc::new(alert)
    };
    world
        .alerts
        .send_replace(vec![alert("00000000000000aa"), alert("00000000000000bb")]);
    let page = world.get("/api/v1/alerts?limit=1").await;
    assert_eq!(page["next"], "00000000000000aa");
    let expected = json!([{
        "rule": "worker_lost",
        "severity": "critical",
        "status": "firing",
        "labels": {"worker": "agent-2"},
        "annotations": {"summary": "http://u:***@h is away"},
        "since": "2026-01-01T00:00:02.000Z",
        "resolved": null,
        "fingerprint": "00000000000000aa",
        "incident": "17-3",
        "explained_by": null,
        "acknowledged": null,
        "suppressed_by": null,
        "delivery": {"alerts_nats": "delivered", "other": "waiting"},
    }]);
    assert_eq!(page["alerts"], expected);
    let page = world.get("/api/v1/alerts?after=00000000000000aa").await;
    assert_eq!(names(&page, "alerts", "fingerprint"), ["00000000000000bb"]);

    world.findings.send_replace(vec![Finding {
        kind: FindingKind::EpochMismatch,
        stream: Some(stream_id("radio")),
        worker: Some(worker_id("agent-1")),
        detail: "runs under another epoch".to_owned(),
        repair: None,
        policy: Policy::Repair,
        since: NOW,
    }]);
    let status = world.get("/api/v1/status").await;
    assert_eq!((&status["alerts"], &status["findings"]), (&json!(2), &json!(1)));
}
