//! Properties of first placement and replacement.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::*;
use super::Outcome;
use super::world::{Fleet, Named, World};
use crate::cluster::UnplacedReason;

/// What the world says of a placement, without the code under test.
fn rules_hold(fleet: &Fleet, named: &Named) -> Outcome {
    let world = &fleet.world;
    for (worker, facts) in world.workers.iter().enumerate() {
        let mine: Vec<usize> = named
            .iter()
            .filter(|(_, owner)| **owner == worker)
            .map(|(stream, _)| *stream)
            .collect();
        let weight: f64 = mine.iter().map(|stream| world.streams[*stream].weight).sum();
        prop_assert!(
            weight <= facts.capacity * (1.0 + 1e-5),
            "w{worker} carries {weight} of {}",
            facts.capacity
        );
        prop_assert!(
            mine.len() <= facts.max_streams as usize,
            "w{worker} has {} streams",
            mine.len()
        );
        for stream in &mine {
            prop_assert!(world.able(*stream, worker), "s{stream} must not be on w{worker}");
        }
        let mut spread: Vec<u8> = mine
            .iter()
            .filter_map(|stream| world.streams[*stream].spread)
            .collect();
        let before = spread.len();
        spread.sort_unstable();
        spread.dedup();
        prop_assert_eq!(before, spread.len(), "two of one spread key on w{}", worker);
    }
    Ok(())
}

pub(super) fn constraints_hold_and_nothing_is_over_capacity(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.place();
    rules_hold(&fleet, &fleet.named())?;
    fleet.settle();
    rules_hold(&fleet, &fleet.named())?;
    if !world.workers.is_empty() {
        fleet.lose(world.draw as usize % world.workers.len());
        fleet.settle();
        rules_hold(&fleet, &fleet.named())?;
    }
    Ok(())
}

/// Whether a stream could be given to a worker without anything else being moved.
fn could_go(fleet: &Fleet, named: &Named, stream: usize, worker: usize) -> bool {
    let world = &fleet.world;
    let mine: Vec<usize> = named
        .iter()
        .filter(|(_, owner)| **owner == worker)
        .map(|(stream, _)| *stream)
        .collect();
    let weight: f64 = mine.iter().map(|other| world.streams[*other].weight).sum();
    let spread = world.streams[stream].spread;
    world.able(stream, worker)
        && weight + world.streams[stream].weight <= world.workers[worker].capacity * (1.0 - 1e-5)
        && mine.len() < world.workers[worker].max_streams as usize
        && !mine
            .iter()
            .any(|other| spread.is_some() && world.streams[*other].spread == spread)
}

pub(super) fn whoever_is_unplaced_fits_nowhere_and_is_told_why(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    let solution = fleet.place();
    let named = fleet.named();
    prop_assert_eq!(solution.unplaced.len() + named.len(), world.streams.len());
    for (index, reason) in &solution.unplaced {
        let stream = (0..world.streams.len())
            .find(|stream| fleet.index(*stream) == *index)
            .unwrap();
        for worker in 0..world.workers.len() {
            prop_assert!(
                !could_go(&fleet, &named, stream, worker),
                "s{stream} could go to w{worker}"
            );
        }
        let explanation = explain(&fleet.problem, &fleet.placement, *index);
        prop_assert_eq!(explanation.candidates.len(), world.workers.len());
        prop_assert!(
            explanation
                .candidates
                .iter()
                .all(|candidate| candidate.excluded.is_some())
        );
        let open = |worker: usize| world.workers[worker].open && world.workers[worker].max_streams > 0;
        let nobody = !(0..world.workers.len()).any(open);
        prop_assert_eq!(*reason == UnplacedReason::NoWorkers, nobody);
    }
    Ok(())
}

