//! Orders to one worker: `sk.v1.control.<worker>`, request and reply, idempotent by id.

use serde::{Deserialize, Serialize};

use crate::epoch::Term;
use crate::id::{SessionId, WorkerId};

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The receiver; equals the last token of the subject.
    pub worker: WorkerId,
    /// The life that is meant, or any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Names the order: a worker that has done it answers again without doing it again.
    pub id: String,
    /// The leadership that orders; lower ones than the worker's are refused.
    pub term: Term,
    /// What to do.
    pub kind: ControlKind,
}

/// What a worker can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// Send a heartbeat now.
    Ping,
    /// Send a heartbeat with the whole inventory now.
    Resync,
    /// Take no new streams; keep the present ones until they are moved.
    Drain,
    /// End drain.
    Resume,
    /// Stop every stream and end the process; whoever started it starts it again.
    Restart,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReply {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The order that is answered.
    pub id: String,
    /// Whether it is done.
    pub done: bool,
    /// Why not, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
