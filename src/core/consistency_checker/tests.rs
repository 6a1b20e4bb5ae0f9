//! Every kind of finding, what is none, and when a finding counts.

use std::sync::Arc;

use streamkeeper_protocol::{RunState, WorkerId};

use super::fixture::*;
use super::*;
use crate::cluster::{Availability, Role, Slot, UnplacedReason};
use crate::record::Page;

pub(super) const INTERVAL: u64 = 5_000;

/// Time at which everything in a fixture is long past.
pub(super) const LATE: u64 = 1_000_000;

pub(super) struct Checks {
    pub(super) checker: ConsistencyChecker,
    pub(super) now: u64,
    pub(super) cluster: ClusterState,
    /// What the database holds; memory's own, where it is none.
    pub(super) page: Option<Page>,
    /// Its first row has another epoch whenever it is read.
    pub(super) restless: bool,
    /// Everything that was wanted since the beginning, but findings, questions and reports.
    pub(super) wanted: Vec<Command>,
}

impl Checks {
    pub(super) fn of(cluster: ClusterState) -> Self {
        Self::with(Config::default(), cluster)
    }

    pub(super) fn with(config: Config, cluster: ClusterState) -> Self {
        let mut checks = Self {
            checker: ConsistencyChecker::new(config),
            now: LATE,
            cluster: ClusterState::default(),
            page: None,
            restless: false,
            wanted: Vec::new(),
        };
        checks.show(cluster);
        checks
    }

    /// A new state, in which every worker was heard just now.
    pub(super) fn show(&mut self, mut cluster: ClusterState) {
        let names: Vec<WorkerId> = cluster.workers.keys().cloned().collect();
        for name in names {
            worker(&mut cluster, name.as_str()).last_heard = at(self.now);
        }
        self.cluster = cluster.clone();
        let commands = self.checker.handle(at(self.now), Event::Snapshot(cluster));
        assert_eq!(commands, []);
    }

    /// Until the end of the next sweep; answers the list if it was told.
    pub(super) fn next(&mut self) -> Option<Vec<Finding>> {
        let mut told = None;
        loop {
            self.now = self.checker.next_deadline().unwrap().as_ms().max(self.now + 1);
            let commands = self.checker.handle(at(self.now), Event::Tick);
            let leads = self.cluster.leadership.role == Role::Leading;
            let swept = !leads
                || commands
                    .iter()
                    .any(|command| matches!(command, Command::Checked(_)));
            self.take(commands, &mut told);
            if swept {
                return told;
            }
        }
    }

    pub(super) fn take(&mut self, commands: Vec<Command>, told: &mut Option<Vec<Finding>>) {
        for command in commands {
            match command {
                Command::Findings(findings) => assert_eq!(told.replace(findings), None),
                Command::ReadStored(Part { ticket, after, .. }) => {
                    assert_eq!(after, None, "one page is all there is");
                    let mut page = self.page.clone().unwrap_or_else(|| stored(&self.cluster));
                    if self.restless {
                        page.assignments[0].1.epoch = epoch(100 + u32::try_from(ticket).unwrap());
                    }
                    let outcome = Ok(page);
                    let commands = self
                        .checker
                        .handle(at(self.now + 1), Event::Stored { ticket, outcome });
                    self.take(commands, told);
                }
                Command::Checked(_) => {}
                other => self.wanted.push(other),
            }
        }
    }

    pub(super) fn repairs(&mut self) -> Vec<Repair> {
        let mut repairs = Vec::new();
        for command in self.wanted.drain(..) {
            if let Command::Repair(more) = command {
                repairs.extend(more);
            }
        }
        repairs
    }
}

/// The database as it is when memory is right.
pub(super) fn stored(cluster: &ClusterState) -> Page {
    let streams = cluster.streams.iter();
    let rows = streams.clone().filter_map(|(name, record)| match &record.slot {
        Slot::Committing { last, .. } => last.clone().map(|last| (name.clone(), last)),
        slot => slot.assignment().map(|row| (name.clone(), row.clone())),
    });
    Page {
        assignments: rows.collect(),
        streams: streams.map(|(_, record)| (*record.spec).clone()).collect(),
        ..Page::default()
    }
}

pub(super) fn short(findings: &[Finding]) -> Vec<String> {
    let text = |finding: &Finding| {
        let stream = finding.stream.as_ref().map_or("-", |stream| stream.as_str());
        let worker = finding.worker.as_ref().map_or("-", |worker| worker.as_str());
        format!("{} {stream} {worker}", finding.kind.as_str())
    };
    findings.iter().map(text).collect()
}

