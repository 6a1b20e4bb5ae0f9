//! The cluster as the leader knows it: one value, cheap to clone, shared as a snapshot with everyone who only reads.
//!
//! The maps share structure between clones, so a snapshot of a million streams costs a few pointers. Only the
//! coordinator changes a `ClusterState`; everybody else reads a snapshot of it.

mod drain;
mod reason;
mod stream;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use streamkeeper_protocol::{StreamId, Term, WorkerId};

use crate::alert_manager::Inherited;
use crate::blame::Quarantine;
use crate::directive::Directives;
use crate::migration::Migrations;
use crate::time::Timestamp;
pub use drain::{Drain, DrainState, MAX_LEFT};
pub use reason::MoveReason;
pub use stream::{Awaited, Observed, Slot, StreamRecord, StreamState, UnplacedReason};
pub use worker::{Availability, WorkerRecord};

/// Everything the leader knows.
#[derive(Debug, Clone, Default)]
pub struct ClusterState {
    /// Counts the published snapshots.
    pub revision: u64,
    /// Whether this orchestrator leads, and since when.
    pub leadership: Leadership,
    /// Every declared stream.
    pub streams: OrdMap<StreamId, Arc<StreamRecord>>,
    /// Every worker that was heard, or that owns a stream.
    pub workers: OrdMap<WorkerId, Arc<WorkerRecord>>,
    /// Streams that want a worker and have none that is alive: slots `Vacant` (and enabled) and `Orphaned`.
    pub needs_worker: OrdSet<StreamId>,
    /// Moves: those under way, and the last that ended.
    pub migrations: Arc<Migrations>,
    /// What operators ordered.
    pub directives: Arc<Directives>,
    /// Drains: those under way, and the last of each worker that ended.
    pub drains: Arc<BTreeMap<WorkerId, Drain>>,
    /// Streams that failed on every worker that was tried: their source is at fault.
    pub quarantined: Arc<BTreeMap<StreamId, Quarantine>>,
    /// Set while the database does not take what is to be stored.
    pub outage: Option<Arc<Outage>>,
    /// Alerts as this leadership found them.
    pub inherited: Arc<Inherited>,
}

/// The database does not take what is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When the first transaction failed.
    pub since: Timestamp,
    /// What the last one said.
    pub reason: String,
}

/// Whether this orchestrator leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leadership {
    /// What it does.
    pub role: Role,
    /// The own term; zero while it has none.
    pub term: Term,
    /// Since when it has this role.
    pub since: Timestamp,
    /// Until when predecessors' leases may last: no stream that may run somewhere gets a new owner before, except on
    /// proof of death (OWNERSHIP rule 8).
    pub grace_until: Timestamp,
}

/// What an orchestrator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Another one leads, or nobody.
    #[default]
    Standby,
    /// It won the lease; its fence does not stand yet.
    TakingOver,
    /// It decides.
    Leading,
}

impl Role {
    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::TakingOver => "taking_over",
            Self::Leading => "leading",
        }
    }
}
