//! What the alert manager is told, what it wants done, and what an alert is meanwhile.

use std::collections::BTreeMap;

use streamkeeper_protocol::{SessionId, Severity, Term, WorkerId};

use super::IncidentId;
use crate::cluster::ClusterState;
use crate::consistency_checker::Finding;
use crate::invariant::Invariant;
use crate::time::Timestamp;

/// What the manager is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// What a manager before this one told: it goes on with that, so that each alert is resolved some day.
    Restore {
        /// The term under which it was told; none where there was none yet.
        term: Option<Term>,
        /// Alerts that fire.
        alerts: Vec<ActiveAlert>,
        /// The last incident that was named.
        newest: Option<IncidentId>,
    },
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
    /// A guarantee is broken.
    Violated {
        /// Which one.
        invariant: Invariant,
        /// What was seen, in words.
        detail: String,
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
    /// A new leadership judges these alerts from now on; nobody has to be told of them again.
    Adopt(Adopted),
    /// Tell that this alert fires.
    Fire(ActiveAlert),
    /// Tell that this alert is over.
    Resolve(ActiveAlert),
    /// What explains this alert that fires has changed.
    Explain(ActiveAlert),
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
    /// Where that is, as known when it began: `zone` and `label.NAME` of its worker or stream.
    pub context: BTreeMap<String, String>,
    /// For people: `summary`, `description`, `suggestion`.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub since: Timestamp,
    /// Names the alert over all its changes: 16 hexadecimal digits of rule, severity and labels.
    pub fingerprint: String,
    /// What it belongs to; none until it was correlated.
    pub incident: Option<IncidentId>,
    /// The fingerprint of the alert that explains it: nobody is paged for it. None: it is a cause.
    pub explained_by: Option<String>,
}

/// What a new leadership finds of the alerts before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inherited {
    /// The last leadership before it.
    pub from: Term,
    /// Alerts that fired then, as they are stored.
    pub alerts: Vec<ActiveAlert>,
}

/// What a new leadership goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Its term.
    pub term: Term,
    /// Whether the alerts are this orchestrator's own: nobody else has led since. Otherwise they are what was stored.
    pub own: bool,
    /// Alerts that fire.
    pub alerts: Vec<ActiveAlert>,
}
