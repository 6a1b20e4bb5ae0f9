//! Exclusive streams: nobody gets one while somebody else may still run it.

use streamkeeper_protocol::Ownership;

use super::world::{World, id, worker};
use super::*;
use crate::cluster::{MoveReason, StreamState};
use crate::record::Persisted;

/// What the leader waits for after the last heartbeat that it answered: 15 s, 1 % and half a second, with some air.
const LEASE_MS: u64 = 15_700;

fn exclusive_world() -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.assert_runs("x", &["a"]);
    world
}

impl World {
    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.send(Event::Tick);
    }
}

#[test]
fn a_silent_owner_keeps_its_stream_until_its_lease_is_over() {
    let mut world = exclusive_world();
    world.deaf.insert(worker("a"));
    world.judge("a", 1, Availability::Lost);
    world.pass(10_000);
    world.place_all("b");
    assert_eq!(world.state("x"), StreamState::Waiting);
    world.assert_runs("x", &["a"]);
    let due = world.coordinator.as_ref().unwrap().next_deadline();
    assert!(
        due.is_some_and(|at| at.as_ms() <= world.now + 6_000),
        "it wakes up by itself"
    );
    world.pass(5_700);
    assert_eq!(world.state("x"), StreamState::Orphaned);
    world.workers.get_mut(&worker("a")).unwrap().running.clear();
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn an_owner_that_is_heard_again_keeps_its_stream() {
    let mut world = exclusive_world();
    world.judge("a", 1, Availability::Lost);
    world.pass(10_000);
    world.judge("a", 1, Availability::Alive);
    world.beat("a");
    world.pass(LEASE_MS - 1_000);
    assert_eq!(world.state("x"), StreamState::Running);
    let starts = world.starts.len();
    world.place_all("b");
    assert_eq!(world.starts.len(), starts);
}

#[test]
fn proof_of_death_waits_for_no_lease() {
    let mut world = exclusive_world();
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn a_new_life_of_the_worker_does_not_inherit_the_stream_of_a_silent_one() {
    let mut world = exclusive_world();
    world.judge("a", 1, Availability::Lost);
    world.join("a", 3);
    world.place_all("b");
    assert_eq!(world.starts.len(), 1);
    world.pass(LEASE_MS);
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn after_a_takeover_nobody_gets_an_exclusive_stream_before_every_lease_is_over() {
    let mut world = exclusive_world();
    world.restart();
    world.beat("b");
    // The owner is up and says that it does not run it; somebody else may all the same.
    world.workers.get_mut(&worker("a")).unwrap().running.clear();
    world.workers.get_mut(&worker("a")).unwrap().version += 1;
    world.beat("a");
    assert_eq!(world.state("x"), StreamState::Orphaned);
    world.place_all("a");
    world.place_all("b");
    assert_eq!(world.starts.len(), 1);
    world.pass(LEASE_MS);
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn a_moved_exclusive_stream_is_wanted_nowhere_while_the_move_is_stored() {
    let mut world = exclusive_world();
    let epoch = world.rows[&id("x")].epoch;
    world.deaf.insert(worker("a"));
    world.send(Event::Propose(vec![Proposal {
        stream: id("x"),
        planned_on: Some(epoch),
        to: worker("b"),
        reason: MoveReason::Balance,
    }]));
    // Not confirmed: nothing is granted.
    assert_eq!(world.rows[&id("x")].epoch, epoch);
    world.assert_runs("x", &["a"]);
    world.deaf.clear();
    world
        .broken
        .push_back(Persisted::Ambiguous { reason: "cut".into() });
    world.beat("a");
    world.beat("a");
    assert_eq!(
        world.starts.len(),
        1,
        "after an ambiguous commit nothing is granted"
    );
    world.assert_runs("x", &[]);
    world.beat("b");
    world.pass(LEASE_MS);
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn an_available_stream_never_becomes_exclusive_under_its_name() {
    let mut world = World::new();
    world.declare(&["s"]);
    world.declare_as(&["s"], Ownership::Exclusive);
    let refused = world.replies.pop().unwrap().unwrap_err();
    assert!(refused.to_string().contains("another name"), "{refused}");
    world.declare_as(&["x"], Ownership::Exclusive);
    world.declare(&["x"]);
    assert!(world.replies.pop().unwrap().is_ok());
}
