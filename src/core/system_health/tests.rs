//! What is well, what is not, and which reason comes first.

use super::*;
use crate::cluster::UnplacedReason;
use crate::consistency_checker::fixture::{at, healthy, observe, put_stream, unplaced, worker_id};
use crate::consistency_checker::fixture::{leading, worker as of};
use crate::consistency_checker::{FindingKind, Policy};
use crate::time::Timestamp;

fn finding(worker: &str) -> Finding {
    Finding {
        kind: FindingKind::Ghost,
        stream: None,
        worker: Some(worker_id(worker)),
        detail: String::new(),
        repair: None,
        policy: Policy::Repair,
        since: Timestamp::ZERO,
    }
}

#[track_caller]
fn is(cluster: &ClusterState, known: Known<'_>, overall: Overall, needs_intervention: bool, reason: &str) {
    let health = assess(cluster, known);
    assert_eq!(health.overall, overall, "{health:?}");
    assert_eq!(health.needs_intervention, needs_intervention, "{health:?}");
    assert!(
        health.reasons.first().map_or("", String::as_str).contains(reason),
        "{health:?}"
    );
}

#[test]
fn what_is_well_is_healthy_and_so_is_nothing() {
    let nothing = Known::default();
    is(&leading(), nothing, Overall::Healthy, false, "");
    is(&healthy(), nothing, Overall::Healthy, false, "");
    let health = assess(&healthy(), nothing);
    assert_eq!((health.performance, health.consistency), (1.0, 1.0));
    assert!(health.load_balance > 0.98, "{health:?}");
}

#[test]
fn the_worst_reason_decides_and_comes_first() {
    let nothing = Known::default();
    let mut cluster = healthy();
    of(&mut cluster, "b").availability = Availability::Warning;
    is(&cluster, nothing, Overall::Degraded, false, "1 workers are late");
    observe(&mut cluster, "s1", RunState::Failing, 3);
    is(
        &cluster,
        nothing,
        Overall::Critical,
        false,
        "1 of 3 streams do not run",
    );
    observe(&mut cluster, "s2", RunState::Failing, 3);
    is(
        &cluster,
        nothing,
        Overall::Emergency,
        false,
        "2 of 3 streams do not run",
    );
    let mut cluster = healthy();
    put_stream(&mut cluster, at(0), "s3", Slot::Vacant);
    unplaced(&mut cluster, at(0), "s3", UnplacedReason::NoWorkers);
    is(&cluster, nothing, Overall::Critical, true, "");
    for name in ["a", "b"] {
        of(&mut cluster, name).cordoned = true;
    }
    is(
        &cluster,
        nothing,
        Overall::Emergency,
        true,
        "no worker takes streams",
    );
}

#[test]
fn what_others_know_counts() {
    let cluster = healthy();
    let findings = [finding("a")];
    let exhausted = [worker_id("a")];
    let with = |known| {
        (
            assess(&cluster, known).overall,
            assess(&cluster, known).needs_intervention,
        )
    };
    let found = Known {
        findings: &findings,
        ..Known::default()
    };
    // One of three streams' worth: two thirds agree.
    assert_eq!(with(found), (Overall::Critical, true));
    let gave_up = Known {
        exhausted: &exhausted,
        ..Known::default()
    };
    assert_eq!(with(gave_up), (Overall::Critical, true));
    let held = Known {
        held: true,
        ..Known::default()
    };
    assert_eq!(with(held), (Overall::Emergency, true));
}

#[test]
fn uneven_load_is_told() {
    let mut cluster = healthy();
    of(&mut cluster, "a").load = 90.0;
    is(
        &cluster,
        Known::default(),
        Overall::Degraded,
        false,
        "load is uneven",
    );
}

#[test]
fn a_worker_is_judged_by_all_of_its_parts() {
    let mut cluster = healthy();
    let judged = |cluster: &ClusterState, findings: &[Finding]| {
        let record = cluster.workers.get(&worker_id("a")).unwrap();
        worker(cluster, record, findings)
    };
    let well = judged(&cluster, &[]);
    assert_eq!((well.score, well.should_receive_streams), (1.0, true));
    assert_eq!(well.load_factor, Some(0.02));
    let found = judged(&cluster, &[finding("a")]);
    assert_eq!((found.score, found.should_receive_streams), (0.75, false));
    assert_eq!(judged(&cluster, &[finding("b")]), well);
    observe(&mut cluster, "s1", RunState::Failing, 1);
    assert_eq!(judged(&cluster, &[]).score, 0.875);
    of(&mut cluster, "a").load = 100.0;
    assert!(!judged(&cluster, &[]).should_receive_streams);
    of(&mut cluster, "a").availability = Availability::Lost;
    let lost = judged(&cluster, &[]);
    assert_eq!((lost.score, lost.should_receive_streams), (0.0, false));
    assert!(lost.reasons[0].contains("lost"));
}
