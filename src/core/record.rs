//! What is persisted, and how: the store port's vocabulary.

use streamkeeper_protocol::{Epoch, SessionId, StreamId, Term, WorkerId};

use crate::alert_manager::Inherited;
use crate::directive::DirectiveWrite;
use crate::kept::{Kept, KeptWrites};
use crate::spec::StreamSpec;

/// Who may run a stream, and under which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The worker.
    pub worker: WorkerId,
    /// The life of the worker that was meant.
    pub session: SessionId,
    /// The fencing token.
    pub epoch: Epoch,
}

impl Assignment {
    /// Whether the other one is the same assignment, claimed by another life of its worker.
    #[must_use]
    pub fn is_of_former_life(&self, other: &Self) -> bool {
        self.worker == other.worker && self.epoch == other.epoch && self.session != other.session
    }

    /// Whether this is a later assignment to the same session.
    #[must_use]
    pub fn supersedes(&self, earlier: &Self) -> bool {
        let same = self.worker == earlier.worker && self.session == earlier.session;
        same && self.epoch > earlier.epoch
    }
}

/// The right to write: a transaction commits only while the stored fence equals this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The leadership.
    pub term: Term,
    /// Random number of this leadership, so that a term that was taken twice by mistake still differs.
    pub nonce: u64,
}

/// One change of a stored stream.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamWrite {
    /// Store this spec, new or changed.
    Put(StreamSpec),
    /// Forget the stream.
    Delete(StreamId),
}

impl StreamWrite {
    /// The stream that is written.
    #[must_use]
    pub const fn stream(&self) -> &StreamId {
        match self {
            Self::Put(spec) => &spec.name,
            Self::Delete(stream) => stream,
        }
    }
}

/// One change of a stored assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignmentWrite {
    /// Store this assignment, if the stored epoch is lower or there is none.
    Put {
        /// The stream.
        stream: StreamId,
        /// Its new assignment.
        assignment: Assignment,
    },
    /// Store what was granted under this epoch once more, if the stored epoch is not higher: somebody else has changed
    /// the row, and an epoch names one assignment for ever.
    Restore {
        /// The stream.
        stream: StreamId,
        /// Its assignment.
        assignment: Assignment,
    },
    /// Remove the assignment, if the stored epoch is not higher.
    Clear {
        /// The stream.
        stream: StreamId,
        /// The epoch that ended.
        epoch: Epoch,
    },
}

impl AssignmentWrite {
    /// The stream that is written.
    #[must_use]
    pub const fn stream(&self) -> &StreamId {
        match self {
            Self::Put { stream, .. } | Self::Restore { stream, .. } | Self::Clear { stream, .. } => stream,
        }
    }
}

/// What one transaction writes. Each list has one entry per key; the store writes them in key order.
///
/// Without any it still proves, before it commits, that the fence stands and that the database has not gone back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteBatch {
    /// Transactions of this kind that were committed under the same fence so far. A database that knows another number was
    /// put back to an older copy. None: not compared, and not counted.
    pub before: Option<u64>,
    /// Streams.
    pub streams: Vec<StreamWrite>,
    /// Assignments.
    pub assignments: Vec<AssignmentWrite>,
    /// Directives of operators.
    pub directives: Vec<DirectiveWrite>,
    /// Moves, and streams that are left alone.
    pub kept: KeptWrites,
}

impl WriteBatch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.assignments.is_empty()
            && self.directives.is_empty()
            && self.kept.is_empty()
    }
}

/// Everything that a new leader reads in the transaction that raises the fence.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// Declared streams.
    pub streams: Vec<StreamSpec>,
    /// Assignments.
    pub assignments: Vec<(StreamId, Assignment)>,
    /// Directives that stand, as they would be ordered now.
    pub directives: Vec<DirectiveWrite>,
    /// Moves, and streams that are left alone.
    pub kept: Kept,
    /// Alerts of the leaderships before.
    pub inherited: Inherited,
}

/// A part of what is stored, in the order of the streams' names. Read without a lock, so that it may be older than what
/// memory holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// Declared streams.
    pub streams: Vec<StreamSpec>,
    /// Assignments.
    pub assignments: Vec<(StreamId, Assignment)>,
    /// Rows that make no sense: what is wrong with each.
    pub bad_rows: Vec<String>,
    /// The last name of this part; none when nothing comes after it.
    pub end: Option<StreamId>,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persisted {
    /// It is durable. `refused` are assignments whose stored epoch was not lower: memory was wrong about them.
    Committed {
        /// Streams whose assignment was not written.
        refused: Vec<StreamId>,
    },
    /// Nothing was written.
    Failed {
        /// Why, in words.
        reason: String,
    },
    /// The connection was lost at commit: it may be durable or not.
    Ambiguous {
        /// Why, in words.
        reason: String,
    },
    /// Another leadership has raised the fence.
    Fenced {
        /// The stored term.
        term: Term,
    },
    /// The fence is the own one, but transactions are missing that were committed under it: the database was put back to
    /// an older copy. Nothing was written.
    Rewound,
}
