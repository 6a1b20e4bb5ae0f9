//! A database that is put back to an older copy, or fenced by another, under a leader that has nothing to write.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Ownership, Version};

use super::world::{World, id, worker};
use super::*;
use crate::record::Assignment;

/// A copy of the database, with everything that is in it.
struct Copy {
    streams: BTreeMap<StreamId, StreamSpec>,
    rows: BTreeMap<StreamId, Assignment>,
    fence: Option<Fence>,
    transactions: u64,
}

impl World {
    fn copy(&self) -> Copy {
        Copy {
            streams: self.streams.clone(),
            rows: self.rows.clone(),
            fence: self.fence,
            transactions: self.transactions,
        }
    }

    fn restore(&mut self, copy: Copy) {
        self.streams = copy.streams;
        self.rows = copy.rows;
        self.fence = copy.fence;
        self.transactions = copy.transactions;
    }

    fn idle(&mut self) {
        self.now += 10_000;
        self.send(Event::Tick);
    }

    fn term(&self) -> Term {
        self.cluster().leadership.term
    }
}

/// A world whose leader wrote `s3` after a copy was made.
fn world_and_copy() -> (World, Copy) {
    let mut world = running_world();
    let copy = world.copy();
    world.declare(&["s3"]);
    world.place_all("b");
    world.assert_runs("s3", &["b"]);
    (world, copy)
}

#[test]
fn an_idle_leader_notices_a_restored_database_and_begins_a_higher_term() {
    let (mut world, copy) = world_and_copy();
    let (term, starts) = (world.term(), world.starts.clone());
    world.restore(copy);
    world.idle();
    assert!(world.term() > term, "the leader goes on under its own term");
    assert!(world.notices.contains(&Notice::DatabaseRewound { term }));
    world.beat("a");
    world.beat("b");
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.starts, starts);
    assert!(
        !world.cluster().streams.contains_key(&id("s3")),
        "the copy does not know it"
    );
    world.declare(&["s4"]);
    world.place_all("b");
    assert!(
        world.rows[&id("s4")].epoch.term() > term,
        "an epoch is given again"
    );
}

#[test]
fn a_restored_database_of_an_earlier_leadership_is_noticed_too() {
    let (mut world, copy) = world_and_copy();
    world.restart();
    let term = world.term();
    world.restore(copy);
    world.idle();
    assert!(world.term() > term);
    assert!(world.notices.contains(&Notice::DatabaseRewound { term }));
}

#[test]
fn a_change_that_changes_nothing_is_proved_before_it_is_acknowledged() {
    let (mut world, copy) = world_and_copy();
    world.declare(&["s3"]);
    assert_eq!(
        world.replies.last().unwrap().as_ref().unwrap().unchanged,
        [id("s3")]
    );
    world.restore(copy);
    world.declare(&["s3"]);
    assert!(
        matches!(world.replies.last(), Some(Err(ApplyError::Ambiguous(_)))),
        "{:?}",
        world.replies.last()
    );
    world.declare(&["s3"]);
    assert_eq!(
        world.replies.last().unwrap().as_ref().unwrap().created,
        [id("s3")]
    );
    assert!(world.streams.contains_key(&id("s3")));
}

#[test]
fn a_check_that_gets_no_answer_costs_no_term_and_is_made_again() {
    let mut world = running_world();
    let term = world.term();
    for outcome in [
        Persisted::Ambiguous {
            reason: "connection lost".into(),
        },
        Persisted::Failed {
            reason: "away".into(),
        },
    ] {
        world.broken.push_back(outcome);
        world.idle();
        assert!(world.broken.is_empty(), "the database was not asked");
        assert_eq!(world.term(), term);
    }
    world.now += 10_000;
    let tick = Timestamp::from_ms(world.now);
    let asked = world.coordinator.as_mut().unwrap().handle(tick, Event::Tick);
    assert!(
        asked
            .iter()
            .any(|command| matches!(command, Command::Persist { .. }))
    );
    world.now += 10_000;
    world.send(Event::Tick);
    assert_eq!(world.term(), term, "a check that hangs is in doubt of nothing");
    world.assert_runs("s1", &["a"]);
}

#[test]
fn a_copy_that_no_row_names_is_waited_for_before_its_stream_is_given_to_another() {
    let mut world = running_world();
    let copy = world.copy();
    world.declare_as(&["s3"], Ownership::Exclusive);
    world.place_all("b");
    world.restore(copy);
    world.idle();
    world.now += 20_000;
    world.send(Event::Tick);
    world.beat("a");
    // It reports under the new term, and is suspended before it stops what it was told to stop.
    let term = world.term();
    world.deaf.insert(worker("b"));
    world.workers.get_mut(&worker("b")).unwrap().applied = Version { term, generation: 0 };
    world.beat("b");
    world.declare_as(&["s3"], Ownership::Exclusive);
    world.place_all("a");
    world.assert_runs("s3", &["b"]);
    world.judge("b", 2, Availability::Lost);
    world.place_all("a");
    world.assert_runs("s3", &["b"]);
    world.deaf.clear();
    world.beat("b");
    world.place_all("a");
    world.assert_runs("s3", &["a"]);
}
