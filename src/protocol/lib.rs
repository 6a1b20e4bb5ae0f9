//! The wire contract between orchestrators, workers and consumers: ids, epochs, messages, subjects and the codec.
//!
//! Nothing here does IO or reads a clock. `docs/PROTOCOL.md` describes the same contract for other languages.

pub mod alert;
pub mod assign;
pub mod codec;
mod compress;
pub mod connect;
pub mod control;
pub mod epoch;
pub mod event;
pub mod heartbeat;
pub mod id;
pub mod leader;
pub mod limit;
pub mod logs;
#[doc(hidden)]
pub mod mutant;
pub mod subject;

pub use alert::{Alert, AlertStatus, Severity};
pub use assign::{
    Action, Assign, AssignKind, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, DesiredEntry, Ownership,
    RunSpec,
};
pub use codec::{DecodeError, decode, encode};
pub use compress::compress;
pub use connect::Connect;
pub use control::{Control, ControlKind, ControlReply};
pub use epoch::{Epoch, EpochError, Generation, Term, Version};
pub use event::Event;
pub use heartbeat::{
    Capacity, Heartbeat, HostMetrics, Inventory, Mode, Performance, Phase, RunState, RunningStream,
    StreamPerformance,
};
pub use id::{IdError, OrchestratorId, SessionId, StreamId, WorkerId};
pub use leader::{Beacon, LeaderRecord};
pub use logs::{LogFd, LogLine, LogReply, LogRequest};
pub use subject::Subjects;

/// The protocol version that this crate speaks; it is the `v` of every message and the `v1` of every subject.
pub const PROTOCOL_VERSION: u16 = 1;
