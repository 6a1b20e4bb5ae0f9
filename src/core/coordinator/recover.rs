//! What is done to a worker in trouble: drained, emptied, given back. Only the recovery manager decides on it; here it is
//! carried out as far as no stream suffers from it.

use std::collections::BTreeSet;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Coordinator, Proposal};
use crate::cluster::{MoveReason, Slot};
use crate::directive::{DirectiveWrite, Key, RECOVERING};
use crate::forecast;
use crate::recovery_manager::Measure;
use crate::time::Timestamp;

/// Most streams that are taken from a worker at once; the rest follows when it is ordered again.
const MAX_TAKEN: usize = 256;

impl Coordinator {
    pub(super) fn measure(&mut self, now: Timestamp, measure: Measure) {
        if !self.leads() {
            return;
        }
        match measure {
            Measure::Drain { worker, reason } => {
                if self.check_drain(&worker).is_ok() {
                    self.order_unless_ordered(now, Key::cordon(&worker), &reason);
                    self.order_unless_ordered(now, Key::drain(&worker), &reason);
                }
            }
            Measure::ForceRelease { worker, reason } => {
                self.order_unless_ordered(now, Key::cordon(&worker), &reason);
                self.take_all(now, &worker);
            }
            Measure::Restore { worker } => {
                for key in [Key::drain(&worker), Key::cordon(&worker)] {
                    let standing = self.cluster.directives.get(now, &key);
                    // What an operator ordered stands until the operator takes it back.
                    if standing.is_none_or(|standing| standing.reason.starts_with(RECOVERING)) {
                        self.writes.end_directive(key);
                    }
                }
            }
            Measure::Reset { worker } => {
                self.blame.absolve(&worker);
                if let Some(seat) = self.seats.get_mut(&worker) {
                    // It is asked for the whole of it.
                    seat.inventory_version = None;
                }
            }
        }
    }

    fn order_unless_ordered(&mut self, now: Timestamp, key: Key, reason: &str) {
        if self.cluster.directives.get(now, &key).is_none() {
            self.writes.order_directive(DirectiveWrite::Put {
                key,
                reason: reason.to_owned(),
                lasts: None,
            });
        }
    }

    /// Every stream of the worker goes elsewhere, as far as there is room; what fits nowhere goes on where it is (S6). An
    /// exclusive one is granted elsewhere only when its copy has ended, or may run no more (OWNERSHIP rule 12).
    fn take_all(&mut self, now: Timestamp, worker: &WorkerId) {
        let Some(record) = self.cluster.workers.get(worker) else {
            return;
        };
        let assigned = record.assigned.clone();
        let awaited = |stream: &&StreamId| {
            let record = self.cluster.streams.get(*stream);
            record.is_some_and(|record| record.awaits.is_some())
        };
        let waiting: Vec<StreamId> = assigned.iter().filter(awaited).cloned().collect();
        self.release(now, &waiting);
        let held = |stream: &&StreamId| {
            let record = self.cluster.streams.get(*stream);
            record.is_some_and(|record| matches!(record.slot, Slot::Held(_)))
        };
        let streams: BTreeSet<StreamId> = assigned.iter().filter(held).take(MAX_TAKEN).cloned().collect();
        let without = BTreeSet::from([worker.clone()]);
        let plan = forecast::elsewhere(now, self.config.balancer, &self.cluster, &streams, &without);
        for step in plan.steps {
            let record = self.cluster.streams.get(&step.stream);
            let owner = record.and_then(|record| record.slot.assignment());
            let proposal = Proposal {
                planned_on: owner.map(|owner| owner.epoch),
                stream: step.stream,
                to: step.to,
                reason: MoveReason::Recovery,
            };
            self.propose(now, &proposal);
        }
    }
}
