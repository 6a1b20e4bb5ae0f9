//! The pure cores of orchestrators and workers in a seeded world of faults.
//!
//! `make sim SEED=7` replays one seed and prints its trace; `make sim SEEDS=2000` runs more of them.

mod clock;
mod database;
mod drive;
mod faults;
mod fleet;
mod gate;
mod guard;
mod invariant;
mod key;
#[cfg(feature = "mutants")]
mod mutants;
mod network;
mod node;
mod orchestrator;
mod outside;
mod ping;
mod random;
mod run;
mod script;
mod shape;
mod sometimes;
mod user;
mod world;

use std::time::Instant;

use network::Party;
use shape::Shape;
use world::{Happening, Print, World};

/// Seeds of past bugs; each once failed.
const PAST: &[u64] = &[
    549, 938, 1592, 1944, 2039, 2071, 2111, 2132, 2748, 3382, 3422, 4653, 4983, 6118, 6697, 7955, 8888, 9111,
    9331, 10_167, 10_456, 11_544, 13_327, 13_549, 16_396, 22_244, 27_038, 43_497, 51_215, 93, 737, 2_168,
    6_538, 556, 1_012, 1_635, 3_250, 12_696, 18_685, 19_748, 7_624, 7_581, 12_075,
];

/// What must have happened in a run of many seeds.
const MUST_HAPPEN: &[&str] = &[
    "connection made anew for want of answers",
    "adopted",
    "balance",
    "make_before_break done",
    "make_before_break rolled_back",
    "make_before_break cancelled",
    "break_before_make done",
    "changed",
    "declared",
    "worker_lost",
    "missing",
    "failed_over",
    "worker_dead",
    "worker_warning",
    "worker_emergency",
    "duplicate_worker",
    "mass_failure",
    "write under an old fence",
    "write while the database is away",
    "ambiguous commit that was made",
    "ambiguous commit that was not made",
    "transaction without an answer",
    "transaction that hangs",
    "stream started before a silent database answered",
    "transaction after everybody gave it up",
    "change of which nobody knows",
    "change refused",
    "proof of death by the guard",
    "order to a worker",
    "message refused by a worker",
    "database restored from a backup",
    "database's files put back to an older copy",
    "database_rewound",
    "alert that a restored database has from somebody else",
    "transactions that a restored database has forgotten",
    "orchestrator killed between two steps",
    "orchestrator paused between two steps",
    "worker killed between two steps",
    "worker paused between two steps",
    "worker's machine suspended",
    "pair cut",
    "lease lapsed",
    "exclusive stream ended by its guard",
    "exclusive stream killed by its guard",
    "step-down",
    "leader's key wiped",
    "leader's key back at an older state",
    "answer about the leader's key lost",
    "resting",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text:?} is no number; write a whole number"))
    })
}

#[test]
fn every_seed_keeps_the_guarantees() {
    let seeds = number("SEEDS").unwrap_or(100);
    let first = number("FIRST").unwrap_or(0);
    let start = Instant::now();
    let totals = run::many(PAST.iter().copied().chain(first..first + seeds));
    let elapsed = start.elapsed().as_secs_f64();
    let virtual_seconds = totals.virtual_ms as f64 / 1_000.0;
    println!(
        "{} seeds in {elapsed:.1} s: {virtual_seconds:.0} virtual seconds, {:.0} times real time, {:.0} happenings per \
         virtual second\n{}",
        totals.seeds,
        virtual_seconds / elapsed,
        totals.happenings as f64 / virtual_seconds,
        totals.sometimes.table()
    );
    for (seed, what) in totals.broken.iter().take(50) {
        println!("seed {seed}: {what}");
    }
    let broken: Vec<u64> = totals.broken.iter().map(|(seed, _)| *seed).collect();
    assert!(broken.is_empty(), "seeds that break a guarantee: {broken:?}");
    let never: Vec<_> = MUST_HAPPEN
        .iter()
        .filter(|what| totals.sometimes.count(what) == 0)
        .collect();
    assert!(never.is_empty(), "never happened: {never:?}");
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed, Shape::of(seed), Print::Nothing);
        world.run_until(60_000);
        (world.hash(), world.happenings())
    };
    for seed in 0..4 {
        assert_eq!(trace(seed), trace(seed));
    }
    assert_ne!(trace(3), trace(4));
}

/// For people: replays the seed of the environment; with `MESSAGES=1` every message is printed as well.
#[test]
fn one_seed() {
    let (seed, print) = match (number("SEED"), number("MESSAGES")) {
        (None, _) => (1, Print::Nothing),
        (Some(seed), None) => (seed, Print::Trace),
        (Some(seed), Some(_)) => (seed, Print::Messages),
    };
    let shape = Shape::of(seed);
    if print >= Print::Trace {
        println!("{shape:?}");
    }
    run::weather(&mut World::new(seed, shape, print));
}

/// For people: how fast a large world goes.
#[test]
fn speed() {
    let start = Instant::now();
    let mut world = World::new(1, Shape::large(500), Print::Nothing);
    world.run_until(5_000);
    world.declare_all();
    world.run_until(number("SPEED").unwrap_or(10) * 1_000);
    println!(
        "{:.0} times real time, {:.0} happenings per virtual second",
        world.now as f64 / 1_000.0 / start.elapsed().as_secs_f64(),
        world.happenings() as f64 / (world.now as f64 / 1_000.0)
    );
}

#[test]
fn restarts_of_the_orchestrator_alone_touch_no_stream() {
    for seed in 0..20 {
        let shape = Shape {
            orchestrators: 1,
            workers: 4,
            streams: 20,
            ..Shape::large(0)
        };
        let mut world = World::new(seed, shape, Print::Nothing);
        world.run_until(4_900);
        world.calm();
        world.run_until(60_000);
        let before = world.last_change;
        for _ in 0..5 {
            world.end_orchestrator(0);
            world.after(seed * 500, Happening::Start(Party::Orchestrator(0)));
            world.run_until(world.now + 30_000);
        }
        assert_eq!(
            world.last_change, before,
            "seed {seed}: a stream was started or stopped"
        );
        if let Err(broken) = world.settled() {
            panic!("seed {seed}: {broken}");
        }
    }
}
