//! Does the simulation notice when a rule of the protocol is missing? Each is switched off for itself.

use streamkeeper_protocol::mutant::{self, Mutant};

use crate::number;
use crate::run::many_until;
use crate::script;

/// Seeds after which a mutant counts as alive.
const MOST_SEEDS: u64 = 3_000;

#[test]
fn every_mutant_is_killed() {
    let most = number("SEEDS").unwrap_or(MOST_SEEDS);
    let mut alive = Vec::new();
    println!("{:<22} {:>7} {:>8}  killed by", "mutant", "seeds", "seconds");
    for mutant in Mutant::ALL {
        let totals = many_until(0..most, true, || mutant::switch(Some(mutant)));
        let by_seed = totals.broken.first().map(|(seed, what)| {
            let what = what.split_once(" s: ").map_or(&**what, |(_, what)| what);
            let words: String = what.chars().take(90).collect();
            format!("seed {seed}: {words}")
        });
        let killer = by_seed.or_else(|| killed_by_script(mutant));
        println!(
            "{:<22} {:>7} {:>8.1}  {}",
            format!("{mutant:?}"),
            totals.seeds,
            totals.seconds,
            killer.as_deref().unwrap_or("-")
        );
        if killer.is_none() {
            alive.push(mutant);
        }
    }
    assert!(alive.is_empty(), "mutants that no seed notices: {alive:?}");
}

/// Rules that stand behind others are reached by a hand-written schedule.
fn killed_by_script(mutant: Mutant) -> Option<String> {
    let scripts: [(&str, fn()); 2] = [
        ("an outdated row", script::outdated_row),
        ("an outdated grant", script::outdated_grant),
    ];
    mutant::switch(Some(mutant));
    let killer = scripts
        .into_iter()
        .find(|(_, script)| std::panic::catch_unwind(script).is_err());
    mutant::switch(None);
    killer.map(|(name, _)| format!("script: {name}"))
}
