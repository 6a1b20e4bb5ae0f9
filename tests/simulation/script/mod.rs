//! Hand-written schedules for rules that chance does not reach, because other rules stand before them.

mod grants;
mod leaders;

use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, Ownership, SessionId, StreamId, Term, WorkerId};

use crate::database::Database;
use crate::invariant::Watch;
use crate::random::Random;
use crate::shape::Shape;
use crate::sometimes::Sometimes;
use crate::world::{Print, World};

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

fn stream() -> StreamId {
    StreamId::new("s").unwrap()
}

/// A leader whose memory is behind the database writes an assignment of before.
fn outdated_row() {
    let (mut database, mut watch) = (Database::default(), Watch::default());
    let (mut random, mut sometimes) = (Random::new(1), Sometimes::default());
    let fence = Fence {
        term: term(16),
        nonce: 1,
    };
    database.take_over(fence, std::time::Duration::ZERO);
    for counter in [5, 4] {
        let assignment = Assignment {
            worker: WorkerId::new("w").unwrap(),
            session: SessionId::from_u128(u128::from(counter)),
            epoch: Epoch::new(fence.term, counter),
        };
        let batch = WriteBatch {
            assignments: vec![AssignmentWrite::Put {
                stream: stream(),
                assignment,
            }],
            ..WriteBatch::default()
        };
        database.persist(fence, batch, &mut watch, &mut random, &mut sometimes);
    }
}

/// Every script, with a name for people. Each panics where a guarantee is broken.
pub(crate) const ALL: [(&str, fn()); 10] = [
    ("an outdated row", outdated_row),
    ("an outdated grant", grants::outdated_grant),
    ("a late set", grants::late_set),
    ("a late inventory", grants::late_inventory),
    ("a key that is given up", leaders::given_up),
    ("a key that is lost", leaders::lost_key),
    ("a leader that is cut off", leaders::cut_off),
    ("an own key of before", leaders::own_key),
    ("an owner that a backup names", grants::former_owner),
    ("a copy that no row names", grants::ghost),
];

/// A world without faults whose orchestrators run.
fn calm(seed: u64, orchestrators: u64, workers: u64) -> World {
    let shape = Shape {
        orchestrators,
        workers,
        ..Shape::large(0)
    };
    let mut world = World::empty(seed, shape, Print::Nothing);
    world.stormy = false;
    if let [alone] = &mut world.orchestrators[..] {
        alone.own_key = true;
    }
    for index in 0..world.orchestrators.len() {
        world.start_orchestrator(index);
    }
    world
}

fn exclusive() -> StreamSpec {
    StreamSpec {
        ownership: Ownership::Exclusive,
        ..StreamSpec::new(stream(), "source")
    }
}

/// Lets time pass, a millisecond at a time, until it is so.
#[track_caller]
fn until(world: &mut World, is_so: impl Fn(&World) -> bool) {
    let end = world.now + 60_000;
    while !is_so(world) {
        assert!(world.now < end, "a script waits for what never happens");
        world.run_until(world.now + 1);
    }
}

#[test]
fn the_rules_hold_in_every_script() {
    for (_, script) in ALL {
        script();
    }
}
