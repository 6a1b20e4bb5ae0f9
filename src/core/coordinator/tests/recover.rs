//! What is done to a worker in trouble, and what no stream suffers from it.

use streamkeeper_protocol::{Ownership, RunState};

use super::*;
use crate::directive::RECOVERING;
use crate::recovery_manager::Measure;
use crate::request::Order;

fn take(world: &mut World, name: &str) {
    let reason = format!("{RECOVERING} for a test");
    let worker = worker(name);
    world.send(Event::Measure(Measure::ForceRelease { worker, reason }));
}

fn restore(world: &mut World, name: &str) {
    let worker = worker(name);
    world.send(Event::Measure(Measure::Restore { worker }));
}

#[test]
fn everything_is_taken_at_once_whatever_the_limits_of_moves_are() {
    let mut world = running_world();
    let names: Vec<String> = (10..30).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.declare(&names);
    world.place_all("a");
    for name in &names {
        world.make("a", name, Some(RunState::Running));
    }
    take(&mut world, "a");
    for _ in 0..4 {
        world.beat("b");
        for name in &names {
            world.make("b", name, Some(RunState::Running));
        }
        world.beat("b");
        world.beat("a");
        take(&mut world, "a");
    }
    assert!(world.cluster().workers[&worker("a")].assigned.is_empty());
    assert!(world.cluster().workers[&worker("a")].cordoned);
    for name in names {
        world.assert_runs(name, &["b"]);
    }
    restore(&mut world, "a");
    assert!(world.cluster().workers[&worker("a")].takes_streams());
    assert!(world.directives.is_empty());
}

#[test]
fn what_fits_nowhere_goes_on_where_it_is() {
    let mut world = running_world();
    world.judge("b", 2, Availability::Lost);
    let before = world.starts.len();
    take(&mut world, "a");
    world.beat("a");
    world.assert_runs("s1", &["a"]);
    assert_eq!(world.starts.len(), before);
}

#[test]
fn an_exclusive_stream_is_granted_elsewhere_only_when_its_copy_has_ended() {
    let mut world = running_world();
    world.declare_as(&["x"], Ownership::Exclusive);
    world.place_all("a");
    world.assert_runs("x", &["a"]);
    // It does not hear that it is to end it.
    world.deaf.insert(worker("a"));
    for _ in 0..4 {
        take(&mut world, "a");
        world.beat("a");
        world.beat("b");
    }
    world.assert_runs("x", &["a"]);
    world.deaf.clear();
    for name in ["a", "b", "a", "b"] {
        world.beat(name);
    }
    world.assert_runs("x", &["b"]);
}

#[test]
fn what_an_operator_ordered_outlives_a_recovery() {
    let mut world = running_world();
    let reason = "kernel update".to_owned();
    let cordon = Order::Cordon {
        worker: worker("a"),
        reason,
    };
    world.send(Event::Apply {
        request: 7,
        change: ApplyStreams {
            orders: vec![cordon],
            ..ApplyStreams::default()
        },
    });
    take(&mut world, "a");
    restore(&mut world, "a");
    assert!(world.cluster().workers[&worker("a")].cordoned);
}

#[test]
fn who_is_reset_is_asked_for_everything() {
    let mut world = running_world();
    let worker = worker("a");
    world.send(Event::Measure(Measure::Reset {
        worker: worker.clone(),
    }));
    world.beat("a");
    world.beat("a");
    world.assert_runs("s1", &["a"]);
}
