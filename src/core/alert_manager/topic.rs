//! What alerts have in common: what an alert is a cause of, and what could explain it.

use std::collections::BTreeSet;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::facts::Facts;
use super::{ActiveAlert, Rule};
use crate::cluster::{Availability, ClusterState, Slot};

/// What may go wrong as one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The way to most of the fleet.
    Fleet,
    /// The database.
    Database,
    /// One worker.
    Worker(WorkerId),
    /// The host that sources of streams are on.
    Source(String),
    /// One stream whose source has no host.
    Stream(StreamId),
    /// Whatever alerts of this rule are about.
    Rule(Rule),
    /// Nothing but what the alert of this fingerprint says.
    Itself(String),
}

/// What is known when alerts are correlated.
pub(super) struct Scene<'a> {
    cluster: &'a ClusterState,
    facts: &'a Facts,
}

impl<'a> Scene<'a> {
    pub(super) const fn new(cluster: &'a ClusterState, facts: &'a Facts) -> Self {
        Self { cluster, facts }
    }

    /// What an alert is the news of.
    pub(super) fn own(&self, alert: &ActiveAlert) -> Topic {
        let label = |name| alert.labels.get(name);
        if let Some(worker) = label("worker").and_then(|name| WorkerId::new(name).ok()) {
            return Topic::Worker(worker);
        }
        if let Some(stream) = label("stream").and_then(|name| StreamId::new(name).ok()) {
            let record = self.cluster.streams.get(&stream);
            let host = record.and_then(|record| host(&record.spec.source));
            return host.map_or(Topic::Stream(stream), Topic::Source);
        }
        match rule(alert) {
            Some(Rule::MassFailure) => Topic::Fleet,
            Some(Rule::DatabaseFailing) => Topic::Database,
            _ => Topic::Itself(alert.fingerprint.clone()),
        }
    }

    /// What would explain an alert, the likeliest first; its own topic is one of them.
    pub(super) fn claims(&self, alert: &ActiveAlert) -> Vec<Topic> {
        let mut claims = vec![self.own(alert)];
        let Some(rule) = rule(alert) else {
            return claims;
        };
        if alert.labels.contains_key("overflow") {
            claims.push(Topic::Rule(rule));
            return claims;
        }
        let lost = match rule {
            Rule::StreamsUnplaced => self.lost_by_unplaced(),
            Rule::Inconsistent => self.lost_by_findings(alert),
            Rule::StreamFailing | Rule::StreamQuarantined => self.runs_on(alert),
            _ => BTreeSet::new(),
        };
        claims.extend(lost.into_iter().map(Topic::Worker));
        if self.facts.mass_failure.is_some() && follows_from_silence(rule) {
            claims.push(Topic::Fleet);
        }
        if self.cluster.outage.is_some() && follows_from_outage(rule) {
            claims.push(Topic::Database);
        }
        claims
    }

    /// The workers that all unplaced streams were lost with; none where a single one was not.
    fn lost_by_unplaced(&self) -> BTreeSet<WorkerId> {
        let mut lost = BTreeSet::new();
        for name in &self.cluster.needs_worker {
            let Some(record) = self.cluster.streams.get(name) else {
                continue;
            };
            if record.unplaced.is_none() {
                continue;
            }
            match &record.slot {
                Slot::Orphaned { last } if self.is_away(&last.worker) => {
                    lost.insert(last.worker.clone());
                }
                _ => return BTreeSet::new(),
            }
        }
        lost
    }

    /// The workers away that all findings of a kind are about; none where a single one is about another.
    fn lost_by_findings(&self, alert: &ActiveAlert) -> BTreeSet<WorkerId> {
        let kind = alert.labels.get("kind").map_or("", String::as_str);
        let mut lost = BTreeSet::new();
        for finding in &self.facts.findings {
            if finding.kind.as_str() != kind {
                continue;
            }
            let record = || self.cluster.streams.get(finding.stream.as_ref()?);
            let owner = || Some(record()?.slot.assignment()?.worker.clone());
            match finding.worker.clone().or_else(owner) {
                Some(worker) if self.is_away(&worker) => lost.insert(worker),
                _ => return BTreeSet::new(),
            };
        }
        lost
    }

    fn runs_on(&self, alert: &ActiveAlert) -> BTreeSet<WorkerId> {
        let stream = alert.labels.get("stream");
        let stream = stream.and_then(|name| StreamId::new(name).ok());
        let record = stream.and_then(|stream| self.cluster.streams.get(&stream));
        record
            .and_then(|record| record.slot.worker().cloned())
            .into_iter()
            .collect()
    }

    fn is_away(&self, worker: &WorkerId) -> bool {
        let record = self.cluster.workers.get(worker);
        record.is_none_or(|record| record.availability != Availability::Alive)
    }
}

pub(super) fn rule(alert: &ActiveAlert) -> Option<Rule> {
    Rule::named(alert.rule)
}

/// Whether an alert stands for many things, so that what explained it once need not explain it still.
pub(super) fn is_of_many(alert: &ActiveAlert) -> bool {
    matches!(rule(alert), Some(Rule::StreamsUnplaced | Rule::Inconsistent))
}

const fn follows_from_silence(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::WorkerLost
            | Rule::WorkerSilent
            | Rule::WorkerEmergency
            | Rule::RecoveryExhausted
            | Rule::Inconsistent
            | Rule::StreamsUnplaced
    )
}

const fn follows_from_outage(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::RecoveryExhausted | Rule::Inconsistent | Rule::StreamsUnplaced
    )
}

/// The host of an URL with its port, without a login.
fn host(source: &str) -> Option<String> {
    let (_, rest) = source.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_source_is_found_without_its_login() {
        for (source, expected) in [
            ("http://Radio.example:8000/jazz", Some("radio.example:8000")),
            ("rtsp://cam:p@ss@10.0.0.7/1?x=y://z", Some("10.0.0.7")),
            ("srt://[::1]:9000?mode=caller", Some("[::1]:9000")),
            ("file:///var/media/loop.mp3", None),
            ("/dev/video0", None),
            ("sine=440", None),
        ] {
            assert_eq!(host(source).as_deref(), expected, "{source}");
        }
    }
}
