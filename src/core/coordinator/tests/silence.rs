//! A database that says nothing: available streams fail over without it, and its late answer counts.

use streamkeeper_protocol::Ownership;

use super::world::{World, id, worker};
use super::*;
use crate::cluster::StreamState;
use crate::record::{AssignmentWrite, Persisted};

/// A leader whose database says nothing, and which has just lost a worker with an available and an exclusive stream.
fn silent_world() -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s", "t"]);
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.silent = true;
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    // Of the three, one is on its way; the others wait behind it.
    world.place_all("b");
    world.now += 1_400;
    world.send(Event::Tick);
    assert!(
        world.workers[&worker("b")].running.is_empty(),
        "it may only be slow"
    );
    let waits_until = world.coordinator.as_ref().unwrap().next_deadline();
    assert!(waits_until <= Some(Timestamp::from_ms(world.now + 100)));
    world.now += 100;
    world.send(Event::Tick);
    world
}

#[test]
fn available_streams_do_not_wait_for_a_silent_database() {
    let world = silent_world();
    world.assert_runs("s", &["b"]);
    world.assert_runs("t", &["b"]);
    world.assert_runs("x", &[]);
    assert_eq!(
        world.rows[&id("s")].worker,
        worker("a"),
        "nothing is stored of it"
    );
    assert!(
        world.cluster().outage.is_some(),
        "readers see that nothing is stored"
    );
}

#[test]
fn whatever_a_silent_database_says_at_last_streams_run_on_and_are_stored() {
    let refused = Vec::new;
    let reason = String::new;
    for (outcome, stored) in [
        (Persisted::Committed { refused: refused() }, true),
        (Persisted::Failed { reason: reason() }, false),
        (Persisted::Ambiguous { reason: reason() }, true),
        (Persisted::Ambiguous { reason: reason() }, false),
    ] {
        let mut world = silent_world();
        let starts = world.starts.len();
        world.silent = false;
        let flying = world.unanswered.as_ref().unwrap().2.clone();
        assert!(!flying.is_empty());
        for write in flying.into_iter().filter(|_| stored) {
            let AssignmentWrite::Put { stream, assignment } = write else {
                panic!("{write:?}");
            };
            world.rows.insert(stream, assignment);
        }
        world.answer(outcome.clone());
        world.now += 20_000;
        for _ in 0..3 {
            world.try_again("b");
            world.beat("b");
        }
        for stream in ["s", "t"] {
            assert_eq!(world.rows[&id(stream)].worker, worker("b"), "{outcome:?}");
            assert_eq!(world.state(stream), StreamState::Running, "{outcome:?}");
            let again = world.starts[starts..]
                .iter()
                .filter(|start| start.0 == id(stream));
            assert_eq!(again.count(), 0, "{stream} runs on: {outcome:?}");
        }
        world.assert_runs("x", &["b"]);
        assert_eq!(world.cluster().outage, None, "{outcome:?}");
    }
}

#[test]
fn what_is_lost_while_the_database_is_silent_waits_no_more() {
    let mut world = silent_world();
    world.join("c", 3);
    world.beat("c");
    world.workers.remove(&worker("b"));
    world.judge("b", 2, Availability::Dead);
    world.place_all("c");
    world.assert_runs("s", &["c"]);
    world.assert_runs("x", &[]);
    // An answer ends the silence.
    world.silent = false;
    world.answer(Persisted::Failed {
        reason: "away".into(),
    });
    world.now += 20_000;
    world.try_again("c");
    assert_eq!(world.rows[&id("s")].worker, worker("c"));
    world.silent = true;
    world.workers.remove(&worker("c"));
    world.judge("c", 3, Availability::Dead);
    world.join("d", 4);
    world.beat("d");
    world.place_all("d");
    world.assert_runs("s", &[]);
}
