//! The placement problem of the present cluster, kept up to date by what changed between two snapshots: snapshots share
//! structure, so that the difference is found without looking at what stayed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use streamkeeper_protocol::{Epoch, SessionId, StreamId, WorkerId};

use super::history::Histories;
use super::observed::{Observations, UNIT_BYTES};
use crate::cluster::{
    Availability, ClusterState, MoveReason, Slot, StreamRecord, UnplacedReason, WorkerRecord,
};
use crate::placement::{DIMENSIONS, Index, NONE, Placement, Problem, Size, StreamFacts, WorkerFacts};
use crate::spec::StreamSpec;
use crate::time::Timestamp;

/// What is known of one stream beyond its problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The epoch of its assignment.
    pub(super) planned_on: Option<Epoch>,
    /// Why it is where it is, or has no worker.
    pub(super) reason: MoveReason,
    /// Why no worker fits, as was told last.
    pub(super) unplaced: Option<UnplacedReason>,
    /// Its assignment is stored and told: it may be moved.
    pub(super) held: bool,
}

const UNKNOWN: Known = Known {
    planned_on: None,
    reason: MoveReason::Declared,
    unplaced: None,
    held: false,
};

/// The cluster as a problem.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    pub(super) cluster: ClusterState,
    pub(super) problem: Problem,
    pub(super) placement: Placement,
    /// Streams that want a worker and have none.
    pub(super) waiting: BTreeSet<Index>,
    /// Where waiting streams had their last assignment.
    last: BTreeMap<Index, (WorkerId, SessionId)>,
    /// Streams whose slot is changing.
    pub(super) in_motion: BTreeSet<Index>,
    /// Streams that were moved for the sake of balance, and since when they are where they are.
    pub(super) moved: BTreeMap<Index, Timestamp>,
    /// Workers that are silent or not heard yet and own streams: what becomes of those is open.
    pub(super) doubtful: BTreeSet<WorkerId>,
    pub(super) histories: Histories,
    observations: Observations,
    /// Whether measurements count.
    measured: bool,
    known: Vec<Known>,
    /// Something changed that plans depend on.
    pub(super) dirty: bool,
}

impl Mirror {
    pub(super) fn new() -> Self {
        Self {
            problem: Problem::new(),
            ..Self::default()
        }
    }

    pub(super) fn known(&self, stream: Index) -> Known {
        self.known.get(stream as usize).copied().unwrap_or(UNKNOWN)
    }

    /// Takes in a newer state.
    pub(super) fn update(&mut self, now: Timestamp, cluster: ClusterState) {
        let before = std::mem::replace(&mut self.cluster, cluster.clone());
        let gone = self.workers(now, &before, &cluster);
        if self.problem.streams() == 0 {
            self.fill(now, &cluster);
        } else {
            for item in before.streams.diff(&cluster.streams) {
                match item {
                    DiffItem::Add(_, record) => self.stream(now, None, record),
                    DiffItem::Update { old, new } => self.stream(now, Some(old.1), new.1),
                    DiffItem::Remove(name, _) => self.forget(name),
                }
            }
        }
        for id in gone {
            self.problem.remove_worker(&id);
        }
        self.measurements(now);
        self.problem.settle();
    }

    /// Takes in workers that changed; gives those that are gone.
    fn workers(&mut self, now: Timestamp, before: &ClusterState, after: &ClusterState) -> Vec<WorkerId> {
        let mut old = before.workers.iter().peekable();
        let mut gone = Vec::new();
        for (id, record) in &after.workers {
            let mut previous = None;
            while let Some((old_id, old_record)) = old.next_if(|(old_id, _)| *old_id <= id) {
                if old_id == id {
                    previous = Some(old_record);
                } else {
                    gone.push(old_id.clone());
                }
            }
            if previous.is_none_or(|previous| !Arc::ptr_eq(previous, record)) {
                self.worker(now, previous.map(|previous| &**previous), record);
            }
        }
        gone.extend(old.map(|(id, _)| id.clone()));
        for id in &gone {
            self.dirty = true;
            self.histories.forget(id);
            self.doubtful.remove(id);
        }
        gone
    }

