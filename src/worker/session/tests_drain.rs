//! What a draining worker still starts, and what it tells of failures.

use streamkeeper_protocol::codec::Message;
use streamkeeper_protocol::{ControlKind, RunState, limit::MAX_TEXT_BYTES};

use super::tests::{check, epoch, heartbeats, session, set, stream, term};
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
    check(&mut session, 8, control(ControlKind::Resume), "");
    check(&mut session, 9, set(6, "a3 b2"), "+b2");
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
