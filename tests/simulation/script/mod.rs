//! Hand-written schedules for rules that chance does not reach, because other rules stand before them.

use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, WriteBatch};
use streamkeeper_protocol::{
    Action, Assign, AssignKind, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, DesiredEntry, Epoch,
    Ownership, PROTOCOL_VERSION, RunSpec, SessionId, StreamId, Term, WorkerId,
};

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
pub(crate) fn outdated_row() {
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

/// A leader that went wrong names an epoch below the one that a worker ran already.
pub(crate) fn outdated_grant() {
    let mut world = World::empty(1, Shape::large(0), Print::Nothing);
    world.stormy = false;
    world.start_worker(0);
    world.run_until(1_000);
    let (worker, session) = (world.nodes[0].id.clone(), world.nodes[0].session_id);
    for (generation, counters) in [(1, vec![5]), (2, vec![]), (3, vec![4])] {
        let entry = |counter| DesiredEntry {
            stream: stream(),
            epoch: Epoch::new(term(16), counter),
            action: Action::Run,
            spec: Some(RunSpec {
                source: "source".to_owned(),
                ownership: Ownership::Available,
                labels: std::collections::BTreeMap::new(),
            }),
        };
        let assign = Assign {
            v: PROTOCOL_VERSION,
            worker: worker.clone(),
            session,
            ack_seq: 1,
            term: term(16),
            generation,
            lease_ms: 15_000,
            stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
            kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
            whole_inventory: false,
            kind: AssignKind::Desired,
            reason: None,
            part: 0,
            parts: 1,
            entries: counters.into_iter().map(entry).collect(),
            zlib: false,
        };
        // It is taken out of the set on purpose.
        world.nodes[0].leaving = true;
        world.assign(0, &assign);
        world.run_until(world.now + 1_000);
    }
}

#[test]
fn the_rules_hold_in_every_script() {
    outdated_row();
    outdated_grant();
}
