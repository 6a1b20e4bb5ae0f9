//! How the whole is, in one word, with the scores and the reasons that led to it; and how each worker is.

use streamkeeper_protocol::{RunState, WorkerId};

use crate::cluster::{Availability, ClusterState, Slot, StreamRecord, WorkerRecord};
use crate::consistency_checker::{self, Finding};

/// Below this share of streams that run, the whole is in an emergency.
const EMERGENCY_BELOW: f64 = 0.5;
/// Below this share of streams that run, or that everybody agrees about, it is critical.
const CRITICAL_BELOW: f64 = 0.9;
/// Below this score load is uneven enough to be told.
const UNEVEN_BELOW: f64 = 0.5;

/// The whole in one word. The worse one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overall {
    /// All is as it should be.
    Healthy,
    /// It works, and something is not as it should be.
    Degraded,
    /// Users notice it.
    Critical,
    /// Most of it does not work.
    Emergency,
}

impl Overall {
    /// Name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Degraded => "DEGRADED",
            Self::Critical => "CRITICAL",
            Self::Emergency => "EMERGENCY",
        }
    }
}

/// How the whole is.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemHealth {
    /// In one word.
    pub overall: Overall,
    /// 1: every worker that takes streams is loaded alike; 0: one is full and another one empty.
    pub load_balance: f64,
    /// Share of the streams that memory, database and workers agree about.
    pub consistency: f64,
    /// Share of the enabled streams that run.
    pub performance: f64,
    /// What is not as it should be, the worst first.
    pub reasons: Vec<String>,
    /// Whether it does not become well by itself.
    pub needs_intervention: bool,
}

/// What is known beside the cluster.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The confirmed findings.
    pub findings: &'a [Finding],
    /// Workers that recovery could not bring in line.
    pub exhausted: &'a [WorkerId],
    /// Whether losses are held back, since most of the fleet is silent.
    pub held: bool,
}

/// Judges the whole.
#[must_use]
pub fn assess(cluster: &ClusterState, known: Known<'_>) -> SystemHealth {
    let mut judge = Judge::default();
    let enabled = || cluster.streams.values().filter(|record| record.spec.enabled);
    let total = enabled().count();
    let running = enabled().filter(|record| runs(record)).count();
    let performance = share(running, total);
    let consistency = consistency_checker::score(known.findings, cluster.streams.len());
    let load_balance = load_balance(cluster);
    judge.workers(cluster, known, total);
    if running < total {
        let overall = match performance {
            share if share < EMERGENCY_BELOW => Overall::Emergency,
            share if share < CRITICAL_BELOW => Overall::Critical,
            _ => Overall::Degraded,
        };
        judge.add(
            overall,
            false,
            format!("{} of {total} streams do not run", total - running),
        );
    }
    let unplaced = cluster.needs_worker.iter().filter(|name| {
        let record = cluster.streams.get(*name);
        record.is_some_and(|record| record.unplaced.is_some())
    });
    let unplaced = unplaced.count();
    if unplaced > 0 {
        judge.add(
            Overall::Critical,
            true,
            format!("{unplaced} streams fit on no worker"),
        );
    }
    if let Some(outage) = &cluster.outage {
        let reason = format!("the database takes nothing: {}", outage.reason);
        judge.add(Overall::Critical, true, reason);
    }
    if !known.findings.is_empty() {
        let overall = if consistency < CRITICAL_BELOW {
            Overall::Critical
        } else {
            Overall::Degraded
        };
        let waits = known.findings.iter().any(|finding| !finding.is_repaired());
        judge.add(
            overall,
            waits,
            format!("{} inconsistencies are found", known.findings.len()),
        );
    }
    if !cluster.quarantined.is_empty() {
        let reason = format!(
            "{} streams have a source that is at fault",
            cluster.quarantined.len()
        );
        judge.add(Overall::Degraded, true, reason);
    }
    if load_balance < UNEVEN_BELOW {
        judge.add(Overall::Degraded, false, "load is uneven".to_owned());
    }
    judge
        .reasons
        .sort_by_key(|(overall, _)| std::cmp::Reverse(*overall));
    SystemHealth {
        overall: judge
            .reasons
            .first()
            .map_or(Overall::Healthy, |(overall, _)| *overall),
        load_balance,
        consistency,
        performance,
        needs_intervention: judge.needs_intervention,
        reasons: judge.reasons.into_iter().map(|(_, reason)| reason).collect(),
    }
}

#[derive(Default)]
struct Judge {
    reasons: Vec<(Overall, String)>,
    needs_intervention: bool,
}

