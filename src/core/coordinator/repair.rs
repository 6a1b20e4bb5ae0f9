//! The consistency checker's proposals: each is refused when what it was found on has changed since, or is being stored.

use imbl::OrdSet;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Command, Coordinator};
use crate::cluster::Slot;
use crate::consistency_checker::Repair;
use crate::notice::Notice;
use crate::time::Timestamp;

impl Coordinator {
    pub(super) fn repair(&mut self, now: Timestamp, repairs: Vec<Repair>, out: &mut Vec<Command>) {
        for repair in repairs {
            // In doubt everything is being read again anyway.
            let able = self.leads() && !self.doubtful && self.retry_at.is_none();
            if able && self.repaired(now, &repair, out) {
                self.notices.push(Notice::Repaired(repair));
            }
        }
    }

    /// Whether the repair was begun.
    fn repaired(&mut self, now: Timestamp, repair: &Repair, out: &mut Vec<Command>) -> bool {
        match repair {
            Repair::Restore { stream, epoch } => {
                let slot = self.untouched(stream);
                let Some(Slot::Held(held)) = slot.filter(|slot| is_under(slot, *epoch)) else {
                    return false;
                };
                let held = held.clone();
                self.writes.restore(stream.clone(), held);
                true
            }
            Repair::Clear { stream, epoch } => {
                let vacant = match self.cluster.streams.get(stream) {
                    Some(record) => matches!(record.slot, Slot::Vacant) && !self.writes.is_pending(stream),
                    None => !self.writes.is_pending(stream),
                };
                if vacant {
                    self.writes.clear(stream.clone(), *epoch);
                }
                vacant
            }
            Repair::Want { stream } => {
                let wants = self.cluster.streams.get(stream).is_some_and(|record| {
                    record.spec.enabled && matches!(record.slot, Slot::Vacant | Slot::Orphaned { .. })
                });
                if wants {
                    self.cluster.needs_worker.insert(stream.clone());
                    self.dirty = true;
                }
                wants
            }
            Repair::Recount { worker } => self.recount(worker),
            Repair::Reread => {
                self.retake(now, out);
                true
            }
            // The recovery manager's.
            Repair::Resync { .. } => false,
        }
    }

    /// The stream's slot, unless a write of it waits.
    fn untouched(&self, stream: &StreamId) -> Option<&Slot> {
        let record = self.cluster.streams.get(stream)?;
        (!self.writes.is_pending(stream)).then_some(&record.slot)
    }

    /// Counts what counts on a worker, stream by stream. False when it was counted right.
    fn recount(&mut self, worker: &WorkerId) -> bool {
        let streams = self.cluster.streams.values();
        let its = streams.filter(|record| record.slot.worker() == Some(worker));
        let (mut assigned, mut load) = (OrdSet::new(), 0.0);
        for record in its {
            assigned.insert(record.spec.name.clone());
            load += record.spec.weight;
        }
        let Some(record) = self.cluster.workers.get(worker) else {
            return false;
        };
        let wrong = record.assigned != assigned || !is_close(record.load, load);
        if wrong {
            self.update_worker(worker, |record| {
                record.assigned = assigned;
                record.load = load;
            });
        }
        wrong
    }
}

fn is_under(slot: &Slot, epoch: streamkeeper_protocol::Epoch) -> bool {
    slot.assignment()
        .is_some_and(|assignment| assignment.epoch == epoch)
}

/// Sums of many weights differ in their last digits by the order of summing.
pub(crate) fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0)
}
