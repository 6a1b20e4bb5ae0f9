//! Memory against inventories: a merge of two sorted lists, a part of the declared streams and everything that the
//! workers report of it.

use std::ops::Bound;
use std::time::Duration;

use streamkeeper_protocol::{Epoch, RunState, RunningStream, StreamId};

use super::found::{Found, Key};
use super::{FindingKind, Policies, Repair};
use crate::cluster::{Availability, ClusterState, Slot, StreamRecord, WorkerRecord};
use crate::record::Assignment;
use crate::time::Timestamp;

/// How one comparison judges.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) now: Timestamp,
    /// Streams without a worker for longer are orphans.
    pub(super) patience: Duration,
    /// What is on its way for longer is stale.
    pub(super) stale_after: Duration,
    pub(super) policies: &'a Policies,
}

/// One stream as one worker reports it.
#[derive(Clone, Copy)]
struct Report<'a> {
    worker: &'a WorkerRecord,
    running: &'a RunningStream,
}

/// Compares at most `limit` streams after `after`, and what is reported among them. Answers where it ended; none when
/// nothing comes after it.
pub(super) fn compare(
    cluster: &ClusterState,
    rules: Rules<'_>,
    after: Option<&StreamId>,
    limit: usize,
    found: &mut Found,
) -> Option<StreamId> {
    let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
    let mut streams: Vec<(&StreamId, &StreamRecord)> = cluster
        .streams
        .range((from, Bound::Unbounded))
        .take(limit.saturating_add(1))
        .map(|(name, record)| (name, &**record))
        .collect();
    let full = streams.len() > limit;
    streams.truncate(limit);
    let end = streams.last().filter(|_| full).map(|(name, _)| (*name).clone());
    let reports = reports(cluster, after, end.as_ref());
    let mut judge = Judge {
        cluster,
        rules,
        found,
    };
    let mut rest = reports.as_slice();
    for (name, record) in streams {
        while let Some(first) = rest.first()
            && first.running.stream < *name
        {
            let group = take_group(&mut rest, &first.running.stream);
            judge.reports(&first.running.stream, None, group);
        }
        let group = take_group(&mut rest, name);
        judge.reports(name, Some(record), group);
        judge.owner(name, record, group);
        judge.orphan(name, record);
        judge.slot(name, record);
    }
    while let Some(first) = rest.first() {
        let group = take_group(&mut rest, &first.running.stream);
        judge.reports(&first.running.stream, None, group);
    }
    end
}

/// What living workers report of this part, by stream. Inventories are sorted: each one's part is found by halving, and
/// the stable sort merges the parts; ties stay in the order of the workers.
fn reports<'a>(
    cluster: &'a ClusterState,
    after: Option<&StreamId>,
    end: Option<&StreamId>,
) -> Vec<Report<'a>> {
    let alive = cluster.workers.values().filter(|worker| is_alive(worker));
    let mut reports: Vec<Report<'_>> = alive
        .flat_map(|worker| {
            let list = &worker.inventory;
            let from = list.partition_point(|running| after.is_some_and(|after| running.stream <= *after));
            let to = list.partition_point(|running| end.is_none_or(|end| running.stream <= *end));
            let part = list.get(from..to).unwrap_or_default();
            part.iter().map(move |running| Report { worker, running })
        })
        .collect();
    reports.sort_by(|a, b| a.running.stream.cmp(&b.running.stream));
    reports
}

/// Whether its inventory is news: silent workers' reports are of the past.
pub(super) fn is_alive(worker: &WorkerRecord) -> bool {
    worker.heard && worker.availability == Availability::Alive
}

/// Whether the worker knows what it should run and has done it; everything else is on its way. Generation 0 is the
/// time before its first complete inventory of the term.
pub(super) fn is_settled(worker: &WorkerRecord) -> bool {
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

struct Judge<'a> {
    cluster: &'a ClusterState,
    rules: Rules<'a>,
    found: &'a mut Found,
}

