//! The leader's sign of life: `sk.v1.leader`, every second.

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