/// The confirmed findings of a state that stays as it is.
fn found(cluster: ClusterState) -> Vec<String> {
    let mut checks = Checks::of(cluster);
    assert_eq!(checks.next(), None, "one check confirms nothing");
    short(&checks.next().unwrap())
}

#[track_caller]
pub(super) fn assert_found(change: impl FnOnce(&mut ClusterState), expected: &[&str]) {
    let mut cluster = healthy();
    change(&mut cluster);
    assert_eq!(found(cluster), expected);
}

pub(super) fn held(cluster: &mut ClusterState, name: &str, worker: &str, counter: u32) {
    put_stream(
        cluster,
        Timestamp::ZERO,
        name,
        Slot::Held(assignment(worker, counter)),
    );
}

#[test]
fn agreement_is_no_finding() {
    assert_found(|_| {}, &[]);
}

#[test]
fn every_kind_is_found() {
    let from = || assignment("a", 2);
    assert_found(
        |c| put_stream(c, Timestamp::ZERO, "lonely", Slot::Vacant),
        &["orphan lonely -"],
    );
    assert_found(
        |c| put_stream(c, Timestamp::ZERO, "s9", Slot::Orphaned { last: from() }),
        &["orphan s9 -"],
    );
    assert_found(
        |c| report(c, "b", "s1", 1, RunState::Running),
        &["duplicate s1 b", "ghost s1 b"],
    );
    assert_found(|c| report(c, "b", "s0", 9, RunState::Failing), &["ghost s0 b"]);
    assert_found(
        |c| report(c, "b", "undeclared", 9, RunState::Running),
        &["ghost undeclared b"],
    );
    assert_found(
        |c| {
            let slot = Slot::Releasing {
                from: from(),
                to: None,
            };
            put_stream(c, at(LATE), "s2", slot);
        },
        &["ghost s2 a"],
    );
    assert_found(|c| held(c, "s4", "b", 4), &["missing s4 b"]);
    assert_found(|c| held(c, "s3", "b", 30), &["epoch_mismatch s3 b"]);
}

#[test]
fn of_two_copies_the_owners_counts_else_the_highest_epoch() {
    // The owner's epoch is lower: it still is the owner.
    assert_found(
        |c| report(c, "b", "s1", 9, RunState::Starting),
        &["duplicate s1 b", "ghost s1 b"],
    );
    assert_found(
        |c| {
            report(c, "a", "stray", 7, RunState::Running);
            report(c, "b", "stray", 8, RunState::Running);
        },
        &["duplicate stray a", "ghost stray a", "ghost stray b"],
    );
}

#[test]
fn what_is_on_its_way_is_no_finding() {
    assert_found(|c| report(c, "b", "s1", 1, RunState::Stopping), &[]);
    assert_found(|c| report(c, "a", "s1", 0, RunState::Stopping), &[]);
    assert_found(
        |c| {
            report(c, "b", "s0", 9, RunState::Running);
            held(c, "s4", "b", 4);
            worker(c, "b").desired.generation = 2;
        },
        &[],
    );
    // Before its first complete inventory nothing is known of a worker.
    assert_found(
        |c| {
            let record = worker(c, "b");
            record.inventory = Arc::default();
            record.desired.generation = 0;
            record.applied.generation = 0;
        },
        &[],
    );
    for availability in [Availability::Warning, Availability::Lost, Availability::Dead] {
        assert_found(
            |c| {
                report(c, "b", "s1", 1, RunState::Running);
                held(c, "s4", "b", 4);
                worker(c, "b").availability = availability;
            },
            &[],
        );
    }
    assert_found(
        |c| unplaced(c, Timestamp::ZERO, "s5", UnplacedReason::NoCapacity),
        &[],
    );
    assert_found(|c| put_stream(c, at(LATE + INTERVAL), "new", Slot::Vacant), &[]);
    assert_found(
        |c| {
            put_stream(c, Timestamp::ZERO, "off", Slot::Vacant);
            Arc::make_mut(&mut stream(c, "off").spec).enabled = false;
        },
        &[],
    );
    // A copy that runs on while its successor is being stored is wanted.
    assert_found(
        |c| {
            let slot = Slot::Committing {
                next: assignment("b", 9),
                last: Some(assignment("a", 1)),
            };
            put_stream(c, at(LATE), "s1", slot);
        },
        &[],
    );
    // The seat belongs to another life than the one that was meant: it need not run it, and must not.
    assert_found(|c| worker(c, "b").session = session(2), &["ghost s3 b"]);
    assert_found(
        |c| {
            held(c, "s4", "b", 4);
            worker(c, "b").session = session(2);
            worker(c, "b").inventory = Arc::default();
        },
        &[],
    );
}