impl Judge<'_> {
    fn add(&mut self, key: Key, detail: String, repair: Option<Repair>) {
        self.found.add(self.rules.policies, key, detail, repair);
    }

    /// Something about a stream on a worker, which an exchange with the worker may bring in line.
    fn add_on(
        &mut self,
        kind: FindingKind,
        name: &StreamId,
        worker: &WorkerRecord,
        mark: (Epoch, Epoch),
        detail: String,
    ) {
        let mark = (mark.0.get(), mark.1.get());
        let key = Key::of_stream(kind, name.clone(), mark).on(&worker.id, worker.session);
        let worker = worker.id.clone();
        self.add(key, detail, Some(Repair::Resync { worker }));
    }

    /// Judges what is reported of one stream; `record` is none when it is not declared.
    fn reports(&mut self, name: &StreamId, record: Option<&StreamRecord>, group: &[Report<'_>]) {
        self.duplicates(name, record, group);
        for Report { worker, running } in group {
            if running.state == RunState::Stopping || !is_settled(worker) {
                continue;
            }
            let owner = record.and_then(|record| owner_of(record, worker));
            let assigned = owner.map_or(Epoch::ZERO, |owner| owner.epoch);
            let mark = (running.epoch, assigned);
            match owner {
                Some(owner) if is_of(owner, worker) => {
                    if owner.epoch != running.epoch {
                        let detail = format!(
                            "runs under epoch {}, assigned is epoch {}",
                            running.epoch, owner.epoch
                        );
                        self.add_on(FindingKind::EpochMismatch, name, worker, mark, detail);
                    }
                }
                _ => {
                    let whose = match (owner, record) {
                        (Some(owner), _) => format!("worker {} has it (epoch {})", owner.worker, owner.epoch),
                        (None, Some(_)) => "nobody should run it now".to_owned(),
                        (None, None) => "it is not declared".to_owned(),
                    };
                    let detail = format!("runs under epoch {}, but {whose}", running.epoch);
                    self.add_on(FindingKind::Ghost, name, worker, mark, detail);
                }
            }
        }
    }

    /// One finding for each copy beyond the one that counts: the owner's, else the one with the highest epoch.
    fn duplicates(&mut self, name: &StreamId, record: Option<&StreamRecord>, group: &[Report<'_>]) {
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
            let mark = (running.epoch, right.running.epoch);
            self.add_on(FindingKind::Duplicate, name, worker, mark, detail);
        }
    }

    /// The owner of a held stream has to report it.
    fn owner(&mut self, name: &StreamId, record: &StreamRecord, group: &[Report<'_>]) {
        let Slot::Held(owner) = &record.slot else {
            return;
        };
        if group.iter().any(|report| report.worker.id == owner.worker) {
            return;
        }
        let worker = self.cluster.workers.get(&owner.worker);
        if let Some(worker) = worker.filter(|worker| is_settled(worker) && worker.session == owner.session) {
            let detail = format!(
                "does not run it, though it was assigned under epoch {}",
                owner.epoch
            );
            let mark = (Epoch::ZERO, owner.epoch);
            self.add_on(FindingKind::Missing, name, worker, mark, detail);
        }
    }

    fn orphan(&mut self, name: &StreamId, record: &StreamRecord) {
        let last = match &record.slot {
            Slot::Vacant => None,
            Slot::Orphaned { last } => Some(last),
            Slot::Committing { .. } | Slot::Held(_) | Slot::Releasing { .. } | Slot::Handing { .. } => return,
        };
        let waited = self.rules.now.since(record.since);
        let explained = record.unplaced.is_some() || record.awaits.is_some();
        if !record.spec.enabled || explained || waited <= self.rules.patience {
            return;
        }
        let before = last.map_or_else(
            || "it never had one".to_owned(),
            |last| format!("its last one was {} (epoch {})", last.worker, last.epoch),
        );
        let detail = format!("should run and gets no worker, without a reason; {before}");
        let mark = (0, last.map_or(0, |last| last.epoch.get()));
        let key = Key::of_stream(FindingKind::Orphan, name.clone(), mark);
        let repair = Repair::Want { stream: name.clone() };
        self.add(key, detail, Some(repair));
    }

    /// Memory against itself: a stream's worker knows of it, and nothing is on its way for ever.
    fn slot(&mut self, name: &StreamId, record: &StreamRecord) {
        let Some(assignment) = record.slot.assignment() else {
            return;
        };
        let mark = (0, assignment.epoch.get());
        let Some(worker) = self.cluster.workers.get(&assignment.worker) else {
            if record.slot.worker().is_some() {
                let detail = format!("is assigned to worker {}, which nobody knows", assignment.worker);
                let key = Key::of_stream(FindingKind::UnknownWorker, name.clone(), mark)
                    .on(&assignment.worker, assignment.session);
                self.add(key, detail, Some(Repair::Reread));
            }
            return;
        };
        if record.slot.worker().is_some() && !worker.assigned.contains(name) {
            let detail = format!("counts on worker {}, which does not count it", worker.id);
            let key = Key::of_stream(FindingKind::CounterMismatch, name.clone(), mark)
                .on(&worker.id, worker.session);
            let worker = worker.id.clone();
            self.add(key, detail, Some(Repair::Recount { worker }));
        }
        let on_its_way = matches!(
            record.slot,
            Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Handing { .. }
        );
        let waited = self.rules.now.since(record.since);
        if on_its_way && waited > self.rules.stale_after {
            let detail = format!(
                "is {} for {} s already (epoch {})",
                record.state().as_str(),
                waited.as_secs(),
                assignment.epoch
            );
            let key =
                Key::of_stream(FindingKind::StaleStatus, name.clone(), mark).on(&worker.id, worker.session);
            let repair = Repair::Resync {
                worker: worker.id.clone(),
            };
            self.add(key, detail, is_alive(worker).then_some(repair));
        }
    }
}
