//! A database that keeps what it acknowledged, fences, fails, and sometimes says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_core::record::{
    Assignment, AssignmentWrite, Fence, Loaded, Persisted, StreamWrite, WriteBatch,
};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, StreamId, Term};

use crate::random::Random;
use crate::sometimes::Sometimes;

#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) streams: BTreeMap<StreamId, StreamSpec>,
    pub(crate) rows: BTreeMap<StreamId, Assignment>,
    /// Every assignment that was ever durable.
    pub(crate) ever: BTreeSet<(StreamId, Epoch)>,
    /// The highest epoch that a stream's row ever had.
    pub(crate) highest: BTreeMap<StreamId, Epoch>,
    /// Up to which epoch a stream was ended on purpose.
    pub(crate) ended: BTreeMap<StreamId, Epoch>,
    pub(crate) away: bool,
    /// Share of transactions that go wrong, in a thousand.
    pub(crate) trouble: u64,
    fence: Option<Fence>,
    longest_lease: Duration,
}

impl Database {
    pub(crate) fn stored_term(&self) -> Term {
        self.fence.map_or(Term::ZERO, |fence| fence.term)
    }

    /// Raises the fence and reads everything; nothing when it is away.
    pub(crate) fn take_over(&mut self, fence: Fence, lease: Duration) -> Option<(Duration, Loaded)> {
        if self.away || fence.term <= self.stored_term() {
            return None;
        }
        let before = self.longest_lease;
        self.fence = Some(fence);
        self.longest_lease = before.max(lease);
        let loaded = Loaded {
            streams: self.streams.values().cloned().collect(),
            assignments: self.rows.clone().into_iter().collect(),
        };
        Some((before, loaded))
    }

    pub(crate) fn persist(
        &mut self,
        fence: Fence,
        batch: WriteBatch,
        random: &mut Random,
        sometimes: &mut Sometimes,
    ) -> Persisted {
        let reason = String::new();
        if self.away {
            sometimes.saw("write while the database is away");
            return Persisted::Failed { reason };
        }
        if Some(fence) != self.fence {
            sometimes.saw("write under an old fence");
            return Persisted::Fenced {
                term: self.stored_term(),
            };
        }
        if !random.per_mille(self.trouble) {
            return Persisted::Committed {
                refused: self.write(batch),
            };
        }
        match random.between(0, 2) {
            0 => {
                sometimes.saw("failed transaction");
                Persisted::Failed { reason }
            }
            1 => {
                sometimes.saw("ambiguous commit that was not made");
                Persisted::Ambiguous { reason }
            }
            _ => {
                sometimes.saw("ambiguous commit that was made");
                self.write(batch);
                Persisted::Ambiguous { reason }
            }
        }
    }

    fn write(&mut self, batch: WriteBatch) -> Vec<StreamId> {
        let mut refused = Vec::new();
        for write in batch.streams {
            match write {
                StreamWrite::Put(spec) => self.streams.insert(spec.name.clone(), spec),
                StreamWrite::Delete(name) => self.streams.remove(&name),
            };
        }
        for write in batch.assignments {
            match write {
                AssignmentWrite::Put { stream, assignment } => {
                    let stored = self.rows.get(&stream).map_or(Epoch::ZERO, |row| row.epoch);
                    if stored >= assignment.epoch {
                        refused.push(stream);
                        continue;
                    }
                    let highest = self.highest.entry(stream.clone()).or_default();
                    // A stream that was ended and still ran may be adopted again, under the epoch that names its session.
                    let again = *highest == assignment.epoch
                        && self.ever.contains(&(stream.clone(), assignment.epoch));
                    assert!(
                        again || *highest < assignment.epoch,
                        "S2 epoch-monotonic: {stream} was at {highest:?} and is given {:?}",
                        assignment.epoch
                    );
                    *highest = assignment.epoch;
                    self.ever.insert((stream.clone(), assignment.epoch));
                    self.rows.insert(stream, assignment);
                }
                AssignmentWrite::Clear { stream, epoch } => {
                    let ended = self.ended.entry(stream.clone()).or_default();
                    *ended = epoch.max(*ended);
                    self.rows.retain(|name, row| *name != stream || row.epoch > epoch);
                }
            }
        }
        refused
    }
}
