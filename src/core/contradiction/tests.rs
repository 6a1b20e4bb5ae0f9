//! What is found in the rules that a change declares.

use std::sync::Arc;

use super::*;
use crate::cluster::Slot;
use crate::consistency_checker::fixture::{add_worker, at, put_stream, stream_id, worker, worker_id};

fn spec(name: &str, spread: Option<&str>, pin: Option<&str>) -> StreamSpec {
    let mut spec = StreamSpec::new(stream_id(name), "x");
    spec.spread = spread.map(Into::into);
    spec.pin = pin.map(worker_id);
    spec
}

fn fleet(streams: &[StreamSpec]) -> ClusterState {
    let mut cluster = ClusterState::default();
    for id in ["a", "b"] {
        add_worker(&mut cluster, id);
    }
    for spec in streams {
        put_stream(&mut cluster, at(0), spec.name.as_str(), Slot::Vacant);
        let record = cluster.streams.get_mut(&spec.name).unwrap();
        Arc::make_mut(record).spec = Arc::new(spec.clone());
    }
    cluster
}

fn declare(streams: &[StreamSpec]) -> ApplyStreams {
    ApplyStreams {
        streams: streams.to_vec(),
        ..ApplyStreams::default()
    }
}

/// Stream, field and degree of each.
#[track_caller]
fn assert_found(cluster: &ClusterState, change: &ApplyStreams, expected: &[(&str, &str, Degree)]) {
    let found = contradictions(cluster, change);
    let seen: Vec<(&str, &str, Degree)> = found
        .iter()
        .map(|found| (found.stream.as_str(), found.field, found.degree))
        .collect();
    assert_eq!(seen, expected, "{found:?}");
}

#[test]
fn two_of_one_key_pinned_to_one_worker_are_impossible_however_they_are_written() {
    let pinned = |name| spec(name, Some("k"), Some("a"));
    let both = [
        ("s1", "pin", Degree::Impossible),
        ("s2", "pin", Degree::Impossible),
    ];
    assert_found(&fleet(&[]), &declare(&[pinned("s1"), pinned("s2")]), &both);
    // The other one may be there already, and one may be pinned or switched on later.
    let there = fleet(&[pinned("s1"), spec("s2", Some("k"), None)]);
    assert_found(&there, &declare(&[pinned("s2")]), &both[1..]);
    let pin = ApplyStreams {
        pin: vec![(stream_id("s2"), Some(worker_id("a")))],
        ..ApplyStreams::default()
    };
    assert_found(&there, &pin, &both[1..]);
    let mut off = pinned("s2");
    off.enabled = false;
    let there = fleet(&[pinned("s1"), off]);
    assert_found(&there, &declare(&[pinned("s1")]), &[]);
    let enable = ApplyStreams {
        enable: vec![(stream_id("s2"), true)],
        ..ApplyStreams::default()
    };
    assert_found(&there, &enable, &both[1..]);

    // Whoever goes with the same change stands in nobody's way.
    let there = fleet(&[pinned("s1")]);
    let prune = ApplyStreams {
        prune: true,
        ..declare(&[pinned("s2")])
    };
    assert_found(&there, &prune, &[]);
    let delete = ApplyStreams {
        delete: vec![stream_id("s1")],
        ..declare(&[pinned("s2")])
    };
    assert_found(&there, &delete, &[]);
    assert_found(
        &there,
        &declare(&[spec("s1", Some("k"), Some("b")), pinned("s2")]),
        &[],
    );
    assert_found(&there, &declare(&[spec("s2", Some("other"), Some("a"))]), &[]);
}

#[test]
fn a_key_that_more_streams_have_than_workers_take_streams_is_told_once() {
    let streams = ["s1", "s2", "s3"].map(|name| spec(name, Some("k"), None));
    assert_found(&fleet(&[]), &declare(&streams[..2]), &[]);
    let told = [("s1", "spread", Degree::Today)];
    assert_found(&fleet(&[]), &declare(&streams), &told);
    let found = contradictions(&fleet(&streams[1..]), &declare(&streams[..1]));
    assert!(found[0].detail.contains("3 streams have"), "{found:?}");
    assert!(found[0].detail.contains("2 workers take streams"), "{found:?}");
    let mut smaller = fleet(&[]);
    worker(&mut smaller, "b").cordoned = true;
    assert_found(&smaller, &declare(&streams[..2]), &told);
}

#[test]
fn a_pin_to_a_worker_that_cannot_run_the_stream_is_told_with_what_it_lacks() {
    type Change = fn(&mut WorkerRecord, &mut StreamSpec);
    let cases: [(Change, Degree, &str); 6] = [
        (
            |_, spec| spec.requires.insert("gpu".into(), "yes".into()),
            Degree::Unfit,
            "lacks the label gpu=yes",
        ),
        (
            |worker, spec| {
                worker.guarded = false;
                spec.ownership = Ownership::Exclusive;
            },
            Degree::Unfit,
            "does not guard",
        ),
        (
            |worker, _| worker.capacity.max_streams = 0,
            Degree::Unfit,
            "max_streams is 0",
        ),
        (
            |worker, _| worker.capacity.weight = 0.5,
            Degree::Unfit,
            "a weight of 0.5 at most, and the stream's is 1",
        ),
        (
            |worker, _| worker.cordoned = true,
            Degree::Today,
            "takes no streams at present",
        ),
        (
            |worker, _| worker.heard = false,
            Degree::Today,
            "was not heard yet",
        ),
    ];
    for (change, degree, words) in cases {
        let (mut cluster, mut wish) = (fleet(&[]), spec("s1", None, Some("a")));
        change(worker(&mut cluster, "a"), &mut wish);
        assert_found(
            &cluster,
            &declare(std::slice::from_ref(&wish)),
            &[("s1", "pin", degree)],
        );
        let found = contradictions(&cluster, &declare(std::slice::from_ref(&wish)));
        assert!(found[0].detail.contains(words), "{found:?}");
        wish.pin = Some(worker_id("b"));
        wish.requires = Default::default();
        assert_found(&cluster, &declare(&[wish]), &[]);
    }
    let unknown = spec("s1", None, Some("nobody"));
    assert_found(&fleet(&[]), &declare(&[unknown]), &[("s1", "pin", Degree::Unfit)]);
}
