//! What the consistency checker is told, what it wants, and how far it is.

use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Finding, Policies, Proposed, Repair};
use crate::cluster::ClusterState;
use crate::record::Page;
use crate::time::Timestamp;

/// How often and how surely it looks, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Time between two sweeps.
    pub check_interval: Duration,
    /// Comparisons in a row that must see the same finding before it counts: what is merely on its way is no finding.
    pub confirmations: u32,
    /// Time between two passes over the database.
    pub database_interval: Duration,
    /// What did not move for longer is stale.
    pub stale_after: Duration,
    /// Most repairs of one window.
    pub repair_budget: u32,
    /// The time in which repairs are counted.
    pub repair_window: Duration,
    /// What is done about each kind.
    pub policies: Policies,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            confirmations: 2,
            database_interval: Duration::from_secs(60),
            stale_after: Duration::from_secs(60),
            repair_budget: 100,
            repair_window: Duration::from_secs(60),
            policies: Policies::default(),
        }
    }
}

/// What the checker is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// The state changed.
    Snapshot(ClusterState),
    /// What the database holds of a part, or why it does not say so.
    Stored {
        /// Names the question.
        ticket: u64,
        /// The answer.
        outcome: Result<Page, String>,
    },
    /// Look now, as often as it takes to be sure.
    Check,
    /// An operator wants everything repaired that was found.
    Repair,
    /// Time passed.
    Tick,
}

/// What the checker found, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Every confirmed finding, sorted; it replaces the list before. Sent only when the list changed.
    Findings(Vec<Finding>),
    /// A finding is new, for whoever keeps record.
    Confirmed(Finding),
    /// A finding is gone.
    Over(Finding),
    /// Read a part of the database, and report as [`Event::Stored`].
    ReadStored(Part),
    /// What the coordinator should repair.
    Repair(Vec<Repair>),
    /// Which workers an operator wants to exchange everything with.
    Synchronize(Vec<WorkerId>),
    /// How far the checks are.
    Checked(Checks),
}

/// A part of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Names the question.
    pub ticket: u64,
    /// The last name before the part.
    pub after: Option<StreamId>,
    /// Most rows of each table.
    pub limit: u32,
}

/// How far the checks are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// Sweeps over memory and inventories that came to their end.
    pub sweeps: u64,
    /// When the last one did.
    pub swept_at: Option<Timestamp>,
    /// How long it took.
    pub sweep_took: Duration,
    /// Streams that it looked at.
    pub streams: usize,
    /// Passes over the database that came to their end.
    pub passes: u64,
    /// When the last one did.
    pub passed_at: Option<Timestamp>,
    /// Streams or assignments, whichever are more, that it read.
    pub rows: u64,
    /// Whether differences wait to be confirmed.
    pub unsure: bool,
    /// Why the database cannot be read.
    pub database_error: Option<String>,
    /// The last repairs, oldest first.
    pub repairs: Vec<Proposed>,
    /// Repairs that the budget holds back.
    pub waiting: usize,
}
