//! What a leader knows of moves and of streams in trouble, kept for the next one: a move that was acknowledged and has not
//! ended, the last moves that ended, and streams that are left alone because their source is at fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::cluster::MoveReason;
use crate::migration::{MAX_RECENT, State, Way};

/// A move that was acknowledged, and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenMove {
    /// The stream.
    pub stream: StreamId,
    /// Where it goes.
    pub to: WorkerId,
    /// Why.
    pub reason: MoveReason,
}

/// A move that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedMove {
    /// Term of its leader << 32 | its number: in the order in which they ended.
    pub id: i64,
    /// The stream.
    pub stream: StreamId,
    /// Where it came from.
    pub from: WorkerId,
    /// Where it went.
    pub to: WorkerId,
    /// Why.
    pub reason: MoveReason,
    /// How.
    pub way: Way,
    /// How it ended.
    pub state: State,
    /// How long ago it began, when this was written or read.
    pub began: Duration,
    /// How long ago it ended, when this was written or read.
    pub ended: Duration,
    /// How long nobody ran it.
    pub gap: Option<Duration>,
    /// How long both ran it.
    pub overlap: Option<Duration>,
    /// What went wrong, in words.
    pub detail: Option<String>,
}

/// A stream whose source is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptQuarantine {
    /// The stream.
    pub stream: StreamId,
    /// Workers on which it failed.
    pub tried: BTreeSet<WorkerId>,
    /// How often it was left alone so far, this time included.
    pub rounds: u32,
    /// For how much longer it is left alone.
    pub left: Duration,
}

/// What a transaction changes of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeptWrites {
    /// Acknowledged moves, and those that are over (none), by stream.
    pub moves: BTreeMap<StreamId, Option<OpenMove>>,
    /// Moves that ended, in their order.
    pub ended: Vec<EndedMove>,
    /// Streams that are left alone, and those that are no longer (none), by stream.
    pub quarantines: BTreeMap<StreamId, Option<KeptQuarantine>>,
}

impl KeptWrites {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.ended.is_empty() && self.quarantines.is_empty()
    }
}

/// What a new leader finds of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Acknowledged moves that have not ended.
    pub moves: Vec<OpenMove>,
    /// Moves that ended, in their order.
    pub ended: Vec<EndedMove>,
    /// Streams that are left alone.
    pub quarantines: Vec<KeptQuarantine>,
}

impl Kept {
    /// Takes in what a transaction writes: a database in memory.
    pub fn apply(&mut self, writes: KeptWrites) {
        for (stream, write) in writes.moves {
            self.moves.retain(|known| known.stream != stream);
            self.moves.extend(write);
        }
        for ended in writes.ended {
            self.ended.retain(|known| known.id != ended.id);
            self.ended.push(ended);
        }
        let surplus = self.ended.len().saturating_sub(MAX_RECENT);
        self.ended.drain(..surplus);
        for (stream, write) in writes.quarantines {
            self.quarantines.retain(|known| known.stream != stream);
            self.quarantines.extend(write);
        }
    }
}
