//! What the leader wants of one session: `sk.v1.assign.<worker>`, the answer to every heartbeat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::epoch::{Epoch, Generation, Term, Version};
use crate::id::{SessionId, StreamId, WorkerId};

/// [`Assign::stop_budget_ms`] of an answer that does not say it.
pub const DEFAULT_STOP_BUDGET_MS: u64 = 2_000;
/// [`Assign::kill_margin_ms`] of an answer that does not say it.
pub const DEFAULT_KILL_MARGIN_MS: u64 = 500;

const fn default_stop_budget_ms() -> u64 {
    DEFAULT_STOP_BUDGET_MS
}

const fn default_kill_margin_ms() -> u64 {
    DEFAULT_KILL_MARGIN_MS
}

const fn is_default_stop_budget(ms: &u64) -> bool {
    *ms == DEFAULT_STOP_BUDGET_MS
}

const fn is_default_kill_margin(ms: &u64) -> bool {
    *ms == DEFAULT_KILL_MARGIN_MS
}

/// One answer. The desired set is always whole: a stream that it does not name is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assign {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The receiver; equals the last token of the subject.
    pub worker: WorkerId,
    /// The life of the worker that is meant; others ignore the message.
    pub session: SessionId,
    /// The heartbeat that is answered.
    pub ack_seq: u64,
    /// The leadership that speaks.
    pub term: Term,
    /// Version of the desired set within the term.
    pub generation: Generation,
    /// How long the session's lease lasts, in milliseconds, counted from the sending of heartbeat `ack_seq`.
    pub lease_ms: u64,
    /// So many milliseconds before the lease ends, the worker orders its exclusive streams to end.
    #[serde(
        default = "default_stop_budget_ms",
        skip_serializing_if = "is_default_stop_budget"
    )]
    pub stop_budget_ms: u64,
    /// So many milliseconds before the lease ends, what is left of them is killed.
    #[serde(
        default = "default_kill_margin_ms",
        skip_serializing_if = "is_default_kill_margin"
    )]
    pub kill_margin_ms: u64,
    /// Asks for the whole inventory in the next heartbeat.
    #[serde(default)]
    pub whole_inventory: bool,
    /// What this answer carries.
    pub kind: AssignKind,
    /// For `refused`: why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For `desired`: which part this is, from 0.
    #[serde(default)]
    pub part: u32,
    /// For `desired`: how many parts the set has. It is applied when all have come.
    #[serde(default)]
    pub parts: u32,
    /// For `desired`: the entries of this part, sorted by stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<DesiredEntry>,
    /// Whether the leader understands messages that are compressed with zlib.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zlib: bool,
}

impl Assign {
    /// The version of the desired set that this answer speaks of.
    #[must_use]
    pub const fn version(&self) -> Version {
        Version {
            term: self.term,
            generation: self.generation,
        }
    }
}

/// What an answer carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignKind {
    /// The term's first answer to a session: change nothing, report everything.
    LeaseOnly,
    /// What the session has applied is current.
    Current,
    /// The whole desired set, or a part of it.
    Desired,
    /// The session may not take part (another live process has its id): nothing is granted, nothing is stopped.
    Refused,
}

/// One stream of a desired set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredEntry {
    /// The stream.
    pub stream: StreamId,
    /// The assignment under which it runs.
    pub epoch: Epoch,
    /// Whether the worker may start it.
    pub action: Action,
    /// What to run; always there for `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<RunSpec>,
}

/// Whether a worker may start a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The worker may start it.
    Run,
    /// The worker continues the epoch that it holds, and never starts it.
    Keep,
}

/// What a worker needs to know of a stream to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Where the stream comes from: an URL, a device, a query.
    pub source: String,
    /// Whether two copies may overlap.
    pub ownership: Ownership,
    /// Labels of the stream.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How many copies of a stream may run while its owner changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ownership {
    /// At least one: it goes on while the orchestrator is away, and is replaced as fast as possible.
    #[default]
    Available,
    /// At most one, by lease.
    Exclusive,
}
