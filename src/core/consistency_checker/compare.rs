//! One comparison: a merge of two sorted lists, the declared streams and everything that the workers report.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{RunState, RunningStream, SessionId, StreamId, WorkerId};

use super::{Finding, FindingKind, MAX_FINDINGS_PER_KIND};
use crate::cluster::{Availability, ClusterState, Slot, StreamRecord, WorkerRecord};
use crate::record::Assignment;
use crate::time::Timestamp;

/// What makes a finding the same in the next check. A worker's new session starts a new one.
pub(super) type Key = (FindingKind, StreamId, Option<(WorkerId, SessionId)>);

/// What one comparison found.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub(super) found: BTreeMap<Key, Finding>,
    /// Some stream will be an orphan if nothing but time happens.
    pub(super) pending: bool,
    counts: [usize; FindingKind::ALL.len()],
}

/// One stream as one worker reports it.
#[derive(Clone, Copy)]
struct Report<'a> {
    worker: &'a WorkerRecord,
    running: &'a RunningStream,
}

/// Compares. Streams without a worker for longer than `patience` are orphans.
pub(super) fn compare(cluster: &ClusterState, now: Timestamp, patience: Duration) -> Compared {
    let alive = cluster.workers.values().filter(|worker| is_alive(worker));
    let mut reports: Vec<Report<'_>> = alive
        .flat_map(|worker| {
            worker
                .inventory
                .iter()
                .map(move |running| Report { worker, running })
        })
        .collect();
    // A few sorted runs, one of each worker: the stable sort merges them. Ties stay in the order of the workers.
    reports.sort_by(|a, b| a.running.stream.cmp(&b.running.stream));
    let mut compared = Compared::default();
    let mut rest = reports.as_slice();
    for (name, record) in &cluster.streams {
        while let Some(first) = rest.first()
            && first.running.stream.cmp(name) == Ordering::Less
        {
            let group = take_group(&mut rest, &first.running.stream);
            compared.judge(&first.running.stream, None, group);
        }
        let group = take_group(&mut rest, name);
        compared.judge(name, Some(record), group);
        compared.judge_owner(cluster, name, record, group);
        compared.judge_orphan(now, patience, name, record);
    }
    while let Some(first) = rest.first() {
        let group = take_group(&mut rest, &first.running.stream);
        compared.judge(&first.running.stream, None, group);
    }
    compared
}

/// Whether its inventory is news: silent workers' reports are of the past.
fn is_alive(worker: &WorkerRecord) -> bool {
    worker.heard && worker.availability == Availability::Alive
}

/// Whether the worker knows what it should run and has done it; everything else is on its way. Generation 0 is the
/// time before its first complete inventory of the term.
fn is_settled(worker: &WorkerRecord) -> bool {
    is_alive(worker) && worker.applied == worker.desired && worker.desired.generation > 0
}

/// Whose the stream is, as far as this worker goes: while it is handed over it is two workers'.
fn owner_of<'a>(record: &'a StreamRecord, worker: &WorkerRecord) -> Option<&'a Assignment> {
    let mut wanted = record.wanted();
    wanted
        .find(|owner| is_of(owner, worker))
        .or_else(|| record.wanted().next())
}

fn is_of(owner: &Assignment, worker: &WorkerRecord) -> bool {
    owner.worker == worker.id && owner.session == worker.session
}

/// Splits off the leading reports of `stream`.
fn take_group<'a, 'b>(rest: &mut &'b [Report<'a>], stream: &StreamId) -> &'b [Report<'a>] {
    let length = rest
        .iter()
        .take_while(|report| report.running.stream == *stream)
        .count();
    let (group, others) = rest.split_at(length);
    *rest = others;
    group
}

impl Compared {
    fn add(&mut self, kind: FindingKind, stream: &StreamId, worker: Option<&WorkerRecord>, detail: String) {
        let Some(count) = self.counts.get_mut(kind as usize) else {
            return;
        };
        if *count >= MAX_FINDINGS_PER_KIND {
            return;
        }
        let key = (
            kind,
            stream.clone(),
            worker.map(|worker| (worker.id.clone(), worker.session)),
        );
        let finding = Finding {
            kind,
            stream: Some(stream.clone()),
            worker: worker.map(|worker| worker.id.clone()),
            detail,
        };
        if self.found.insert(key, finding).is_none() {
            *count += 1;
        }
    }

