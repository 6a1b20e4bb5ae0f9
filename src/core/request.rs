//! What users ask the coordinator to change, and what it answers.

use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::forecast::Step;
use crate::spec::StreamSpec;

/// Names one waiting caller.
pub type RequestId = u64;

/// A declarative change of the streams: all of it or nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ApplyStreams {
    /// Streams to create or to change. Names are unique.
    pub streams: Vec<StreamSpec>,
    /// Streams to delete.
    pub delete: Vec<StreamId>,
    /// Streams to switch on (true) or off, whatever else they are.
    pub enable: Vec<(StreamId, bool)>,
    /// Streams that only this worker may run from now on, or any (none), whatever else they are. One that runs elsewhere
    /// is moved there, if that is possible now.
    pub pin: Vec<(StreamId, Option<WorkerId>)>,
    /// Streams to stop and start again on their worker, under a new epoch; those that are switched off stay off.
    pub restart: Vec<StreamId>,
    /// What an operator orders besides.
    pub orders: Vec<Order>,
    /// Streams that are to wait for their lost owners no longer, whatever their policy.
    pub release: Vec<StreamId>,
    /// Whoever releases says that the owners are dead: exclusive streams are released only then.
    pub owner_is_dead: bool,
    /// Deletes every stream that `streams` does not name.
    pub prune: bool,
    /// Says what would change, and changes nothing.
    pub dry_run: bool,
}

/// What an operator orders for workers, streams or the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A worker gets no more streams.
    Cordon {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker gets streams again; a drain ends.
    Uncordon {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker gets no more streams, and those that it has move elsewhere.
    Drain {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A stream is not moved for the sake of balance.
    Freeze {
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: String,
    },
    /// It may be moved again.
    Unfreeze {
        /// The stream.
        stream: StreamId,
    },
    /// A stream moves there, once.
    Move {
        /// The stream.
        stream: StreamId,
        /// Where to.
        to: WorkerId,
    },
    /// No stream is moved for the sake of balance.
    Pause {
        /// Why.
        reason: String,
        /// How long.
        lasts: Duration,
    },
    /// The pause is over.
    Resume,
    /// One round of evening out now.
    Rebalance,
}

/// What a change did (or, in a dry run, would do). Sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Streams that are new.
    pub created: Vec<StreamId>,
    /// Streams whose spec changed.
    pub changed: Vec<StreamId>,
    /// Streams that are gone.
    pub deleted: Vec<StreamId>,
    /// Streams that are being started again.
    pub restarted: Vec<StreamId>,
    /// Streams that wait for their lost owners no longer.
    pub released: Vec<StreamId>,
    /// Streams that were as asked already.
    pub unchanged: Vec<StreamId>,
    /// Moves that begin, as far as there is room for them.
    pub moves: Vec<Step>,
}

/// Why a change was refused; nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// This orchestrator does not lead, or does not yet.
    #[error("this orchestrator does not lead; ask again in a moment")]
    NotLeading,
    /// A stream to delete, switch or restart does not exist.
    #[error("stream {0} does not exist")]
    Unknown(StreamId),
    /// Copies of an available stream may run on workers that are cut off; nobody can promise that they ended.
    #[error(
        "stream {0} is \"available\" and cannot become \"exclusive\": a worker that is cut off may still run it; declare it \
         under another name, or delete it and declare it anew when no copy runs any more"
    )]
    NotExclusive(StreamId),
    /// An order names a worker that is not there.
    #[error("worker {0} is not known")]
    UnknownWorker(WorkerId),
    /// The worker is being drained.
    #[error("worker {0} is being drained already")]
    Drains(WorkerId),
    /// What is ordered cannot be done.
    #[error("{0}")]
    Impossible(String),
    /// Too many directives stand.
    #[error("{0} directives stand already; take some back")]
    TooManyDirectives(usize),
    /// A stream that is to be released has an owner that is not lost.
    #[error("stream {0} does not wait for a lost owner; there is nothing to release it from")]
    NotWaiting(StreamId),
    /// An exclusive stream is released only by somebody who says that its owner is dead.
    #[error(
        "stream {0} is \"exclusive\" and its owner may still run it; make sure that it is dead, and say so with \
         owner_is_dead (--owner-is-dead)"
    )]
    OwnerMayLive(StreamId),
    /// An exclusive stream would have to be taken from its owner before the lease is over.
    #[error(
        "stream {stream}: lost_after: is {lost_after:?}, too short for an exclusive stream: heartbeat.timeout ({timeout:?}) + \
         lost_after >= lease.duration * (1 + lease.drift) + lease.margin ({needed:?}) must hold; write at least {:?}, or leave \
         it out",
        needed.saturating_sub(*timeout)
    )]
    LostTooSoon {
        /// The stream.
        stream: StreamId,
        /// How long its owner would be waited for after the time-out.
        lost_after: Duration,
        /// The failure detector's time-out.
        timeout: Duration,
        /// How long a lease may last.
        needed: Duration,
    },
    /// Too many writes wait for the database.
    #[error("{0} writes wait for the database already; ask again in a moment")]
    Busy(usize),
    /// The database did not take it.
    #[error("the database did not store the change: {0}")]
    Store(String),
    /// The connection to the database was lost at commit: the change may or may not be stored.
    #[error(
        "the connection to the database was lost at commit ({0}); read the streams again to see whether it is stored"
    )]
    Ambiguous(String),
}

/// The answer to a change.
pub type ApplyOutcome = Result<Applied, ApplyError>;
