//! Do the properties notice when a rule is missing? Each is switched off for itself.

use super::super::mutant::{self, Mutant};
use super::{ALL, check};

/// Fleets that each property is tried on; a mutant that outlives them all counts as alive.
const CASES: u32 = 1_000;

#[test]
#[expect(
    clippy::print_stdout,
    reason = "what was noticed by which property is the result"
)]
fn every_mutant_of_placement_is_killed() {
    // A property that is broken says so by its result; what the code itself says of it is of no interest here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut alive = Vec::new();
    for mutant in Mutant::ALL {
        let killer = ALL.iter().find(|property| {
            mutant::switch(Some(mutant));
            let outcome = std::panic::catch_unwind(|| check(property, CASES));
            mutant::switch(None);
            !matches!(outcome, Ok(Ok(())))
        });
        let name = killer.map_or("-", |property| property.name);
        println!("{:<18} {name}", format!("{mutant:?}"));
        if killer.is_none() {
            alive.push(mutant);
        }
    }
    let _ = std::panic::take_hook();
    assert!(alive.is_empty(), "mutants that no property notices: {alive:?}");
}