    fn worker(&mut self, now: Timestamp, before: Option<&WorkerRecord>, record: &WorkerRecord) {
        let trusted = self.histories.health(now, &record.id);
        let changed = self.histories.note(now, before, record, trusted);
        let facts = self.facts_of_worker(now, record);
        let same = before.is_some_and(|before| {
            before.session == record.session && self.facts_of_worker(now, before) == facts
        });
        if !same || changed {
            self.dirty = true;
            self.problem.put_worker(facts);
        }
        let silent = !record.heard || matches!(record.availability, Availability::Lost | Availability::Dead);
        if silent && !record.assigned.is_empty() {
            self.doubtful.insert(record.id.clone());
        } else {
            self.doubtful.remove(&record.id);
        }
    }

    fn facts_of_worker(&self, now: Timestamp, record: &WorkerRecord) -> WorkerFacts {
        let mut capacity = [f64::INFINITY; DIMENSIONS];
        capacity[0] = record.capacity.weight;
        if self.measured
            && let Some(host) = &record.host
        {
            let known = |capacity: f64| if capacity > 0.0 { capacity } else { f64::INFINITY };
            capacity[1] = known(f64::from(host.cores.unwrap_or(0)));
            capacity[2] = known(host.memory_total_bytes as f64 / UNIT_BYTES);
        }
        WorkerFacts {
            id: record.id.clone(),
            open: record.takes_streams(),
            guarded: record.guarded,
            zone: record.zone.clone(),
            labels: record.labels.clone(),
            max_streams: record.capacity.max_streams,
            capacity,
            health: self.histories.health(now, &record.id),
        }
    }

    /// Takes in all streams of an empty mirror.
    fn fill(&mut self, now: Timestamp, cluster: &ClusterState) {
        self.dirty = true;
        let count = cluster.streams.len();
        self.problem.reserve(count);
        self.known.resize(count, UNKNOWN);
        let mut others = Vec::new();
        let mut waiting = Vec::with_capacity(count);
        let (known, observations) = (&mut self.known, &mut self.observations);
        let mut index = 0;
        let streams = cluster.streams.iter().map(|(name, record)| {
            let mut size = [0.0; DIMENSIONS];
            if let Some(told) = &record.performance {
                size = observations.note(now, index, told, size).unwrap_or(size);
            }
            // Most streams of a new fleet just wait. The rest is looked at again.
            if matches!(record.slot, Slot::Vacant) {
                known[index as usize] = known_of(record);
                if record.spec.enabled {
                    waiting.push(index);
                }
            } else {
                others.push((index, record));
            }
            index += 1;
            (name, facts_of_stream(&record.spec, size))
        });
        self.problem.fill(streams);
        self.waiting = waiting.into_iter().collect();
        for (index, record) in others {
            self.slot(index, record);
        }
    }

    fn stream(&mut self, now: Timestamp, before: Option<&Arc<StreamRecord>>, record: &StreamRecord) {
        let name = &record.spec.name;
        let known = self.problem.stream(name);
        let index = match known.zip(before) {
            // Whatever happens to its slot, its spec is most often the same.
            Some((index, before)) if Arc::ptr_eq(&before.spec, &record.spec) => index,
            _ => {
                self.dirty = true;
                let measured = known.map_or([0.0; DIMENSIONS], |index| self.problem.size(index));
                let facts = facts_of_stream(&record.spec, measured);
                self.problem.put_stream(&mut self.placement, name, &facts)
            }
        };
        let performance = before.and_then(|before| before.performance.as_deref());
        if record.performance.as_deref() != performance {
            self.measure(now, index, record);
        }
        self.slot(index, record);
    }

    fn measure(&mut self, now: Timestamp, index: Index, record: &StreamRecord) {
        let size = self.problem.size(index);
        let told = record.performance.as_deref();
        if let Some(size) = told.and_then(|told| self.observations.note(now, index, told, size)) {
            self.dirty = true;
            self.problem.resize(&mut self.placement, index, size);
        }
    }

