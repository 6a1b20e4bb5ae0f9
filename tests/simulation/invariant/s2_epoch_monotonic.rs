//! S2 epoch-monotonic: the epoch of a stream's assignment never goes back, in the database or on a worker; an epoch
//! names one session for ever, and nobody runs what was never stored.

use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_core::record::Assignment;
use streamkeeper_protocol::{Epoch, SessionId, StreamId, WorkerId};

use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// The one session that an epoch of a stream names.
    named: BTreeMap<(StreamId, Epoch), (WorkerId, SessionId)>,
    /// Every assignment that was ever durable.
    ever: BTreeSet<(StreamId, Epoch)>,
    /// Every epoch that a worker ever started a stream under.
    begun: BTreeSet<(StreamId, Epoch)>,
    /// The highest epoch that a stream's row had, since the database was restored last.
    highest: BTreeMap<StreamId, Epoch>,
    /// Streams whose row is gone since.
    cleared: BTreeSet<StreamId>,
}

impl Epochs {
    pub(super) fn named(&self, stream: &StreamId, epoch: Epoch) -> Option<SessionId> {
        let named = self.named.get(&(stream.clone(), epoch));
        named.map(|(_, session)| *session)
    }

    /// An `available` stream that comes back from the saved set carries the epoch of its worker's former session.
    pub(super) fn stored(&mut self, stream: &StreamId, assignment: &Assignment, exclusive: bool) {
        let key = (stream.clone(), assignment.epoch);
        let session = (assignment.worker.clone(), assignment.session);
        let named = self.named.entry(key.clone()).or_insert_with(|| session.clone());
        assert!(
            *named == session || (named.0 == session.0 && !exclusive),
            "S2 epoch-monotonic: {stream} {:?} names {named:?} and {session:?} in the database",
            assignment.epoch
        );
        let highest = self.highest.entry(stream.clone()).or_default();
        // A stream that was ended and still ran may be adopted again, under the epoch that names its session.
        let again = *highest == assignment.epoch && self.ever.contains(&key);
        // Nobody remembers the epochs of a row that is gone. A copy of an `available` stream that a worker ran on without a
        // leader, or started from its saved set, is all that the next one finds: it goes on under the epoch that it has
        // rather than being stopped (docs/GUARANTEES.md, known limits). No exclusive stream starts or goes on so.
        let found = !exclusive && self.cleared.remove(stream) && self.begun.contains(&key);
        assert!(
            again || found || *highest < assignment.epoch,
            "S2 epoch-monotonic: {stream} was at {highest:?} and is given {:?}",
            assignment.epoch
        );
        *highest = assignment.epoch;
        self.ever.insert(key);
    }

    pub(super) fn cleared(&mut self, stream: &StreamId) {
        self.cleared.insert(stream.clone());
    }

    pub(super) fn restored(&mut self, rows: &BTreeMap<StreamId, Assignment>) {
        self.highest = rows
            .iter()
            .map(|(stream, row)| (stream.clone(), row.epoch))
            .collect();
    }
}

impl World {
    /// Whether a stream was ever started, or stored, under this epoch.
    pub(crate) fn is_known(&self, stream: &StreamId, epoch: Epoch) -> bool {
        self.watch.epochs.named.contains_key(&(stream.clone(), epoch))
    }

    pub(super) fn check_start(&mut self, index: usize, stream: &StreamId, epoch: Epoch, exclusive: bool) {
        let node = &mut self.nodes[index];
        let (worker, session) = (&node.id, node.session_id);
        let epochs = &mut self.watch.epochs;
        let key = (stream.clone(), epoch);
        assert!(
            // An available stream may fail over from memory while the database is away.
            !exclusive || epochs.ever.contains(&key),
            "S2 persist before telling: {worker} starts {stream} at {epoch:?}, which was never stored"
        );
        epochs.begun.insert(key.clone());
        let own = (worker.clone(), session);
        let named = epochs.named.entry(key).or_insert_with(|| own.clone());
        assert!(
            *named == own || (named.0 == own.0 && !exclusive),
            "S2 epoch-monotonic: {stream} {epoch:?} names {named:?} and is started by {own:?}"
        );
        // What was saved may be a second old when the process dies, so only sessions are judged for `available` ones.
        let session = if exclusive {
            SessionId::from_u128(0)
        } else {
            session
        };
        let highest = node.highest.entry((stream.clone(), session)).or_default();
        assert!(
            *highest <= epoch,
            "S2 epoch-monotonic: {worker} starts {stream} at {epoch:?} after {highest:?}"
        );
        *highest = epoch;
    }
}
