//! Moves of streams that run: how they begin, and handing an `available` one over without a gap (OWNERSHIP rules 12 to
//! 14).

use std::sync::Arc;

use streamkeeper_protocol::{RunState, RunningStream, SessionId, StreamId, WorkerId};

use super::Coordinator;
use crate::cluster::{MoveReason, Observed, Slot, StreamRecord};
use crate::migration::{Migration, Migrations, State, Way};
use crate::notice::Notice;
use crate::record::Assignment;
use crate::time::Timestamp;

impl Coordinator {
    pub(super) fn migrations(&mut self) -> &mut Migrations {
        Arc::make_mut(&mut self.cluster.migrations)
    }

    /// Begins to move a stream that is held, if there is room for one more move.
    pub(super) fn begin_move(
        &mut self,
        now: Timestamp,
        record: &StreamRecord,
        to: &WorkerId,
        reason: MoveReason,
    ) {
        let Slot::Held(from) = &record.slot else { return };
        let config = &self.config.migration;
        let migrations = &self.cluster.migrations;
        let stream = &record.spec.name;
        let barred = reason == MoveReason::Balance && migrations.is_barred(now, stream, to);
        // What is not stored of it yet would be lost with the move.
        let pending = self.writes.is_pending(stream);
        // What is taken from a worker in trouble does not wait for its turn.
        let room = reason == MoveReason::Recovery || migrations.has_room(config, &from.worker, to);
        if barred || pending || !room {
            return;
        }
        let way = self.way_of(record);
        let ends = (from.worker.clone(), to.clone());
        let next = match way {
            Way::MakeBeforeBreak => match self.next_assignment(to) {
                Some(next) => Some(next),
                None => return,
            },
            Way::BreakBeforeMake | Way::Emergency => None,
        };
        let migration = Migration::new(now, Arc::clone(&record.spec), ends, reason, way);
        self.migrations().begin(migration);
        let from = from.clone();
        let slot = match next {
            Some(to) => Slot::Handing { from, to },
            None => Slot::Releasing {
                from,
                to: Some(to.clone()),
            },
        };
        self.set_slot(now, stream, slot, reason);
    }

    /// How a stream would move at present.
    pub(super) fn way_of(&self, record: &StreamRecord) -> Way {
        // What does not run leaves no gap: nothing is gained by an overlap.
        let runs = record
            .observed
            .as_ref()
            .is_some_and(|observed| observed.state == RunState::Running);
        let overlaps = !self.config.migration.overlap_limit.is_zero();
        if runs && overlaps && !record.is_exclusive() {
            Way::MakeBeforeBreak
        } else {
            Way::BreakBeforeMake
        }
    }

    /// A new leader finds a copy that its predecessor ordered, above the stored one: the move goes on, so that the stored
    /// copy is not stopped before the other one runs and is stored. False when there is nothing to hand over.
    pub(super) fn resume_move(
        &mut self,
        now: Timestamp,
        record: &StreamRecord,
        held: &Assignment,
        running: &RunningStream,
    ) -> bool {
        let Slot::Held(from) = &record.slot else {
            return false;
        };
        let key = (from.worker.clone(), from.session);
        let gone = self.lost.contains_key(&key) || self.dead.contains(&key);
        let pending = self.writes.is_pending(&running.stream);
        if record.is_exclusive() || pending || gone || from.worker == held.worker {
            return false;
        }
        let ends = (from.worker.clone(), held.worker.clone());
        let reason = MoveReason::Adopted;
        let migration = Migration::new(now, Arc::clone(&record.spec), ends, reason, Way::MakeBeforeBreak);
        self.migrations().begin(migration);
        let slot = Slot::Handing {
            from: from.clone(),
            to: held.clone(),
        };
        self.set_slot(now, &running.stream, slot, reason);
        self.target_reports(now, running, held.clone());
        true
    }

    /// The target of a stream that is handed over reports it.
    pub(super) fn target_reports(&mut self, now: Timestamp, running: &RunningStream, to: Assignment) {
        let stream = &running.stream;
        match running.state {
            RunState::Starting => {
                self.migrations()
                    .update(stream, |migration| migration.turn(now, State::Starting));
            }
            RunState::Running => {
                self.migrations().update(stream, |migration| {
                    migration.turn(now, State::Starting);
                    migration.mark.get_or_insert(now);
                });
                self.store_target(stream, to);
            }
            RunState::Failing => {
                let reason = running.reason.as_deref().unwrap_or("no reason was reported");
                let detail = format!("it failed on {}: {reason}", to.worker);
                let config = self.config.migration;
                self.migrations().bar(now, &config, stream.clone(), to.worker);
                self.undo(now, stream, detail);
            }
            RunState::Stopping => {}
        }
    }

    /// From now on the target's assignment is the one that is to be stored.
    fn store_target(&mut self, stream: &StreamId, to: Assignment) {
        if !self.writes.is_storing(stream, to.epoch) {
            self.writes.put(stream.clone(), to);
        }
    }

