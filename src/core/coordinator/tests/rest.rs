//! Workers at rest: their heartbeats cost no look at their streams, and whatever happens ends the rest.

use super::*;

fn at_rest(world: &World, name: &str) -> bool {
    world.coordinator.as_ref().unwrap().seats[&worker(name)].at_rest
}

#[test]
fn a_worker_that_reports_what_it_is_to_run_is_at_rest_until_something_changes() {
    let mut world = running_world();
    world.beat("a");
    world.beat("b");
    assert!(at_rest(&world, "a"), "it runs what it is to run");
    assert!(at_rest(&world, "b"), "it runs nothing, and is to run nothing");

    world.judge("a", 1, Availability::Dead);
    assert!(!at_rest(&world, "a"), "its streams were taken");
    world.place_all("b");
    assert!(!at_rest(&world, "b"), "it was given streams");
    world.beat("b");
    world.beat("b");
    assert!(at_rest(&world, "b"), "it runs them");
    world.assert_runs("s1", &["b"]);
}
