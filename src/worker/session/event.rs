//! What a session is told, and what it answers.

use streamkeeper_protocol::{Assign, ControlKind, Epoch, Heartbeat, RunSpec, StreamId, Term};

use super::Lease;

/// Milliseconds since any fixed origin; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The connection to the message server stands.
    Connected,
    /// The connection is lost. It changes no stream.
    Disconnected,
    /// A leader answered.
    Assign(Assign),
    /// A leader ordered; the caller has checked the receiver and the order's id.
    Control {
        /// The leadership that orders.
        term: Term,
        /// What it orders; [`ControlKind::Restart`] is the same as [`Event::Leave`].
        kind: ControlKind,
    },
    /// A stream runs.
    StreamUp {
        /// The stream.
        stream: StreamId,
        /// The epoch under which it was started.
        epoch: Epoch,
    },
    /// A stream ended by itself; nothing of it runs any more.
    StreamExited {
        /// The stream.
        stream: StreamId,
        /// The epoch under which it was started.
        epoch: Epoch,
        /// Why, in words.
        reason: String,
    },
    /// An ordered stop is complete; nothing of the stream runs any more.
    StreamStopped {
        /// The stream.
        stream: StreamId,
        /// The epoch that the stop named.
        epoch: Epoch,
    },
    /// The process is to end.
    Leave,
    /// A deadline may have come.
    Tick,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this heartbeat.
    Heartbeat(Box<Heartbeat>),
    /// Start a stream.
    Start {
        /// The stream.
        stream: StreamId,
        /// The assignment under which it runs.
        epoch: Epoch,
        /// What to run.
        spec: RunSpec,
        /// How often it was restarted under this epoch.
        attempt: u32,
    },
    /// Stop a stream.
    Stop {
        /// The stream.
        stream: StreamId,
        /// The epoch that is stopped; never a higher one.
        epoch: Epoch,
    },
    /// The lease for exclusive streams was renewed: tell the runner, which ends them at these moments whatever becomes of
    /// this process. It comes before the starts that need it.
    Lease(Lease),
    /// The lease was not renewed in time; the exclusive streams are stopped. Worth a line in the log.
    Lapsed,
    /// Give the connection up and make it anew: heartbeats go unanswered on it, so one direction may be dead. The
    /// session sends nothing more before [`Event::Connected`].
    Reconnect {
        /// Heartbeats without an answer.
        unanswered: u32,
        /// Whether it is the first time since a leader answered; worth a warning.
        first: bool,
    },
    /// Save the highest accepted term, so that a restart does not forget it.
    Remember {
        /// The term.
        highest_term: Term,
    },
    /// A message was not accepted; worth a line in the log.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// Nothing runs any more: the process may end. No command follows.
    Left,
}
