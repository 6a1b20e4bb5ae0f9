//! Cluster states for tests, built in one line per fact.

use std::sync::Arc;

use imbl::OrdSet;
use streamkeeper_protocol::{
    Capacity, Epoch, Mode, Phase, RunState, RunningStream, SessionId, StreamId, Term, Version, WorkerId,
};

use crate::cluster::{
    Availability, ClusterState, Leadership, MoveReason, Observed, Role, Slot, StreamRecord, UnplacedReason,
    WorkerRecord,
};
use crate::record::Assignment;
use crate::spec::StreamSpec;
use crate::time::Timestamp;

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

pub(crate) fn stream_id(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub(crate) fn worker_id(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

/// The first session of every worker is 1.
pub(crate) fn session(number: u128) -> SessionId {
    SessionId::from_u128(number)
}

pub(crate) fn epoch(counter: u32) -> Epoch {
    Epoch::new(Term::new(1).unwrap(), counter)
}

pub(crate) fn assignment(worker: &str, counter: u32) -> Assignment {
    Assignment {
        worker: worker_id(worker),
        session: session(1),
        epoch: epoch(counter),
    }
}

/// A leader's state in term 1.
pub(crate) fn leading() -> ClusterState {
    ClusterState {
        leadership: Leadership {
            role: Role::Leading,
            term: Term::new(1).unwrap(),
            ..Leadership::default()
        },
        ..ClusterState::default()
    }
}

/// Adds an alive and settled worker that runs nothing.
pub(crate) fn add_worker(cluster: &mut ClusterState, name: &str) {
    let settled = Version {
        term: Term::new(1).unwrap(),
        generation: 1,
    };
    let record = WorkerRecord {
        id: worker_id(name),
        session: session(1),
        availability: Availability::Alive,
        since: Timestamp::ZERO,
        last_heard: Timestamp::ZERO,
        heard: true,
        phase: Phase::Ready,
        mode: Mode::Connected,
        capacity: Capacity {
            max_streams: 100,
            weight: 100.0,
        },
        zone: None,
        labels: Arc::default(),
        version: "test".into(),
        guarded: true,
        host: None,
        cordoned: false,
        zlib: false,
        assigned: OrdSet::new(),
        load: 0.0,
        desired: settled,
        applied: settled,
        declared: None,
        inventory: Arc::default(),
    };
    cluster.workers.insert(record.id.clone(), Arc::new(record));
}

pub(crate) fn worker<'a>(cluster: &'a mut ClusterState, name: &str) -> &'a mut WorkerRecord {
    Arc::make_mut(cluster.workers.get_mut(&worker_id(name)).unwrap())
}

/// Adds an enabled stream, or puts it into another slot, as the coordinator would.
pub(crate) fn put_stream(cluster: &mut ClusterState, now: Timestamp, name: &str, slot: Slot) {
    let name = stream_id(name);
    let before = cluster
        .streams
        .get(&name)
        .and_then(|record| record.slot.worker().cloned());
    if let Some(record) = before.and_then(|owner| cluster.workers.get_mut(&owner)) {
        let record = Arc::make_mut(record);
        record.assigned.remove(&name);
        record.load -= 1.0;
    }
    if let Some(record) = slot.worker().and_then(|owner| cluster.workers.get_mut(owner)) {
        let record = Arc::make_mut(record);
        record.assigned.insert(name.clone());
        record.load += 1.0;
    }
    if matches!(slot, Slot::Vacant | Slot::Orphaned { .. }) {
        cluster.needs_worker.insert(name.clone());
    } else {
        cluster.needs_worker.remove(&name);
    }
    let record = StreamRecord {
        spec: Arc::new(StreamSpec::new(name.clone(), "source")),
        slot,
        since: now,
        reason: MoveReason::Declared,
        observed: None,
        performance: None,
        unplaced: None,
        lost_at: None,
        lost_from: None,
        floor: Epoch::ZERO,
        rerun: false,
        awaits: None,
        released: false,
        claimed: false,
    };
    cluster.streams.insert(name, Arc::new(record));
}

pub(crate) fn stream<'a>(cluster: &'a mut ClusterState, name: &str) -> &'a mut StreamRecord {
    Arc::make_mut(cluster.streams.get_mut(&stream_id(name)).unwrap())
}

pub(crate) fn unplaced(cluster: &mut ClusterState, now: Timestamp, name: &str, reason: UnplacedReason) {
    put_stream(cluster, now, name, Slot::Vacant);
    stream(cluster, name).unplaced = Some(reason);
}

pub(crate) fn observe(cluster: &mut ClusterState, name: &str, state: RunState, restarts: u32) {
    stream(cluster, name).observed = Some(Observed {
        state,
        restarts,
        reason: (restarts > 0).then(|| "exit status 1".into()),
    });
}

/// A worker reports a stream.
pub(crate) fn report(cluster: &mut ClusterState, name: &str, running: &str, counter: u32, state: RunState) {
    let inventory = Arc::make_mut(&mut worker(cluster, name).inventory);
    inventory.retain(|entry| entry.stream.as_str() != running);
    inventory.push(RunningStream {
        stream: stream_id(running),
        epoch: epoch(counter),
        state,
        restarts: 0,
        reason: None,
    });
    inventory.sort_by(|a, b| a.stream.cmp(&b.stream));
}

/// Workers a and b; a holds and runs s1 and s2, b holds and runs s3: nothing to complain about.
pub(crate) fn healthy() -> ClusterState {
    let mut cluster = leading();
    for name in ["a", "b"] {
        add_worker(&mut cluster, name);
    }
    for (name, owner, counter) in [("s1", "a", 1), ("s2", "a", 2), ("s3", "b", 3)] {
        let slot = Slot::Held(assignment(owner, counter));
        put_stream(&mut cluster, Timestamp::ZERO, name, slot);
        report(&mut cluster, owner, name, counter, RunState::Running);
        observe(&mut cluster, name, RunState::Running, 0);
    }
    cluster
}