    /// Takes in who may run a stream.
    fn slot(&mut self, index: Index, record: &StreamRecord) {
        if self.known.len() <= index as usize {
            self.known.resize(index as usize + 1, UNKNOWN);
        }
        let owner = record
            .slot
            .worker()
            .and_then(|id| self.problem.worker(id))
            .unwrap_or(NONE);
        if owner != self.placement.owner(index) {
            self.dirty = true;
            match owner {
                NONE => self.placement.remove(&self.problem, index),
                owner => self.placement.place(&self.problem, index, owner),
            }
        }
        let before = std::mem::replace(&mut self.known[index as usize], known_of(record));
        let homeless = matches!(record.slot, Slot::Vacant | Slot::Orphaned { .. });
        let waits = record.spec.enabled && homeless;
        self.dirty |= waits != toggle(&mut self.waiting, index, waits);
        self.dirty |= before.planned_on != self.known[index as usize].planned_on;
        match &record.slot {
            Slot::Orphaned { last } => {
                self.last.insert(index, (last.worker.clone(), last.session));
            }
            _ => {
                self.last.remove(&index);
            }
        }
        let moving = matches!(
            record.slot,
            Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Handing { .. }
        );
        toggle(&mut self.in_motion, index, moving);
        // What somebody moved, or had to come back, rests as well.
        let moved = matches!(
            record.reason,
            MoveReason::Balance | MoveReason::Asked | MoveReason::RolledBack
        );
        if moved && !homeless {
            self.moved.insert(index, record.since);
        } else {
            self.moved.remove(&index);
        }
    }

    fn forget(&mut self, name: &StreamId) {
        if let Some(index) = self.problem.stream(name) {
            self.dirty = true;
            self.waiting.remove(&index);
            self.in_motion.remove(&index);
            self.last.remove(&index);
            self.moved.remove(&index);
            self.observations.forget(index);
            self.known[index as usize] = UNKNOWN;
            self.problem.remove_stream(&mut self.placement, name);
        }
    }

    /// Measurements begin to count for all workers at once, or cease to.
    fn measurements(&mut self, now: Timestamp) {
        let count = self.observations.count(self.problem.streams());
        if count != self.measured {
            self.measured = count;
            self.dirty = true;
            let workers = self.cluster.workers.values().cloned().collect::<Vec<_>>();
            for record in workers {
                let facts = self.facts_of_worker(now, &record);
                self.problem.put_worker(facts);
            }
        }
    }

    /// Waiting streams whose copy still runs, because the life of their worker is back.
    pub(super) fn homes(&self) -> BTreeMap<Index, Index> {
        let home = |(stream, (worker, session)): (&Index, &(WorkerId, SessionId))| {
            let record = self.cluster.workers.get(worker)?;
            let back = record.takes_streams() && record.session == *session;
            Some((*stream, self.problem.worker(worker).filter(|_| back)?))
        };
        self.last.iter().filter_map(home).collect()
    }

    /// Whether a waiting stream had a worker.
    pub(super) fn has_orphans(&self) -> bool {
        !self.last.is_empty()
    }
}

fn known_of(record: &StreamRecord) -> Known {
    Known {
        planned_on: record.slot.assignment().map(|assignment| assignment.epoch),
        reason: if matches!(record.slot, Slot::Vacant) {
            MoveReason::Declared
        } else {
            record.reason
        },
        unplaced: record.unplaced,
        held: matches!(record.slot, Slot::Held(_)),
    }
}

/// Puts into a set or takes from it; says whether it was there.
fn toggle(set: &mut BTreeSet<Index>, index: Index, there: bool) -> bool {
    if there {
        !set.insert(index)
    } else {
        set.remove(&index)
    }
}

fn facts_of_stream(spec: &StreamSpec, measured: Size) -> StreamFacts<'_> {
    let mut size = measured;
    size[0] = (spec.weight as f32).max(f32::MIN_POSITIVE);
    StreamFacts {
        size,
        priority: spec.priority,
        exclusive: spec.ownership == streamkeeper_protocol::Ownership::Exclusive,
        requires: &spec.requires,
        prefers: &spec.prefers,
        spread: spec.spread.as_deref(),
        pin: spec.pin.as_ref(),
        wanted: spec.enabled,
    }
}