impl Judge {
    fn add(&mut self, overall: Overall, needs_intervention: bool, reason: String) {
        self.needs_intervention |= needs_intervention;
        self.reasons.push((overall, reason));
    }

    fn workers(&mut self, cluster: &ClusterState, known: Known<'_>, streams: usize) {
        if known.held {
            let reason = "most workers are silent at once; nothing is redistributed until it is clear why";
            self.add(Overall::Emergency, true, reason.to_owned());
        }
        let workers = || cluster.workers.values();
        if streams > 0 && !workers().any(|worker| worker.takes_streams()) {
            self.add(Overall::Emergency, true, "no worker takes streams".to_owned());
        }
        for worker in known.exhausted {
            let reason = format!("worker {worker} could not be brought in line");
            self.add(Overall::Critical, true, reason);
        }
        for (availability, word) in [(Availability::Lost, "lost"), (Availability::Warning, "late")] {
            let count = workers()
                .filter(|worker| worker.availability == availability)
                .count();
            if count > 0 {
                self.add(Overall::Degraded, false, format!("{count} workers are {word}"));
            }
        }
    }
}

fn runs(record: &StreamRecord) -> bool {
    let observed = record.observed.as_ref().map(|observed| observed.state);
    matches!(record.slot, Slot::Held(_) | Slot::Handing { .. }) && observed == Some(RunState::Running)
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

fn load_factor(worker: &WorkerRecord) -> Option<f64> {
    (worker.capacity.weight > 0.0).then(|| worker.load / worker.capacity.weight)
}

fn load_balance(cluster: &ClusterState) -> f64 {
    let open = cluster.workers.values().filter(|worker| worker.takes_streams());
    let loads: Vec<f64> = open.filter_map(|worker| load_factor(worker)).collect();
    let highest = loads.iter().copied().fold(0.0, f64::max);
    let lowest = loads.iter().copied().fold(f64::INFINITY, f64::min);
    if loads.len() < 2 {
        return 1.0;
    }
    (1.0 - (highest - lowest)).clamp(0.0, 1.0)
}

/// How one worker is.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerHealth {
    /// From 0 (it does nothing) to 1 (all is well).
    pub score: f64,
    /// Load as a share of capacity; none while the capacity is unknown.
    pub load_factor: Option<f64>,
    /// Whether it is a good place for one more stream.
    pub should_receive_streams: bool,
    /// What is not well.
    pub reasons: Vec<String>,
}

/// Judges one worker. Each part of its score counts alike: that it is heard, that what it has runs, that nothing is
/// found about it, and that it is not overloaded.
#[must_use]
pub fn worker(cluster: &ClusterState, worker: &WorkerRecord, findings: &[Finding]) -> WorkerHealth {
    let mut reasons = Vec::new();
    let heard = match worker.availability {
        _ if !worker.heard => 0.0,
        Availability::Alive => 1.0,
        Availability::Warning => 0.5,
        Availability::Lost | Availability::Dead => 0.0,
    };
    if heard < 1.0 {
        reasons.push(format!("it counts as {}", worker.availability.as_str()));
    }
    let its = worker
        .assigned
        .iter()
        .filter_map(|name| cluster.streams.get(name));
    let running = its.filter(|record| runs(record)).count();
    let runs = share(running, worker.assigned.len());
    if running < worker.assigned.len() {
        let failing = worker.assigned.len() - running;
        reasons.push(format!(
            "{failing} of its {} streams do not run",
            worker.assigned.len()
        ));
    }
    let found = findings
        .iter()
        .filter(|finding| finding.worker.as_ref() == Some(&worker.id))
        .count();
    if found > 0 {
        reasons.push(format!("{found} inconsistencies are found about it"));
    }
    let load_factor = load_factor(worker);
    let fits = load_factor.is_none_or(|load| load <= 1.0);
    if !fits {
        reasons.push("it has more than it has room for".to_owned());
    }
    if worker.cordoned {
        reasons.push("it is cordoned".to_owned());
    }
    let parts = [
        heard,
        runs,
        if found == 0 { 1.0 } else { 0.0 },
        if fits { 1.0 } else { 0.0 },
    ];
    let score = if heard == 0.0 {
        0.0
    } else {
        parts.iter().sum::<f64>() / parts.len() as f64
    };
    WorkerHealth {
        score,
        load_factor,
        should_receive_streams: worker.takes_streams()
            && found == 0
            && load_factor.is_some_and(|load| load < 1.0),
        reasons,
    }
}

#[cfg(test)]
mod tests;
