//! What reaches a worker, or comes from it, at a wrong time.

use std::sync::Arc;

use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{
    Action, Assign, AssignKind, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, DesiredEntry, Epoch,
    Generation, Inventory, Ownership, PROTOCOL_VERSION, Phase, RunSpec, Term, Version,
};

use super::{calm, exclusive, stream, term, until};
use crate::fleet::bare_heartbeat;
use crate::network::{Link, Party};
use crate::orchestrator::Work;
use crate::world::World;

/// Longer than any script.
const LONG: u64 = 1 << 40;

/// A set for the first worker that names the stream under this epoch, or nothing.
fn set(
    world: &World,
    (term, generation): (Term, Generation),
    epoch: Option<Epoch>,
    ownership: Ownership,
) -> Assign {
    let entry = |epoch| DesiredEntry {
        stream: stream(),
        epoch,
        action: Action::Run,
        spec: Some(RunSpec {
            source: "source".to_owned(),
            ownership,
            labels: std::collections::BTreeMap::new(),
        }),
    };
    Assign {
        v: PROTOCOL_VERSION,
        worker: world.nodes[0].id.clone(),
        session: world.nodes[0].session_id,
        ack_seq: 1,
        term,
        generation,
        lease_ms: 15_000,
        stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
        kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
        whole_inventory: false,
        kind: AssignKind::Desired,
        reason: None,
        part: 0,
        parts: 1,
        entries: epoch.map(entry).into_iter().collect(),
        zlib: false,
    }
}

/// A leader that went wrong names an epoch below the one that a worker ran already.
pub(super) fn outdated_grant() {
    let mut world = calm(1, 0, 1);
    world.start_worker(0);
    world.run_until(1_000);
    for (generation, counter) in [(1, Some(5)), (2, None), (3, Some(4))] {
        let epoch = counter.map(|counter| Epoch::new(term(16), counter));
        let assign = set(&world, (term(16), generation), epoch, Ownership::Available);
        // It is taken out of the set on purpose.
        world.nodes[0].leaving = true;
        world.assign(0, &assign);
        world.run_until(world.now + 1_000);
    }
}

/// A set comes when its session has lost its seat and got it back: the stream that it names is somebody else's by then.
pub(super) fn late_set() {
    let mut world = calm(1, 1, 2);
    world.start_worker(0);
    world.run_until(20_000);
    let cut = |deaf_until, mute_until| Link {
        deaf_until,
        mute_until,
    };
    world.nodes[0].link = cut(LONG, 0);
    world.ask(0, stream(), Some(exclusive()));
    until(&mut world, |world| world.database.rows().contains_key(&stream()));
    world.run_until(world.now + 100);
    let leader = world.orchestrators[0].cluster();
    let desired = leader.workers[&world.nodes[0].id].desired;
    let epoch = world.database.rows()[&stream()].epoch;
    let late = set(
        &world,
        (desired.term, desired.generation),
        Some(epoch),
        Ownership::Exclusive,
    );
    world.nodes[0].link = cut(LONG, LONG);
    world.start_worker(1);
    until(&mut world, |world| {
        world.nodes[1].children.contains_key(&stream())
    });
    // Another process has the seat for a while.
    world.start_twin(0, 3_000);
    world.run_until(world.now + 20_000);
    world.nodes[0].link = Link::default();
    world.heal(Party::Worker(0));
    until(&mut world, |world| world.leased(0));
    world.assign(0, &late);
    world.run_until(world.now + 1_000);
}

/// A backup names a former owner. The present one does not hear the leader, and its lease goes on.
pub(super) fn former_owner() {
    let mut world = calm(1, 1, 2);
    let runs = |world: &World, index: usize| world.nodes[index].children.contains_key(&stream());
    world.start_worker(0);
    world.run_until(20_000);
    world.ask(0, stream(), Some(exclusive()));
    until(&mut world, |world| runs(world, 0));
    world.database.back_up();
    world.start_worker(1);
    world.run_until(world.now + 5_000);
    world.end_process(0, false);
    until(&mut world, |world| runs(world, 1));
    until(&mut world, |world| world.nodes[0].session.is_some());
    world.run_until(world.now + 5_000);
    world.nodes[1].touched = LONG;
    world.nodes[1].link = Link {
        deaf_until: LONG,
        mute_until: LONG,
    };
    world.end_orchestrator(0);
    assert!(world.database.restore(1, false, &mut world.watch));
    world.start_orchestrator(0);
    until(&mut world, |world| runs(world, 0));
}

/// A restored database does not know the stream, which is declared anew before or after its worker was told to stop it; the
/// worker's machine stands still before the child has ended, and goes on within the lease.
pub(super) fn ghost() {
    for early in [true, false] {
        let mut world = calm(1, 1, 2);
        let runs = |world: &World, index: usize| world.nodes[index].children.contains_key(&stream());
        let term = |world: &World| world.orchestrators[0].cluster().leadership.term;
        world.start_worker(0);
        world.run_until(20_000);
        world.database.back_up();
        world.ask(0, stream(), Some(exclusive()));
        until(&mut world, |world| runs(world, 0));
        world.start_worker(1);
        world.run_until(world.now + 5_000);
        world.touched = LONG;
        let elsewhere = StreamSpec {
            pin: Some(world.nodes[1].id.clone()),
            ..exclusive()
        };
        let first = term(&world);
        assert!(world.database.restore(1, false, &mut world.watch));
        world.user.reads_again(world.database.streams());
        until(&mut world, |world| {
            term(world) > first && world.orchestrators[0].leads()
        });
        world.nodes[0].link = Link {
            deaf_until: LONG,
            mute_until: LONG,
        };
        world.run_until(world.now + 8_000);
        if early {
            world.ask(0, stream(), Some(elsewhere.clone()));
            world.run_until(world.now + 100);
        }
        world.nodes[0].link = Link::default();
        world.heal(Party::Worker(0));
        until(&mut world, |world| {
            let child = world.nodes[0].children.get(&stream());
            child.is_some_and(|child| child.stopping)
        });
        world.suspend(0, 9_000);
        if !early {
            world.ask(0, stream(), Some(elsewhere));
        }
        until(&mut world, |world| runs(world, 1));
        world.run_until(world.now + 10_000);
    }
}

/// A heartbeat from before the stream was granted reaches the next leader first.
pub(super) fn late_inventory() {
    let mut world = calm(1, 1, 1);
    world.start_worker(0);
    world.run_until(20_000);
    let applied = world.orchestrators[0].cluster().workers[&world.nodes[0].id].applied;
    world.ask(0, stream(), Some(exclusive()));
    world.run_until(60_000);
    assert!(world.nodes[0].children.contains_key(&stream()));
    world.end_orchestrator(0);
    world.start_orchestrator(0);
    until(&mut world, |world| world.orchestrators[0].leads());
    let mut late = bare_heartbeat(&world.nodes[0].id, world.nodes[0].session_id);
    late.phase = Phase::Ready;
    late.seq = 1;
    late.applied = Version { ..applied };
    late.highest_term = applied.term;
    late.inventory = Inventory {
        parts: 1,
        ..Inventory::digest(1, 0)
    };
    let life = world.orchestrators[0].gate.life;
    world.work(0, life, Work::Heard(Arc::new(late)));
    world.run_until(world.now + 5_000);
}