pub(super) fn important_streams_are_not_left_out_for_others(world: &World) -> Outcome {
    // Less important ones come first, so that others must make room.
    let mut fleet = Fleet::new(world);
    let low = |stream: &usize| world.streams[*stream].priority == 0;
    let all: Vec<usize> = (0..world.streams.len()).collect();
    let (first, later): (Vec<usize>, Vec<usize>) = all.into_iter().partition(low);
    for stream in &later {
        let name = super::world::stream_id(*stream);
        fleet.problem.remove_stream(&mut fleet.placement, &name);
    }
    let waiting: Vec<Index> = first.iter().map(|stream| fleet.index(*stream)).collect();
    let limits = Limits::UNLIMITED;
    let mode = Mode {
        homes: &BTreeMap::new(),
        evict: true,
        limits: &limits,
        movable: None,
        on_probation: &|_| false,
    };
    for step in solve(&fleet.problem, &fleet.placement, &waiting, &mode).moves {
        fleet.placement.place(&fleet.problem, step.stream, step.to);
    }
    for stream in &later {
        fleet.put(*stream);
    }
    for _ in 0..50 {
        if fleet.place().moves.is_empty() {
            break;
        }
    }
    let named = fleet.named();
    rules_hold(&fleet, &named)?;
    for stream in (0..world.streams.len()).filter(|stream| !named.contains_key(stream)) {
        for worker in 0..world.workers.len() {
            let mut without = named.clone();
            let lower = |other: usize| world.streams[other].priority < world.streams[stream].priority;
            // A stream of its own group that matters less stands in the way all the same: it is not looked for.
            let kin = |other: usize| {
                world.streams[stream].spread.is_some()
                    && world.streams[other].spread == world.streams[stream].spread
            };
            without.retain(|other, owner| *owner != worker || !lower(*other) || kin(*other));
            prop_assert!(
                !could_go(&fleet, &without, stream, worker),
                "s{stream} is left out for less important ones on w{worker}"
            );
        }
    }
    Ok(())
}

pub(super) fn nobody_yields_to_an_equal(world: &World) -> Outcome {
    let mut world = world.clone();
    for stream in &mut world.streams {
        stream.priority = 1;
    }
    let mut fleet = Fleet::new(&world);
    fleet.place();
    if !world.workers.is_empty() {
        fleet.lose(world.draw as usize % world.workers.len());
    }
    let solution = fleet.place();
    prop_assert!(
        solution.moves.iter().all(|step| step.why != Why::Preempted),
        "{solution:?}"
    );
    Ok(())
}

pub(super) fn the_order_of_input_does_not_matter(world: &World) -> Outcome {
    let mut one = Fleet::new(world);
    let turned = |count: usize| {
        let mut order: Vec<usize> = (0..count).rev().collect();
        order.rotate_left(world.draw as usize % count.max(1));
        order
    };
    let mut other = Fleet::in_order(world, &turned(world.streams.len()), &turned(world.workers.len()));
    one.place();
    other.place();
    prop_assert_eq!(one.named(), other.named());
    if !world.workers.is_empty() {
        let lost = world.draw as usize % world.workers.len();
        one.lose(lost);
        other.lose(lost);
    }
    one.balance(&Limits::UNLIMITED);
    other.balance(&Limits::UNLIMITED);
    prop_assert_eq!(one.named(), other.named());
    Ok(())
}

pub(super) fn a_death_moves_only_the_dead_workers_streams(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.settle();
    if world.workers.is_empty() {
        return Ok(());
    }
    let lost = fleet.lose(world.draw as usize % world.workers.len());
    let before = fleet.waiting();
    let solution = fleet.place();
    for step in &solution.moves {
        let preempted = step.why == Why::Preempted;
        prop_assert!(
            before.contains(&step.stream) || preempted,
            "{step:?}, lost {lost:?}"
        );
    }
    Ok(())
}

