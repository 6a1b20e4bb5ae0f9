//! Memory against the database; what is repaired, by whom, and how often.

use super::fixture::*;
use super::tests::{Checks, short, stored};
use super::*;
use crate::cluster::Slot;
use crate::record::{Assignment, Page};

/// The confirmed findings of a database that stays as it is.
fn found(change: impl FnOnce(&mut Page)) -> (Vec<String>, Checks) {
    let mut checks = Checks::of(healthy());
    let mut page = stored(&checks.cluster);
    change(&mut page);
    checks.page = Some(page);
    let mut told = Vec::new();
    for _ in 0..5 {
        told = checks.next().unwrap_or(told);
    }
    (short(&told), checks)
}

#[track_caller]
fn assert_found(change: impl FnOnce(&mut Page), findings: &[&str], repairs: &[Repair]) {
    let (found, mut checks) = found(change);
    assert_eq!(found, findings);
    assert_eq!(checks.repairs(), repairs);
}

/// The row of `s1`.
fn row(page: &mut Page) -> &mut Assignment {
    &mut page.assignments[0].1
}

fn restore() -> Repair {
    Repair::Restore {
        stream: stream_id("s1"),
        epoch: epoch(1),
    }
}

#[test]
fn a_database_that_agrees_is_no_finding() {
    assert_found(|_| {}, &[], &[]);
}

#[test]
fn a_changed_row_is_restored_from_memory() {
    assert_found(
        |page| drop(page.assignments.remove(0)),
        &["state_mismatch s1 a"],
        &[restore()],
    );
    assert_found(
        |page| row(page).worker = worker_id("b"),
        &["state_mismatch s1 a"],
        &[restore()],
    );
    assert_found(
        |page| row(page).session = session(9),
        &["state_mismatch s1 a"],
        &[restore()],
    );
    assert_found(
        |page| row(page).epoch = epoch(0),
        &["state_mismatch s1 a"],
        &[restore()],
    );
    assert_found(
        |page| row(page).worker = worker_id("nobody"),
        &["unknown_worker s1 nobody"],
        &[restore()],
    );
}

#[test]
fn what_the_database_knows_better_is_read_again() {
    assert_found(
        |page| row(page).epoch = epoch(7),
        &["state_mismatch s1 a"],
        &[Repair::Reread],
    );
}

#[test]
fn a_row_of_a_stream_that_nobody_runs_is_removed() {
    let clear = Repair::Clear {
        stream: stream_id("x"),
        epoch: epoch(4),
    };
    assert_found(
        |page| page.assignments.push((stream_id("x"), assignment("a", 4))),
        &["state_mismatch x -"],
        &[clear],
    );
}

#[test]
fn a_changed_spec_is_only_proposed_and_never_shown() {
    let (told, mut checks) = found(|page| page.streams[0].source = "rtsp://user:secret@host".into());
    assert_eq!(told, ["spec_mismatch s1 -"]);
    assert_eq!(checks.repairs(), []);
    let confirmed = checks.checker.confirmed();
    let finding = confirmed.values().next().unwrap();
    assert_eq!(finding.policy, Policy::Propose);
    assert_eq!(finding.detail, "is stored with another source");
    // An operator may have it done.
    let commands = checks.checker.handle(at(checks.now), Event::Repair);
    assert!(
        commands.contains(&Command::Repair(vec![Repair::Reread])),
        "{commands:?}"
    );

    assert_found(|page| drop(page.streams.remove(0)), &["spec_mismatch s1 -"], &[]);
    assert_found(
        |page| {
            page.streams
                .push(crate::spec::StreamSpec::new(stream_id("x"), "y"))
        },
        &["spec_mismatch x -"],
        &[],
    );
    assert_found(
        |page| {
            page.streams.remove(0);
            page.bad_rows
                .push("table stream, row s1, column weight: -1".to_owned());
        },
        &["spec_mismatch - -"],
        &[],
    );
}

#[test]
fn what_is_being_stored_or_ended_is_no_finding() {
    let mut cluster = healthy();
    let next = Slot::Committing {
        next: assignment("b", 9),
        last: Some(assignment("a", 1)),
    };
    put_stream(&mut cluster, at(1_000_000), "s1", next);
    let mut checks = Checks::of(cluster.clone());
    let mut page = stored(&cluster);
    row(&mut page).epoch = epoch(9);
    checks.page = Some(page);
    for _ in 0..5 {
        assert!(checks.next().unwrap_or_default().is_empty());
    }
    // A deleted stream is gone from the database while its last copy still ends.
    let mut cluster = healthy();
    let ends = Slot::Releasing {
        from: assignment("a", 1),
        to: None,
    };
    put_stream(&mut cluster, at(1_000_000), "s1", ends);
    std::sync::Arc::make_mut(&mut stream(&mut cluster, "s1").spec).enabled = false;
    let mut page = stored(&cluster);
    page.streams.remove(0);
    worker(&mut cluster, "a").desired.generation = 2;
    let mut checks = Checks::of(cluster);
    checks.page = Some(page);
    for _ in 0..5 {
        assert!(checks.next().unwrap_or_default().is_empty());
    }
}

#[test]
fn one_look_confirms_nothing_and_a_row_that_changes_is_under_way() {
    let mut checks = Checks::of(healthy());
    checks.restless = true;
    for _ in 0..30 {
        let cluster = checks.cluster.clone();
        checks.show(cluster);
        assert!(checks.next().unwrap_or_default().is_empty());
    }
}

