//! Streams that do not keep running.

use streamkeeper_protocol::RunState;

use super::*;
use crate::cluster::DrainState;
use crate::directive::Kind;

/// Time passes, and workers go on telling what they tell.
fn wait(world: &mut World, seconds: u64) {
    for _ in 0..seconds {
        world.now += 1_000;
        world.send(Event::Tick);
        for name in ["a", "b"] {
            world.beat(name);
        }
    }
}

#[test]
fn a_stream_that_fails_on_one_worker_is_tried_on_another_and_left_alone_when_it_fails_there_too() {
    let mut world = running_world();
    for name in ["a", "b"] {
        world.make(name, "s1", Some(RunState::Failing));
    }
    wait(&mut world, 40);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.cluster().streams[&id("s1")].reason, MoveReason::Failing);
    world.assert_runs("s2", &["a"]);
    let starts = world.starts.len();
    wait(&mut world, 60);
    world.assert_runs("s1", &["b"]);
    assert_eq!(world.starts.len(), starts, "it is moved nowhere");
    let quarantine = &world.cluster().quarantined[&id("s1")];
    assert_eq!(quarantine.tried.len(), 2);
    world.make("b", "s1", None);
    wait(&mut world, 20);
    assert!(world.cluster().quarantined.is_empty(), "it runs");
}

#[test]
fn a_worker_on_which_streams_fail_that_run_elsewhere_is_drained() {
    let mut world = World::new();
    world.join("a", 1);
    let names = ["s1", "s2", "s3", "s4"];
    world.declare(&names);
    world.place_all("a");
    world.join("b", 2);
    for name in &names[..3] {
        world.make("a", name, Some(RunState::Failing));
    }
    wait(&mut world, 80);
    for name in names {
        world.assert_runs(name, &["b"]);
    }
    assert_eq!(world.cluster().drains[&worker("a")].state, DrainState::Done);
    let kinds: Vec<Kind> = world.directives.iter().map(|write| write.key().kind).collect();
    assert_eq!(kinds, [Kind::Cordon]);
    let (_, standing) = world.cluster().directives.of(Kind::Cordon).next().unwrap();
    assert!(
        standing.reason.contains("suspected: 3 streams"),
        "{}",
        standing.reason
    );
}
