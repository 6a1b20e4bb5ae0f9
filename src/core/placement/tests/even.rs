//! Properties of evening out.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::super::*;
use super::Outcome;
use super::world::{Fleet, Stream, Worker, World, worker_id};

pub(super) fn solving_twice_changes_nothing(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.settle();
    let before = fleet.named();
    prop_assert!(fleet.place().moves.is_empty());
    prop_assert!(fleet.balance(&Limits::UNLIMITED).moves.is_empty());
    prop_assert_eq!(before, fleet.named());
    Ok(())
}

pub(super) fn a_fresh_placement_is_a_fixed_point(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.place();
    let again = fleet.place();
    prop_assert!(again.moves.is_empty(), "placing twice: {again:?}");
    let evened = fleet.balance(&Limits::UNLIMITED);
    prop_assert!(
        evened.moves.is_empty(),
        "a fresh placement is evened out: {evened:?}"
    );
    Ok(())
}

pub(super) fn a_join_moves_streams_only_to_the_newcomer(world: &World) -> Outcome {
    let mut fleet = Fleet::new(world);
    fleet.settle();
    let newcomer = fleet.join(Worker {
        capacity: 1_000.0,
        max_streams: 1_000,
        zone: 0,
        label: 0,
        guarded: true,
        open: true,
        health: 1.0,
    });
    let solution = fleet.balance(&Limits::UNLIMITED);
    for step in &solution.moves {
        prop_assert_eq!(step.to, newcomer, "{:?}", solution);
    }
    Ok(())
}

/// A fleet that is uneven: it was placed while half of its workers were away.
fn uneven(world: &World) -> Fleet {
    let mut small = world.clone();
    for worker in small.workers.iter_mut().skip(1).step_by(2) {
        worker.open = false;
    }
    let mut fleet = Fleet::new(&small);
    fleet.place();
    fleet.world = world.clone();
    for worker in 0..world.workers.len() {
        fleet.problem.put_worker(world.facts_of_worker(worker));
    }
    fleet.problem.settle();
    fleet
}

pub(super) fn nobody_gives_and_gets(world: &World) -> Outcome {
    let mut fleet = uneven(world);
    let solution = fleet.balance(&Limits::UNLIMITED);
    let steps = solution.moves.iter().filter(|step| step.why == Why::Balance);
    let givers: BTreeSet<Index> = steps.clone().map(|step| step.from).collect();
    for step in steps {
        prop_assert!(!givers.contains(&step.to), "an exchange: {solution:?}");
    }
    Ok(())
}

fn plain_stream(weight: f64, priority: i32) -> Stream {
    Stream {
        weight,
        cpu: 0.0,
        priority,
        exclusive: false,
        requires: None,
        prefers: None,
        spread: None,
        pin: None,
    }
}

/// A fleet of `weights`, worker by worker, where they are. The first two workers have label 1, which `requires` says of
/// streams, by worker and number.
fn lumpy(weights: &[Vec<f64>], capacity: f64, requires: impl Fn(usize, usize) -> Option<u8>) -> Fleet {
    let worker = |index: usize| Worker {
        capacity,
        max_streams: 1_000,
        zone: 0,
        label: u8::from(index < 2),
        guarded: true,
        open: true,
        health: 1.0,
    };
    let mut streams = Vec::new();
    for (worker, weights) in weights.iter().enumerate() {
        streams.extend(weights.iter().enumerate().map(|(nth, weight)| Stream {
            requires: requires(worker, nth),
            ..plain_stream(*weight, 0)
        }));
    }
    let mut fleet = Fleet::new(&World {
        workers: (0..weights.len()).map(worker).collect(),
        streams,
        draw: 0,
    });
    let owners = weights.iter().enumerate();
    let owners = owners.flat_map(|(worker, weights)| weights.iter().map(move |_| worker));
    for (stream, worker) in owners.enumerate() {
        let worker = fleet.problem.worker(&worker_id(worker)).unwrap();
        let stream = fleet.index(stream);
        fleet.placement.place(&fleet.problem, stream, worker);
    }
    fleet
}

/// Numbers from 0 to `limit`, from what a world offers for choosing.
fn numbers(world: &World) -> impl FnMut(u64) -> u64 {
    let mut draw = world.draw;
    move |limit| {
        draw = draw
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) % limit.max(1)
    }
}

/// Of two workers with a label, the fuller one runs out of streams that others may have, while the second gives some away. What
/// is left on the first would fit on the second, which gave.
pub(super) fn whoever_gave_gets_nothing(world: &World) -> Outcome {
    let mut next = numbers(world);
    let mut some = |from: f64| from + next(20) as f64 / 1_000.0;
    let mut weights = vec![vec![4.6, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], vec![5.0]];
    let labelled = [weights[0].len(), weights[1].len()];
    weights[0].extend([some(0.38), some(0.38)]);
    weights[1].push(some(0.28));
    let others = 10 + world.draw as usize % 3;
    weights.extend((0..others).map(|_| vec![some(4.5)]));
    let mut fleet = lumpy(&weights, 10.0, |worker, nth| {
        (worker < 2 && nth < labelled[worker]).then_some(1)
    });
    let solution = fleet.balance(&Limits::UNLIMITED);
    prop_assert!(solution.moves.len() > 2, "{solution:?}");
    let givers: BTreeSet<Index> = solution.moves.iter().map(|step| step.from).collect();
    for step in &solution.moves {
        prop_assert!(!givers.contains(&step.to), "it gave and got: {solution:?}");
    }
    Ok(())
}

