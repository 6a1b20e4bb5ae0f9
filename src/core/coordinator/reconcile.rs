//! What a complete inventory means, taken under the own term: adopting what runs, confirming releases, finding what
//! is missing. An older inventory decides nothing (OWNERSHIP rule 9).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, Generation, Heartbeat, RunState, RunningStream, StreamId, WorkerId};

use super::Coordinator;
use crate::cluster::{MoveReason, Observed, Slot};
use crate::record::Assignment;
use crate::time::Timestamp;

impl Coordinator {
    /// Takes in a complete inventory. `applied` is the generation that its session had applied when it was made; `news`: it
    /// is another one than the last.
    pub(super) fn reconcile(&mut self, now: Timestamp, worker: &WorkerId, applied: Generation, news: bool) {
        if self.rests(worker, news) {
            return;
        }
        let Some(record) = self.cluster.workers.get(worker).cloned() else {
            return;
        };
        let Some(generation) = self.seats.get(worker).map(|seat| seat.generation) else {
            return;
        };
        let first = generation == 0;
        let reported: BTreeMap<&StreamId, &RunningStream> = record
            .inventory
            .iter()
            .map(|running| (&running.stream, running))
            .collect();
        if first && let Some(seat) = self.seats.get_mut(worker) {
            // Above what it has applied and what it was ever told: a session may come back to a seat that it lost in this
            // same term, with a set on its way to it that it is not to have any more.
            self.generations += 1;
            seat.generation = if mutant::on(Mutant::GenerationReused) {
                applied + 1
            } else {
                self.generations.max(applied + 1)
            };
            self.behind.insert(worker.clone());
        }
        // What a former term granted is not told again, so its first inventory decides; what this term granted counts only
        // once the session has applied it.
        let term = self.cluster.leadership.term;
        let settled = |epoch: Epoch| {
            if first {
                epoch.term() != term
            } else {
                applied == generation || mutant::on(Mutant::UnsettledInventory)
            }
        };
        for running in reported.values() {
            let held = Assignment {
                worker: worker.clone(),
                session: record.session,
                epoch: running.epoch,
            };
            if !self.is_ghost(now, running, &held, first) {
                self.take_in(now, running, held, first, &settled);
            }
        }
        for stream in record.assigned.iter().chain(&self.handed_by(worker)) {
            if !reported.contains_key(stream) {
                self.absent(now, stream, record.session, &settled);
            }
        }
        let runs: BTreeSet<&StreamId> = reported.into_keys().collect();
        self.sources_report(now, worker, &runs);
    }

    /// Takes in what streams use and give. Nobody acts on it, so it makes no snapshot: it goes along with the next one.
    pub(super) fn measured(&mut self, heartbeat: &Heartbeat) {
        for told in &heartbeat.performance {
            let record = self.cluster.streams.get(&told.stream);
            let assignment = record.and_then(|record| record.slot.assignment());
            let is_of_it = assignment.is_some_and(|assignment| {
                assignment.worker == heartbeat.worker
                    && assignment.session == heartbeat.session
                    && assignment.epoch == told.epoch
            });
            if is_of_it && let Some(record) = self.cluster.streams.get_mut(&told.stream) {
                Arc::make_mut(record).performance = Some(Box::new(told.measured));
            }
        }
    }

