//! Settings: defaults, then the profile of the environment, then a file, then variables, then flags.

mod check;
mod layer;
mod leadership;
#[cfg(test)]
mod leadership_tests;
mod load;
mod nats;
mod profile;
mod reference;
#[cfg(test)]
mod reference_tests;
mod sinks;
mod suggest;
#[cfg(test)]
mod tests;
mod variables;
#[cfg(test)]
mod variables_tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use leadership::{Backend, Leadership, Lease};
pub use load::{ConfigError, ConfigErrors, Effective, Flag, Layers, Loaded, explain, load};
pub use nats::{Nats, Secret};
pub use sinks::{Alertmanager, Webhook};

/// All settings of an orchestrator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder for everything that is kept: database, `connect.json`, message server.
    pub data_dir: PathBuf,
    /// Where the API answers.
    pub http: Http,
    /// The message server.
    pub nats: Nats,
    /// The database.
    pub database: Database,
    /// When silence of a worker means what.
    pub heartbeat: Heartbeat,
    /// Who leads among several orchestrators.
    pub leadership: Leadership,
    /// Leases of workers.
    pub lease: Lease,
    /// Evening out.
    pub balancer: Balancer,
    /// Moves of running streams.
    pub migration: Migration,
    /// Who is at fault for a stream that does not keep running.
    pub blame: Blame,
    /// Consistency checks.
    pub consistency: Consistency,
    /// Recovery of workers.
    pub recovery: Recovery,
    /// Alerts.
    pub alerts: Alerts,
    /// What happened, as long as it is kept.
    pub history: History,
    /// Supervision of the actors.
    pub supervision: Supervision,
}

/// Where the API answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the API.
    pub bind: SocketAddr,
    /// Address for probes and metrics alone, beside the API's; none where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe_bind: Option<SocketAddr>,
    /// Where others reach the API, such as `http://o1.example:8001`; the address of `bind` where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    /// How long a change may wait for the database.
    #[serde(with = "humantime_serde")]
    pub change_timeout: Duration,
    /// Whether faults may be injected over the API, to try recovery out.
    pub fault_injection: bool,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://FILE` or `postgres://USER@HOST/DATABASE`; empty: a SQLite file in the data folder.
    pub url: String,
    /// Most connections at a time.
    pub connections: u32,
    /// How long to wait at the start for a database that is not there yet.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// How long making the first connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long to wait for a free connection; making a new one is part of it.
    #[serde(with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// A connection that nobody used for so long is closed.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// A connection is closed at this age.
    #[serde(with = "humantime_serde")]
    pub max_lifetime: Duration,
    /// How long a short read may take.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
    /// How long one write may take.
    #[serde(with = "humantime_serde")]
    pub operation_timeout: Duration,
    /// Without an answer to a write for so long, `available` streams fail over before it is stored.
    #[serde(with = "humantime_serde")]
    pub silent_after: Duration,
    /// How long reading or writing whole tables may take.
    #[serde(with = "humantime_serde")]
    pub bulk_timeout: Duration,
    /// How long one change of the schema may take.
    #[serde(with = "humantime_serde")]
    pub migration_timeout: Duration,
    /// A transaction that is open for so long is reported.
    #[serde(with = "humantime_serde")]
    pub long_transaction: Duration,
    /// Failures in a row after which the database is left alone for a moment.
    pub breaker_threshold: u32,
}

/// When silence of a worker means what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Silence after which a worker is late.
    #[serde(with = "humantime_serde")]
    pub warning: Duration,
    /// Silence after which a worker is lost.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Silence after which somebody should look.
    #[serde(with = "humantime_serde")]
    pub emergency: Duration,
    /// Silence after which a worker is asked whether it still listens.
    #[serde(with = "humantime_serde")]
    pub ping_after: Duration,
    /// How long a worker that does not listen any more may take to come back before it is lost.
    #[serde(with = "humantime_serde")]
    pub disconnect_grace: Duration,
    /// Whether the message server tells which workers' connections end: the managed one, or one whose system account is
    /// given.
    pub advisories: bool,
    /// Time between two looks.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
    /// Share of the fleet (0 to 1) above which silence at once is held back.
    pub mass_failure_share: f64,
    /// Silent workers from which the share counts.
    pub mass_failure_count: usize,
    /// Longest time that a mass failure is held back.
    #[serde(with = "humantime_serde")]
    pub mass_failure_max_hold: Duration,
}

/// Evening out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// Unevenness that is borne, as a share of the mean load.
    pub band_relative: f64,
    /// Unevenness that is borne, as a share of capacity.
    pub band_absolute: f64,
    /// Time between two rounds.
    #[serde(with = "humantime_serde")]
    pub round_interval: Duration,
    /// Least difference that a move has to make, as a share of the band.
    pub min_gain: f64,
    /// Share of its excess that a worker gives, and of what it lacks that one gets, in one round.
    pub damping: f64,
    /// Most moves of one round.
    pub max_moves_per_round: usize,
    /// Most load that one round moves, as a share of all load.
    pub max_share_per_round: f64,
    /// Time for which a moved stream stays where it is.
    #[serde(with = "humantime_serde")]
    pub stream_cooldown: Duration,
    /// Time for which a worker that is back after a loss gets nothing for the sake of balance.
    #[serde(with = "humantime_serde")]
    pub probation: Duration,
}

