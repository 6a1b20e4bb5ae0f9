//! What a worker saves of its desired set, and when a later session starts from it (OWNERSHIP rule 18).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use streamkeeper_protocol::{Epoch, Ownership, RunSpec, StreamId, Version};

use super::Millis;

/// The streams that a session was given last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSet {
    /// The desired set that was applied last.
    pub version: Version,
    /// Its streams.
    pub streams: Vec<SavedStream>,
}

/// One stream of a saved set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream {
    /// The stream.
    pub stream: StreamId,
    /// The epoch under which the session ran it.
    pub epoch: Epoch,
    /// What to run.
    pub spec: RunSpec,
}

/// A saved set whose streams wait for a leader's word, or for the lack of one.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Millis,
    streams: BTreeMap<StreamId, (Epoch, RunSpec)>,
}

impl Waiting {
    /// `exclusive` streams never start without a lease.
    pub(super) fn new(now: Millis, saved: SavedSet) -> Self {
        let available = saved
            .streams
            .into_iter()
            .filter(|saved| saved.spec.ownership == Ownership::Available);
        Self {
            since: now,
            streams: available
                .map(|saved| (saved.stream, (saved.epoch, saved.spec)))
                .collect(),
        }
    }

    /// When they start, if no leader says a word before. `answered` is when one spoke last.
    pub(super) fn due(&self, answered: Option<Millis>, after_ms: u64) -> Millis {
        answered
            .map_or(self.since, |at| at.max(self.since))
            .plus(after_ms)
    }

    pub(super) fn count(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn into_streams(self) -> BTreeMap<StreamId, (Epoch, RunSpec)> {
        self.streams
    }
}