    fn take_in(
        &mut self,
        now: Timestamp,
        running: &RunningStream,
        held: Assignment,
        first: bool,
        settled: &impl Fn(Epoch) -> bool,
    ) {
        let Some(record) = self.cluster.streams.get(&running.stream) else {
            return;
        };
        let observed = Observed {
            state: running.state,
            restarts: running.restarts,
            reason: running.reason.as_deref().map(Into::into),
        };
        let adopts = match &record.slot {
            Slot::Handing { to, .. } if *to == held => {
                self.target_reports(now, running, held);
                return;
            }
            Slot::Handing { from, .. } if *from == held => {
                if record.observed.as_ref() != Some(&observed) {
                    self.observe(now, running, held.worker, observed);
                }
                return;
            }
            // The source came back and started it again: that copy goes on until the move is stored (S6).
            Slot::Handing { from, to }
                if from.is_of_former_life(&held) && running.state != RunState::Stopping =>
            {
                let (to, reason) = (to.clone(), record.reason);
                self.set_slot(now, &running.stream, Slot::Handing { from: held, to }, reason);
                self.update_stream(&running.stream, |record| record.claimed = true);
                return;
            }
            Slot::Held(assignment) if *assignment == held => {
                if record.observed.as_ref() != Some(&observed) {
                    self.observe(now, running, held.worker, observed);
                }
                return;
            }
            // The grant never reached it, and it still runs what it held before. A grant of an earlier term cannot be
            // repeated, so it gets a fresh one; where only one copy may run, once the old one has stopped. A copy that
            // stops is making room for the granted one.
            Slot::Held(assignment)
                if settled(assignment.epoch)
                    && assignment.supersedes(&held)
                    && running.state != RunState::Stopping =>
            {
                let slot = if record.is_exclusive() {
                    let to = Some(held.worker.clone());
                    Slot::Releasing { from: held, to }
                } else {
                    let last = assignment.clone();
                    Slot::Orphaned { last }
                };
                self.set_slot(now, &running.stream, slot, MoveReason::Missing);
                return;
            }
            // The worker came back and started it again from what it had saved. The epoch names its former session, so a
            // fresh one is granted; until that is stored, the copy goes on.
            Slot::Orphaned { last } | Slot::Held(last)
                if last.is_of_former_life(&held)
                    && !record.is_exclusive()
                    && running.state != RunState::Stopping =>
            {
                let reason = record.reason;
                self.set_slot(now, &running.stream, Slot::Orphaned { last: held }, reason);
                self.update_stream(&running.stream, |record| record.claimed = true);
                return;
            }
            // A grant to somebody else is being stored; until it is, the copy goes on (S6).
            Slot::Committing { next, last }
                if first
                    && *next != held
                    && !record.is_exclusive()
                    && running.state != RunState::Stopping
                    && held.epoch > record.floor
                    && last
                        .as_ref()
                        .is_none_or(|last| last.is_of_former_life(&held) || held.epoch > last.epoch) =>
            {
                let (next, last, reason) = (next.clone(), Some(held), record.reason);
                self.set_slot(now, &running.stream, Slot::Committing { next, last }, reason);
                self.update_stream(&running.stream, |record| record.claimed = true);
                return;
            }
            // It is to end, and runs where the database does not know of: there it has to end.
            Slot::Releasing { from, to } if first && held.epoch > from.epoch => {
                let (from, to, reason) = (held, to.clone(), record.reason);
                self.set_slot(now, &running.stream, Slot::Releasing { from, to }, reason);
                return;
            }
            // The saved copy of a new life gives way to one that was granted later, by a grant that was never stored.
            Slot::Orphaned { last } if record.claimed => first && held.epoch > last.epoch,
            Slot::Held(assignment) | Slot::Orphaned { last: assignment } => {
                let same = *assignment == held;
                same || (first && held.epoch > assignment.epoch)
            }
            Slot::Vacant => first && record.spec.enabled && held.epoch > record.floor,
            Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Handing { .. } => false,
        };
        if !adopts || running.state == RunState::Stopping {
            return;
        }
        let record = Arc::clone(record);
        if self.resume_move(now, &record, &held, running) {
            return;
        }
        // The database is behind (a lost commit, a restored backup): what runs counts, at the highest epoch known.
        let stored = record.slot.assignment() == Some(&held);
        if !stored {
            self.writes.put(running.stream.clone(), held.clone());
        }
        self.set_slot(now, &running.stream, Slot::Held(held), MoveReason::Adopted);
        // It never stopped: that is no failover.
        self.update_stream(&running.stream, |record| {
            record.observed = Some(observed);
            record.lost_at = None;
        });
        self.settle(now, &running.stream);
    }

    fn observe(&mut self, now: Timestamp, running: &RunningStream, worker: WorkerId, observed: Observed) {
        let runs = observed.state == RunState::Running;
        let mut lost_at = None;
        let seen = self
            .cluster
            .migrations
            .of(&running.stream)
            .map(|_| observed.clone());
        self.blame_observes(now, &running.stream, &worker, &observed);
        self.update_stream(&running.stream, |record| {
            record.observed = Some(observed);
            // What does not run uses nothing.
            record.performance = record.performance.take().filter(|_| runs);
            lost_at = if runs { record.lost_at.take() } else { None };
        });
        if let Some(lost_at) = lost_at {
            self.failed_over(now, &running.stream, worker, now.since(lost_at));
        }
        if let Some(observed) = seen {
            self.watch_moved(now, &running.stream, &observed);
        }
    }

    /// A stream that counts on the session is not in its inventory. `settled`: the session has applied everything.
    fn absent(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        session: streamkeeper_protocol::SessionId,
        settled: &impl Fn(Epoch) -> bool,
    ) {
        let Some(record) = self.cluster.streams.get(stream) else {
            return;
        };
        match record.slot.clone() {
            Slot::Releasing { from, to } if settled(from.epoch) && from.session == session => {
                self.released(now, stream, from, to);
            }
            Slot::Handing { from, .. } if settled(from.epoch) && from.session == session => {
                self.source_gone(now, stream);
            }
            Slot::Handing { to, .. } if settled(to.epoch) && to.session == session => {
                self.undo(now, stream, format!("{} does not run it", to.worker));
            }
            Slot::Held(last) if settled(last.epoch) && last.session == session => {
                self.set_slot(now, stream, Slot::Orphaned { last }, MoveReason::Missing);
            }
            _ => {}
        }
    }
}
