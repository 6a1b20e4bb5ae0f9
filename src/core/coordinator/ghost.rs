//! Ghosts: copies of exclusive streams that run though the database names nobody. It was put back to an older copy, or the
//! stream was ended while its worker was not heard. Each was told to stop, or is; nobody else gets the stream before its
//! session has said that it did, or may hold it no longer.

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{RunningStream, StreamId};

use super::Coordinator;
use crate::cluster::Slot;
use crate::record::Assignment;
use crate::time::Timestamp;

impl Coordinator {
    /// A session reports a copy that is not to be adopted, of a stream that nobody has. True when it is waited for.
    pub(super) fn is_ghost(
        &mut self,
        now: Timestamp,
        running: &RunningStream,
        held: &Assignment,
        first: bool,
    ) -> bool {
        let Some(record) = self.cluster.streams.get(&running.stream) else {
            return false;
        };
        let adopts = first && record.spec.enabled && held.epoch > record.floor;
        if record.slot != Slot::Vacant
            || !record.is_exclusive()
            || adopts
            || mutant::on(Mutant::GhostsIgnored)
        {
            return false;
        }
        let (from, reason) = (held.clone(), record.reason);
        self.set_slot(now, &running.stream, Slot::Releasing { from, to: None }, reason);
        true
    }

    /// A stream is new here. What runs under its name is of one that is no more.
    pub(super) fn look_for_ghost(&mut self, now: Timestamp, stream: &StreamId) {
        let Some(record) = self.cluster.streams.get(stream) else {
            return;
        };
        if !record.is_exclusive() || mutant::on(Mutant::GhostsIgnored) {
            return;
        }
        let reason = record.reason;
        let ghosts = self.cluster.workers.values().filter_map(|worker| {
            let inventory = &worker.inventory;
            let index = inventory
                .binary_search_by(|running| running.stream.cmp(stream))
                .ok()?;
            Some(Assignment {
                worker: worker.id.clone(),
                session: worker.session,
                epoch: inventory.get(index)?.epoch,
            })
        });
        if let Some(from) = ghosts.max_by_key(|ghost| ghost.epoch) {
            self.set_slot(now, stream, Slot::Releasing { from, to: None }, reason);
        }
    }
}
