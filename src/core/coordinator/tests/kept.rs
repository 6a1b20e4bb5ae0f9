//! What a leader acknowledged, and what it learned, is known to the next one.

use streamkeeper_protocol::RunState;

use super::*;
use crate::migration::State;
use crate::request::Order;

const STREAMS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];

/// Six streams on a. They only begin to start on b.
fn crowded_world() -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&STREAMS);
    world.place_all("a");
    for stream in STREAMS {
        world.make("b", stream, Some(RunState::Starting));
    }
    world
}

fn ask(world: &mut World, streams: &[&str], to: &str) {
    let order = |stream: &&str| Order::Move {
        stream: id(stream),
        to: worker(to),
    };
    let change = ApplyStreams {
        orders: streams.iter().map(order).collect(),
        ..ApplyStreams::default()
    };
    world.replies.clear();
    world.send(Event::Apply { request: 7, change });
    world.replies.pop().unwrap().unwrap();
}

/// Time passes, and workers go on telling what they tell.
fn wait(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.now += 1_000;
        world.send(Event::Tick);
        for name in ["a", "b"] {
            world.beat(name);
        }
    }
}

fn stored(world: &World) -> Vec<String> {
    let moves = world.kept.moves.iter();
    moves
        .map(|open| format!("{} to {}", open.stream, open.to))
        .collect()
}

#[test]
fn moves_that_were_acknowledged_are_made_by_the_next_leader() {
    let mut world = crowded_world();
    ask(&mut world, &STREAMS, "b");
    assert_eq!(stored(&world), STREAMS.map(|stream| format!("{stream} to b")));
    assert_eq!(world.cluster().migrations.active().count(), 4);
    world.restart();
    assert_eq!(
        world.cluster().migrations.planned().count(),
        6,
        "nothing is forgotten"
    );
    for stream in STREAMS {
        world.make("b", stream, None);
    }
    wait(&mut world, 25);
    for stream in STREAMS {
        world.assert_runs(stream, &["b"]);
    }
    assert_eq!(world.cluster().migrations.planned().count(), 0);
    assert!(stored(&world).is_empty(), "{:?}", stored(&world));

    // Whatever the next leader finds, it asks for nothing more.
    let starts = world.starts.len();
    world.restart();
    wait(&mut world, 25);
    assert_eq!(world.starts.len(), starts);
}

#[test]
fn a_move_that_was_given_up_is_begun_by_nobody() {
    let mut world = crowded_world();
    ask(&mut world, &STREAMS, "b");
    let change = ApplyStreams {
        delete: vec![id("s6")],
        ..ApplyStreams::default()
    };
    world.send(Event::Apply { request: 7, change });
    wait(&mut world, 3);
    assert!(
        !stored(&world).contains(&"s6 to b".to_owned()),
        "{:?}",
        stored(&world)
    );
    world.restart();
    let mut planned = world.cluster().migrations.planned();
    assert!(planned.all(|migration| migration.stream != id("s6")));
}

#[test]
fn a_transaction_that_fails_stores_no_move_and_loses_no_end() {
    let mut world = crowded_world();
    ask(&mut world, &["s1"], "b");
    world.make("b", "s1", None);
    wait(&mut world, 4);
    world.assert_runs("s1", &["b"]);
    // The end of the move falls into a transaction that fails.
    let reason = "disk full".to_owned();
    world.broken.push_back(Persisted::Failed { reason });
    wait(&mut world, 20);
    assert!(world.broken.is_empty());
    assert!(stored(&world).is_empty(), "{:?}", stored(&world));
    assert_eq!(world.kept.ended.len(), 1);

    let reason = "disk full".to_owned();
    world.broken.push_back(Persisted::Failed { reason });
    let change = ApplyStreams {
        orders: vec![Order::Move {
            stream: id("s2"),
            to: worker("b"),
        }],
        ..ApplyStreams::default()
    };
    world.replies.clear();
    world.send(Event::Apply { request: 7, change });
    assert!(matches!(world.replies.pop(), Some(Err(ApplyError::Store(_)))));
    wait(&mut world, 12);
    assert!(
        stored(&world).is_empty(),
        "its caller was told that it is not made"
    );
}

#[test]
fn moves_that_ended_are_shown_by_the_next_leader_once() {
    let mut world = crowded_world();
    ask(&mut world, &["s1"], "b");
    world.make("b", "s1", None);
    wait(&mut world, 30);
    for _ in 0..2 {
        world.restart();
        wait(&mut world, 1);
        let recent: Vec<_> = world.cluster().migrations.recent().collect();
        let [one] = recent[..] else {
            panic!("{recent:?}");
        };
        assert_eq!(
            (one.stream.as_str(), one.to.as_str(), one.state),
            ("s1", "b", State::Done)
        );
        assert_eq!(one.reason, MoveReason::Asked);
        assert!(one.overlap.is_some() && one.earlier.is_some(), "{one:?}");
    }
}

#[test]
fn a_stream_that_is_left_alone_is_left_alone_by_the_next_leader() {
    let mut world = running_world();
    for name in ["a", "b"] {
        world.make(name, "s1", Some(RunState::Failing));
    }
    wait(&mut world, 90);
    assert_eq!(world.kept.quarantines.len(), 1);
    let starts = world.starts.len();
    let before = world.cluster().quarantined[&id("s1")].clone();
    world.restart();
    let after = &world.cluster().quarantined[&id("s1")];
    assert_eq!(after.tried, before.tried);
    wait(&mut world, 200);
    assert_eq!(world.starts.len(), starts, "it is tried on nobody again");
    assert!(!world.cluster().quarantined.is_empty());
    world.make("b", "s1", None);
    wait(&mut world, 30);
    assert!(world.cluster().quarantined.is_empty(), "it runs");
    assert!(world.kept.quarantines.is_empty());
}