#[test]
fn an_end_is_told_too_and_both_are_recorded() {
    let (told, mut checks) = found(|page| row(page).worker = worker_id("b"));
    assert_eq!(told.len(), 1);
    checks.page = None;
    let mut told = None;
    for _ in 0..3 {
        told = checks.next().or(told);
    }
    assert_eq!(told, Some(Vec::new()));
    let named = |command: &Command| match command {
        Command::Confirmed(finding) => Some(format!("confirmed {}", finding.kind.as_str())),
        Command::Over(finding) => Some(format!("over {}", finding.kind.as_str())),
        _ => None,
    };
    let record: Vec<String> = checks.wanted.iter().filter_map(named).collect();
    assert_eq!(record, ["confirmed state_mismatch", "over state_mismatch"]);
}

#[test]
fn a_repair_that_does_not_help_is_proposed_again_after_a_while() {
    let (_, mut checks) = found(|page| row(page).worker = worker_id("b"));
    assert_eq!(checks.repairs(), [restore()]);
    let begin = checks.now;
    let mut again = Vec::new();
    while again.is_empty() {
        checks.next();
        again = checks.repairs();
    }
    assert_eq!(again, [restore()]);
    assert!(checks.now - begin > 15_000, "not at once");
}

#[test]
fn repairs_stay_within_their_budget() {
    let mut cluster = healthy();
    for number in 0..30 {
        let slot = Slot::Held(assignment("b", 3));
        put_stream(&mut cluster, at(0), &format!("t{number:02}"), slot);
        report(
            &mut cluster,
            "b",
            &format!("t{number:02}"),
            3,
            streamkeeper_protocol::RunState::Running,
        );
    }
    let config = Config {
        repair_budget: 10,
        ..Config::default()
    };
    let mut checks = Checks::with(config, cluster);
    let mut page = stored(&checks.cluster);
    for (_, row) in &mut page.assignments {
        row.session = session(9);
    }
    checks.page = Some(page);
    let mut repaired = Vec::new();
    let mut first = 0;
    while repaired.len() < 33 && checks.now < 2_000_000 {
        let cluster = checks.cluster.clone();
        checks.show(cluster);
        checks.next();
        let more = checks.repairs();
        assert!(more.len() <= 10, "{}", more.len());
        if repaired.is_empty() && !more.is_empty() {
            first = checks.now;
        }
        if checks.now < first + 60_000 && first > 0 {
            assert!(repaired.len() + more.len() <= 10);
        }
        for repair in more {
            let row = checks.page.as_mut().unwrap().assignments.iter_mut();
            let right = stored(&checks.cluster);
            for (name, row) in row.filter(|(name, _)| Some(name) == repair.stream()) {
                *row = right
                    .assignments
                    .iter()
                    .find(|(other, _)| other == name)
                    .unwrap()
                    .1
                    .clone();
            }
            repaired.push(repair);
        }
    }
    assert_eq!(repaired.len(), 33);
}

#[test]
fn a_policy_decides_whether_it_is_repaired() {
    for policy in Policy::ALL {
        let mut config = Config::default();
        config.policies.set(FindingKind::StateMismatch, policy);
        let mut checks = Checks::with(config, healthy());
        let mut page = stored(&checks.cluster);
        row(&mut page).worker = worker_id("b");
        checks.page = Some(page);
        for _ in 0..5 {
            checks.next();
        }
        let expected: &[Repair] = if policy == Policy::Repair {
            &[restore()]
        } else {
            &[]
        };
        assert_eq!(checks.repairs(), expected, "{policy:?}");
    }
}

#[test]
fn a_database_that_does_not_answer_says_nothing_about_agreement() {
    let (told, mut checks) = found(|page| row(page).worker = worker_id("b"));
    assert_eq!(told.len(), 1);
    let mut failed = 0;
    for _ in 0..2_000 {
        checks.now = checks
            .checker
            .next_deadline()
            .unwrap()
            .as_ms()
            .max(checks.now + 1);
        for command in checks.checker.handle(at(checks.now), Event::Tick) {
            match command {
                Command::ReadStored(Part { ticket, .. }) => {
                    failed += 1;
                    let outcome = Err("away".to_owned());
                    checks
                        .checker
                        .handle(at(checks.now), Event::Stored { ticket, outcome });
                }
                Command::Findings(findings) => panic!("{findings:?}"),
                Command::Checked(report) if failed > 0 => {
                    assert_eq!(report.database_error.as_deref(), Some("away"));
                }
                _ => {}
            }
        }
        if failed == 3 {
            return;
        }
    }
    panic!("it does not ask again");
}

#[test]
fn what_is_confirmed_is_certain_while_it_lasts() {
    let (told, checks) = found(|page| page.streams[0].weight = 9.0);
    assert_eq!(told, ["spec_mismatch s1 -"]);
    assert!(
        !checks.checker.checks.unsure,
        "whoever waits for certainty would wait for ever"
    );
    let mut checks = Checks::of(healthy());
    let mut page = stored(&checks.cluster);
    page.streams[0].weight = 9.0;
    checks.page = Some(page);
    checks.next();
    checks.checker.report(&mut Vec::new());
    assert!(checks.checker.checks.unsure, "one look is none");
}

#[test]
fn who_waits_for_a_check_is_not_kept_waiting() {
    let mut checks = Checks::of(healthy());
    let begin = checks.now;
    assert_eq!(checks.checker.handle(at(checks.now), Event::Check), []);
    checks.next();
    checks.next();
    assert!(checks.now - begin < 3_000, "{}", checks.now - begin);
    let before = checks.now;
    checks.next();
    assert!(
        checks.now - before > 3_000,
        "from then on it takes its time again"
    );
}
