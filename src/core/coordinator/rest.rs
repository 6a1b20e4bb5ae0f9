//! Workers at rest: what they run is what they are to run, and their heartbeats say so again and again. Most heartbeats of
//! most fleets are such, and a look at every stream of each would cost more than all the rest.
//!
//! At rest means that taking the inventory in would change nothing, whatever the time is. That holds until the inventory
//! changes, or the slot of a stream that has to do with the worker.

use streamkeeper_protocol::{RunState, WorkerId};

use super::Coordinator;
use crate::cluster::{Observed, Slot, WorkerRecord};
use crate::record::Assignment;

impl Coordinator {
    /// Whether the worker's inventory says nothing. `news`: it is another one than the last.
    pub(super) fn rests(&mut self, worker: &WorkerId, news: bool) -> bool {
        let Some(seat) = self.seats.get(worker) else {
            return false;
        };
        // Generation 0 is the time before the first complete inventory of the term, which decides a lot.
        let record = self.cluster.workers.get(worker);
        let as_wanted = || record.is_some_and(|record| self.is_as_wanted(record));
        if seat.at_rest && !news && seat.generation > 0 {
            debug_assert!(as_wanted(), "{worker} is taken for one at rest");
            return true;
        }
        let at_rest = seat.generation > 0 && as_wanted();
        if let Some(seat) = self.seats.get_mut(worker) {
            seat.at_rest = at_rest;
        }
        at_rest
    }

    /// Whether it reports exactly the streams that it holds, each as it was seen last, and no move leaves it.
    fn is_as_wanted(&self, worker: &WorkerRecord) -> bool {
        let inventory = &*worker.inventory;
        let key = (worker.id.clone(), worker.session);
        let wanted = self.wanted.get(&key).map_or(0, |wanted| wanted.len());
        // All of them are held, as is looked at below: with equal counts there are no others.
        let no_others = wanted == inventory.len() && worker.assigned.len() == inventory.len();
        let each_once = inventory.is_sorted_by(|one, next| one.stream < next.stream);
        let leaves = || {
            self.cluster
                .migrations
                .active()
                .any(|migration| migration.from == worker.id)
        };
        no_others
            && each_once
            && !leaves()
            && inventory.iter().all(|running| {
                let Some(record) = self.cluster.streams.get(&running.stream) else {
                    return false;
                };
                let held = matches!(&record.slot, Slot::Held(owner) if owner.epoch == running.epoch
                    && owner.session == worker.session
                    && owner.worker == worker.id);
                let seen = record.observed.as_ref();
                held && seen.is_some_and(|seen| {
                    is_same(seen, running.state, running.restarts, running.reason.as_deref())
                })
            })
    }

    /// A slot begins or ends: whoever it names has to be looked at again.
    pub(super) fn disturb(&mut self, slot: &Slot) {
        let (one, other): (Option<&Assignment>, Option<&Assignment>) = match slot {
            Slot::Vacant => (None, None),
            Slot::Orphaned { last: one } | Slot::Held(one) | Slot::Releasing { from: one, .. } => {
                (Some(one), None)
            }
            Slot::Committing { next, last } => (Some(next), last.as_ref()),
            Slot::Handing { from, to } => (Some(from), Some(to)),
        };
        for assignment in one.into_iter().chain(other) {
            if let Some(seat) = self.seats.get_mut(&assignment.worker) {
                seat.at_rest = false;
            }
        }
    }
}

fn is_same(seen: &Observed, state: RunState, restarts: u32, reason: Option<&str>) -> bool {
    seen.state == state && seen.restarts == restarts && seen.reason.as_deref() == reason
}
