//! Lines that streams wrote: `sk.v1.logs.<worker>`, request and reply.
//!
//! Whoever wants to see more asks again with what the reply said, and may let the worker wait until there is more. So
//! nothing has to be ended when a reader is gone, and a reader that is slow learns how many lines it has missed.

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::id::{SessionId, StreamId, WorkerId};

/// Asks a worker for lines of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The receiver; equals the last token of the subject.
    pub worker: WorkerId,
    /// The stream.
    pub stream: StreamId,
    /// Most lines that are wanted, from 1.
    pub lines: u32,
    /// The life of the worker that counted `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The first number that is wanted: the oldest lines from there on. Without it, or when the worker has another
    /// session or has not come so far, the newest lines are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// How long the worker may wait for a line where it has none from `from` on, in milliseconds.
    #[serde(default)]
    pub wait_ms: u32,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReply {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The stream.
    pub stream: StreamId,
    /// The life of the worker; numbers hold within it.
    pub session: SessionId,
    /// What to ask for next: one more than the number of the last line here, or that the stream's next line will have.
    pub next: u64,
    /// The lines, by number. A gap means that lines are missing: they were dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LogLine>,
    /// Why there is no answer, in words. Ask again later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts what the stream wrote within the worker's session, from 1; lines that were dropped count too.
    pub number: u64,
    /// When the worker took it, in milliseconds since 1970 by the worker's wall clock; for people.
    pub at_ms: u64,
    /// The assignment under which the stream ran.
    pub epoch: Epoch,
    /// Where it was written.
    pub fd: LogFd,
    /// Its text, without line ends.
    pub text: String,
}

/// Where a line was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFd {
    /// Standard output of what runs the stream.
    Stdout,
    /// Standard error of what runs the stream.
    Stderr,
    /// By the worker itself, about the stream.
    Worker,
}

impl LogFd {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Worker => "worker",
        }
    }
}
