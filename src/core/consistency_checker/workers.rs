//! Workers: whether their streams are counted as they are listed, and whether what is known of them is news.

use std::collections::BTreeMap;
use std::ops::Bound;

use streamkeeper_protocol::{SessionId, Version, WorkerId};

use super::compare::{Rules, is_alive};
use super::found::{Found, Key};
use super::{FindingKind, Repair};
use crate::cluster::{Availability, ClusterState, WorkerRecord};
use crate::coordinator::is_close;
use crate::time::Timestamp;

/// Since when each worker that is behind has not moved: what it has applied, and when that was seen first.
#[derive(Debug, Default)]
pub(super) struct Behind(BTreeMap<WorkerId, (SessionId, Version, Timestamp)>);

impl Behind {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets workers that are gone.
    pub(super) fn retain_known(&mut self, cluster: &ClusterState) {
        self.0.retain(|worker, _| cluster.workers.contains_key(worker));
    }

    /// Since when this worker is behind and does not move; none when it is not behind.
    fn since(&mut self, now: Timestamp, worker: &WorkerRecord) -> Option<Timestamp> {
        if !is_alive(worker) || worker.applied == worker.desired {
            self.0.remove(&worker.id);
            return None;
        }
        let entry = self.0.entry(worker.id.clone());
        let (session, applied, since) = entry.or_insert((worker.session, worker.applied, now));
        if (*session, *applied) != (worker.session, worker.applied) {
            (*session, *applied, *since) = (worker.session, worker.applied, now);
        }
        Some(*since)
    }
}

/// Judges workers after `after`, until their streams are `limit` together. Answers where it ended.
pub(super) fn judge(
    cluster: &ClusterState,
    rules: Rules<'_>,
    behind: &mut Behind,
    after: Option<&WorkerId>,
    limit: usize,
    found: &mut Found,
) -> Option<WorkerId> {
    let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
    let mut looked = 0;
    for (id, worker) in cluster.workers.range((from, Bound::Unbounded)) {
        declared(rules, worker, found);
        counted(cluster, rules, worker, found);
        stale(rules, behind, worker, found);
        looked += 1 + worker.assigned.len();
        if looked >= limit {
            return Some(id.clone());
        }
    }
    None
}

fn key(kind: FindingKind, worker: &WorkerRecord, mark: (i64, i64)) -> Key {
    Key {
        stream: None,
        kind,
        worker: Some((worker.id.clone(), worker.session)),
        mark,
    }
}

/// What it says it runs against what it lists.
fn declared(rules: Rules<'_>, worker: &WorkerRecord, found: &mut Found) {
    let listed = worker.inventory.len();
    let Some(declared) = worker.declared.filter(|declared| *declared as usize != listed) else {
        return;
    };
    if is_alive(worker) {
        let detail = format!("says that it runs {declared} streams and lists {listed}");
        let key = key(
            FindingKind::CounterMismatch,
            worker,
            (i64::from(declared), number(listed)),
        );
        let worker = worker.id.clone();
        found.add(rules.policies, key, detail, Some(Repair::Resync { worker }));
    }
}

/// What counts on it against the streams' own slots.
fn counted(cluster: &ClusterState, rules: Rules<'_>, worker: &WorkerRecord, found: &mut Found) {
    let mut load = 0.0;
    let mut strange = 0_usize;
    for name in &worker.assigned {
        match cluster.streams.get(name) {
            Some(record) if record.slot.worker() == Some(&worker.id) => load += record.spec.weight,
            _ => strange += 1,
        }
    }
    if strange == 0 && is_close(load, worker.load) {
        return;
    }
    let detail = format!(
        "counts {} streams with load {}; {strange} of them count on it no more, and the load is {load}",
        worker.assigned.len(),
        worker.load
    );
    let mark = (number(worker.assigned.len()), number(strange));
    let key = key(FindingKind::CounterMismatch, worker, mark);
    let worker = worker.id.clone();
    found.add(rules.policies, key, detail, Some(Repair::Recount { worker }));
}

/// Whether it is still counted as living though it was not heard for long, or is heard and does not follow.
fn stale(rules: Rules<'_>, behind: &mut Behind, worker: &WorkerRecord, found: &mut Found) {
    let silence = rules.now.since(worker.last_heard);
    let counts = matches!(worker.availability, Availability::Alive | Availability::Warning);
    let resync = Repair::Resync {
        worker: worker.id.clone(),
    };
    if worker.heard && counts && silence > rules.stale_after {
        let detail = format!(
            "counts as {} and was last heard {} s ago",
            worker.availability.as_str(),
            silence.as_secs()
        );
        let mark = (0, number(worker.last_heard.as_ms()));
        let key = key(FindingKind::StaleStatus, worker, mark);
        found.add(rules.policies, key, detail, Some(resync));
        return;
    }
    let since = behind.since(rules.now, worker);
    if let Some(since) = since.filter(|since| rules.now.since(*since) > rules.stale_after) {
        let detail = format!(
            "has applied generation {} of term {} for {} s; wanted is {} of term {}",
            worker.applied.generation,
            worker.applied.term,
            rules.now.since(since).as_secs(),
            worker.desired.generation,
            worker.desired.term
        );
        let key = key(FindingKind::StaleStatus, worker, (1, number(since.as_ms())));
        found.add(rules.policies, key, detail, Some(resync));
    }
}

fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
