//! What moves of running streams promise.

use streamkeeper_protocol::{Ownership, RunState};

use super::*;
use crate::migration::{Migration, State, Way};

fn propose(world: &mut World, streams: &[&str], to: &str, reason: MoveReason) {
    let proposal = |stream: &&str| Proposal {
        stream: id(stream),
        planned_on: Some(world.rows[&id(stream)].epoch),
        to: worker(to),
        reason,
    };
    let proposals = streams.iter().map(proposal).collect();
    world.send(Event::Propose(proposals));
}

/// Stream s1 is on its way from a to b, where it does not run yet.
fn moving_world() -> World {
    let mut world = running_world();
    world.make("b", "s1", Some(RunState::Starting));
    propose(&mut world, &["s1"], "b", MoveReason::Balance);
    world.assert_runs("s1", &["a", "b"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("a"), "nothing is stored yet");
    assert_eq!(world.state("s1"), StreamState::Moving);
    world
}

fn wait(world: &mut World, ms: u64) {
    world.now += ms;
    world.send(Event::Tick);
}

#[track_caller]
fn ended(world: &World, state: State) -> Migration {
    assert_eq!(world.cluster().migrations.active().count(), 0);
    let last = world.cluster().migrations.recent().next_back().unwrap().clone();
    assert_eq!(last.state, state, "{last:?}");
    last
}

#[test]
fn an_available_stream_runs_on_until_its_target_runs() {
    let mut world = moving_world();
    world.make("b", "s1", None);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("b"));
    assert_eq!(world.state("s1"), StreamState::Running);
    let now = world.cluster().migrations.of(&id("s1")).unwrap();
    assert_eq!(now.state, State::Verifying);
    wait(&mut world, 5_001);
    let last = ended(&world, State::Done);
    assert_eq!((last.way, last.gap), (Way::MakeBeforeBreak, None));
    assert!(last.overlap.is_some());
    assert_eq!(
        world
            .starts
            .iter()
            .filter(|(stream, _)| *stream == id("s1"))
            .count(),
        2
    );
}

#[test]
fn a_move_to_where_the_stream_fails_is_undone_and_not_tried_again() {
    let mut world = moving_world();
    let epoch = world.rows[&id("s1")].epoch;
    world.make("b", "s1", Some(RunState::Failing));
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.rows[&id("s1")].epoch, epoch, "its copy was never touched");
    assert_eq!(world.state("s1"), StreamState::Running);
    assert!(
        ended(&world, State::RolledBack)
            .detail
            .unwrap()
            .contains("failed on b")
    );
    propose(&mut world, &["s1"], "b", MoveReason::Balance);
    world.assert_runs("s1", &["a"]);
    world.make("b", "s1", None);
    propose(&mut world, &["s1"], "b", MoveReason::Asked);
    world.assert_runs("s1", &["b"]);
}

#[test]
fn a_target_that_does_not_start_in_time_loses_the_move() {
    let mut world = moving_world();
    wait(&mut world, 29_000);
    world.assert_runs("s1", &["a", "b"]);
    wait(&mut world, 1_500);
    world.assert_runs("s1", &["a"]);
    ended(&world, State::RolledBack);
}

#[test]
fn a_move_that_is_not_stored_ends_with_the_overlap_limit() {
    let mut world = moving_world();
    world.away = true;
    world.make("b", "s1", None);
    for _ in 0..9 {
        wait(&mut world, 1_000);
        world.assert_runs("s1", &["a", "b"]);
    }
    wait(&mut world, 2_000);
    world.assert_runs("s1", &["a"]);
    ended(&world, State::RolledBack);
    world.away = false;
    wait(&mut world, 2_000);
    assert_eq!(world.rows[&id("s1")].worker, worker("a"));
    assert_eq!(world.state("s1"), StreamState::Running);
}

#[test]
fn a_new_leader_goes_on_with_the_move() {
    let mut world = moving_world();
    let starts = world.starts.len();
    world.restart();
    world.beat("a");
    world.beat("b");
    world.assert_runs("s1", &["a", "b"]);
    world.make("b", "s1", None);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("b"));
    assert_eq!(world.starts.len(), starts, "nothing was started again");
}

