//! What operators order, and what becomes of it under the next leader.

use streamkeeper_protocol::{Ownership, RunState};

use super::*;
use crate::cluster::DrainState;
use crate::directive::{Key, Kind};
use crate::request::Order;

fn order(world: &mut World, order: Order) -> Result<(), ApplyError> {
    world.replies.clear();
    world.send(Event::Apply {
        request: 7,
        change: ApplyStreams {
            orders: vec![order],
            ..ApplyStreams::default()
        },
    });
    world.replies.pop().unwrap().map(drop)
}

fn propose(world: &mut World, stream: &str, to: &str) {
    world.send(Event::Propose(vec![Proposal {
        stream: id(stream),
        planned_on: Some(world.rows[&id(stream)].epoch),
        to: worker(to),
        reason: MoveReason::Balance,
    }]));
}

fn wait(world: &mut World, times: usize) {
    for _ in 0..times {
        world.now += 600;
        world.send(Event::Tick);
    }
}

fn drain(world: &mut World, name: &str) -> Result<(), ApplyError> {
    let reason = "kernel update".to_owned();
    let worker = worker(name);
    order(world, Order::Drain { worker, reason })
}

#[test]
fn a_cordoned_worker_gets_nothing_and_keeps_what_it_has_under_the_next_leader_too() {
    let mut world = running_world();
    let reason = String::new();
    order(
        &mut world,
        Order::Cordon {
            worker: worker("b"),
            reason,
        },
    )
    .unwrap();
    for _ in 0..2 {
        propose(&mut world, "s1", "b");
        world.assert_runs("s1", &["a"]);
        world.restart();
        world.beat("a");
        world.beat("b");
        assert!(!world.cluster().workers[&worker("b")].takes_streams());
    }
    order(&mut world, Order::Uncordon { worker: worker("b") }).unwrap();
    propose(&mut world, "s1", "b");
    world.assert_runs("s1", &["b"]);
    assert!(world.directives.is_empty());
}

#[test]
fn a_drain_moves_everything_leaves_the_worker_cordoned_and_survives_the_leader() {
    let mut world = running_world();
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.make("b", "s1", Some(RunState::Starting));
    drain(&mut world, "a").unwrap();
    assert!(matches!(drain(&mut world, "a"), Err(ApplyError::Drains(_))));
    wait(&mut world, 1);
    world.restart();
    for name in ["a", "b", "a", "b"] {
        world.beat(name);
    }
    world.now += 20_000;
    world.send(Event::Tick);
    world.make("b", "s1", None);
    for _ in 0..20 {
        wait(&mut world, 1);
        world.beat("a");
        world.beat("b");
    }
    for stream in ["s1", "s2", "x"] {
        world.assert_runs(stream, &["b"]);
    }
    let drain = &world.cluster().drains[&worker("a")];
    assert_eq!((drain.state, drain.left.len()), (DrainState::Done, 0));
    let kinds: Vec<Kind> = world.directives.iter().map(|write| write.key().kind).collect();
    assert_eq!(
        kinds,
        [Kind::Cordon],
        "it stays out of use until somebody says otherwise"
    );
}

#[test]
fn a_drain_that_cannot_move_anything_is_refused_or_says_what_it_left() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare(&["s1", "s2"]);
    world.place_all("a");
    assert!(matches!(drain(&mut world, "a"), Err(ApplyError::Impossible(_))));
    assert!(matches!(
        drain(&mut world, "z"),
        Err(ApplyError::UnknownWorker(_))
    ));
    world.join("b", 2);
    let mut spec = StreamSpec::new(id("s2"), "http://source");
    spec.requires.insert("gpu".into(), "yes".into());
    world.send(Event::Apply {
        request: 1,
        change: ApplyStreams {
            streams: vec![spec],
            ..ApplyStreams::default()
        },
    });
    drain(&mut world, "a").unwrap();
    wait(&mut world, 10);
    world.assert_runs("s1", &["b"]);
    world.assert_runs("s2", &["a"]);
    let left = &world.cluster().drains[&worker("a")].left;
    assert_eq!(
        left.iter().map(|(stream, _)| stream.clone()).collect::<Vec<_>>(),
        [id("s2")]
    );
    order(&mut world, Order::Uncordon { worker: worker("a") }).unwrap();
    assert_eq!(world.cluster().drains[&worker("a")].state, DrainState::Cancelled);
    assert!(world.directives.is_empty());
}

#[test]
fn evening_out_is_paused_for_a_time_and_a_frozen_stream_stays() {
    let mut world = running_world();
    let pause = Order::Pause {
        reason: "on air".to_owned(),
        lasts: Duration::from_secs(60),
    };
    order(&mut world, pause).unwrap();
    propose(&mut world, "s1", "b");
    world.assert_runs("s1", &["a"]);
    assert!(matches!(
        order(&mut world, Order::Rebalance),
        Err(ApplyError::Impossible(_))
    ));
    let stream = id("s1");
    order(
        &mut world,
        Order::Move {
            stream,
            to: worker("b"),
        },
    )
    .unwrap();
    world.assert_runs("s1", &["b"]);
    world.now += 61_000;
    propose(&mut world, "s2", "b");
    world.assert_runs("s2", &["b"]);
    assert!(
        world
            .cluster()
            .directives
            .get(Timestamp::from_ms(world.now), &Key::pause())
            .is_none()
    );

    let reason = String::new();
    order(
        &mut world,
        Order::Freeze {
            stream: id("s2"),
            reason,
        },
    )
    .unwrap();
    propose(&mut world, "s2", "a");
    world.assert_runs("s2", &["b"]);
    order(&mut world, Order::Unfreeze { stream: id("s2") }).unwrap();
    propose(&mut world, "s2", "a");
    world.assert_runs("s2", &["a"]);
}

#[test]
fn a_move_that_cannot_be_made_says_why() {
    let mut world = running_world();
    let to_z = Order::Move {
        stream: id("s1"),
        to: worker("z"),
    };
    assert!(matches!(
        order(&mut world, to_z),
        Err(ApplyError::UnknownWorker(_))
    ));
    let unknown = Order::Move {
        stream: id("s9"),
        to: worker("b"),
    };
    assert!(matches!(order(&mut world, unknown), Err(ApplyError::Unknown(_))));
    let reason = String::new();
    order(
        &mut world,
        Order::Cordon {
            worker: worker("b"),
            reason,
        },
    )
    .unwrap();
    let cordoned = Order::Move {
        stream: id("s1"),
        to: worker("b"),
    };
    let Err(ApplyError::Impossible(text)) = order(&mut world, cordoned) else {
        panic!("it was not refused");
    };
    assert!(text.contains("takes no streams"), "{text}");
}
