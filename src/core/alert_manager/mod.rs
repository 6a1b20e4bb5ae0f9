//! Which alerts fire: conditions are read from the state and from the other machines' words, and an alert fires while
//! its condition holds.
//!
//! An evaluation collects every condition that holds and compares it with what fires. So no alert can be forgotten: an
//! alert without its condition is over. The exception is doubt: after a restart or a takeover the state has to become
//! known again, and until then the alerts from before go on.

mod evaluation;
mod facts;
mod failing;
mod incident;
mod incidents;
mod message;
mod rule;
mod rules;
mod silence;
mod stored;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::Term;

use crate::cluster::{ClusterState, Leadership, Role};
use crate::machine::Machine;
use crate::time::Timestamp;
use evaluation::{Evaluation, Outcome};
use facts::Facts;
use failing::Failing;
pub use incident::IncidentId;
use incidents::Incidents;
pub use message::{ActiveAlert, Adopted, Command, Event, Inherited};
pub use rule::{Fingerprint, Rule, fingerprint};
pub use silence::{MAX_MATCHERS, MAX_SILENCES, Matcher, Silence};
pub use stored::{Acknowledged, StoredAlert};
use topic::Scene;

/// When a condition becomes an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How long streams may be without a worker before it is an alert.
    pub unplaced_after: Duration,
    /// How long a stream may be restarted in vain before it is an alert.
    pub failing_after: Duration,
    /// How long the database may refuse what is to be stored before it is an alert.
    pub database_after: Duration,
    /// How long the refusal of a second process with a worker's id stays an alert after it was last seen.
    pub rival_for: Duration,
    /// How long a broken guarantee stays an alert after it was last seen.
    pub violated_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            unplaced_after: Duration::from_secs(5),
            failing_after: Duration::from_secs(60),
            database_after: Duration::from_secs(3),
            rival_for: Duration::from_secs(60),
            violated_for: Duration::from_secs(3_600),
        }
    }
}

/// Most alerts of one rule; the rest is one alert with the label `overflow="true"`.
pub const MAX_ALERTS_PER_RULE: usize = 1_000;

/// Time from the first change to the evaluation that takes it in, with all that follow meanwhile. Also what lasts
/// shorter than this is not worth an alert.
pub const EVALUATION_DELAY: Duration = Duration::from_millis(250);

/// How long alerts from before a restart or takeover go on, whatever their conditions: workers need time to be heard.
pub const SETTLING_TIME: Duration = Duration::from_secs(10);

/// The machine.
#[derive(Debug)]
pub struct AlertManager {
    config: Config,
    cluster: ClusterState,
    /// The state changed since the streams were looked through.
    fresh: bool,
    facts: Facts,
    failing: Failing,
    active: BTreeMap<Fingerprint, ActiveAlert>,
    incidents: Incidents,
    /// The term whose state was evaluated last.
    term: Option<Term>,
    /// Alerts from before, which are not judged until `settled_at`, unless their condition is seen to hold.
    in_doubt: BTreeSet<Fingerprint>,
    settled_at: Timestamp,
    /// When to evaluate because something changed.
    due: Option<Timestamp>,
    /// When to evaluate because time alone changes something.
    wake: Option<Timestamp>,
}

