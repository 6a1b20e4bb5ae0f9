//! Changes of slots, with everything that has to change along: the worker's set and load, the list of streams in
//! need, the generation of every session whose desired set changed.

use std::sync::Arc;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, Ownership, SessionId, StreamId, WorkerId};

use super::Coordinator;
use crate::cluster::{MoveReason, Slot, StreamRecord, WorkerRecord};
use crate::record::{Assignment, Loaded};
use crate::spec::StreamSpec;
use crate::time::Timestamp;

impl Coordinator {
    /// Fills an empty state with what the database holds.
    pub(super) fn load(&mut self, now: Timestamp, loaded: Loaded) {
        let Loaded {
            mut streams,
            mut assignments,
            ..
        } = loaded;
        // A worker's seat belongs to the session that was granted something last.
        let mut newest: Vec<&Assignment> = assignments.iter().map(|(_, assignment)| assignment).collect();
        newest.sort_by_key(|assignment| std::cmp::Reverse(assignment.epoch));
        for assignment in newest {
            self.seat_unheard(now, assignment);
        }
        // Side by side, because there may be millions of them; most often they come in this order.
        streams.sort_by(|one, other| one.name.cmp(&other.name));
        assignments.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut assignments = assignments.into_iter().peekable();
        for spec in streams {
            let name = spec.name.clone();
            // Those of deleted streams: their copies stop as soon as their session reports them.
            while let Some((stream, orphan)) = assignments.next_if(|(stream, _)| *stream < name) {
                self.writes.clear(stream, orphan.epoch);
            }
            self.insert_stream(now, spec, Epoch::ZERO);
            if let Some((_, mut assignment)) = assignments.next_if(|(stream, _)| *stream == name) {
                // All streams of a worker share its name.
                if let Some(worker) = self.cluster.workers.get(&assignment.worker) {
                    assignment.worker = worker.id.clone();
                }
                self.set_slot(now, &name, Slot::Held(assignment), MoveReason::Adopted);
            }
            self.settle(now, &name);
        }
        for (stream, orphan) in assignments {
            self.writes.clear(stream, orphan.epoch);
        }
    }

    /// A stream that is new here. Copies of it at or below `floor` belong to a stream of this name that was deleted.
    pub(super) fn insert_stream(&mut self, now: Timestamp, spec: StreamSpec, floor: Epoch) {
        let name = spec.name.clone();
        if spec.enabled {
            self.cluster.needs_worker.insert(name.clone());
        }
        let record = StreamRecord {
            floor,
            ..StreamRecord::new(Arc::new(spec), now)
        };
        self.cluster.streams.insert(name, Arc::new(record));
        self.dirty = true;
    }

    /// Makes room for a worker that the database names and that was not heard yet.
    pub(super) fn seat_unheard(&mut self, now: Timestamp, assignment: &Assignment) {
        let worker = assignment.worker.clone();
        if self.cluster.workers.get(&worker).is_none() {
            let record = WorkerRecord {
                cordoned: self.is_cordoned(&worker),
                ..WorkerRecord::unheard(now, worker.clone(), assignment.session)
            };
            self.cluster.workers.insert(worker, Arc::new(record));
        }
    }

    pub(super) fn update_worker(&mut self, worker: &WorkerId, change: impl FnOnce(&mut WorkerRecord)) {
        if let Some(record) = self.cluster.workers.get_mut(worker) {
            change(Arc::make_mut(record));
            self.dirty = true;
        }
    }

    pub(super) fn update_stream(&mut self, stream: &StreamId, change: impl FnOnce(&mut StreamRecord)) {
        if let Some(record) = self.cluster.streams.get_mut(stream) {
            change(Arc::make_mut(record));
            self.dirty = true;
        }
    }

