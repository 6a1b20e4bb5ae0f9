//! While the database is away: available streams fail over from memory, exclusive ones keep their owner.

use streamkeeper_protocol::{AssignKind, Ownership};

use super::world::{World, id, worker};
use super::*;
use crate::cluster::{MoveReason, Slot, StreamState};
use crate::record::Persisted;
use crate::request::ApplyError;

impl World {
    fn database_fails(&mut self, times: usize) {
        for _ in 0..times {
            self.broken.push_back(Persisted::Failed {
                reason: "database away".into(),
            });
        }
    }

    pub(super) fn try_again(&mut self, to: &str) {
        self.now += 2_000;
        self.send(Event::Tick);
        self.place_all(to);
    }
}

#[test]
fn an_available_stream_fails_over_from_memory_and_is_stored_when_the_database_is_back() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    let stored = world.rows[&id("s")].clone();
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.database_fails(3);
    world.place_all("b");
    world.assert_runs("s", &[]);
    world.try_again("b");
    world.assert_runs("s", &["b"]);
    assert_eq!(world.rows[&id("s")], stored, "the database knows nothing of it");
    world.beat("b");
    assert_eq!(world.state("s"), StreamState::Running);
    world.try_again("b");
    assert_eq!(world.rows[&id("s")], stored, "and refuses once more");
    let starts = world.starts.len();
    world.try_again("b");
    assert_eq!(world.rows[&id("s")].worker, worker("b"));
    assert_eq!(world.starts.len(), starts);
}

#[test]
fn a_successor_adopts_what_was_failed_over_from_memory() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.database_fails(2);
    world.place_all("b");
    world.try_again("b");
    world.assert_runs("s", &["b"]);
    let starts = world.starts.len();
    world.restart();
    world.beat("b");
    world.beat("b");
    assert_eq!(world.rows[&id("s")].worker, worker("b"));
    assert_eq!(world.state("s"), StreamState::Running);
    assert_eq!(world.starts.len(), starts, "it runs on");
}

#[test]
fn an_exclusive_stream_is_granted_only_when_it_is_stored() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.database_fails(5);
    world.place_all("b");
    for _ in 0..4 {
        world.try_again("b");
        world.assert_runs("x", &[]);
    }
    world.try_again("b");
    world.assert_runs("x", &["b"]);
}

/// A leader whose commit got no answer because the database went away with it.
fn doubtful_world() -> World {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s", "t"]);
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.broken.push_back(Persisted::Ambiguous {
        reason: "connection lost".into(),
    });
    world.away = true;
    world.declare(&["u"]);
    assert!(matches!(world.replies.pop(), Some(Err(ApplyError::Ambiguous(_)))));
    world
}

#[test]
fn after_a_commit_without_an_answer_the_leader_goes_on_from_memory() {
    let mut world = doubtful_world();
    world.beat("a");
    world.beat("b");
    assert_eq!(world.cluster().leadership.role, Role::Leading);
    assert_eq!(world.answers.last(), Some(&AssignKind::Current));
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    world.place_all("b");
    world.assert_runs("s", &["b"]);
    world.assert_runs("x", &[]);
    world.declare(&["v"]);
    assert!(matches!(world.replies.pop(), Some(Err(ApplyError::Store(_)))));

    let starts = world.starts.len();
    world.away = false;
    world.try_again("b");
    world.beat("b");
    world.beat("b");
    assert_eq!(
        world.rows[&id("s")].worker,
        worker("b"),
        "merged into what was stored"
    );
    assert_eq!(world.state("s"), StreamState::Running);
    assert_eq!(world.starts.len(), starts, "it runs on");
    world.now += 20_000;
    world.send(Event::Tick);
    world.place_all("b");
    world.assert_runs("x", &["b"]);
}

#[test]
fn while_the_fence_does_not_stand_leases_are_renewed_and_nothing_else() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.away = true;
    world.restart();
    world.answers.clear();
    for _ in 0..3 {
        world.beat("a");
    }
    assert!(
        world.answers.iter().all(|kind| *kind == AssignKind::LeaseOnly),
        "{:?}",
        world.answers
    );
    assert!(world.answers.len() >= 3);
    world.assert_runs("x", &["a"]);
    world.away = false;
    world.try_again("a");
    world.beat("a");
    assert_eq!(world.state("x"), StreamState::Running);
    assert_eq!(world.starts.len(), 1);
}

