//! What the recovery manager is told, and what it wants done.

use std::time::Duration;

use streamkeeper_protocol::{ControlKind, SessionId, WorkerId};

use super::status::{Attempt, Level, Status};
use crate::cluster::ClusterState;
use crate::consistency_checker::{Checks, Finding};
use crate::heartbeat_tracker::SessionChange;

/// How often it tries, and how far it goes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// The strongest level that is tried by itself; what goes beyond it only people order.
    pub highest: Level,
    /// Resyncs per worker before something stronger is tried; 0: nothing is tried by itself, and people are asked at once.
    pub max_attempts: u32,
    /// Delay before the second attempt; doubles with each.
    pub retry_delay: Duration,
    /// The delay never grows above this.
    pub max_delay: Duration,
    /// How long a worker may take to answer one order.
    pub control_timeout: Duration,
    /// How long a stronger attempt may take to help.
    pub step_timeout: Duration,
    /// Most stronger attempts at a time that nobody asked for.
    pub max_parallel: usize,
    /// Most restarts of workers within `hard_window` that nobody asked for.
    pub hard_budget: usize,
    /// The time in which restarts are counted.
    pub hard_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            highest: Level::Hard,
            max_attempts: 5,
            retry_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(60),
            control_timeout: Duration::from_secs(2),
            step_timeout: Duration::from_secs(60),
            max_parallel: 2,
            hard_budget: 3,
            hard_window: Duration::from_secs(600),
        }
    }
}

/// Names one order.
pub type OrderId = u64;

/// What the manager is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// The state changed.
    Snapshot(ClusterState),
    /// The confirmed findings; the list replaces the one before.
    Findings(Vec<Finding>),
    /// How far the checks for them are.
    Checked(Checks),
    /// The failure detector's changes.
    Availability(Vec<SessionChange>),
    /// An operator wants everything exchanged with these workers.
    Synchronize(Vec<WorkerId>),
    /// An operator wants a worker recovered.
    Recover(Asked),
    /// An order was answered (`Ok`: done) or was not (why, in words).
    Ordered {
        /// Which order.
        order: OrderId,
        /// How it went.
        outcome: Result<(), String>,
    },
    /// Time passed.
    Tick,
}

/// What an operator wants tried on a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Names the attempt, for whoever waits for its end.
    pub id: u64,
    /// The worker.
    pub worker: WorkerId,
    /// How strong.
    pub level: Level,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What only the one writer can do to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measure {
    /// It gets no streams, and those that it has move elsewhere, a few at a time.
    Drain {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// It gets no streams, and all that it has go elsewhere at once, whether it obeys or not.
    ForceRelease {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// It may get streams again: what an attempt ordered is taken back.
    Restore {
        /// The worker.
        worker: WorkerId,
    },
    /// What is remembered against it is forgotten, and it is asked for everything anew.
    Reset {
        /// The worker.
        worker: WorkerId,
    },
}

/// What the manager wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Order a worker something over `control`, wait at most `timeout`, and report as [`Event::Ordered`].
    Order {
        /// Names the order.
        order: OrderId,
        /// The worker.
        worker: WorkerId,
        /// The session that is meant, if one is.
        session: Option<SessionId>,
        /// What to do.
        kind: ControlKind,
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// Something for the one writer.
    Measure(Measure),
    /// Compare everything now, and say so as [`Event::Checked`].
    Check,
    /// An attempt began, or ended.
    Tried(Attempt),
    /// The attempts changed; readers get this.
    Publish(Status),
    /// All attempts on this worker were used up (true), or its trouble is over (false).
    Exhausted {
        /// The worker.
        worker: WorkerId,
        /// Whether people are needed.
        exhausted: bool,
        /// What was tried and how it went, in words.
        detail: String,
    },
}
