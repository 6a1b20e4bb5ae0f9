//! What is counted wrong, what is stale, and streams that are too many for one step.

use std::sync::Arc;

use streamkeeper_protocol::RunState;

use super::fixture::*;
use super::tests::{Checks, INTERVAL, LATE, assert_found, held, short, stored};
use super::*;
use crate::cluster::Slot;

#[test]
fn what_counts_for_ever_or_is_counted_wrong_is_found() {
    let old = Slot::Releasing {
        from: assignment("a", 2),
        to: None,
    };
    // The worker has not stopped it either, which is another finding.
    assert_found(
        |c| {
            put_stream(c, Timestamp::ZERO, "s2", old);
            worker(c, "a").inventory = Arc::default();
            held(c, "s1", "b", 1);
            report(c, "b", "s1", 1, RunState::Running);
        },
        &["stale_status s2 a"],
    );
    assert_found(|c| worker(c, "b").load = 7.5, &["counter_mismatch - b"]);
    assert_found(|c| worker(c, "b").load += 1e-9, &[]);
    assert_found(|c| worker(c, "b").declared = Some(2), &["counter_mismatch - b"]);
    assert_found(|c| worker(c, "b").declared = Some(1), &[]);
    assert_found(
        |c| {
            worker(c, "a").assigned.insert(stream_id("s3"));
        },
        &["counter_mismatch - a"],
    );
    assert_found(
        |c| {
            let record = worker(c, "b");
            record.assigned.remove(&stream_id("s3"));
            record.load = 0.0;
        },
        &["counter_mismatch s3 b"],
    );
    assert_found(
        |c| {
            c.workers.remove(&worker_id("b"));
        },
        &["unknown_worker s3 b"],
    );
}

#[test]
fn who_is_silent_or_does_not_follow_for_too_long_is_stale() {
    let mut cluster = healthy();
    worker(&mut cluster, "b").desired.generation = 2;
    let mut checks = Checks::of(cluster.clone());
    let until_told = |checks: &mut Checks| {
        let begin = checks.now;
        loop {
            if let Some(told) = checks.next().filter(|told| !told.is_empty()) {
                return (checks.now - begin, short(&told));
            }
            // It is heard, and nothing else changes.
            if checks.now - begin < 200_000 {
                let cluster = checks.cluster.clone();
                checks.show(cluster);
            }
        }
    };
    let (waited, told) = until_told(&mut checks);
    assert_eq!(told, ["stale_status - b"]);
    assert!((60_000..80_000).contains(&waited), "{waited}");
    // Whoever moves is not stale, however far behind.
    let mut checks = Checks::of(cluster.clone());
    for generation in 1..40 {
        worker(&mut cluster, "b").desired.generation = generation + 2;
        worker(&mut cluster, "b").applied.generation = generation;
        checks.show(cluster.clone());
        assert!(checks.next().unwrap_or_default().is_empty());
    }
    // Silent beyond everything, and nobody has said that it is lost.
    let mut checks = Checks::of(healthy());
    let mut told = Vec::new();
    while checks.now < LATE + 90_000 {
        told = checks.next().unwrap_or(told);
    }
    assert_eq!(short(&told), ["stale_status - a", "stale_status - b"]);
}

#[test]
fn other_epochs_are_another_finding() {
    let mut cluster = healthy();
    report(&mut cluster, "b", "s0", 9, RunState::Running);
    let mut checks = Checks::of(cluster.clone());
    assert_eq!(checks.next(), None);
    for counter in 10..20 {
        report(&mut cluster, "b", "s0", counter, RunState::Running);
        checks.show(cluster.clone());
        assert_eq!(checks.next().unwrap_or_default(), [], "it changes all the time");
    }
}

#[test]
fn many_streams_are_looked_at_in_parts() {
    let mut cluster = healthy();
    let one = cluster.streams.get(&stream_id("s3")).unwrap().clone();
    let count = SLICE * 2 + 10;
    for number in 0..count {
        let name = stream_id(&format!("m{number:06}"));
        let mut record = (*one).clone();
        record.slot = Slot::Held(assignment("b", 3));
        record.spec = Arc::new(crate::spec::StreamSpec::new(name.clone(), "source"));
        cluster.streams.insert(name, Arc::new(record));
    }
    let entry = worker(&mut cluster, "b").inventory[0].clone();
    let b = worker(&mut cluster, "b");
    let names = (0..count).map(|number| stream_id(&format!("m{number:06}")));
    b.assigned.extend(names.clone());
    b.load += count as f64;
    let inventory = Arc::make_mut(&mut b.inventory);
    inventory.extend(names.map(|stream| streamkeeper_protocol::RunningStream {
        stream,
        ..entry.clone()
    }));
    inventory.sort_by(|a, b| a.stream.cmp(&b.stream));
    // One in the last part runs elsewhere too, and one between two parts is not declared.
    report(
        &mut cluster,
        "a",
        &format!("m{:06}", count - 1),
        9,
        RunState::Running,
    );
    report(&mut cluster, "a", "m009999x", 9, RunState::Running);
    let mut checks = Checks::of(cluster);
    let begin = checks.now;
    assert_eq!(checks.next(), None);
    assert!(checks.now > begin + INTERVAL, "it rests between the parts");
    let told = short(&checks.next().unwrap());
    let last = format!("m{:06}", count - 1);
    assert_eq!(
        told,
        [
            format!("duplicate {last} a"),
            "ghost m009999x a".to_owned(),
            format!("ghost {last} a")
        ]
    );
}

#[test]
fn a_page_that_differs_for_ever_is_read_again_at_one_pace_and_lets_passes_end() {
    let mut checks = Checks::with(
        Config {
            database_interval: std::time::Duration::from_secs(5),
            ..Config::default()
        },
        healthy(),
    );
    let mut page = stored(&checks.cluster);
    page.streams[0].weight = 3.0;
    checks.page = Some(page);
    for _ in 0..20 {
        checks.next();
    }
    let before = (checks.checker.stored.tickets, checks.checker.stored.passes);
    for _ in 0..20 {
        checks.next();
    }
    let read = checks.checker.stored.tickets - before.0;
    let passes = checks.checker.stored.passes - before.1;
    assert!(passes >= 15, "{passes} passes in 20 sweeps");
    assert!(
        read <= passes + 22,
        "{read} pages were read in {passes} passes and 20 sweeps"
    );
}