    /// The source of a stream that is handed over runs it no more: the target has it, whether it runs already or not.
    pub(super) fn source_gone(&mut self, now: Timestamp, stream: &StreamId) {
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return;
        };
        let Slot::Handing { from, to } = &record.slot else {
            return;
        };
        let both = self
            .cluster
            .migrations
            .of(stream)
            .and_then(|migration| migration.mark);
        if both.is_none() {
            self.update_stream(stream, |record| {
                record.lost_at.get_or_insert(now);
                record.lost_from.get_or_insert_with(|| from.worker.clone());
            });
        }
        self.store_target(stream, to.clone());
    }

    /// The target's assignment is stored: the source is to stop.
    pub(super) fn handed(&mut self, now: Timestamp, stream: &StreamId, to: Assignment) {
        let reason = self.reason_of(stream);
        let runs = self
            .cluster
            .migrations
            .of(stream)
            .is_some_and(|migration| migration.mark.is_some());
        self.migrations()
            .update(stream, |migration| migration.turn(now, State::Releasing));
        self.set_slot(now, stream, Slot::Held(to.clone()), reason);
        if runs {
            let state = RunState::Running;
            let observed = Observed {
                state,
                restarts: 0,
                reason: None,
            };
            self.update_stream(stream, |record| record.observed = Some(observed));
        }
        // What a new leader found is no move of its own.
        if reason != MoveReason::Adopted {
            self.notices.push(Notice::Assigned {
                stream: stream.clone(),
                worker: to.worker.clone(),
                epoch: to.epoch,
                reason,
            });
        }
        let key = (to.worker.clone(), to.session);
        if self.dead.contains(&key) || self.lost.contains_key(&key) {
            self.set_slot(now, stream, Slot::Orphaned { last: to }, MoveReason::WorkerLost);
        } else {
            let stale = self.has_stale_spec(stream);
            self.start_anew(now, stream, stale);
            self.settle(now, stream);
        }
    }

    /// The move of a stream that is handed over is undone: its source goes on, as if nothing had been.
    pub(super) fn undo(&mut self, now: Timestamp, stream: &StreamId, detail: String) {
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return;
        };
        let Slot::Handing { from, .. } = &record.slot else {
            return;
        };
        // The row may name the target already: it is known when the transaction has ended.
        if self.doubtful || self.writes.is_in_flight(stream) {
            return;
        }
        self.writes.cancel(stream);
        let stale = self.has_stale_spec(stream);
        self.end_move(now, stream, State::RolledBack, Some(detail));
        let key = (from.worker.clone(), from.session);
        let gone = self.lost.contains_key(&key) || self.dead.contains(&key);
        if gone || record.claimed {
            let last = from.clone();
            self.set_slot(now, stream, Slot::Orphaned { last }, MoveReason::WorkerLost);
            self.update_stream(stream, |changed| changed.claimed = record.claimed);
        } else {
            self.set_slot(now, stream, Slot::Held(from.clone()), MoveReason::RolledBack);
            self.start_anew(now, stream, stale);
        }
        self.settle(now, stream);
    }

    /// Whether the spec changed while the stream was handed over, or somebody asked for its restart.
    fn has_stale_spec(&self, stream: &StreamId) -> bool {
        let record = self.cluster.streams.get(stream);
        let migration = self.cluster.migrations.of(stream);
        record.zip(migration).is_some_and(|(record, migration)| {
            migration.restart || migration.spec.needs_restart(&record.spec)
        })
    }

    fn start_anew(&mut self, now: Timestamp, stream: &StreamId, stale: bool) {
        let record = self.cluster.streams.get(stream);
        let slot = record
            .filter(|record| stale && record.spec.enabled)
            .map(|record| record.slot.clone());
        if let Some(Slot::Held(from)) = slot {
            let to = Some(from.worker.clone());
            self.set_slot(now, stream, Slot::Releasing { from, to }, MoveReason::Changed);
        }
    }

    /// Streams that are handed over by this worker.
    pub(super) fn handed_by(&self, worker: &WorkerId) -> Vec<StreamId> {
        let handing = self.cluster.migrations.active().filter(|migration| {
            migration.way == Way::MakeBeforeBreak
                && migration.from == *worker
                && matches!(migration.state, State::Preparing | State::Starting)
        });
        handing.map(|migration| migration.stream.clone()).collect()
    }

    /// A session is gone that streams are handed over by, or to.
    pub(super) fn orphan_handed(&mut self, now: Timestamp, worker: &WorkerId, session: SessionId) {
        for stream in self.handed_by(worker) {
            let record = self.cluster.streams.get(&stream);
            let slot = record.map(|record| &record.slot);
            if matches!(slot, Some(Slot::Handing { from, .. }) if from.session == session) {
                self.source_gone(now, &stream);
            }
        }
    }

    /// The target of a hand-over may have been lost while its assignment was on its way to the database.
    pub(super) fn check_target(&mut self, now: Timestamp, stream: &StreamId) {
        let slot = self.cluster.streams.get(stream).map(|record| record.slot.clone());
        if let Some(Slot::Handing { to, .. }) = slot {
            let key = (to.worker.clone(), to.session);
            if self.dead.contains(&key) || self.lost.contains_key(&key) {
                self.undo(now, stream, format!("{} was lost", to.worker));
            }
        }
    }

    pub(super) fn reason_of(&self, stream: &StreamId) -> MoveReason {
        let record = self.cluster.streams.get(stream);
        record.map_or(MoveReason::Declared, |record| record.reason)
    }
}
