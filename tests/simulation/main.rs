//! The pure cores of orchestrator and workers in a seeded world of faults.
//!
//! `make sim SEED=7` replays one seed and prints its trace; `make sim SEEDS=2000` runs more of them.

mod check;
mod database;
mod faults;
mod fleet;
mod node;
mod orchestrator;
mod outside;
mod random;
mod sometimes;
mod user;
mod world;

use sometimes::Sometimes;
use world::{Happening, World};

const STORM_MS: u64 = 90_000;
const CALM_MS: u64 = 200_000;
/// At the end of the calm nothing may start or stop for so long.
const QUIET_MS: u64 = 30_000;

/// Seeds of past bugs; each once failed.
const PAST: &[u64] = &[
    3, 15, 22, 41, 80, 115, 138, 375, 386, 629, 2081, 3588, 13_563, 15_272, 15_721,
];

/// What must have happened in a run of many seeds.
const MUST_HAPPEN: &[&str] = &[
    "connection made anew for want of answers",
    "adopted",
    "balance",
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
    "change of which nobody knows",
    "change refused",
    "proof of death by the guard",
    "order to a worker",
    "message refused by a worker",
];

fn run(seed: u64, print: bool) -> World {
    let workers = 3 + seed % 4;
    let streams = 5 + seed % 37;
    let mut world = World::new(seed, workers, streams, print);
    world.run_until(STORM_MS);
    world.calm();
    world.run_until(STORM_MS + CALM_MS);
    let quiet = world.now - world.last_change;
    assert!(
        quiet >= QUIET_MS,
        "S5: a stream was started or stopped {quiet} ms before the end"
    );
    world.check_settled();
    world
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_seed_keeps_the_guarantees() {
    let seeds = number("SEEDS").unwrap_or(100);
    let start = std::time::Instant::now();
    let mut sometimes = Sometimes::default();
    let mut happenings = 0;
    let mut broken = Vec::new();
    for seed in PAST.iter().copied().chain(0..seeds) {
        match std::panic::catch_unwind(|| run(seed, false)) {
            Ok(world) => {
                sometimes.add(&world.sometimes);
                happenings += world.happenings();
            }
            Err(_) => broken.push(seed),
        }
    }
    let virtual_seconds = (STORM_MS + CALM_MS) / 1_000 * seeds;
    let speed = virtual_seconds as f64 / start.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds, {happenings} happenings, {speed:.0} times real time\n{}",
        sometimes.table()
    );
    assert!(broken.is_empty(), "seeds that break a guarantee: {broken:?}");
    let never: Vec<_> = MUST_HAPPEN
        .iter()
        .filter(|what| sometimes.count(what) == 0)
        .collect();
    assert!(never.is_empty(), "never happened: {never:?}");
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    let (one, two) = (run(3, false), run(3, false));
    assert_eq!((one.hash(), one.happenings()), (two.hash(), two.happenings()));
    assert_ne!(one.hash(), run(4, false).hash());
}

/// For people: replays the seed of the environment.
#[test]
fn one_seed() {
    run(number("SEED").unwrap_or(1), number("SEED").is_some());
}

#[test]
fn restarts_of_the_orchestrator_alone_touch_no_stream() {
    for seed in 0..20 {
        let mut world = World::new(seed, 4, 20, false);
        world.run_until(4_900);
        world.calm();
        world.run_until(60_000);
        let before = world.last_change;
        for _ in 0..5 {
            world.orchestrator = None;
            world.life += 1;
            world.after(seed * 500, Happening::StartOrchestrator);
            world.run_until(world.now + 30_000);
        }
        assert_eq!(
            world.last_change, before,
            "seed {seed}: a stream was started or stopped"
        );
        world.check_settled();
    }
}
