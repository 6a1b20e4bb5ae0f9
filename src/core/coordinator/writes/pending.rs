//! What is known of assignments that are not stored yet.

use std::collections::BTreeMap;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, StreamId};

use super::super::Coordinator;
use super::super::apply::Planned;
use super::Writes;
use crate::cluster::Slot;
use crate::directive::{DirectiveWrite, Key};
use crate::record::{Assignment, AssignmentWrite};
use crate::request::RequestId;

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

    /// A directive is over: its row goes with the next transaction.
    pub(in super::super) fn end_directive(&mut self, key: Key) {
        self.own.insert(key.clone(), DirectiveWrite::Delete(key));
    }

    /// The leader orders something by itself: it goes with the next transaction.
    pub(in super::super) fn order_directive(&mut self, write: DirectiveWrite) {
        self.own.insert(write.key().clone(), write);
    }

    /// The changes of directives that go with these requests, and of those that are over. Each key comes once.
    pub(super) fn directives_with(&mut self, planned: &[Planned]) -> Vec<DirectiveWrite> {
        let own = std::mem::take(&mut self.own).into_values();
        let asked = planned
            .iter()
            .flat_map(|planned| planned.directives.iter().cloned());
        let all = own.chain(asked);
        let last: BTreeMap<Key, DirectiveWrite> = all.map(|write| (write.key().clone(), write)).collect();
        last.into_values().collect()
    }

    /// Forgets everything and names the callers who wait.
    pub(in super::super) fn drop_all(&mut self) -> Vec<RequestId> {
        self.assignments.clear();
        self.own.clear();
        self.keeping.drop_term();
        let kept = mutant::on(Mutant::QueueKept).then(|| self.requests.clone());
        let flying = self
            .in_flight
            .take()
            .map(|in_flight| in_flight.planned)
            .unwrap_or_default();
        let waiting = self.requests.drain(..).map(|(request, _)| request);
        let dropped = flying
            .into_iter()
            .map(|planned| planned.request)
            .chain(waiting)
            .collect();
        self.requests.extend(kept.into_iter().flatten());
        dropped
    }

    /// Stores what was granted once more, with the next transaction.
    pub(in super::super) fn restore(&mut self, stream: StreamId, assignment: Assignment) {
        self.assignments
            .insert(stream.clone(), AssignmentWrite::Restore { stream, assignment });
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
            // The former may be read once more, and found once more.
            AssignmentWrite::Restore { .. } | AssignmentWrite::Clear { .. } => None,
        });
        granted.collect()
    }
}