#[test]
fn a_new_leader_keeps_the_source_until_the_row_names_the_target() {
    let mut world = moving_world();
    world.restart();
    world.beat("a");
    // The old leader's last word: it runs on b, and nobody has heard of it.
    world.workers.get_mut(&worker("b")).unwrap().states.clear();
    world.broken.push_back(Persisted::Failed {
        reason: "away".into(),
    });
    world.beat("b");
    world.assert_runs("s1", &["a", "b"]);
    wait(&mut world, 1_100);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("b"));
}

#[test]
fn whoever_dies_in_mid_move_the_other_one_has_it() {
    let mut world = moving_world();
    world.workers.remove(&worker("b"));
    world.judge("b", 2, Availability::Dead);
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.state("s1"), StreamState::Running);
    ended(&world, State::RolledBack);

    let mut world = moving_world();
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.rows[&id("s1")].worker, worker("b"));
    world.make("b", "s1", None);
    assert_eq!(world.state("s1"), StreamState::Running);

    let mut world = moving_world();
    for (name, session) in [("a", 1), ("b", 2)] {
        world.workers.remove(&worker(name));
        world.judge(name, session, Availability::Dead);
    }
    world.join("c", 3);
    world.place_all("c");
    world.assert_runs("s1", &["c"]);
}

#[test]
fn a_stream_that_fails_soon_after_its_move_goes_back() {
    let mut world = moving_world();
    world.make("b", "s1", None);
    world.make("b", "s1", Some(RunState::Failing));
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.cluster().streams[&id("s1")].reason, MoveReason::RolledBack);
    wait(&mut world, 5_001);
    let last = ended(&world, State::Done);
    assert_eq!(
        (last.way, last.reason),
        (Way::BreakBeforeMake, MoveReason::RolledBack)
    );

    // One that fails everywhere is moved to and fro once.
    world.make("a", "s1", Some(RunState::Failing));
    let starts = world.starts.len();
    wait(&mut world, 60_000);
    assert_eq!(world.starts.len(), starts);
}

#[test]
fn a_stream_that_is_switched_off_in_mid_move_stops_on_both() {
    let mut world = moving_world();
    world.send(Event::Apply {
        request: 2,
        change: ApplyStreams {
            enable: vec![(id("s1"), false)],
            ..ApplyStreams::default()
        },
    });
    world.assert_runs("s1", &[]);
    assert_eq!(world.state("s1"), StreamState::Disabled);
    assert!(!world.rows.contains_key(&id("s1")));
    ended(&world, State::Cancelled);
}

#[test]
fn a_spec_that_changes_in_mid_move_reaches_the_target() {
    let mut world = moving_world();
    let starts = world.starts.len();
    world.send(Event::Apply {
        request: 2,
        change: ApplyStreams {
            streams: vec![StreamSpec::new(id("s1"), "http://other")],
            ..ApplyStreams::default()
        },
    });
    world.assert_runs("s1", &["a", "b"]);
    world.make("b", "s1", None);
    world.assert_runs("s1", &["b"]);
    assert_eq!(
        world.starts.len(),
        starts + 1,
        "it was started anew with the new spec"
    );
}

#[test]
fn an_exclusive_stream_stops_first_and_its_gap_is_measured() {
    let mut world = running_world();
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.deaf.insert(worker("b"));
    propose(&mut world, &["x"], "b", MoveReason::Drain);
    world.assert_runs("x", &[]);
    world.now += 700;
    world.deaf.clear();
    world.beat("b");
    world.assert_runs("x", &["b"]);
    wait(&mut world, 5_001);
    let last = ended(&world, State::Done);
    assert_eq!(last.way, Way::BreakBeforeMake);
    assert!(last.gap.unwrap() >= Duration::from_millis(700));
}

#[test]
fn no_worker_gives_or_gets_too_much_at_once() {
    let mut world = World::new();
    world.join("a", 1);
    let names: Vec<String> = (0..12).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.declare(&names);
    world.place_all("a");
    for (name, session) in [("b", 2), ("c", 3)] {
        world.join(name, session);
        for stream in &names {
            world.make(name, stream, Some(RunState::Starting));
        }
    }
    propose(&mut world, &names[..3], "b", MoveReason::Balance);
    propose(&mut world, &names[3..], "c", MoveReason::Balance);
    let moving = |to: &str| {
        let active = world.cluster().migrations.active();
        active.filter(|migration| migration.to == worker(to)).count()
    };
    assert_eq!(
        (moving("b"), moving("c")),
        (3, 1),
        "four leave one worker at once"
    );
}
