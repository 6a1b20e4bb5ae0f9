//! How far a drain is.

use streamkeeper_protocol::StreamId;

use super::UnplacedReason;
use crate::time::Timestamp;

/// Most streams that a drain names as left.
pub const MAX_LEFT: usize = 1_000;

/// How a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainState {
    /// Streams are moving, or wait for room elsewhere.
    Running,
    /// The worker has none any more.
    Done,
    /// It was taken back.
    Cancelled,
}

impl DrainState {
    /// Name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One drain of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// How it is.
    pub state: DrainState,
    /// When it began, or when this leader began to lead.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Streams that the worker had when it began.
    pub total: usize,
    /// Streams that nobody else can take, and why.
    pub left: Vec<(StreamId, UnplacedReason)>,
}
