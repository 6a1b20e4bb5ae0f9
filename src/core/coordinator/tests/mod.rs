//! What the coordinator promises, against a small world.

mod asked;
mod blame;
mod guarantees;
mod kept;
mod lead;
mod leases;
mod moves;
mod orders;
mod outages;
mod owner_lost;
mod performance;
mod recover;
mod repairs;
mod rest;
mod restored;
mod returns;
mod silence;
mod world;

use super::*;
use crate::cluster::MoveReason;
use crate::cluster::StreamState;
use crate::record::Persisted;
use crate::request::ApplyError;
use crate::request::ApplyStreams;
use crate::spec::StreamSpec;
use world::{World, id, worker};

fn running_world() -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s1", "s2"]);
    world.place_all("a");
    world.assert_runs("s1", &["a"]);
    world
}

#[test]
fn a_declared_stream_is_stored_before_it_is_acknowledged_and_runs() {
    let world = running_world();
    assert_eq!(world.replies.len(), 1);
    assert_eq!(world.replies[0].as_ref().unwrap().created, [id("s1"), id("s2")]);
    assert_eq!(world.streams.len(), 2);
    assert_eq!(world.state("s1"), StreamState::Running);
}

#[test]
fn a_restart_of_the_orchestrator_touches_no_stream() {
    let mut world = running_world();
    let starts = world.starts.clone();
    for _ in 0..3 {
        world.restart();
        world.beat("a");
        world.beat("b");
        assert_eq!(world.state("s1"), StreamState::Running);
        world.assert_runs("s1", &["a"]);
    }
    assert_eq!(world.starts, starts, "nothing was started again");
}

#[test]
fn the_streams_of_a_dead_worker_run_elsewhere_under_a_higher_epoch() {
    let mut world = running_world();
    let before = world.rows[&id("s1")].epoch;
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    assert_eq!(world.state("s1"), StreamState::Orphaned);
    world.place_all("b");
    world.assert_runs("s1", &["b"]);
    assert!(world.rows[&id("s1")].epoch > before);
}

#[test]
fn a_worker_that_was_only_silent_stops_what_was_replaced() {
    let mut world = running_world();
    world.deaf.insert(worker("a"));
    world.judge("a", 1, Availability::Lost);
    world.place_all("b");
    world.assert_runs("s1", &["a", "b"]);
    world.deaf.clear();
    world.judge("a", 1, Availability::Alive);
    world.beat("a");
    world.assert_runs("s1", &["b"]);
}

