//! Which alerts fire: conditions are read from the state and from the other machines' words, and an alert fires while
//! its condition holds.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{SessionId, Severity, WorkerId};

use crate::cluster::ClusterState;
use crate::consistency_checker::Finding;
use crate::machine::Machine;
use crate::time::Timestamp;

/// When a condition becomes an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long streams may be without a worker before it is an alert.
    pub unplaced_after: Duration,
    /// How long a stream may be restarted in vain before it is an alert.
    pub failing_after: Duration,
    /// How long the refusal of a second process with a worker's id stays an alert after it was last seen.
    pub rival_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            unplaced_after: Duration::from_secs(5),
            failing_after: Duration::from_secs(60),
            rival_for: Duration::from_secs(60),
        }
    }
}

/// What the manager is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// Alerts that fired when this manager started: it goes on with them, so that each is resolved some day.
    Restore(Vec<ActiveAlert>),
    /// The state changed.
    Snapshot(ClusterState),
    /// The confirmed findings; the list replaces the one before.
    Findings(Vec<Finding>),
    /// Losses are held back (true) or no longer.
    MassFailure {
        /// Whether they are held back.
        held: bool,
        /// How many sessions are silent.
        silent: usize,
        /// How many sessions are looked at.
        of: usize,
    },
    /// A session has been silent beyond the emergency threshold.
    Emergency {
        /// The worker.
        worker: WorkerId,
        /// Its silent life.
        session: SessionId,
    },
    /// A second live process uses a worker's id and was refused.
    Rival {
        /// The id.
        worker: WorkerId,
        /// Who holds the seat.
        holder: SessionId,
        /// Who was refused.
        refused: SessionId,
    },
    /// Recovery of a worker needs people (true), or its trouble is over (false).
    RecoveryExhausted {
        /// The worker.
        worker: WorkerId,
        /// Whether people are needed.
        exhausted: bool,
        /// What was tried, in words.
        detail: String,
    },
    /// Time passed.
    Tick,
}

/// What the manager wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tell that this alert fires.
    Fire(ActiveAlert),
    /// Tell that this alert is over.
    Resolve(ActiveAlert),
}

/// One alert that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveAlert {
    /// The rule's name: a subject token.
    pub rule: &'static str,
    /// How urgent.
    pub severity: Severity,
    /// What it is about: `worker`, `stream`, `kind` … without `alertname` and `severity`.
    pub labels: BTreeMap<String, String>,
    /// For people: `summary`, `description`, `suggestion`.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub since: Timestamp,
    /// Names the alert over all its changes: 16 hexadecimal digits of rule, severity and labels.
    pub fingerprint: String,
}

/// The machine.
#[derive(Debug)]
pub struct AlertManager {
    config: Config,
}

impl AlertManager {
    /// A manager without alerts.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Machine for AlertManager {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, _now: Timestamp, _event: Event) -> Vec<Command> {
        let _ = self.config;
        Vec::new()
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    fn tick() -> Event {
        Event::Tick
    }
}