#[test]
fn time_alone_makes_an_orphan() {
    let mut cluster = healthy();
    let mut checks = Checks::of(cluster.clone());
    assert_eq!(checks.next(), None);
    assert_eq!(checks.next(), Some(Vec::new()));
    put_stream(&mut cluster, at(checks.now), "new", Slot::Vacant);
    checks.show(cluster);
    assert_eq!(checks.next(), None, "not older than a check interval");
    assert_eq!(checks.next(), None, "seen once");
    assert_eq!(short(&checks.next().unwrap()), ["orphan new -"]);
}

#[test]
fn only_an_unbroken_streak_confirms() {
    let mut cluster = healthy();
    report(&mut cluster, "b", "s0", 9, RunState::Running);
    let mut checks = Checks::of(cluster.clone());
    assert_eq!(checks.next(), None);
    checks.show(healthy());
    assert_eq!(checks.next(), Some(Vec::new()));
    checks.show(cluster.clone());
    assert_eq!(checks.next(), None);
    assert_eq!(short(&checks.next().unwrap()), ["ghost s0 b"]);
    assert_eq!(checks.next(), None, "the list is the same");
    // Another life of the worker is another finding.
    worker(&mut cluster, "b").session = session(2);
    held(&mut cluster, "s3", "a", 3);
    worker(&mut cluster, "b").inventory = Arc::default();
    report(&mut cluster, "b", "s0", 9, RunState::Running);
    report(&mut cluster, "a", "s3", 3, RunState::Running);
    checks.show(cluster);
    assert_eq!(checks.next(), Some(Vec::new()));
    assert_eq!(short(&checks.next().unwrap()), ["ghost s0 b"]);
    checks.show(healthy());
    assert_eq!(checks.next(), Some(Vec::new()), "the end is told");
    assert_eq!(checks.next(), None);
}

#[test]
fn only_a_leader_finds() {
    let mut cluster = healthy();
    report(&mut cluster, "b", "s0", 9, RunState::Running);
    let mut deposed = cluster.clone();
    deposed.leadership.role = Role::TakingOver;
    let mut checks = Checks::of(deposed.clone());
    assert_eq!([checks.next(), checks.next(), checks.next()], [None, None, None]);
    checks.show(cluster);
    assert_eq!(checks.next(), None);
    assert_eq!(short(&checks.next().unwrap()), ["ghost s0 b"]);
    checks.show(deposed);
    assert_eq!(checks.next(), Some(Vec::new()));
}

#[test]
fn a_restarted_checker_clears_what_its_predecessor_told() {
    let mut checks = Checks::of(healthy());
    assert_eq!(checks.next(), None);
    assert_eq!(checks.next(), Some(Vec::new()));
    assert_eq!(checks.next(), None);
}

#[test]
fn it_checks_from_the_first_snapshot_on_and_not_too_early() {
    let mut checker = ConsistencyChecker::new(Config::default());
    assert_eq!(checker.next_deadline(), None);
    assert_eq!(checker.handle(at(1), Event::Tick), []);
    checker.handle(at(10), Event::Snapshot(healthy()));
    checker.handle(at(20), Event::Snapshot(healthy()));
    assert_eq!(checker.next_deadline(), Some(at(10 + INTERVAL)));
    assert_eq!(checker.handle(at(30), Event::Tick), []);
    assert_eq!(checker.next_deadline(), Some(at(10 + INTERVAL)));
}

#[test]
fn findings_are_bounded() {
    let mut cluster = healthy();
    let inventory = Arc::make_mut(&mut worker(&mut cluster, "b").inventory);
    let entry = inventory[0].clone();
    for number in 0..=MAX_FINDINGS_PER_KIND {
        let stream = stream_id(&format!("x{number:06}"));
        inventory.push(streamkeeper_protocol::RunningStream {
            stream,
            ..entry.clone()
        });
    }
    assert_eq!(found(cluster).len(), MAX_FINDINGS_PER_KIND);
}

#[test]
fn the_score_is_the_share_of_sound_streams() {
    let mut cluster = healthy();
    report(&mut cluster, "b", "s0", 9, RunState::Running);
    let mut checks = Checks::of(cluster);
    checks.next();
    let found = checks.next().unwrap().remove(0);
    let named = |stream: Option<&str>| Finding {
        stream: stream.map(stream_id),
        ..found.clone()
    };
    let close = |findings: &[Finding], streams: usize, expected: f64| {
        let score = score(findings, streams);
        assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
    };
    close(&[], 0, 1.0);
    close(&[], 5, 1.0);
    close(&[named(Some("a")), named(Some("a"))], 4, 0.75);
    close(&[named(Some("a")), named(None)], 4, 0.5);
    close(&[named(Some("a")), named(Some("b"))], 1, 0.0);
}