impl AlertManager {
    /// A manager without alerts.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cluster: ClusterState::default(),
            fresh: false,
            facts: Facts::default(),
            failing: Failing::default(),
            active: BTreeMap::new(),
            incidents: Incidents::default(),
            term: None,
            in_doubt: BTreeSet::new(),
            settled_at: Timestamp::ZERO,
            due: None,
            wake: None,
        }
    }

    fn restore(&mut self, now: Timestamp, alerts: Vec<ActiveAlert>) {
        for alert in alerts {
            let labels = alert.labels.iter().map(|(name, value)| (&**name, &**value));
            let key = fingerprint(alert.rule, alert.severity, labels);
            self.facts.restore(now, &alert);
            self.failing.restore(&alert);
            self.active.entry(key).or_insert(alert);
        }
        self.incidents.restored();
    }

    /// Begins a leadership: with what its predecessor stored, unless nobody else has led since this one led last. Its own
    /// memory is newer then than what is stored.
    fn adopt(&mut self, now: Timestamp) -> Command {
        let Leadership { term, since, .. } = self.cluster.leadership;
        let inherited = Arc::clone(&self.cluster.inherited);
        let own = self.term == Some(inherited.from);
        if !own {
            self.active.clear();
            self.restore(now, inherited.alerts.clone());
        }
        self.term = Some(term);
        self.doubt(since + SETTLING_TIME);
        Command::Adopt(Adopted {
            term,
            own,
            alerts: self.active.values().cloned().collect(),
        })
    }

    fn doubt(&mut self, until: Timestamp) {
        self.in_doubt = self.active.keys().copied().collect();
        self.settled_at = self.settled_at.max(until);
    }

    fn evaluate(&mut self, now: Timestamp) -> Vec<Command> {
        self.due = None;
        self.wake = None;
        let leadership = self.cluster.leadership;
        if leadership.role != Role::Leading {
            return Vec::new();
        }
        let adopted = (self.term != Some(leadership.term)).then(|| self.adopt(now));
        if std::mem::take(&mut self.fresh) {
            self.failing.update(now, &self.cluster);
        }
        self.facts.prune(now, &self.cluster, &self.config);
        self.failing.prune(now, self.config.failing_after);
        let inhibited = self.facts.mass_failure.is_some();
        let mut evaluation = Evaluation::new(now, &self.active, inhibited);
        rules::workers(&mut evaluation, &self.cluster, &self.config);
        rules::missed(&mut evaluation, &self.facts);
        rules::streams(&mut evaluation, &self.cluster, &self.config);
        rules::failing(&mut evaluation, &self.failing, &self.cluster, &self.config);
        rules::blamed(&mut evaluation, &self.cluster);
        rules::database(&mut evaluation, &self.cluster, &self.config);
        rules::told(&mut evaluation, &self.facts, &self.config);
        let outcome = evaluation.finish();
        adopted.into_iter().chain(self.apply(now, outcome)).collect()
    }

    /// Makes the active alerts what the conditions say.
    fn apply(&mut self, now: Timestamp, outcome: Outcome) -> Vec<Command> {
        self.wake = outcome.wake;
        self.in_doubt
            .retain(|key| now < self.settled_at && !outcome.holding.contains_key(key));
        if !self.in_doubt.is_empty() {
            let settled_at = self.settled_at;
            self.wake = Some(self.wake.map_or(settled_at, |wake| wake.min(settled_at)));
        }
        let is_over = |key: &&Fingerprint| !outcome.holding.contains_key(key) && !self.in_doubt.contains(key);
        let over: Vec<Fingerprint> = self.active.keys().filter(is_over).copied().collect();
        let mut resolved: Vec<ActiveAlert> = over.iter().filter_map(|key| self.active.remove(key)).collect();
        let mut fired = BTreeSet::new();
        for (key, condition) in outcome.holding {
            if let Some(alert) = self.active.get_mut(&key) {
                alert.annotations = condition.annotations;
                continue;
            }
            let alert = ActiveAlert {
                rule: condition.rule.as_str(),
                severity: condition.rule.severity(),
                context: facts::context(&condition.labels, &self.cluster),
                labels: condition.labels,
                annotations: condition.annotations,
                since: now,
                fingerprint: key.to_string(),
                incident: None,
                explained_by: None,
            };
            self.active.insert(key, alert);
            fired.insert(key);
        }
        if outcome.overflowed && !resolved.is_empty() {
            // There is room now for alerts that found none.
            self.due = Some(now + EVALUATION_DELAY);
        }
        let scene = Scene::new(&self.cluster, &self.facts);
        let correlated =
            self.incidents
                .correlate(now, self.cluster.leadership.term, &scene, &mut self.active);
        self.wake = self.wake.into_iter().chain(correlated.wake).min();
        let active = |key: &Fingerprint| self.active.get(key).cloned();
        let mut explained: Vec<ActiveAlert> =
            correlated.changed.difference(&fired).filter_map(active).collect();
        let mut fired: Vec<ActiveAlert> = fired.iter().filter_map(active).collect();
        for list in [&mut resolved, &mut fired, &mut explained] {
            list.sort_by(|a, b| (a.rule, &a.labels).cmp(&(b.rule, &b.labels)));
        }
        let resolved = resolved.into_iter().map(Command::Resolve);
        let fired = fired.into_iter().map(Command::Fire);
        resolved
            .chain(fired)
            .chain(explained.into_iter().map(Command::Explain))
            .collect()
    }
}

impl Machine for AlertManager {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        match event {
            Event::Tick => return self.evaluate(now),
            Event::Restore { term, alerts, newest } => {
                self.term = term;
                self.incidents.named(newest);
                self.restore(now, alerts);
                self.doubt(now + SETTLING_TIME);
            }
            Event::Snapshot(cluster) => {
                self.cluster = cluster;
                self.fresh = true;
            }
            Event::Findings(findings) => self.facts.findings(findings),
            Event::MassFailure { held, silent, of } => {
                self.facts.mass_failure = held.then_some((silent, of));
            }
            Event::Emergency { worker, session } => {
                self.facts.emergencies.insert(worker, Some(session));
            }
            Event::Rival {
                worker,
                holder,
                refused,
            } => self.facts.rival(now, worker, holder, refused),
            Event::Violated { invariant, detail } => {
                self.facts.violations.insert(invariant, (now, detail));
            }
            Event::RecoveryExhausted {
                worker,
                exhausted: true,
                detail,
            } => {
                self.facts.exhausted.insert(worker, detail);
            }
            Event::RecoveryExhausted { worker, .. } => {
                self.facts.exhausted.remove(&worker);
            }
        }
        self.due.get_or_insert(now + EVALUATION_DELAY);
        Vec::new()
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        [self.due, self.wake].into_iter().flatten().min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}