    /// Puts a stream into a slot. The only place where slots change.
    pub(super) fn set_slot(&mut self, now: Timestamp, stream: &StreamId, slot: Slot, reason: MoveReason) {
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return;
        };
        self.check_slot(now, &record, &slot);
        self.disturb(&record.slot);
        self.disturb(&slot);
        let weight = record.spec.weight;
        if let Some(worker) = record.slot.worker() {
            self.update_worker(worker, |worker| {
                worker.assigned.remove(stream);
                worker.load = if worker.assigned.is_empty() {
                    0.0
                } else {
                    worker.load - weight
                };
            });
        }
        if let Some(worker) = slot.worker() {
            self.update_worker(worker, |worker| {
                worker.assigned.insert(stream.clone());
                worker.load += weight;
            });
        }
        let exclusive = record.spec.ownership == Ownership::Exclusive;
        self.wants(stream, record.wanted(), slot.wanted(exclusive));
        self.follow_move(now, stream, &slot);
        let needs = record.spec.enabled && matches!(slot, Slot::Vacant | Slot::Orphaned { .. });
        if needs {
            self.cluster.needs_worker.insert(stream.clone());
        } else {
            self.cluster.needs_worker.remove(stream);
        }
        self.update_stream(stream, |record| {
            let lost = matches!(slot, Slot::Orphaned { .. })
                && matches!(
                    reason,
                    MoveReason::WorkerLost | MoveReason::Missing | MoveReason::Released
                );
            if lost {
                record.lost_at.get_or_insert(now);
                let from = slot.assignment().map(|last| last.worker.clone());
                record.lost_from = record.lost_from.take().or(from);
            }
            // Not so a grant that was not stored: it ended nothing.
            if let (Slot::Orphaned { last: ended }, Slot::Vacant) = (&record.slot, &slot) {
                record.floor = record.floor.max(ended.epoch);
            }
            if record.slot.assignment() != slot.assignment() {
                record.performance = None;
            }
            // A grant that is not stored leaves the copy of the new life as unstored as it was.
            let tried = matches!(
                (&record.slot, &slot),
                (Slot::Orphaned { .. }, Slot::Committing { .. })
                    | (Slot::Committing { .. }, Slot::Orphaned { .. })
            );
            record.claimed &= tried;
            // A handed stream goes on where it is: what is known of it there still holds.
            let goes_on = match (&record.slot, &slot) {
                (Slot::Held(before), Slot::Handing { from, .. })
                | (Slot::Handing { from: before, .. }, Slot::Held(from)) => before == from,
                _ => false,
            };
            if !goes_on {
                record.observed = None;
            }
            record.slot = slot;
            record.rerun = false;
            record.awaits = None;
            record.released = false;
            record.since = now;
            record.reason = reason;
            record.unplaced = None;
        });
    }

    /// The session that is to run a stream changes.
    pub(super) fn wants<'a>(
        &mut self,
        stream: &StreamId,
        before: impl Iterator<Item = &'a Assignment> + Clone,
        after: impl Iterator<Item = &'a Assignment> + Clone,
    ) {
        for assignment in before.clone() {
            if !after.clone().any(|kept| kept == assignment) {
                self.unwant(stream, assignment);
            }
        }
        for assignment in after {
            if !before.clone().any(|kept| kept == assignment) {
                self.want(stream, assignment);
            }
        }
    }

    fn want(&mut self, stream: &StreamId, assignment: &Assignment) {
        let key = (assignment.worker.clone(), assignment.session);
        self.wanted.entry(key).or_default().insert(stream.clone());
        self.desired_changed(assignment);
    }

    fn unwant(&mut self, stream: &StreamId, assignment: &Assignment) {
        let key = (assignment.worker.clone(), assignment.session);
        if let Some(streams) = self.wanted.get_mut(&key) {
            streams.remove(stream);
            if streams.is_empty() {
                self.wanted.remove(&key);
            }
        }
        self.desired_changed(assignment);
    }

    /// A fresh epoch of the own term for a worker's present session (OWNERSHIP rule 13).
    pub(super) fn next_assignment(&mut self, to: &WorkerId) -> Option<Assignment> {
        let (fence, worker) = (self.fence?, self.cluster.workers.get(to)?);
        self.counter = self.counter.checked_add(1)?;
        Some(Assignment {
            worker: to.clone(),
            session: worker.session,
            epoch: Epoch::new(fence.term, self.counter),
        })
    }

    /// Grants a stream under a fresh epoch of the own term: first stored, then told.
    pub(super) fn grant(&mut self, now: Timestamp, stream: &StreamId, to: &WorkerId, reason: MoveReason) {
        let Some(mut next) = self.next_assignment(to) else {
            return;
        };
        if mutant::on(Mutant::MemoryKeepsEpoch) && (self.doubtful || self.silent || self.failures > 0) {
            let record = self.cluster.streams.get(stream);
            let last = record.and_then(|record| record.slot.assignment());
            next.epoch = last.map_or(next.epoch, |last| last.epoch);
        }
        let last = self
            .cluster
            .streams
            .get(stream)
            .and_then(|record| record.slot.assignment().cloned());
        let unstored = self.writes.put(stream.clone(), next.clone());
        let slot = Slot::Committing {
            next: next.clone(),
            last,
        };
        self.set_slot(now, stream, slot, reason);
        if unstored {
            self.update_stream(stream, |record| record.claimed = true);
        }
        let told = self.doubtful || (self.silent && self.fails_over_from_memory(stream));
        if told || mutant::on(Mutant::TellBeforeStore) {
            self.granted(now, stream, next);
        }
    }

    /// Takes every stream of a session that is lost or dead, and that waits for it no longer.
    pub(super) fn orphan_session(&mut self, now: Timestamp, worker: &WorkerId, session: SessionId) {
        let Some(record) = self.cluster.workers.get(worker) else {
            return;
        };
        let key = (worker.clone(), session);
        for stream in record.assigned.clone() {
            let Some(record) = self.cluster.streams.get(&stream) else {
                continue;
            };
            let ends = matches!(&record.slot, Slot::Held(owner) | Slot::Releasing { from: owner, .. } if owner.session == session);
            if ends && let Some(awaited) = self.awaited(now, record, &key) {
                self.wait_for_owner(now, &stream, &key, awaited);
                continue;
            }
            let reason = if record.released {
                MoveReason::Released
            } else {
                MoveReason::WorkerLost
            };
            match record.slot.clone() {
                Slot::Held(last) if last.session == session => {
                    self.set_slot(now, &stream, Slot::Orphaned { last }, reason);
                    self.settle(now, &stream);
                }
                Slot::Releasing { from, to } if from.session == session => {
                    self.released(now, &stream, from, to);
                }
                Slot::Handing { to, .. } if to.session == session => {
                    self.undo(now, &stream, format!("{worker} was lost"));
                }
                // A grant under way ends as a held slot of a session that is gone; `committed` orphans it then.
                _ => {}
            }
        }
        self.orphan_handed(now, worker, session);
    }

    /// A stream runs no more where it was taken from.
    pub(super) fn released(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        from: Assignment,
        to: Option<WorkerId>,
    ) {
        let reason = self
            .cluster
            .streams
            .get(stream)
            .map_or(MoveReason::Declared, |record| record.reason);
        if reason == MoveReason::Preempted && to.is_none() {
            // It stopped for good: an orphan would go on where it was.
            self.writes.clear(stream.clone(), from.epoch);
            self.set_slot(now, stream, Slot::Vacant, reason);
            return self.settle(now, stream);
        }
        self.set_slot(now, stream, Slot::Orphaned { last: from }, reason);
        let exclusive = self
            .cluster
            .streams
            .get(stream)
            .is_some_and(|record| record.is_exclusive());
        let target = to.filter(|to| {
            self.cluster
                .workers
                .get(to)
                .is_some_and(|worker| worker.takes_streams() && worker.may_run(exclusive))
        });
        // Within the grace somebody else may hold it, whom the database does not know (OWNERSHIP rule 8).
        let stranger = now < self.cluster.leadership.grace_until;
        let tried = self.retry_at.is_none() && !(exclusive && (self.doubtful || stranger));
        if let Some(to) = target.filter(|_| tried) {
            self.grant(now, stream, &to, reason);
        }
        self.settle(now, stream);
    }

    /// Ends what the user switched off or deleted, step by step; does nothing where nothing is to be done.
    pub(super) fn settle(&mut self, now: Timestamp, stream: &StreamId) {
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return;
        };
        if record.spec.enabled {
            return;
        }
        match &record.slot {
            Slot::Held(from) => {
                let slot = Slot::Releasing {
                    from: from.clone(),
                    to: None,
                };
                self.set_slot(now, stream, slot, record.reason);
            }
            Slot::Orphaned { last } => {
                self.writes.clear(stream.clone(), last.epoch);
                self.set_slot(now, stream, Slot::Vacant, record.reason);
                self.settle(now, stream);
            }
            Slot::Handing { to, .. } => {
                self.writes.cancel(stream);
                let slot = Slot::Releasing {
                    from: to.clone(),
                    to: None,
                };
                self.set_slot(now, stream, slot, record.reason);
            }
            Slot::Vacant if self.deleted.remove(stream) => {
                self.cluster.needs_worker.remove(stream);
                self.cluster.streams.remove(stream);
                self.dirty = true;
            }
            Slot::Vacant | Slot::Committing { .. } | Slot::Releasing { .. } => {}
        }
    }
}
