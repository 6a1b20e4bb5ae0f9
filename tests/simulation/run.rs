//! Running seeds: each a storm of faults, then calm until everything is well again.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::shape::Shape;
use crate::sometimes::Sometimes;
use crate::world::{Print, World};

/// The longest calm.
const CALM_MS: u64 = 300_000;
/// At the end of the calm nothing may start or stop for so long.
const QUIET_MS: u64 = 30_000;
/// How often it is looked whether all is well.
const LOOK_MS: u64 = 5_000;

/// Storm, then calm until all is well and stays so.
pub(crate) fn weather(world: &mut World) {
    let storm = world.shape.storm_ms;
    world.run_until(storm);
    world.calm();
    settle(world, CALM_MS);
}

/// Lets time pass until all is well.
pub(crate) fn settle(world: &mut World, longest: u64) {
    let end = world.now + longest;
    loop {
        world.run_until(world.now + LOOK_MS);
        let quiet = world.now - world.last_change.min(world.now) >= QUIET_MS;
        match world.settled() {
            Ok(()) if quiet => return,
            Ok(()) if world.now < end => {}
            Ok(()) => panic!(
                "S5: a stream was started or stopped at {} ms, {} ms before the end",
                world.last_change,
                world.now - world.last_change
            ),
            Err(_) if world.now < end => {}
            Err(broken) => panic!("{broken}"),
        }
    }
}

/// What one seed or many came to.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    pub(crate) virtual_ms: u64,
    pub(crate) happenings: u64,
    /// Time that the seeds took, each on one core.
    pub(crate) seconds: f64,
    pub(crate) sometimes: Sometimes,
    /// Seeds that broke something, and what.
    pub(crate) broken: Vec<(u64, String)>,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.virtual_ms += other.virtual_ms;
        self.happenings += other.happenings;
        self.seconds += other.seconds;
        self.sometimes.add(&other.sometimes);
        self.broken.extend(other.broken);
    }
}

/// Runs one seed, whatever becomes of it.
pub(crate) fn one(seed: u64, shape: Shape, print: Print) -> Totals {
    let mut world = World::new(seed, shape, print);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| weather(&mut world)));
    let mut totals = Totals {
        seeds: 1,
        virtual_ms: world.now,
        happenings: world.happenings(),
        ..Totals::default()
    };
    match outcome {
        Ok(()) => totals.sometimes = world.sometimes,
        Err(panic) => {
            let text = said(&*panic);
            totals
                .broken
                .push((seed, format!("{:.3} s: {text}", world.now as f64 / 1_000.0)));
        }
    }
    totals
}

/// The words of a panic.
pub(crate) fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// Runs seeds on every core. What breaks is collected, and said once, at the end.
pub(crate) fn many(seeds: impl Iterator<Item = u64>) -> Totals {
    many_until(seeds, false, || {})
}

/// The same; `prepare` is called on each thread, and the first that breaks may end it.
pub(crate) fn many_until(seeds: impl Iterator<Item = u64>, first: bool, prepare: impl Fn() + Sync) -> Totals {
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicU64::new(0);
    let broke = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                prepare();
                loop {
                    if broke.load(Ordering::Relaxed) {
                        return;
                    }
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = usize::try_from(index).ok().and_then(|index| seeds.get(index)) else {
                        return;
                    };
                    let start = Instant::now();
                    let mut outcome = one(*seed, Shape::of(*seed), Print::Nothing);
                    outcome.seconds = start.elapsed().as_secs_f64();
                    if first && !outcome.broken.is_empty() {
                        broke.store(true, Ordering::Relaxed);
                    }
                    if let Ok(mut totals) = totals.lock() {
                        totals.add(outcome);
                    }
                }
            });
        }
    });
    std::panic::set_hook(before);
    let mut totals = totals.into_inner().unwrap();
    totals.broken.sort();
    totals
}
