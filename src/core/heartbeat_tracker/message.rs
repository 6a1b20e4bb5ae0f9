//! What the failure detector is told, and what it finds.

use streamkeeper_protocol::{Phase, SessionId, WorkerId};

use super::{Answer, Way};
use crate::cluster::Availability;

/// What the tracker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A takeover: these sessions own streams. Their silence counts from now, never from a stored time.
    Expect(Vec<(WorkerId, SessionId)>),
    /// A heartbeat came.
    Heard {
        /// The sender.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// Number of the heartbeat within the session.
        seq: u64,
        /// Where it is in its life.
        phase: Phase,
        /// A session that the sender proves to be dead.
        supersedes: Option<SessionId>,
    },
    /// The message server saw a connection of this session end.
    Disconnected {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
    },
    /// What became of a ping.
    Pinged {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// What led to the ping.
        way: Way,
        /// What became of it.
        answer: Answer,
    },
    /// The own connection to the message server was made anew, or is gone.
    Connection,
    /// Time passed.
    Tick,
}

/// What the tracker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// All changes of one pass or message, to be applied before anything is redistributed.
    Changed(Vec<SessionChange>),
    /// A session has been silent beyond the emergency threshold.
    Emergency {
        /// The worker.
        worker: WorkerId,
        /// Its silent life.
        session: SessionId,
    },
    /// Ask a session for a sign of life, and report as [`Event::Pinged`].
    Ping {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// What led to it.
        way: Way,
    },
    /// A session is lost or dead: how that was found.
    Found {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// How.
        way: Way,
    },
    /// Losses are held back since a mass failure is likelier to be ours; or no longer.
    MassFailure {
        /// Whether they are held back.
        held: bool,
        /// How many sessions are silent.
        silent: usize,
        /// How many sessions are looked at.
        of: usize,
    },
}

/// One change of availability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionChange {
    /// The worker.
    pub worker: WorkerId,
    /// Its life.
    pub session: SessionId,
    /// How it is now.
    pub availability: Availability,
}
