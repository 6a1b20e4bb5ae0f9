//! Orders of operators: each taken, with a wrong body, and refused for every reason that is described.

use std::sync::Arc;

use reqwest::Method;
use streamkeeper_core::cluster::{ClusterState, Drain, DrainState, MoveReason};
use streamkeeper_core::recovery_manager::{Attempt, Level, Outcome, Status};
use streamkeeper_core::request::ApplyError;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::super::world::NOW;
use super::{Call, call};

/// A drain is known.
pub(super) fn drained(cluster: &mut ClusterState) {
    let drain = Drain {
        state: DrainState::Running,
        began: NOW,
        ended: None,
        total: 3,
        left: vec![(
            StreamId::new("radio").unwrap(),
            streamkeeper_core::cluster::UnplacedReason::NoCapacity,
        )],
    };
    Arc::make_mut(&mut cluster.drains).insert(WorkerId::new("agent-1").unwrap(), drain);
}

pub(super) fn calls() -> Vec<Call> {
    const REASON: &str = r#"{"reason": "kernel update"}"#;
    let worker = || Some(ApplyError::UnknownWorker(WorkerId::new("agent-1").unwrap()));
    let stream = || Some(ApplyError::Unknown(StreamId::new("radio").unwrap()));
    let drains = || ApplyError::Drains(WorkerId::new("agent-1").unwrap());
    let impossible = || ApplyError::Impossible("no room".to_owned());
    let mut calls = Vec::new();
    for (method, template, body, status, unknown, more) in [
        (
            Method::POST,
            "/api/v1/workers/{id}/cordon",
            REASON,
            200,
            worker(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/workers/{id}/uncordon",
            "",
            200,
            worker(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/workers/{id}/fill",
            "",
            202,
            worker(),
            vec![],
        ),
        (
            Method::DELETE,
            "/api/v1/workers/{id}/drain",
            "",
            200,
            worker(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/workers/{id}/drain",
            REASON,
            202,
            worker(),
            vec![(drains(), 409), (impossible(), 412)],
        ),
        (
            Method::POST,
            "/api/v1/streams/{name}/move",
            r#"{"to": "agent-2"}"#,
            202,
            stream(),
            vec![(impossible(), 412)],
        ),
        (
            Method::POST,
            "/api/v1/streams/{name}/pin",
            r#"{"to": "agent-1"}"#,
            202,
            stream(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/streams/{name}/unpin",
            "",
            200,
            stream(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/streams/{name}/freeze",
            REASON,
            200,
            stream(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/streams/{name}/unfreeze",
            "",
            200,
            stream(),
            vec![],
        ),
        (
            Method::POST,
            "/api/v1/rebalance",
            "",
            202,
            None,
            vec![(impossible(), 412)],
        ),
        (
            Method::POST,
            "/api/v1/rebalance/pause",
            r#"{"reason": "on air", "for": "1h"}"#,
            200,
            None,
            vec![],
        ),
        (Method::POST, "/api/v1/rebalance/resume", "", 200, None, vec![]),
    ] {
        let path: &'static str = template
            .replace("{id}", "agent-1")
            .replace("{name}", "radio")
            .leak();
        calls.push(call(method.clone(), template, path, body, status));
        if !body.is_empty() {
            calls.push(call(method.clone(), template, path, "{", 400));
            calls.push(call(method.clone(), template, path, r#"{"colour": 1}"#, 422));
        }
        let always = [
            (ApplyError::NotLeading, 503),
            (ApplyError::Ambiguous("reset".to_owned()), 504),
        ];
        let unknown = unknown.map(|unknown| (unknown, 404));
        for (refusal, status) in always.into_iter().chain(unknown).chain(more) {
            calls.push(Call {
                refused: Some(refusal),
                ..call(method.clone(), template, path, body, status)
            });
        }
    }
    calls
}

pub(super) fn reads() -> Vec<Call> {
    const DRAIN: &str = "/api/v1/workers/{id}/drain";
    const WHAT_IF: &str = "/api/v1/plan/what-if";
    let get = |template, path, status| call(Method::GET, template, path, "", status);
    vec![
        get(
            "/api/v1/migrations",
            "/api/v1/migrations?stream=radio&limit=10",
            200,
        ),
        get("/api/v1/rebalance", "/api/v1/rebalance", 200),
        get(
            "/api/v1/streams/{name}/explain",
            "/api/v1/streams/radio/explain",
            200,
        ),
        get(
            "/api/v1/streams/{name}/explain",
            "/api/v1/streams/none/explain",
            404,
        ),
        get("/api/v1/plan", "/api/v1/plan", 200),
        get(WHAT_IF, "/api/v1/plan/what-if?lose=agent-1", 200),
        get(WHAT_IF, "/api/v1/plan/what-if?add=2", 200),
        get(WHAT_IF, "/api/v1/plan/what-if?lose=none", 404),
        get(WHAT_IF, "/api/v1/plan/what-if?drain=nowhere", 404),
        get(WHAT_IF, "/api/v1/plan/what-if", 400),
        get(DRAIN, "/api/v1/workers/agent-1/drain", 200),
        get(DRAIN, "/api/v1/workers/none/drain", 404),
    ]
}

/// Recovery of workers, and how the whole is.
pub(super) fn recovery() -> Vec<Call> {
    const ATTEMPT: &str = "/api/v1/recovery/{attempt}";
    let get = |template, path, status| call(Method::GET, template, path, "", status);
    let mut calls = vec![
        get("/api/v1/recovery", "/api/v1/recovery", 200),
        get(ATTEMPT, "/api/v1/recovery/7", 200),
        get(ATTEMPT, "/api/v1/recovery/8", 404),
        get("/resilience/status", "/resilience/status", 200),
        get("/resilience/health", "/resilience/health", 200),
    ];
    for template in [
        "/api/v1/workers/{id}/recover",
        "/api/v1/workers/{id}/emergency",
        "/resilience/recovery/{worker_id}",
        "/resilience/emergency/{worker_id}",
    ] {
        for (worker, status) in [("agent-1", 202), ("none", 404)] {
            let path = template.replace("{id}", worker).replace("{worker_id}", worker);
            let path: &'static str = format!("{path}?reason=stuck").leak();
            calls.push(call(Method::POST, template, path, "", status));
        }
    }
    calls
}

/// An attempt has ended, another one goes on, and a worker waits.
pub(super) fn recovered() -> Status {
    let attempt = |id, outcome| Attempt {
        id,
        worker: WorkerId::new("agent-1").unwrap(),
        level: Level::Hard,
        asked: false,
        reason: "1 ghost".to_owned(),
        began: NOW,
        ended: (outcome != Outcome::Running).then_some(NOW),
        outcome,
        detail: "it was restarted".to_owned(),
    };
    Status {
        running: vec![attempt(6, Outcome::Running)],
        waiting: vec![(WorkerId::new("agent-2").unwrap(), Level::Medium)],
        exhausted: vec![WorkerId::new("agent-1").unwrap()],
        ended: [attempt(7, Outcome::Succeeded)].into(),
        ..Status::default()
    }
}

/// Moves of which one is under way.
pub(super) fn moving(cluster: &mut ClusterState) {
    let spec = Arc::new(StreamSpec::new(StreamId::new("radio").unwrap(), "http://source"));
    let ends = (
        WorkerId::new("agent-1").unwrap(),
        WorkerId::new("agent-2").unwrap(),
    );
    let migration = streamkeeper_core::migration::Migration::new(
        NOW,
        spec,
        ends,
        MoveReason::Balance,
        streamkeeper_core::migration::Way::MakeBeforeBreak,
    );
    Arc::make_mut(&mut cluster.migrations).begin(migration);
}
