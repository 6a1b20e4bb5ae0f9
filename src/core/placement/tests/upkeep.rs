//! Small changes must lead where a fresh start does.

use proptest::prelude::*;

use super::super::*;
use super::Outcome;
use super::world::{Fleet, World, stream_id};

pub(super) fn small_changes_lead_where_a_fresh_start_does(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.place();
    let mut draw = world.draw;
    let mut next = |limit: usize| {
        draw = draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) as usize % limit.max(1)
    };
    if world.streams.is_empty() || world.workers.is_empty() {
        return Ok(());
    }
    for _ in 0..12 {
        let (stream, worker) = (next(world.streams.len()), next(world.workers.len()));
        match next(5) {
            0 => {
                fleet
                    .problem
                    .remove_stream(&mut fleet.placement, &stream_id(stream));
                fleet.put(stream);
            }
            1 => {
                fleet.world.streams[stream].weight = 0.5 + next(5) as f64;
                fleet.world.streams[stream].spread = (next(2) == 0).then_some(1);
                fleet.put(stream);
            }
            2 => {
                fleet.lose(worker);
            }
            3 => {
                fleet.world.workers[worker].open = true;
                fleet.world.workers[worker].label = 1;
                fleet.problem.put_worker(fleet.world.facts_of_worker(worker));
                fleet.problem.settle();
            }
            _ => {
                fleet.place();
            }
        }
    }
    let mut fresh = Fleet::new(&fleet.world);
    for (stream, worker) in fleet.named() {
        let worker = fresh.problem.worker(&super::world::worker_id(worker)).unwrap();
        let stream = fresh.index(stream);
        fresh.placement.place(&fresh.problem, stream, worker);
    }
    prop_assert_eq!(fresh.named(), fleet.named());
    for worker in 0..world.workers.len() {
        let id = super::world::worker_id(worker);
        let (a, b) = (
            fresh.problem.worker(&id).unwrap(),
            fleet.problem.worker(&id).unwrap(),
        );
        prop_assert_eq!(fresh.placement.load(a), fleet.placement.load(b));
    }
    let (one, other) = (
        fresh.balance(&Limits::UNLIMITED),
        fleet.balance(&Limits::UNLIMITED),
    );
    prop_assert_eq!(one.moves.len(), other.moves.len());
    prop_assert_eq!(fresh.named(), fleet.named());
    Ok(())
}
