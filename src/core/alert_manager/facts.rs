//! What the alert manager was told by others, until it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{SessionId, StreamId, WorkerId};

use super::{ActiveAlert, Config, Rule};
use crate::cluster::{Availability, ClusterState, WorkerRecord};
use crate::consistency_checker::Finding;
use crate::invariant::Invariant;
use crate::time::Timestamp;

/// The last refusal of a second process.
#[derive(Debug)]
pub(super) struct Rival {
    pub(super) last: Timestamp,
    pub(super) holder: SessionId,
    pub(super) refused: SessionId,
}

/// How long a new leadership misses a worker that it never heard, and of which it only knows that it was lost. As long as
/// the leader that lost it knows it (`coordinator::Config::forget_after`).
pub(super) const MISSED_FOR: Duration = Duration::from_secs(600);

/// The told facts; at most one of each kind for a worker.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) findings: Vec<Finding>,
    /// How many sessions of how many are silent, while losses are held back.
    pub(super) mass_failure: Option<(usize, usize)>,
    /// The silent session; none where only the alert survived a restart.
    pub(super) emergencies: BTreeMap<WorkerId, Option<SessionId>>,
    /// Workers that an alert from before calls lost, and that may be unknown otherwise: since when they are missed.
    pub(super) missed: BTreeMap<WorkerId, Timestamp>,
    pub(super) rivals: BTreeMap<WorkerId, Rival>,
    /// When a guarantee was seen broken last, and how, in words.
    pub(super) violations: BTreeMap<Invariant, (Timestamp, String)>,
    /// What was tried, in words.
    pub(super) exhausted: BTreeMap<WorkerId, String>,
}

impl Facts {
    /// Takes the facts that a stored alert stands for: the failure detector does not tell an emergency twice.
    pub(super) fn restore(&mut self, now: Timestamp, alert: &ActiveAlert) {
        let label = alert.labels.get("worker");
        let Some(worker) = label.and_then(|name| WorkerId::new(name).ok()) else {
            return;
        };
        match Rule::named(alert.rule) {
            Some(Rule::WorkerEmergency) => {
                self.missed.entry(worker.clone()).or_insert(now);
                self.emergencies.entry(worker).or_insert(None);
            }
            Some(Rule::WorkerLost) => {
                self.missed.entry(worker).or_insert(now);
            }
            _ => {}
        }
    }

    pub(super) fn findings(&mut self, findings: Vec<Finding>) {
        // A recovery manager that was restarted does not know what it has to take back.
        let troubled: BTreeSet<&WorkerId> = findings
            .iter()
            .filter_map(|finding| finding.worker.as_ref())
            .collect();
        self.exhausted.retain(|worker, _| troubled.contains(worker));
        self.findings = findings;
    }

    pub(super) fn rival(&mut self, now: Timestamp, worker: WorkerId, holder: SessionId, refused: SessionId) {
        let rival = Rival {
            last: now,
            holder,
            refused,
        };
        self.rivals.insert(worker, rival);
    }

    /// Forgets what is over.
    pub(super) fn prune(&mut self, now: Timestamp, cluster: &ClusterState, config: &Config) {
        self.rivals
            .retain(|_, rival| now.since(rival.last) < config.rival_for);
        self.violations
            .retain(|_, (last, _)| now.since(*last) < config.violated_for);
        self.missed
            .retain(|worker, since| !cluster.workers.contains_key(worker) && now.since(*since) < MISSED_FOR);
        let missed = &self.missed;
        self.emergencies.retain(|worker, session| {
            let record = cluster.workers.get(worker);
            record.map_or(missed.contains_key(worker), |record| is_silent(record, *session))
        });
    }
}

/// Whether the session still has the seat and was not heard again.
fn is_silent(record: &WorkerRecord, session: Option<SessionId>) -> bool {
    let same = session.is_none_or(|session| session == record.session);
    let silent = match record.availability {
        // A new leader takes everybody for alive until the time-out.
        Availability::Alive => !record.heard,
        Availability::Warning | Availability::Lost => true,
        Availability::Dead => false,
    };
    same && silent
}

/// Where the worker or the stream is that these labels name.
pub(super) fn context(labels: &BTreeMap<String, String>, cluster: &ClusterState) -> BTreeMap<String, String> {
    let mut context = BTreeMap::new();
    let worker = labels.get("worker").and_then(|name| WorkerId::new(name).ok());
    if let Some(record) = worker.and_then(|worker| cluster.workers.get(&worker)) {
        context.extend(record.zone.clone().map(|zone| ("zone".to_owned(), zone)));
        context.extend(
            record
                .labels
                .iter()
                .map(|(name, value)| (format!("label.{name}"), value.clone())),
        );
    }
    let stream = labels.get("stream").and_then(|name| StreamId::new(name).ok());
    if let Some(record) = stream.and_then(|stream| cluster.streams.get(&stream)) {
        let labels = record.spec.labels.iter();
        context.extend(labels.map(|(name, value)| (format!("label.{name}"), value.to_owned())));
    }
    context
}