/// Many small streams and a few heavy ones that may run on one worker only and come last: what is light makes room.
pub(super) fn a_fresh_placement_is_mended_well_inside_the_band(world: &World) -> Outcome {
    let mut next = numbers(world);
    let empty = vec![Vec::new(); 4];
    let mut fleet = lumpy(&empty, 30.0, |_, _| None);
    let light = |draw: u64| 0.1 + draw as f64 / 200.0;
    let mut streams: Vec<Stream> = (0..160).map(|_| plain_stream(light(next(100)), 1)).collect();
    let pinned = Stream {
        pin: Some(next(4) as usize),
        ..plain_stream(2.0 + next(6) as f64, 0)
    };
    streams.push(pinned);
    fleet = Fleet::new(&World {
        streams,
        ..fleet.world
    });
    fleet.place();
    let named = fleet.named();
    prop_assert_eq!(named.len(), 161, "there is room for all");
    let loads: Vec<f64> = (0..4).map(|worker| fleet.relative(&named, worker)).collect();
    let mean = loads.iter().sum::<f64>() / 4.0;
    let highest = loads.iter().copied().fold(0.0, f64::max);
    prop_assert!(highest <= mean * 1.01, "{highest} by {mean}");
    Ok(())
}

pub(super) fn a_plan_stays_within_its_budget(world: &World) -> Outcome {
    let mut fleet = uneven(world);
    fleet.place();
    let before = fleet.clone();
    let limits = Limits {
        max_moves: world.draw as usize % 4,
        max_share: (world.draw >> 8) as f64 % 11.0 / 20.0,
        damping: 0.6,
        ..Limits::UNLIMITED
    };
    let solution = fleet.balance(&limits);
    let moves: Vec<&Move> = solution
        .moves
        .iter()
        .filter(|step| step.why == Why::Balance)
        .collect();
    prop_assert!(moves.len() <= limits.max_moves, "{solution:?}");
    let weight = |stream: Index| f64::from(before.problem.size(stream)[0]);
    let moved: f64 = moves.iter().map(|step| weight(step.stream)).sum();
    let open = before.problem.open_workers().iter();
    let all: f64 = open.map(|worker| before.placement.load(*worker)[0]).sum();
    // One stream may always be moved.
    prop_assert!(
        moved <= limits.max_share * all + 1e-6 || moves.len() == 1,
        "{moved} of {all}"
    );
    Ok(())
}

/// Sum of capacity × relative load² over all open workers: the more uneven, the higher.
fn unevenness(fleet: &Fleet) -> f64 {
    let named = fleet.named();
    let open =
        |worker: &usize| fleet.world.workers[*worker].open && fleet.world.workers[*worker].max_streams > 0;
    let workers = (0..fleet.world.workers.len()).filter(open);
    workers
        .map(|worker| fleet.world.workers[worker].capacity * fleet.relative(&named, worker).powi(2))
        .sum()
}

fn fullest(fleet: &Fleet) -> f64 {
    let named = fleet.named();
    let all = 0..fleet.world.workers.len();
    all.map(|worker| fleet.relative(&named, worker))
        .fold(0.0, f64::max)
}

pub(super) fn every_plan_improves_the_score(world: &World) -> Outcome {
    let mut fleet = uneven(world);
    fleet.place();
    for _ in 0..20 {
        let (before, top) = (unevenness(&fleet), fullest(&fleet));
        let solution = fleet.balance(&Limits {
            max_moves: 3,
            ..Limits::UNLIMITED
        });
        if solution.moves.is_empty() {
            break;
        }
        if solution.moves.iter().any(|step| step.why == Why::Placed) {
            // It made room for somebody, who adds to the load.
            continue;
        }
        prop_assert!(unevenness(&fleet) < before, "{solution:?}");
        prop_assert!(fullest(&fleet) <= top + 1e-9, "{solution:?}");
    }
    Ok(())
}

pub(super) fn plans_come_to_an_end(world: &World) -> Outcome {
    let mut fleet = uneven(world);
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        if fleet
            .balance(&Limits {
                max_moves: 2,
                damping: 0.6,
                ..Limits::UNLIMITED
            })
            .moves
            .is_empty()
        {
            return Ok(());
        }
        prop_assert!(seen.insert(fleet.named()), "the same placement again");
    }
    Err(TestCaseError::fail("three hundred plans, and no end"))
}

pub(super) fn inside_the_band_nothing_moves(world: &World) -> Outcome {
    let mut fleet = uneven(world);
    fleet.place();
    let named = fleet.named();
    let open =
        |worker: &usize| fleet.world.workers[*worker].open && fleet.world.workers[*worker].max_streams > 0;
    let loads: Vec<f64> = (0..world.workers.len())
        .filter(open)
        .map(|worker| fleet.relative(&named, worker))
        .collect();
    let gap = loads.iter().copied().fold(0.0, f64::max) - loads.iter().copied().fold(f64::MAX, f64::min);
    let wide = Limits {
        band_absolute: gap + 1e-3,
        ..Limits::UNLIMITED
    };
    let solution = fleet.balance(&wide);
    prop_assert!(solution.moves.is_empty(), "{solution:?}");
    Ok(())
}
