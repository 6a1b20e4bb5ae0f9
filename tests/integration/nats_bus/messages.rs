//! Messages as the tests send them.

use streamkeeper_protocol::{
    Action, Alert, AlertStatus, Assign, AssignKind, Beacon, Capacity, Control, ControlKind,
    DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, DesiredEntry, Epoch, Event, Heartbeat, Inventory, Mode,
    OrchestratorId, Ownership, PROTOCOL_VERSION, Phase, RunSpec, SessionId, StreamId, Term, Version,
    WorkerId,
};

pub(crate) fn worker() -> WorkerId {
    WorkerId::new("w").unwrap()
}

pub(crate) fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

pub(crate) fn heartbeat(seq: u64) -> Heartbeat {
    Heartbeat {
        v: PROTOCOL_VERSION,
        worker: worker(),
        session: SessionId::from_u128(1),
        seq,
        boot_id: "boot".to_owned(),
        supersedes: None,
        applied: Version::default(),
        highest_term: Term::ZERO,
        mode: Mode::Connected,
        lease_left_ms: 0,
        guarded: false,
        phase: Phase::Ready,
        capacity: Capacity {
            max_streams: 1,
            weight: 1.0,
        },
        labels: [].into(),
        zone: None,
        version: "0".to_owned(),
        inventory: Inventory::digest(0, 0),
        host: None,
        performance: Vec::new(),
        zlib: false,
    }
}

pub(crate) fn assign(ack_seq: u64, streams: u32, source: usize) -> Assign {
    let entry = |number: u32| DesiredEntry {
        stream: StreamId::new(format!("s{number:06}")).unwrap(),
        epoch: Epoch::new(term(1), number),
        action: Action::Run,
        spec: Some(RunSpec {
            source: "x".repeat(source),
            ownership: Ownership::Available,
            labels: [].into(),
        }),
    };
    Assign {
        v: PROTOCOL_VERSION,
        worker: worker(),
        session: SessionId::from_u128(1),
        ack_seq,
        term: term(1),
        generation: 1,
        lease_ms: 15_000,
        stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
        kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
        whole_inventory: false,
        kind: AssignKind::Desired,
        reason: None,
        part: 0,
        parts: 0,
        entries: (0..streams).map(entry).collect(),
        zlib: true,
    }
}

pub(crate) fn beacon(leader: &str) -> Beacon {
    Beacon {
        v: PROTOCOL_VERSION,
        term: term(3),
        leader: OrchestratorId::new(leader).unwrap(),
        api_url: "http://127.0.0.1:1".to_owned(),
        renew_only: false,
    }
}

pub(crate) fn order(id: &str) -> Control {
    Control {
        v: PROTOCOL_VERSION,
        worker: worker(),
        session: None,
        id: id.to_owned(),
        term: term(1),
        kind: ControlKind::Ping,
    }
}

pub(crate) fn alert(rule: &str) -> Alert {
    Alert {
        v: PROTOCOL_VERSION,
        status: AlertStatus::Firing,
        labels: [("alertname".to_owned(), rule.to_owned())].into(),
        annotations: [].into(),
        starts_at: "2026-01-01T00:00:00Z".to_owned(),
        ends_at: None,
        fingerprint: "0".repeat(16),
        incident: None,
        explained_by: None,
    }
}

pub(crate) fn event(kind: &str) -> Event {
    Event {
        v: PROTOCOL_VERSION,
        kind: kind.to_owned(),
        at: "2026-01-01T00:00:00Z".to_owned(),
        term: 1,
        fields: [].into(),
    }
}