pub(super) fn no_plan_is_empty(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.settle();
    let placed = fleet.named();
    // Everybody falls silent: that is no reason to take anything from anybody.
    for worker in 0..world.workers.len() {
        fleet.world.workers[worker].open = false;
        fleet.problem.put_worker(fleet.world.facts_of_worker(worker));
    }
    fleet.problem.settle();
    let solution = fleet.balance(&Limits::UNLIMITED);
    prop_assert!(solution.moves.is_empty());
    prop_assert_eq!(fleet.named(), placed);
    // Whoever loses its worker in a plan makes room for somebody in the same plan.
    let mut fleet = Fleet::new(world);
    for _ in 0..50 {
        let solution = fleet.place();
        let homeless = solution.moves.iter().filter(|step| step.to == NONE);
        if homeless.count() > 0 {
            prop_assert!(solution.moves.iter().any(|step| step.why == Why::Placed));
        }
    }
    Ok(())
}

pub(super) fn what_still_runs_stays(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.place();
    let before = fleet.placement.clone();
    // All are without a worker for a moment, and still run where they were.
    let mut homes = BTreeMap::new();
    for stream in 0..world.streams.len() {
        let index = fleet.index(stream);
        if before.owner(index) != NONE {
            homes.insert(index, before.owner(index));
            fleet.placement.remove(&fleet.problem, index);
        }
    }
    fleet.plan(&Limits::UNLIMITED, false, &homes);
    let unplaced_before = world.streams.len() - homes.len();
    if unplaced_before == 0 {
        for (stream, home) in &homes {
            prop_assert_eq!(fleet.placement.owner(*stream), *home);
        }
    }
    Ok(())
}

pub(super) fn the_fullest_worker_is_near_the_mean(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.place();
    let named = fleet.named();
    let count = world.workers.len();
    if count == 0 {
        return Ok(());
    }
    let loads: Vec<f64> = (0..count).map(|worker| fleet.relative(&named, worker)).collect();
    let mean = loads.iter().sum::<f64>() / count as f64;
    let heaviest = world
        .streams
        .iter()
        .map(|stream| stream.weight)
        .fold(0.0, f64::max)
        / 1_000.0;
    let highest = loads.iter().copied().fold(0.0, f64::max);
    // Graham's bound for any list, and his better one for the longest first: four thirds of the best there is.
    prop_assert!(highest <= mean + heaviest + 1e-9, "{highest} at a mean of {mean}");
    let best_there_is = mean.max(heaviest);
    let pairs = pair_bound(world, count);
    prop_assert!(
        highest <= 4.0 / 3.0 * best_there_is.max(pairs) + 1e-9,
        "{highest}, mean {mean}"
    );
    Ok(())
}

/// With more streams than workers, two of the first (workers + 1) heaviest share a worker.
fn pair_bound(world: &World, workers: usize) -> f64 {
    let mut weights: Vec<f64> = world.streams.iter().map(|stream| stream.weight).collect();
    weights.sort_by(|a, b| b.total_cmp(a));
    match weights.get(workers) {
        Some(last) => (weights[workers - 1] + last) / 1_000.0,
        None => 0.0,
    }
}

pub(super) fn explain_names_the_worker_that_a_plan_takes(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.settle();
    if world.streams.is_empty() {
        return Ok(());
    }
    let stream = fleet.index(world.draw as usize % world.streams.len());
    let explanation = explain(&fleet.problem, &fleet.placement, stream);
    prop_assert_eq!(explanation.owner, fleet.placement.owner(stream));
    fleet.placement.remove(&fleet.problem, stream);
    let limits = Limits {
        band_absolute: 1e9,
        ..Limits::UNLIMITED
    };
    let mode = Mode {
        homes: &BTreeMap::new(),
        evict: false,
        limits: &limits,
        movable: None,
        on_probation: &|_| false,
    };
    let solution = solve(&fleet.problem, &fleet.placement, &[stream], &mode);
    let taken = solution.moves.first().map_or(NONE, |step| step.to);
    prop_assert_eq!(explanation.best, taken, "{:?}", explanation);
    Ok(())
}
