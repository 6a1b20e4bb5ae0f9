//! Moves that were asked for and acknowledged: each begins when it can, or says why it did not.

use streamkeeper_protocol::RunState;

use super::*;
use crate::migration::{Migration, State};
use crate::request::Order;

const STREAMS: [&str; 6] = ["s1", "s2", "s3", "s4", "s5", "s6"];

/// Six streams on a. They start on b when `starts`, else only begin to.
fn crowded_world(starts: bool) -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&STREAMS);
    world.place_all("a");
    if !starts {
        for stream in STREAMS {
            world.make("b", stream, Some(RunState::Starting));
        }
    }
    world
}

fn apply(world: &mut World, change: ApplyStreams) -> Result<(), ApplyError> {
    world.replies.clear();
    world.send(Event::Apply { request: 7, change });
    world.replies.pop().unwrap().map(drop)
}

fn ask(world: &mut World, streams: &[&str]) -> Result<(), ApplyError> {
    let order = |stream: &&str| Order::Move {
        stream: id(stream),
        to: worker("b"),
    };
    let orders = streams.iter().map(order).collect();
    apply(
        world,
        ApplyStreams {
            orders,
            ..ApplyStreams::default()
        },
    )
}

fn wait(world: &mut World, ms: u64) {
    world.now += ms;
    world.send(Event::Tick);
}

fn planned(world: &World) -> Vec<String> {
    let planned = world.cluster().migrations.planned();
    planned
        .map(|migration| {
            assert_eq!(migration.state, State::Planned);
            migration.stream.to_string()
        })
        .collect()
}

#[track_caller]
fn ended(world: &World, stream: &str) -> Migration {
    let mut recent = world.cluster().migrations.recent().rev();
    let of = |migration: &&Migration| migration.stream == id(stream);
    recent.find(of).unwrap().clone()
}

#[test]
fn more_than_there_is_room_for_are_moved_a_few_at_a_time() {
    let mut world = crowded_world(false);
    ask(&mut world, &STREAMS).unwrap();
    assert_eq!(world.cluster().migrations.active().count(), 4);
    assert_eq!(planned(&world), ["s5", "s6"]);
    for stream in STREAMS {
        world.make("b", stream, None);
    }
    wait(&mut world, 600);
    assert_eq!(planned(&world), Vec::<String>::new());
    for stream in STREAMS {
        world.assert_runs(stream, &["b"]);
    }
}

#[test]
fn one_that_never_finds_room_is_given_up_and_says_why() {
    let mut world = crowded_world(false);
    ask(&mut world, &STREAMS).unwrap();
    let cordon = Order::Cordon {
        worker: worker("b"),
        reason: String::new(),
    };
    let change = ApplyStreams {
        orders: vec![cordon],
        ..ApplyStreams::default()
    };
    apply(&mut world, change).unwrap();
    wait(&mut world, 29_000);
    assert_eq!(planned(&world), ["s5", "s6"]);
    wait(&mut world, 2_000);
    assert_eq!(planned(&world), Vec::<String>::new());
    let last = ended(&world, "s5");
    assert_eq!(last.state, State::Cancelled);
    let detail = last.detail.unwrap();
    assert!(detail.contains("worker b takes no streams"), "{detail}");
    world.assert_runs("s5", &["a"]);
}

#[test]
fn what_is_declared_no_more_moves_no_more() {
    let mut world = crowded_world(false);
    ask(&mut world, &STREAMS).unwrap();
    let change = ApplyStreams {
        delete: vec![id("s6")],
        ..ApplyStreams::default()
    };
    apply(&mut world, change).unwrap();
    wait(&mut world, 600);
    wait(&mut world, 600);
    assert_eq!(planned(&world), ["s5"]);
    assert!(ended(&world, "s6").detail.unwrap().contains("run no more"));
}

#[test]
fn the_last_that_was_asked_counts() {
    let mut world = crowded_world(false);
    world.join("c", 3);
    ask(&mut world, &STREAMS).unwrap();
    let to_c = Order::Move {
        stream: id("s6"),
        to: worker("c"),
    };
    let change = ApplyStreams {
        orders: vec![to_c],
        ..ApplyStreams::default()
    };
    apply(&mut world, change).unwrap();
    for stream in STREAMS {
        world.make("b", stream, None);
    }
    for _ in 0..20 {
        wait(&mut world, 600);
    }
    world.assert_runs("s5", &["b"]);
    world.assert_runs("s6", &["c"]);
}

#[test]
fn more_than_can_wait_are_refused() {
    let mut world = crowded_world(true);
    let many: Vec<&str> = std::iter::repeat_n("s1", 10_001).collect();
    let Err(ApplyError::Impossible(detail)) = ask(&mut world, &many) else {
        panic!("they were not refused");
    };
    assert!(detail.contains("10001 more are asked for"), "{detail}");
    world.assert_runs("s1", &["a"]);
}

fn pin(world: &mut World, stream: &str, to: Option<&str>) -> Result<(), ApplyError> {
    let change = ApplyStreams {
        pin: vec![(id(stream), to.map(worker))],
        ..ApplyStreams::default()
    };
    apply(world, change)
}

#[test]
fn a_stream_that_is_pinned_moves_there_and_stays_when_it_is_unpinned() {
    let mut world = crowded_world(true);
    pin(&mut world, "s1", Some("b")).unwrap();
    wait(&mut world, 600);
    world.assert_runs("s1", &["b"]);
    let spec = |world: &World| world.cluster().streams[&id("s1")].spec.pin.clone();
    assert_eq!(spec(&world), Some(worker("b")));
    assert_eq!(
        pin(&mut world, "nothing", Some("b")),
        Err(ApplyError::Unknown(id("nothing")))
    );

    // Where it cannot go now it is pinned nevertheless, and runs on where it is.
    let cordon = Order::Cordon {
        worker: worker("a"),
        reason: String::new(),
    };
    let change = ApplyStreams {
        orders: vec![cordon],
        ..ApplyStreams::default()
    };
    apply(&mut world, change).unwrap();
    pin(&mut world, "s1", Some("a")).unwrap();
    wait(&mut world, 600);
    world.assert_runs("s1", &["b"]);
    assert_eq!(spec(&world), Some(worker("a")));
    assert_eq!(planned(&world), [""; 0]);
    pin(&mut world, "s1", None).unwrap();
    world.assert_runs("s1", &["b"]);
    assert_eq!(spec(&world), None);
}
