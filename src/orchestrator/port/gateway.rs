//! What the HTTP API may ask of the actors: a change of the streams, and how the actors are. Everything that is only
//! read comes from [`View`], without waiting for anybody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_core::alert_manager::{Acknowledged, Silence, StoredAlert};
use streamkeeper_core::cluster::ClusterState;
use streamkeeper_core::consistency_checker::{Checks, Finding};
use streamkeeper_core::election;
use streamkeeper_core::recovery_manager::{self, Level};
use streamkeeper_core::request::{ApplyOutcome, ApplyStreams};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{OrchestratorId, Term, WorkerId};
use tokio::sync::watch;

/// The leader, as its last beacon said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderSeen {
    /// Who.
    pub leader: OrchestratorId,
    /// Its term.
    pub term: Term,
    /// Where its API answers.
    pub api_url: String,
    /// Whether it only renews, because its fence does not stand yet.
    pub renew_only: bool,
    /// When it was heard.
    pub heard: Timestamp,
}

impl LeaderSeen {
    /// Beacons come every second; whoever has missed three may be dead.
    pub const FRESH: Duration = Duration::from_secs(3);

    /// Whether the leader was heard a moment ago.
    #[must_use]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.heard) <= Self::FRESH
    }
}

/// What readers see: the newest state, always at hand.
#[derive(Debug, Clone)]
pub struct View {
    /// The election.
    pub election: watch::Receiver<election::Status>,
    /// Another orchestrator that leads, or led last.
    pub leader: watch::Receiver<Option<LeaderSeen>>,
    /// The cluster.
    pub cluster: watch::Receiver<ClusterState>,
    /// Alerts that fire, sorted by fingerprint.
    pub alerts: watch::Receiver<Vec<Arc<StoredAlert>>>,
    /// What people want to hear nothing of, sorted by name.
    pub silences: watch::Receiver<Vec<Arc<Silence>>>,
    /// Confirmed inconsistencies.
    pub findings: watch::Receiver<Vec<Finding>>,
    /// How far the checks for them are.
    pub checks: watch::Receiver<Checks>,
    /// What is tried on workers in trouble.
    pub recovery: watch::Receiver<recovery_manager::Status>,
}

/// How one actor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorStatus {
    /// Its name: `election`, `coordinator`, `heartbeat_tracker`, `balancer`, `consistency_checker`, `recovery_manager`,
    /// `alert_manager`.
    pub name: &'static str,
    /// How often it was restarted after a panic.
    pub restarts: u64,
    /// Whether it is between a panic and its restart.
    pub restarting: bool,
    /// Messages that wait for it.
    pub waiting: usize,
}

/// Why a change got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// Too much waits already.
    #[error("{0} messages wait already; ask again in a moment")]
    Busy(usize),
    /// No answer in time: the change may still be done.
    #[error("no answer within {0:?}; read the streams again to see whether the change is stored")]
    Timeout(Duration),
}

/// Why an order to a worker was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// It did not answer.
    #[error("worker {worker} gave no answer: {reason}")]
    NoAnswer {
        /// The worker.
        worker: WorkerId,
        /// Why, in words.
        reason: String,
    },
    /// It said no.
    #[error("worker {worker} refused: {reason}")]
    Refused {
        /// The worker.
        worker: WorkerId,
        /// Why, in its words.
        reason: String,
    },
}

/// Why the lead is not given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepDownError {
    /// There is nobody to follow.
    #[error("this orchestrator leads by the lock on its data folder, so nobody could follow")]
    Alone,
    /// Too much waits already.
    #[error("the election has {0} messages waiting; ask again in a moment")]
    Busy(usize),
}

/// Why an order about alerts was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlertOrderError {
    /// Another one leads.
    #[error("this orchestrator does not lead any more")]
    NotLeading,
    /// What is named does not exist.
    #[error("there is no {0} {1:?}")]
    Unknown(&'static str, String),
    /// Too many silences stand.
    #[error("{0} silences stand already")]
    Full(usize),
    /// The database did not take it, as far as is known.
    #[error("{0}")]
    NotStored(String),
}

/// The way to the actors.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Has the coordinator change streams and waits until the change is durable.
    ///
    /// # Errors
    /// When there was no answer; nothing is known then.
    async fn apply(&self, change: ApplyStreams) -> Result<ApplyOutcome, GatewayError>;

    /// Begins to give up the lead, so that another orchestrator takes it.
    ///
    /// # Errors
    /// When nobody could follow, or the election is too busy.
    fn step_down(&self) -> Result<(), StepDownError>;

    /// Has the consistency checker look now.
    ///
    /// # Errors
    /// When too much waits already.
    fn check_consistency(&self) -> Result<(), GatewayError>;

    /// Has everything repaired that was found.
    ///
    /// # Errors
    /// When too much waits already.
    fn repair_consistency(&self) -> Result<(), GatewayError>;

    /// Has a worker exchange its whole inventory with the leader, and waits for its answer.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    async fn synchronize(&self, worker: &WorkerId) -> Result<(), OrderError>;

    /// Keeps sinks from hearing of some alerts, durably.
    ///
    /// # Errors
    /// When it is not stored, or there are too many.
    async fn silence(&self, silence: Silence) -> Result<(), AlertOrderError>;

    /// Ends a silence, durably.
    ///
    /// # Errors
    /// When there is none of this name, or its end is not stored.
    async fn unsilence(&self, id: &str) -> Result<(), AlertOrderError>;

    /// Notes durably that somebody has taken an alert on.
    ///
    /// # Errors
    /// When it does not fire, or that is not stored.
    async fn acknowledge(
        &self,
        fingerprint: &str,
        acknowledged: Acknowledged,
    ) -> Result<Arc<StoredAlert>, AlertOrderError>;

    /// Has recovery of a worker tried. Answers the name of the attempt.
    ///
    /// # Errors
    /// When too much waits already.
    fn recover(&self, worker: &WorkerId, level: Level, reason: String) -> Result<u64, GatewayError>;

    /// How the actors are.
    fn actors(&self) -> Vec<ActorStatus>;

    /// Makes an actor panic, to try recovery out. False when there is no actor with this name.
    fn inject_panic(&self, actor: &str) -> bool;
}