/// Moves of running streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Most moves away from one worker at once.
    pub max_per_source: usize,
    /// Most moves to one worker at once.
    pub max_per_target: usize,
    /// Most moves at once.
    pub max_in_fleet: usize,
    /// How long the target may take to run a stream before the move is undone.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// How long two workers may run an `available` stream while its move is stored; 0s: it stops first.
    #[serde(with = "humantime_serde")]
    pub overlap_limit: Duration,
    /// How long a moved stream has to run where it went before the move counts as done.
    #[serde(with = "humantime_serde")]
    pub verify_for: Duration,
    /// How long at most a stream is not moved for balance to where it failed: 1 minute at first, doubled with each failure.
    #[serde(with = "humantime_serde")]
    pub bar_for: Duration,
}

/// Who is at fault for a stream that does not keep running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blame {
    /// A stream that did not run steadily for so long has failed on its worker, and is tried on another.
    #[serde(with = "humantime_serde")]
    pub failing_after: Duration,
    /// A stream that failed on so many workers has a broken source, and is left alone.
    pub workers: usize,
    /// How long it is left alone at first; doubled each time.
    #[serde(with = "humantime_serde")]
    pub quarantine_for: Duration,
    /// How long it is left alone at most.
    #[serde(with = "humantime_serde")]
    pub max_quarantine: Duration,
    /// A worker on which so many streams failed that run elsewhere is suspected, and drained.
    pub streams: usize,
}

/// Consistency checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// Time between two checks.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
    /// Checks in a row that must agree.
    pub confirmations: u32,
    /// Time between two looks at the whole database.
    #[serde(with = "humantime_serde")]
    pub database_interval: Duration,
    /// What did not move for longer is stale.
    #[serde(with = "humantime_serde")]
    pub stale_after: Duration,
    /// Most repairs of a minute.
    pub repair_budget: u32,
    /// Kinds of findings whose repair waits for an operator.
    pub propose: Vec<String>,
    /// Kinds of findings that are only told.
    pub alert_only: Vec<String>,
}

/// Recovery of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Whether anything is tried by itself; if not, people are asked at once.
    pub enabled: bool,
    /// Attempts per worker before people are asked.
    pub max_attempts: u32,
    /// Whether the delay doubles with each attempt; if not, it stays the same.
    pub exponential_backoff: bool,
    /// Delay before the second attempt.
    #[serde(with = "humantime_serde")]
    pub retry_delay: Duration,
    /// The delay never grows above this.
    #[serde(with = "humantime_serde")]
    pub max_delay: Duration,
    /// How long a worker may take to answer an order.
    #[serde(with = "humantime_serde")]
    pub control_timeout: Duration,
    /// The strongest level that is tried by itself.
    pub highest: RecoveryLevel,
    /// How long an attempt beyond a resync may take to help.
    #[serde(with = "humantime_serde")]
    pub step_timeout: Duration,
    /// Most attempts beyond a resync at a time.
    pub max_parallel: usize,
    /// Most restarts of workers within `hard_window`.
    pub hard_budget: usize,
    /// The time in which restarts are counted.
    #[serde(with = "humantime_serde")]
    pub hard_window: Duration,
}

/// How strong an attempt to recover a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryLevel {
    /// Everything is exchanged with the worker.
    Soft,
    /// Its streams move elsewhere, then it gets some again.
    Medium,
    /// Its process is restarted.
    Hard,
    /// Its streams are taken from it, and it begins anew.
    Emergency,
}

/// Alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alerts {
    /// How long streams may be without a worker before it is an alert.
    #[serde(with = "humantime_serde")]
    pub unplaced_after: Duration,
    /// How long a stream may be restarted in vain before it is an alert.
    #[serde(with = "humantime_serde")]
    pub failing_after: Duration,
    /// How long the database may refuse what is to be stored before it is an alert.
    #[serde(with = "humantime_serde")]
    pub database_after: Duration,
    /// How long a refused second process stays an alert.
    #[serde(with = "humantime_serde")]
    pub rival_for: Duration,
    /// How long alerts that are over are kept.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// Whether each change of an alert is a line of the log.
    pub log: bool,
    /// An Alertmanager that is told.
    pub alertmanager: Alertmanager,
    /// A webhook that is told.
    pub webhook: Webhook,
}

/// What happened, as long as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// How long events are kept.
    #[serde(with = "humantime_serde")]
    pub keep_events: Duration,
    /// How long measurements are kept, one for each quarter of an hour.
    #[serde(with = "humantime_serde")]
    pub keep_metrics: Duration,
}

/// Supervision of the actors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// Restarts of one actor within `window` after which the process gives up.
    pub max_restarts: u32,
    /// See `max_restarts`.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Delay before the first restart; doubles with each within the window.
    #[serde(with = "humantime_serde")]
    pub restart_delay: Duration,
    /// An actor that answers no progress ping for so long is stuck, and the process gives up.
    #[serde(with = "humantime_serde")]
    pub stuck_after: Duration,
}
