//! Does the simulation notice when a rule of the protocol is missing? Each is switched off for itself.

use streamkeeper_protocol::mutant::{self, Mutant};

use crate::number;
use crate::run::{many_until, one, said};
use crate::script;
use crate::shape::Shape;
use crate::world::Print;

/// Seeds after which a mutant counts as alive.
const MOST_SEEDS: u64 = 1_000;

/// So many rules chance alone has to reach.
const LEAST_BY_SEEDS: usize = 20;

#[test]
fn every_mutant_is_killed() {
    let most = number("SEEDS").unwrap_or(MOST_SEEDS);
    let mut alive = Vec::new();
    let mut by_seeds = 0;
    println!("{:<22} {:>7} {:>8}  killed by", "mutant", "seeds", "seconds");
    for mutant in Mutant::ALL {
        let totals = many_until(0..most, true, || mutant::switch(Some(mutant)));
        // A seed that breaks by itself shows nothing.
        let healthy = |seed: &u64| one(*seed, Shape::of(*seed), Print::Nothing).broken.is_empty();
        let killing = totals.broken.iter().find(|(seed, _)| healthy(seed));
        let by_seed = killing.map(|(seed, what)| {
            let what = what.split_once(" s: ").map_or(&**what, |(_, what)| what);
            format!("seed {seed}: {}", short(what))
        });
        by_seeds += usize::from(by_seed.is_some());
        let killer = by_seed.or_else(|| killed_by_script(mutant));
        println!(
            "{:<22} {:>7} {:>8.1}  {}",
            format!("{mutant:?}"),
            totals.seeds,
            totals.seconds,
            killer.as_deref().unwrap_or("nothing: it is ALIVE")
        );
        if killer.is_none() {
            alive.push(mutant);
        }
    }
    let all = Mutant::ALL.len();
    println!(
        "{all} mutants: {by_seeds} killed by seeds, {} by scripts",
        all - by_seeds - alive.len()
    );
    assert!(
        alive.is_empty(),
        "mutants that neither a seed nor a script notices: {alive:?}"
    );
    assert!(
        by_seeds >= LEAST_BY_SEEDS || most < MOST_SEEDS,
        "only {by_seeds} mutants are killed by seeds: chance has to reach at least {LEAST_BY_SEEDS}"
    );
}

fn short(what: &str) -> String {
    what.lines().next().unwrap_or("").chars().take(90).collect()
}

/// Rules that stand behind others are reached by a hand-written schedule.
fn killed_by_script(mutant: Mutant) -> Option<String> {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    mutant::switch(Some(mutant));
    let killer = script::ALL.into_iter().find_map(|(name, script)| {
        let panic = std::panic::catch_unwind(script).err()?;
        Some(format!("script \"{name}\": {}", short(&said(&*panic))))
    });
    mutant::switch(None);
    std::panic::set_hook(before);
    killer
}
