//! While the database is away: available streams fail over from memory, exclusive ones keep their owner.

use streamkeeper_protocol::Ownership;

use super::world::{World, id, worker};
use super::*;
use crate::cluster::StreamState;
use crate::record::Persisted;

impl World {
    fn database_fails(&mut self, times: usize) {
        for _ in 0..times {
            self.broken.push_back(Persisted::Failed {
                reason: "database away".into(),
            });
        }
    }

    fn try_again(&mut self, to: &str) {
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
