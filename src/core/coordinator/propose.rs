//! The balancer's wishes: each is refused when the stream changed since it was planned, or may not move now.

use streamkeeper_protocol::StreamId;
use streamkeeper_protocol::mutant::{self, Mutant};

use super::{Coordinator, Proposal, Release};
use crate::cluster::{MoveReason, Slot};
use crate::time::Timestamp;

impl Coordinator {
    /// Whether a move may be begun: one that cannot be stored would stop a stream for nothing.
    pub(super) fn database_is_well(&self, now: Timestamp) -> bool {
        self.failed_at
            .is_none_or(|at| now.since(at) >= self.config.calm_after_failure)
    }

    pub(super) fn propose(&mut self, now: Timestamp, proposal: &Proposal) {
        let Some(record) = self.cluster.streams.get(&proposal.stream).cloned() else {
            return;
        };
        let planned_on = record.slot.assignment().map(|assignment| assignment.epoch);
        let fits = self
            .cluster
            .workers
            .get(&proposal.to)
            .is_some_and(|worker| worker.takes_streams() && worker.may_run(record.is_exclusive()));
        // What a worker reports first of all may be this very stream.
        let known = self
            .seats
            .get(&proposal.to)
            .is_some_and(|seat| seat.generation > 0);
        let tried = self.retry_at.is_none() || self.doubtful;
        let settled = known && tried && record.spec.enabled && planned_on == proposal.planned_on;
        // Within the grace somebody may hold it who was not heard yet (OWNERSHIP rule 8).
        let mut held_by_a_stranger = record.is_exclusive() && now < self.cluster.leadership.grace_until;
        if mutant::on(Mutant::OwnerGrantedInGrace) {
            let owner = record.slot.assignment().map(|assignment| &assignment.worker);
            held_by_a_stranger &= owner != Some(&proposal.to);
        }
        if !self.leads()
            || !fits
            || !settled
            || held_by_a_stranger
            || record.awaits.is_some()
            || self.goes_home(&record)
            || (self.doubtful && record.is_exclusive())
        {
            return;
        }
        match &record.slot {
            Slot::Vacant | Slot::Orphaned { .. } => {
                self.grant(now, &proposal.stream, &proposal.to, proposal.reason);
            }
            Slot::Held(from)
                if from.worker != proposal.to
                    && self.database_is_well(now)
                    && !self.is_kept(now, proposal) =>
            {
                self.begin_move(now, &record, &proposal.to, proposal.reason);
                if mutant::on(Mutant::RevokeNotAwaited) && self.is_releasing(&proposal.stream) {
                    self.grant(now, &proposal.stream, &proposal.to, proposal.reason);
                }
            }
            Slot::Held(_) | Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Handing { .. } => {}
        }
    }

    fn is_releasing(&self, stream: &StreamId) -> bool {
        let record = self.cluster.streams.get(stream);
        record.is_some_and(|record| matches!(record.slot, Slot::Releasing { .. }))
    }

    /// Takes a stream from its worker, for the sake of a more important one; it waits then, without an assignment.
    pub(super) fn preempt(&mut self, now: Timestamp, release: &Release) {
        let Some(record) = self.cluster.streams.get(&release.stream) else {
            return;
        };
        let Slot::Held(from) = record.slot.clone() else {
            return;
        };
        let may = self.leads() && !self.doubtful && self.retry_at.is_none() && self.database_is_well(now);
        if may && release.planned_on == Some(from.epoch) {
            let slot = Slot::Releasing { from, to: None };
            self.set_slot(now, &release.stream, slot, MoveReason::Preempted);
        }
    }
}
