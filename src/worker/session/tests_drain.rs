//! What a draining worker still starts, and what it tells of failures.

use streamkeeper_protocol::codec::Message;
use streamkeeper_protocol::{Action, AssignKind, ControlKind, Ownership, RunState, limit::MAX_TEXT_BYTES};

use super::tests::{answer, check, desired, entry, epoch, heartbeats, session, set, stream, term};
use super::{Event, Millis};

fn control(kind: ControlKind) -> Event {
    Event::Control { term: term(1), kind }
}

fn stopped(name: &str, counter: u32) -> Event {
    Event::StreamStopped {
        stream: stream(name),
        epoch: epoch(counter),
    }
}

#[test]
fn a_draining_worker_starts_nothing_new() {
    let mut session = session();
    check(&mut session, 0, set(1, "a1 b1"), "T1 +a1 +b1");
    check(&mut session, 1, control(ControlKind::Drain), "");
    check(&mut session, 2, set(2, "a1 b1 c1"), "");
    check(&mut session, 3, set(3, "a2 c1"), "-b1 -a1");
    check(&mut session, 4, set(4, "a3 b2"), "");
    check(&mut session, 5, stopped("a", 1), "+a3");
    check(&mut session, 6, stopped("b", 1), "");
    check(&mut session, 7, set(5, "a3 b2"), "");
    check(&mut session, 8, control(ControlKind::Resume), "+b2");
    check(&mut session, 9, set(6, "a3 b2"), "");
}

#[test]
fn what_a_drain_skipped_starts_only_while_it_is_wanted() {
    let drained = |wanted: &str| {
        let mut session = session();
        check(&mut session, 0, set(1, "a1"), "T1 +a1");
        check(&mut session, 1, control(ControlKind::Drain), "");
        check(&mut session, 2, set(2, wanted), "");
        session
    };
    let mut later = drained("a1 b1");
    check(&mut later, 3, set(3, "a1"), "");
    check(&mut later, 4, control(ControlKind::Resume), "");

    let mut kept = drained("a1 b1k");
    check(&mut kept, 3, control(ControlKind::Resume), "");

    // Another leader has spoken since: what it wants comes with its own set.
    let mut other = drained("a1 b1");
    check(
        &mut other,
        3,
        Event::Assign(answer(2, 0, AssignKind::LeaseOnly)),
        "T2",
    );
    let kind = ControlKind::Resume;
    check(&mut other, 4, Event::Control { term: term(2), kind }, "");

    let mut unheard = drained("a1 b1");
    check(&mut unheard, 3, Event::Control { term: term(2), kind }, "");

    let mut exclusive = drained("a1");
    let mut entries = vec![entry("a", 1, Action::Run), entry("b", 1, Action::Run)];
    entries[1].spec.as_mut().unwrap().ownership = Ownership::Exclusive;
    check(&mut exclusive, 3, Event::Assign(desired(1, 3, entries)), "");
    check(&mut exclusive, 4, control(ControlKind::Resume), "");
}

#[test]
fn a_draining_worker_restarts_what_fails() {
    let mut session = session();
    check(&mut session, 0, set(1, "a1"), "T1 +a1");
    check(&mut session, 1, control(ControlKind::Drain), "");
    let exited = Event::StreamExited {
        stream: stream("a"),
        epoch: epoch(1),
        reason: "eof".to_owned(),
    };
    check(&mut session, 2, exited, "");
    check(&mut session, 3, set(2, "a1"), "");
    assert_eq!(session.inventory()[0].state, RunState::Failing);
    check(&mut session, 60_000, Event::Tick, "+a1");
}

#[test]
fn a_long_reason_leaves_the_heartbeat_valid() {
    let mut session = session();
    session.handle(Millis(0), 1, set(1, "a1"));
    let reason = format!("{}\u{e4}\n", "x".repeat(MAX_TEXT_BYTES - 1));
    let exited = Event::StreamExited {
        stream: stream("a"),
        epoch: epoch(1),
        reason,
    };
    session.handle(Millis(1), 1, exited);
    let commands = session.handle(Millis(1), 1, Event::Connected);
    let heartbeat = heartbeats(&commands)[0];
    assert!(heartbeat.check().is_ok());
    let told = heartbeat.inventory.running[0].reason.as_ref().unwrap();
    assert_eq!(told.len(), MAX_TEXT_BYTES - 1);
}