#[test]
fn a_grant_that_was_not_stored_ends_no_copy_that_is_found_later() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    let held = world.rows.remove(&id("s")).unwrap();
    world.restart();
    world.beat("b");
    world.database_fails(1);
    world.place_all("b");
    assert_eq!(world.state("s"), StreamState::Placing, "nothing is stored of it");
    world.beat("a");
    world.beat("a");
    world.assert_runs("s", &["a"]);
    world.try_again("b");
    assert_eq!(world.rows[&id("s")], held);
}

#[test]
fn what_waited_for_the_database_and_was_not_told_is_told_or_forgotten_in_doubt() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    world.judge("a", 1, Availability::Lost);
    world.silent = true;
    world.declare(&["t"]);
    world.place_all("b");
    world.assert_runs("s", &["a"]);
    world.deaf.insert(worker("a"));
    world.away = true;
    world.now += 10_000;
    world.send(Event::Tick);
    world.assert_runs("s", &["a", "b"]);
    (world.silent, world.away) = (false, false);
    world.try_again("b");
    world.deaf.clear();
    world.beat("a");
    world.beat("a");
    assert!(
        world.workers[&worker("b")].running.contains_key(&id("s")),
        "it is remembered where it runs"
    );

    // A move is not made in doubt: the stream is where the database says.
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    let row = world.rows[&id("s")].clone();
    world.silent = true;
    world.declare(&["t"]);
    world.send(Event::Propose(vec![Proposal {
        stream: id("s"),
        planned_on: Some(row.epoch),
        to: worker("b"),
        reason: MoveReason::Balance,
    }]));
    world.silent = false;
    world.now += 10_000;
    world.send(Event::Tick);
    let slot = &world.cluster().streams[&id("s")].slot;
    assert_eq!(slot.assignment(), Some(&row));
}

#[test]
fn an_adoption_that_a_later_grant_replaced_before_it_was_stored_is_not_taken_for_stored() {
    let mut world = World::new();
    world.join("a", 1);
    world.join("b", 2);
    world.declare(&["s"]);
    world.place_all("a");
    // A backup was restored.
    world.rows.clear();
    world.restart();
    world.now += 20_000;
    world.send(Event::Tick);
    world.silent = true;
    world.declare(&["t"]);
    world.beat("a");
    world.beat("a");
    world.beat("b");
    let adopted = world.cluster().streams[&id("s")].slot.clone();
    assert!(matches!(adopted, Slot::Held(_)), "{adopted:?}");
    world.deaf.insert(worker("a"));
    world.judge("a", 1, Availability::Lost);
    world.place_all("b");
    world.silent = false;
    world.database_fails(1);
    let refused = Vec::new();
    world.answer(Persisted::Committed { refused });
    world.deaf.clear();
    world.judge("a", 1, Availability::Alive);
    world.beat("a");
    world.assert_runs("s", &["a"]);
    assert_eq!(world.state("s"), StreamState::Orphaned, "it needs a fresh epoch");
    world.try_again("b");
    let slot = &world.cluster().streams[&id("s")].slot;
    assert_eq!(slot.assignment(), world.rows.get(&id("s")));
}

#[test]
fn what_is_stored_for_a_session_that_lost_its_seat_meanwhile_is_given_to_another() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare(&["s"]);
    world.silent = true;
    world.place_all("a");
    world.judge("a", 1, Availability::Lost);
    world.join("a", 2);
    world.silent = false;
    let refused = Vec::new();
    world.answer(Persisted::Committed { refused });
    assert_eq!(world.state("s"), StreamState::Orphaned);
    world.place_all("a");
    world.assert_runs("s", &["a"]);
    assert_eq!(world.state("s"), StreamState::Running);
}

#[test]
fn readers_see_since_when_nothing_is_stored_and_when_it_is_over() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare(&["s"]);
    let outage = |world: &World| world.cluster().outage.clone();
    assert_eq!(outage(&world), None);
    world.database_fails(2);
    world.place_all("a");
    let first = outage(&world).expect("the first failure is seen");
    assert_eq!(first.reason, "database away");
    world.try_again("a");
    assert_eq!(outage(&world).expect("it goes on").since, first.since);
    world.try_again("a");
    assert_eq!(outage(&world), None);
}
