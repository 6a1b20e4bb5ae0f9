//! Tests of what is told of streams' performance, and when.

use std::collections::BTreeSet;

use super::*;

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

fn stream(number: u32) -> StreamId {
    StreamId::new(format!("s{number:05}")).unwrap()
}

fn using(cores: f32, memory: u64) -> Performance {
    Performance {
        cpu_cores: Some(cores),
        memory_bytes: Some(memory),
        ..Performance::default()
    }
}

/// So many streams that were measured once.
fn many(count: u32) -> (Performances, Vec<Meter>) {
    let mut performances = Performances::default();
    let meters = (0..count)
        .map(|number| performances.started(stream(number), Epoch::new(term(1), number)))
        .collect::<Vec<_>>();
    for meter in &meters {
        meter.report(using(0.5, 1 << 20));
    }
    (performances, meters)
}

#[test]
fn only_what_is_measured_is_told_and_only_to_a_leader() {
    let mut performances = Performances::default();
    let meter = performances.started(stream(1), Epoch::new(term(1), 7));
    assert_eq!(performances.due(Millis(0), term(1)), []);
    meter.report(using(f32::NAN, 5));
    assert_eq!(performances.due(Millis(2_000), Term::ZERO), []);
    let measured = Performance {
        memory_bytes: Some(5),
        ..Performance::default()
    };
    let told = StreamPerformance {
        stream: stream(1),
        epoch: Epoch::new(term(1), 7),
        measured,
    };
    assert_eq!(performances.due(Millis(4_000), term(1)), [told]);
    performances.ended(&stream(1));
    meter.report(using(1.0, 7));
    assert_eq!(performances.due(Millis(100_000), term(1)), [], "it is gone");
}

#[test]
fn a_notable_change_is_told_after_ten_seconds_and_everything_after_a_minute() {
    let (mut performances, meters) = many(1);
    let meter = &meters[0];
    let mut tell = |ms: u64, measured: Performance| {
        meter.report(measured);
        !performances.due(Millis(ms), term(1)).is_empty()
    };
    assert!(tell(0, using(0.5, 1 << 20)));
    assert!(!tell(9_999, using(5.0, 1 << 30)), "too soon");
    assert!(tell(11_000, using(5.0, 1 << 30)));
    assert!(
        !tell(30_000, using(4.2, (1 << 30) - 5_000_000)),
        "hardly a change"
    );
    assert!(tell(32_000, using(3.9, 1 << 30)));
    assert!(!tell(91_000, using(3.9, 1 << 30)), "as before");
    assert!(tell(92_000, using(3.9, 1 << 30)), "as before, for a minute");
    let stalled = Performance {
        stalls: Some(1),
        ..using(3.9, 1 << 30)
    };
    assert!(tell(110_000, stalled), "a count changed");
    assert!(tell(
        122_000,
        Performance {
            cpu_cores: None,
            ..stalled
        }
    ));
    // Next to nothing stays next to nothing.
    assert!(tell(190_000, using(0.001, 100)));
    assert!(!tell(210_000, using(0.009, 900)));
}

#[test]
fn ten_thousand_streams_take_turns() {
    let (mut performances, meters) = many(10_000);
    let mut told = BTreeSet::new();
    let mut now = Millis(0);
    while told.len() < meters.len() {
        for (meter, number) in meters.iter().zip(0_u64..) {
            // All of them change all the time.
            meter.report(using(0.5, now.0 * 1_000_000 + number));
        }
        let due = performances.due(now, term(1));
        assert_eq!(due.len(), MAX_STREAMS.min(due.len()));
        assert!(due.len() == MAX_STREAMS || told.len() + due.len() >= meters.len());
        told.extend(due.into_iter().map(|stream| stream.stream));
        now = now.plus(2_000);
        assert!(
            now < Millis(60_000),
            "{} were told, the others starve",
            told.len()
        );
    }
    assert!(!performances.due(now, term(1)).is_empty());
    assert_eq!(
        performances.due(now.plus(10), term(1)),
        [],
        "a burst carries it once"
    );
}

#[test]
fn another_leader_is_told_everything_at_once() {
    let (mut performances, _meters) = many(3);
    assert_eq!(performances.due(Millis(0), term(1)).len(), 3);
    assert_eq!(performances.due(Millis(2_000), term(1)).len(), 0);
    assert_eq!(performances.due(Millis(2_010), term(17)).len(), 3);
}
