//! The leader's key at the moments that matter most.

use streamkeeper_core::election::Event;
use streamkeeper_core::router::Input;

use super::{calm, until};
use crate::network::Link;
use crate::orchestrator::Work;
use crate::world::World;

/// Mailboxes are of unlike speed: in some of so many worlds the moment is met.
const WORLDS: u64 = 8;

fn leader(world: &World) -> Option<usize> {
    (0..world.orchestrators.len()).find(|index| world.orchestrators[*index].leads())
}

/// A leader is told to step down, and is paused before its coordinator knows.
pub(super) fn given_up() {
    for seed in 0..WORLDS {
        let mut world = calm(seed, 2, 0);
        until(&mut world, |world| leader(world).is_some());
        let first = leader(&world).unwrap();
        let event = Event::StepDown { for_good: false };
        world.later(first, 0, Work::Arrive(Box::new(Input::Election(event))));
        until(&mut world, |world| world.sometimes.count("leaving") > 0);
        world.pause_orchestrator(first, 3_000);
        world.run_until(world.now + 20_000);
        assert!(leader(&world).is_some());
    }
}

/// The message server loses the key under a leader that lives.
pub(super) fn lost_key() {
    for seed in 0..WORLDS {
        let mut world = calm(seed, 2, 0);
        until(&mut world, |world| leader(world).is_some());
        world.run_until(world.now + 3_000);
        world.wipe_key(true);
        world.run_until(world.now + 20_000);
        assert!(leader(&world).is_some());
    }
}

/// A leader is cut off, its successor known to it by then, and the message server goes back to the former's key.
pub(super) fn own_key() {
    for seed in 0..WORLDS {
        let mut world = calm(seed, 2, 0);
        until(&mut world, |world| leader(world).is_some());
        let first = leader(&world).unwrap();
        world.run_until(world.now + 12_000);
        world.orchestrators[first].link = Link {
            deaf_until: 1 << 40,
            mute_until: 1 << 40,
        };
        until(&mut world, |world| {
            leader(world).is_some_and(|leader| leader != first)
        });
        world.orchestrators[first].link = Link::default();
        world.run_until(world.now + 1_500);
        world.wipe_key(false);
        world.run_until(world.now + 20_000);
        assert!(leader(&world).is_some());
    }
}

/// A leader reaches its database and its workers, and not its key.
pub(super) fn cut_off() {
    let mut world = calm(1, 1, 1);
    world.orchestrators[0].own_key = false;
    world.start_worker(0);
    until(&mut world, |world| leader(world).is_some());
    world.run_until(world.now + 3_000);
    world.keyless = true;
    world.run_until(world.now + 20_000);
    assert!(leader(&world).is_none());
}