#[test]
fn a_lost_worker_that_still_hears_is_not_told_to_stop_before_the_replacement_is_stored() {
    let mut world = running_world();
    world.judge("a", 1, Availability::Lost);
    world.broken.push_back(Persisted::Failed {
        reason: "database away".into(),
    });
    world.place_all("b");
    world.beat("a");
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_worker_that_comes_back_in_time_keeps_its_streams() {
    let mut world = running_world();
    let starts = world.starts.clone();
    world.judge("a", 1, Availability::Lost);
    world.judge("a", 1, Availability::Alive);
    world.beat("a");
    assert_eq!(world.state("s1"), StreamState::Running);
    assert_eq!(world.starts, starts);
}

#[test]
fn silence_within_the_grace_orphans_nothing_and_proof_does() {
    let mut world = running_world();
    world.restart();
    world.judge("a", 1, Availability::Lost);
    assert_eq!(world.state("s1"), StreamState::Starting);
    world.now += 20_000;
    world.send(Event::Tick);
    assert_eq!(world.state("s1"), StreamState::Orphaned, "after the grace");

    let mut world = running_world();
    world.restart();
    world.judge("a", 1, Availability::Dead);
    assert_eq!(world.state("s1"), StreamState::Orphaned, "on proof");
}

#[test]
fn a_second_live_process_is_refused_until_the_first_is_dead() {
    let mut world = running_world();
    let first = world.workers.remove(&worker("a")).unwrap();
    world.join("a", 9);
    assert_eq!(world.rivals, 1);
    assert_eq!(
        world.state("s1"),
        StreamState::Running,
        "the first one keeps its streams"
    );
    world.judge("a", first.session.as_u128(), Availability::Dead);
    world.beat("a");
    world.place_all("a");
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_planned_move_stops_before_it_starts() {
    let mut world = running_world();
    let planned_on = Some(world.rows[&id("s1")].epoch);
    let proposal = Proposal {
        stream: id("s1"),
        planned_on,
        to: worker("b"),
        reason: MoveReason::Balance,
    };
    world.send(Event::Propose(vec![proposal.clone()]));
    world.assert_runs("s1", &["b"]);
    world.assert_runs("s2", &["a"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("b"));
    let starts = world.starts.len();
    world.send(Event::Propose(vec![Proposal {
        to: worker("a"),
        ..proposal
    }]));
    assert_eq!(
        world.starts.len(),
        starts,
        "a plan made on an older epoch is refused"
    );
}

#[test]
fn a_failed_transaction_grants_nothing_and_is_tried_again() {
    let mut world = running_world();
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.broken.push_back(Persisted::Failed {
        reason: "disk full".into(),
    });
    world.place_all("b");
    world.assert_runs("s1", &[]);
    assert_eq!(world.state("s1"), StreamState::Orphaned);
    world.now += 2_000;
    world.send(Event::Tick);
    world.place_all("b");
    world.assert_runs("s1", &["b"]);
}

#[test]
fn an_ambiguous_commit_is_read_again_under_a_higher_term() {
    let mut world = running_world();
    let term = world.cluster().leadership.term;
    world.broken.push_back(Persisted::Ambiguous {
        reason: "connection lost".into(),
    });
    world.declare(&["s3"]);
    assert!(matches!(
        world.replies.last(),
        Some(Err(ApplyError::Ambiguous(_)))
    ));
    assert!(world.cluster().leadership.term > term);
    world.beat("a");
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.state("s1"), StreamState::Running);
}

#[test]
fn a_deleted_stream_stops_and_leaves_no_row() {
    let mut world = running_world();
    let change = ApplyStreams {
        delete: vec![id("s1")],
        ..ApplyStreams::default()
    };
    world.send(Event::Apply { request: 2, change });
    world.assert_runs("s1", &[]);
    assert!(!world.cluster().streams.contains_key(&id("s1")));
    assert!(!world.rows.contains_key(&id("s1")));
    world.assert_runs("s2", &["a"]);
}

#[test]
fn a_changed_source_restarts_the_stream_where_it_is() {
    let mut world = running_world();
    let before = world.rows[&id("s1")].epoch;
    let streams = vec![StreamSpec::new(id("s1"), "http://elsewhere")];
    world.send(Event::Apply {
        request: 2,
        change: ApplyStreams {
            streams,
            ..ApplyStreams::default()
        },
    });
    world.assert_runs("s1", &["a"]);
    assert!(world.rows[&id("s1")].epoch > before);
}

#[test]
fn a_worker_that_knows_a_higher_term_makes_the_leader_retake_above_it() {
    let mut world = running_world();
    let mut heartbeat = world.report(&worker("a")).unwrap();
    heartbeat.highest_term = Term::new(500).unwrap();
    world.send(Event::Heartbeat(Box::new(heartbeat)));
    assert!(world.cluster().leadership.term.get() > 500);
    world.beat("a");
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_failover_is_told_with_the_time_from_the_loss_until_it_runs() {
    let mut world = running_world();
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.now += 500;
    world.place_all("b");
    let after: Vec<_> = world
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::FailedOver { after, .. } => Some(after.as_millis()),
            _ => None,
        })
        .collect();
    assert_eq!(after.len(), 2, "{:?}", world.notices);
    assert!(after.iter().all(|ms| (500..520).contains(ms)), "{after:?}");
    let before = world.notices.len();
    world.restart();
    world.beat("b");
    let later = &world.notices[before..];
    assert!(
        !later
            .iter()
            .any(|notice| matches!(notice, Notice::Assigned { .. } | Notice::FailedOver { .. }))
    );
}

#[test]
fn a_restart_stops_and_starts_a_stream_where_it_is_under_a_new_epoch() {
    let mut world = running_world();
    let before = world.starts.len();
    let epoch = world.rows[&id("s1")].epoch;
    world.send(Event::Apply {
        request: 7,
        change: ApplyStreams {
            restart: vec![id("s1")],
            ..ApplyStreams::default()
        },
    });
    assert_eq!(
        world.replies.last().unwrap().as_ref().unwrap().restarted,
        [id("s1")]
    );
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.starts.len(), before + 1);
    assert!(world.rows[&id("s1")].epoch > epoch);
    world.send(Event::Apply {
        request: 8,
        change: ApplyStreams {
            restart: vec![id("nobody")],
            ..ApplyStreams::default()
        },
    });
    assert_eq!(
        world.replies.last(),
        Some(&Err(ApplyError::Unknown(id("nobody"))))
    );
}

#[test]
fn a_stream_is_switched_off_and_on_without_naming_anything_else() {
    let mut world = running_world();
    for (enabled, on) in [(false, &[][..]), (true, &["a"][..])] {
        world.send(Event::Apply {
            request: 7,
            change: ApplyStreams {
                enable: vec![(id("s1"), enabled)],
                ..ApplyStreams::default()
            },
        });
        assert_eq!(
            world.replies.last().unwrap().as_ref().unwrap().changed,
            [id("s1")]
        );
        world.place_all("a");
        world.assert_runs("s1", on);
        assert_eq!(&*world.streams[&id("s1")].source, "http://source");
    }
}

#[test]
fn a_worker_that_is_gone_for_long_and_owns_nothing_is_forgotten() {
    let mut world = running_world();
    world.judge("b", 2, Availability::Lost);
    world.judge("a", 1, Availability::Dead);
    world.now += 600_001;
    world.send(Event::Tick);
    assert!(!world.cluster().workers.contains_key(&worker("b")));
    assert!(
        !world.cluster().workers.contains_key(&worker("a")),
        "its streams are orphans, not its own"
    );
    assert_eq!(world.state("s1"), StreamState::Orphaned);
    world.join("b", 3);
    world.place_all("b");
    world.assert_runs("s1", &["a", "b"]);
}