    /// Judges what is reported of one stream; `record` is none when it is not declared.
    fn judge(&mut self, name: &StreamId, record: Option<&StreamRecord>, group: &[Report<'_>]) {
        self.judge_duplicates(name, record, group);
        for Report { worker, running } in group {
            if running.state == RunState::Stopping || !is_settled(worker) {
                continue;
            }
            let owner = record.and_then(|record| owner_of(record, worker));
            match owner {
                Some(owner) if is_of(owner, worker) => {
                    if owner.epoch != running.epoch {
                        let detail = format!(
                            "runs under epoch {}, assigned is epoch {}",
                            running.epoch, owner.epoch
                        );
                        self.add(FindingKind::EpochMismatch, name, Some(worker), detail);
                    }
                }
                _ => {
                    let whose = match (owner, record) {
                        (Some(owner), _) => format!("worker {} has it (epoch {})", owner.worker, owner.epoch),
                        (None, Some(_)) => "nobody should run it now".to_owned(),
                        (None, None) => "it is not declared".to_owned(),
                    };
                    let detail = format!("runs under epoch {}, but {whose}", running.epoch);
                    self.add(FindingKind::Ghost, name, Some(worker), detail);
                }
            }
        }
    }

    /// One finding for each copy beyond the one that counts: the owner's, else the one with the highest epoch.
    fn judge_duplicates(&mut self, name: &StreamId, record: Option<&StreamRecord>, group: &[Report<'_>]) {
        let copies = || {
            group
                .iter()
                .filter(|report| report.running.state != RunState::Stopping)
        };
        if copies().count() < 2 {
            return;
        }
        let is_owner = |report: &&Report<'_>| {
            let owner = record.and_then(|record| owner_of(record, report.worker));
            owner.is_some_and(|owner| is_of(owner, report.worker))
        };
        let Some(right) = copies().max_by_key(|report| (is_owner(report), report.running.epoch)) else {
            return;
        };
        let handed = record.is_some_and(|record| matches!(record.slot, Slot::Handing { .. }));
        let surplus = |report: &&Report<'_>| {
            let meant = handed && is_owner(report);
            report.worker.id != right.worker.id && !meant
        };
        for Report { worker, running } in copies().filter(surplus) {
            let detail = format!(
                "runs under epoch {} while worker {} runs it under epoch {}",
                running.epoch, right.worker.id, right.running.epoch
            );
            self.add(FindingKind::Duplicate, name, Some(worker), detail);
        }
    }

    /// The owner of a held stream has to report it.
    fn judge_owner(
        &mut self,
        cluster: &ClusterState,
        name: &StreamId,
        record: &StreamRecord,
        group: &[Report<'_>],
    ) {
        let Slot::Held(owner) = &record.slot else {
            return;
        };
        if group.iter().any(|report| report.worker.id == owner.worker) {
            return;
        }
        let worker = cluster.workers.get(&owner.worker);
        if let Some(worker) = worker.filter(|worker| is_settled(worker) && worker.session == owner.session) {
            let detail = format!(
                "does not run it, though it was assigned under epoch {}",
                owner.epoch
            );
            self.add(FindingKind::Missing, name, Some(worker), detail);
        }
    }

    fn judge_orphan(&mut self, now: Timestamp, patience: Duration, name: &StreamId, record: &StreamRecord) {
        let last = match &record.slot {
            Slot::Vacant => None,
            Slot::Orphaned { last } => Some(last),
            Slot::Committing { .. } | Slot::Held(_) | Slot::Releasing { .. } | Slot::Handing { .. } => return,
        };
        if !record.spec.enabled || record.unplaced.is_some() {
            return;
        }
        if now.since(record.since) <= patience {
            self.pending = true;
            return;
        }
        let before = last.map_or_else(
            || "it never had one".to_owned(),
            |last| format!("its last one was {} (epoch {})", last.worker, last.epoch),
        );
        let detail = format!("should run and gets no worker, without a reason; {before}");
        self.add(FindingKind::Orphan, name, None, detail);
    }
}
