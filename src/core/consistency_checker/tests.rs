//! Every kind of finding, what is none, and when a finding counts.

use std::sync::Arc;

use streamkeeper_protocol::RunState;

use super::fixture::*;
use super::*;
use crate::cluster::{Availability, Slot, UnplacedReason};

const INTERVAL: u64 = 5_000;

/// Time at which everything in a fixture is long past.
const LATE: u64 = 1_000_000;

struct Checks {
    checker: ConsistencyChecker,
    now: u64,
}

impl Checks {
    fn of(cluster: ClusterState) -> Self {
        let mut checks = Self {
            checker: ConsistencyChecker::new(Config::default()),
            now: LATE,
        };
        checks.show(cluster);
        checks
    }

    fn show(&mut self, cluster: ClusterState) {
        let commands = self.checker.handle(at(self.now), Event::Snapshot(cluster));
        assert_eq!(commands, []);
    }

    /// The next check; answers the list if it was told.
    fn next(&mut self) -> Option<Vec<Finding>> {
        self.now = self.checker.next_deadline().unwrap().as_ms();
        let mut commands = self.checker.handle(at(self.now), Event::Tick);
        assert!(commands.len() <= 1);
        commands.pop().map(|Command::Findings(findings)| findings)
    }
}

fn short(findings: &[Finding]) -> Vec<String> {
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
fn assert_found(change: impl FnOnce(&mut ClusterState), expected: &[&str]) {
    let mut cluster = healthy();
    change(&mut cluster);
    assert_eq!(found(cluster), expected);
}

fn held(cluster: &mut ClusterState, name: &str, worker: &str, counter: u32) {
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
            put_stream(c, Timestamp::ZERO, "s2", slot);
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
            put_stream(c, Timestamp::ZERO, "s1", slot);
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
    checker.handle(at(30), Event::Tick);
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
fn the_score_falls_with_findings() {
    for (findings, streams, expected) in [(0, 0, 1.0), (0, 10, 1.0), (1, 4, 0.75), (9, 3, 0.0), (1, 0, 0.0)] {
        assert!(
            (score(findings, streams) - expected).abs() < f64::EPSILON,
            "{findings}/{streams}"
        );
    }
}
