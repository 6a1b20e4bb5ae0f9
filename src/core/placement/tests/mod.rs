//! Properties of plans, over many small generated fleets. Each is a plain function, so that the mutants can be tried
//! against all of them.

mod contradictions;
mod even;
#[cfg(feature = "mutants")]
mod mutants;
mod places;
mod upkeep;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use world::{World, constrained, plain};

/// Fleets that each property is tried on.
const CASES: u32 = 1_000;

type Outcome = Result<(), TestCaseError>;

/// A property, by name.
struct Property {
    name: &'static str,
    /// Whether it is one of fleets without constraints.
    plain: bool,
    holds: fn(&World) -> Outcome,
}

fn check(property: &Property, cases: u32) -> Result<(), String> {
    // The same fleets in every run: what is found today is found again tomorrow.
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let world = if property.plain {
        plain().boxed()
    } else {
        constrained().boxed()
    };
    runner
        .run(&world, |world| (property.holds)(&world))
        .map_err(|error| error.to_string())
}

macro_rules! properties {
    ($($world:ident $module:ident::$name:ident),* $(,)?) => {
        const ALL: &[Property] = &[$(Property {
            name: stringify!($name),
            plain: stringify!($world).len() == 5,
            holds: $module::$name,
        }),*];
        $(
            #[test]
            fn $name() {
                let property = ALL.iter().find(|property| property.name == stringify!($name)).unwrap();
                if let Err(error) = check(property, CASES) {
                    panic!("{error}");
                }
            }
        )*
    };
}

properties! {
    any places::constraints_hold_and_nothing_is_over_capacity,
    any places::whoever_is_unplaced_fits_nowhere_and_is_told_why,
    any places::important_streams_are_not_left_out_for_others,
    any places::nobody_yields_to_an_equal,
    any places::the_order_of_input_does_not_matter,
    any places::a_death_moves_only_the_dead_workers_streams,
    any places::no_plan_is_empty,
    any places::what_still_runs_stays,
    plain places::the_fullest_worker_is_near_the_mean,
    any places::explain_names_the_worker_that_a_plan_takes,
    any even::solving_twice_changes_nothing,
    any even::a_fresh_placement_is_a_fixed_point,
    plain even::a_join_moves_streams_only_to_the_newcomer,
    any even::nobody_gives_and_gets,
    any even::whoever_gave_gets_nothing,
    any even::a_fresh_placement_is_mended_well_inside_the_band,
    any even::a_plan_stays_within_its_budget,
    any even::every_plan_improves_the_score,
    any even::plans_come_to_an_end,
    any even::inside_the_band_nothing_moves,
    any upkeep::small_changes_lead_where_a_fresh_start_does,
    any contradictions::contradicting_rules_are_found_and_never_loop,
    any contradictions::pins_against_rules_are_told_apart_and_never_loop,
}
