//! The leader's sign of life, `sk.v1.leader`, every second; and the record in the key that leading means to hold.

use serde::{Deserialize, Serialize};

use crate::epoch::Term;
use crate::id::OrchestratorId;

/// One beacon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The leadership.
    pub term: Term,
    /// Who leads.
    pub leader: OrchestratorId,
    /// Where its HTTP API answers.
    pub api_url: String,
    /// True before the fence stands: the leader only renews, and assigns nothing.
    pub renew_only: bool,
}

/// What the leader's key holds: who leads, and how long to wait before it may be taken for dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderRecord {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The leadership.
    pub term: Term,
    /// Random number of this very write, so that a writer without an answer recognizes its own.
    pub nonce: u64,
    /// Who wrote it: an id that is drawn anew for each life of a process.
    pub leader: OrchestratorId,
    /// True when the leader gave the role up: it is free at once.
    #[serde(default)]
    pub released: bool,
    /// How long the writer leads after it sent this, in milliseconds.
    pub lease_ms: u64,
}
