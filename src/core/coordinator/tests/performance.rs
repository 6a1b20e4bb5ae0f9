//! What streams use and give: kept beside them, without anybody being woken by it.

use streamkeeper_protocol::{Epoch, Performance, RunState, StreamPerformance};

use super::*;

const NUMBERS: Performance = Performance {
    cpu_cores: Some(0.5),
    memory_bytes: Some(1_000),
    bytes_per_second: None,
    stalls: None,
    reconnects: None,
};

fn shown(world: &World, stream: &str) -> Option<Performance> {
    world.cluster().streams[&id(stream)]
        .performance
        .as_deref()
        .copied()
}

/// The next heartbeat of `name` tells the performance of `stream` under `epoch`; how many snapshots that makes.
fn tell(world: &mut World, name: &str, stream: &str, epoch: Epoch) -> usize {
    let mut heartbeat = world.report(&worker(name)).unwrap();
    heartbeat.inventory.parts = 0;
    heartbeat.inventory.running.clear();
    heartbeat.performance = vec![StreamPerformance {
        stream: id(stream),
        epoch,
        measured: NUMBERS,
    }];
    world.now += 1;
    let now = Timestamp::from_ms(world.now);
    let coordinator = world.coordinator.as_mut().unwrap();
    let commands = coordinator.handle(now, Event::Heartbeat(Box::new(heartbeat)));
    commands
        .iter()
        .filter(|command| matches!(command, Command::Snapshot(_)))
        .count()
}

#[test]
fn it_is_kept_while_the_stream_runs_there_and_makes_no_snapshot() {
    let mut world = running_world();
    let epoch = world.rows[&id("s1")].epoch;
    // What the world did so far is published.
    world.now += 2_000;
    world.beat("a");
    assert_eq!(shown(&world, "s1"), None);
    assert_eq!(tell(&mut world, "a", "s1", epoch), 0);
    assert_eq!(shown(&world, "s1"), Some(NUMBERS));
    world.beat("a");
    assert_eq!(shown(&world, "s1"), Some(NUMBERS));

    // Elsewhere nothing is measured yet.
    world.workers.remove(&worker("a"));
    world.judge("a", 1, Availability::Dead);
    assert_eq!(shown(&world, "s1"), Some(NUMBERS), "the last that is known");
    world.place_all("b");
    world.assert_runs("s1", &["b"]);
    assert_eq!(shown(&world, "s1"), None);
}

#[test]
fn only_the_owner_tells_it_for_its_own_epoch() {
    let mut world = running_world();
    let epoch = world.rows[&id("s1")].epoch;
    for (name, stream, epoch) in [
        ("b", "s1", epoch),
        ("a", "s1", Epoch::ZERO),
        ("a", "nobody", epoch),
    ] {
        tell(&mut world, name, stream, epoch);
    }
    assert_eq!(shown(&world, "s1"), None);
}

#[test]
fn what_fails_uses_nothing() {
    let mut world = running_world();
    let epoch = world.rows[&id("s1")].epoch;
    tell(&mut world, "a", "s1", epoch);
    let mut heartbeat = world.report(&worker("a")).unwrap();
    for running in &mut heartbeat.inventory.running {
        running.state = RunState::Failing;
    }
    world.send(Event::Heartbeat(Box::new(heartbeat)));
    assert_eq!(world.state("s1"), StreamState::Failing);
    assert_eq!(shown(&world, "s1"), None);
}
