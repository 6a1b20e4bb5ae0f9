//! Orders, and what is for everybody.

use streamkeeper_protocol::{
    Alert, AlertStatus, Beacon, Control, ControlKind, ControlReply, Event, LeaderRecord, OrchestratorId, Term,
};

use super::{Example, TERM, session, term, texts, worker};

pub(super) fn orders() -> Vec<Example> {
    let order = |kind, session| Control {
        v: 1,
        worker: worker(),
        session,
        id: "o-0badcafe-2000000017-1".to_owned(),
        term: term(TERM),
        kind,
    };
    let done = ControlReply {
        v: 1,
        id: "o-0badcafe-2000000017-1".to_owned(),
        done: true,
        reason: None,
    };
    let not_done = ControlReply {
        done: false,
        reason: Some("term 16 is below 17".to_owned()),
        ..done.clone()
    };
    vec![
        Example::new("control_ping", true, order(ControlKind::Ping, Some(session(1)))),
        Example::new("control_resync", false, order(ControlKind::Resync, None)),
        Example::new("control_drain", false, order(ControlKind::Drain, None)),
        Example::new("control_resume", false, order(ControlKind::Resume, None)),
        Example::new("control_restart", false, order(ControlKind::Restart, None)),
        Example::new("control_reply_done", false, done),
        Example::new("control_reply_refused", true, not_done),
    ]
}

pub(super) fn for_everybody() -> Vec<Example> {
    let record = LeaderRecord {
        v: 1,
        term: Term::new(TERM).unwrap(),
        nonce: u64::MAX - 1,
        leader: OrchestratorId::new("o-1").unwrap(),
        released: true,
        lease_ms: 6_000,
    };
    let beacon = Beacon {
        v: 1,
        term: term(TERM),
        leader: OrchestratorId::new("o-0badcafe").unwrap(),
        api_url: "http://127.0.0.1:8001".to_owned(),
        renew_only: false,
    };
    let firing = Alert {
        v: 1,
        status: AlertStatus::Firing,
        labels: texts(&[
            ("alertname", "worker_lost"),
            ("severity", "critical"),
            ("worker", "w-1"),
        ]),
        annotations: texts(&[
            ("summary", "worker w-1 is lost"),
            ("suggestion", "look at its machine"),
        ]),
        starts_at: "2026-11-24T06:00:00.123+00:00".to_owned(),
        ends_at: None,
        fingerprint: "0123456789abcdef".to_owned(),
        incident: None,
        explained_by: None,
    };
    let resolved = Alert {
        status: AlertStatus::Resolved,
        ends_at: Some("2026-11-24T06:01:00+00:00".to_owned()),
        ..firing.clone()
    };
    let explained = Alert {
        incident: Some("17-3".to_owned()),
        explained_by: Some("b327897167f2f416".to_owned()),
        ..resolved.clone()
    };
    let event = Event {
        v: 1,
        kind: "assigned".to_owned(),
        at: "2026-11-24T06:00:00.123+00:00".to_owned(),
        term: TERM,
        fields: texts(&[
            ("stream", "radio-1"),
            ("worker", "w-1"),
            ("epoch", "68719476737"),
            ("reason", "declared"),
        ]),
    };
    vec![
        Example::new("leader_record", true, record),
        Example::new("beacon", true, beacon),
        Example::new("alert_firing", false, firing),
        Example::new("alert_resolved", false, resolved),
        Example::new("alert_explained", true, explained),
        Example::new("event", true, event),
    ]
}
