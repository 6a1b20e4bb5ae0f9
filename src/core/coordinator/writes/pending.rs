//! What is known of assignments that are not stored yet.

use streamkeeper_protocol::{Epoch, StreamId};

use super::super::Coordinator;
use super::Writes;
use crate::cluster::Slot;
use crate::record::{Assignment, AssignmentWrite};

impl Writes {
    /// Whether this assignment waits to be stored, or is on its way.
    pub(in super::super) fn is_storing(&self, stream: &StreamId, epoch: Epoch) -> bool {
        let puts = |write: &AssignmentWrite| matches!(write, AssignmentWrite::Put { assignment, .. } if assignment.epoch == epoch);
        self.assignments.get(stream).is_some_and(puts) || self.flying(stream).is_some_and(puts)
    }

    /// Whether something of the stream's assignment waits to be stored, or is on its way.
    pub(in super::super) fn is_pending(&self, stream: &StreamId) -> bool {
        self.assignments.contains_key(stream) || self.is_in_flight(stream)
    }

    /// Whether something of the stream's assignment is on its way.
    pub(in super::super) fn is_in_flight(&self, stream: &StreamId) -> bool {
        self.flying(stream).is_some()
    }

    fn flying(&self, stream: &StreamId) -> Option<&AssignmentWrite> {
        let batch = &self.in_flight.as_ref()?.batch.assignments;
        // In the order of their streams, as they waited.
        let index = batch.binary_search_by(|write| write.stream().cmp(stream)).ok()?;
        batch.get(index)
    }

    /// What waits of the stream's assignment is not stored.
    pub(in super::super) fn cancel(&mut self, stream: &StreamId) {
        self.assignments.remove(stream);
    }
}

impl Coordinator {
    /// What was granted and not stored: a new term begins with it where the database does not know better. Not so what is
    /// being handed over: its source runs on until the target's inventory shows it, and both are found there.
    pub(in super::super) fn take_memory(&mut self) -> Vec<(StreamId, Assignment)> {
        let waiting = std::mem::take(&mut self.writes.assignments).into_values();
        let granted = waiting.filter_map(|write| match write {
            AssignmentWrite::Put { stream, assignment } => {
                let record = self.cluster.streams.get(&stream);
                let handed = record.is_some_and(|record| matches!(record.slot, Slot::Handing { .. }));
                (!handed).then_some((stream, assignment))
            }
            AssignmentWrite::Clear { .. } => None,
        });
        granted.collect()
    }
}
