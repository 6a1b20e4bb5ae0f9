//! Streams and workers as the leader knows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};
use streamkeeper_core::cluster::{
    Availability, ClusterState, Observed, Role, Slot, StreamRecord, WorkerRecord,
};
use streamkeeper_core::record::Assignment;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{
    Capacity, Epoch, Mode, Performance, Phase, RunState, RunningStream, SessionId, Severity, StreamId, Term,
    Version, WorkerId,
};

use super::world::NOW;

pub(super) fn stream_id(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub(super) fn worker_id(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

/// An assignment whose epoch is larger than JavaScript's numbers.
pub(super) fn assignment(worker: &str) -> Assignment {
    Assignment {
        worker: worker_id(worker),
        session: SessionId::from_u128(7),
        epoch: Epoch::from_i64(9_007_199_254_740_993).unwrap(),
    }
}

/// A stream in a slot, since an hour before [`NOW`] less a second.
pub(super) fn record(name: &str, slot: Slot) -> StreamRecord {
    let spec = StreamSpec::new(stream_id(name), format!("http://host/{name}"));
    StreamRecord {
        slot,
        ..StreamRecord::new(Arc::new(spec), Timestamp::from_ms(1_000))
    }
}

pub(super) fn running() -> Option<Observed> {
    Some(Observed {
        state: RunState::Running,
        restarts: 0,
        reason: None,
    })
}

pub(super) fn performance() -> Option<Performance> {
    Some(Performance {
        cpu_cores: Some(0.25),
        memory_bytes: Some(5_000_000_000),
        bytes_per_second: Some(16_000),
        stalls: Some(1),
        reconnects: Some(2),
    })
}

pub(super) fn worker(id: &str, availability: Availability) -> WorkerRecord {
    WorkerRecord {
        id: worker_id(id),
        session: SessionId::from_u128(7),
        availability,
        since: Timestamp::from_ms(1_000),
        last_heard: NOW - Duration::from_millis(1_234),
        heard: true,
        phase: Phase::Ready,
        mode: Mode::Connected,
        capacity: Capacity {
            max_streams: 10,
            weight: 8.0,
        },
        zone: Some("a".to_owned()),
        labels: Arc::default(),
        version: "0.1".into(),
        guarded: true,
        host: None,
        cordoned: false,
        zlib: false,
        assigned: [stream_id("radio")].into_iter().collect(),
        load: 2.0,
        desired: Version::default(),
        applied: Version::default(),
        declared: None,
        inventory: Arc::new(vec![RunningStream {
            stream: stream_id("radio"),
            epoch: assignment(id).epoch,
            state: RunState::Running,
            restarts: 1,
            reason: Some("lost http://u:s3cret@host/radio".to_owned()),
        }]),
    }
}

/// A leading orchestrator's cluster of these streams and workers.
pub(super) fn cluster(streams: Vec<StreamRecord>, workers: Vec<WorkerRecord>) -> ClusterState {
    let mut cluster = ClusterState::default();
    cluster.leadership.role = Role::Leading;
    cluster.leadership.term = Term::new(17).unwrap();
    cluster.leadership.since = Timestamp::from_ms(500);
    for record in streams {
        cluster.streams.insert(record.spec.name.clone(), Arc::new(record));
    }
    for worker in workers {
        cluster.workers.insert(worker.id.clone(), Arc::new(worker));
    }
    cluster
}

/// A worker is lost, since 2026-01-01 00:00:02.
pub(super) fn stored_alert(fingerprint: &str, summary: &str) -> StoredAlert {
    StoredAlert {
        fingerprint: fingerprint.to_owned(),
        rule: "worker_lost".to_owned(),
        severity: Severity::Critical,
        labels: BTreeMap::from([("worker".to_owned(), "agent-2".to_owned())]),
        context: BTreeMap::new(),
        annotations: BTreeMap::from([("summary".to_owned(), summary.to_owned())]),
        began_ms: 1_767_225_602_000,
        changed_ms: 1_767_225_602_000,
        resolved_ms: None,
        acknowledged: None,
        suppressed_by: None,
        incident: Some(IncidentId {
            term: Term::new(17).unwrap(),
            number: 3,
        }),
        explained_by: None,
        change: 1,
        delivered: BTreeMap::from([("alerts_nats".to_owned(), 1)]),
        pending: false,
    }
}
