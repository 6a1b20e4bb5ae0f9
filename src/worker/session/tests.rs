//! One test for each rule of the session machine.

use std::collections::BTreeMap;

use streamkeeper_protocol::{
    Action, Assign, AssignKind, Capacity, ControlKind, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS,
    DesiredEntry, Epoch, Generation, Heartbeat, Ownership, Phase, RunSpec, RunState, SessionId, StreamId,
    Term, WorkerId,
};

use super::{Command, Event, Millis, Session, SessionConfig};

pub(super) fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

pub(super) fn epoch(counter: u32) -> Epoch {
    Epoch::new(term(1), counter)
}

pub(super) fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub(super) fn session() -> Session {
    session_of(config(), None)
}

pub(super) fn config() -> SessionConfig {
    let capacity = Capacity {
        max_streams: 9,
        weight: 1.0,
    };
    let mut config = SessionConfig::new(WorkerId::new("w").unwrap(), capacity);
    config.max_entries_per_part = 2;
    config
}

pub(super) fn session_of(config: SessionConfig, former: impl IntoIterator<Item = SessionId>) -> Session {
    Session::new(
        config,
        SessionId::from_u128(7),
        "boot".to_owned(),
        former,
        Term::ZERO,
    )
}

pub(super) fn entry(name: &str, counter: u32, action: Action) -> DesiredEntry {
    let spec = RunSpec {
        source: "s".to_owned(),
        ownership: Ownership::Available,
        labels: BTreeMap::new(),
    };
    DesiredEntry {
        stream: stream(name),
        epoch: epoch(counter),
        action,
        spec: (action == Action::Run).then_some(spec),
    }
}

pub(super) fn answer(number: u32, generation: Generation, kind: AssignKind) -> Assign {
    Assign {
        v: 1,
        worker: WorkerId::new("w").unwrap(),
        session: SessionId::from_u128(7),
        ack_seq: 1,
        term: term(number),
        generation,
        lease_ms: 15_000,
        stop_budget_ms: DEFAULT_STOP_BUDGET_MS,
        kill_margin_ms: DEFAULT_KILL_MARGIN_MS,
        whole_inventory: false,
        kind,
        reason: None,
        part: 0,
        parts: 0,
        entries: Vec::new(),
        zlib: false,
    }
}

pub(super) fn desired(number: u32, generation: Generation, entries: Vec<DesiredEntry>) -> Assign {
    Assign {
        parts: 1,
        entries,
        ..answer(number, generation, AssignKind::Desired)
    }
}

/// A set of term 1 in short: `a5` runs stream a at epoch 5, `a5k` keeps it.
pub(super) fn set(generation: Generation, short: &str) -> Event {
    let one = |word: &str| {
        let action = if word.ends_with('k') {
            Action::Keep
        } else {
            Action::Run
        };
        entry(
            &word[..1],
            word[1..].trim_end_matches('k').parse().unwrap(),
            action,
        )
    };
    Event::Assign(desired(
        1,
        generation,
        short.split_whitespace().map(one).collect(),
    ))
}

pub(super) fn up(name: &str, counter: u32) -> Event {
    Event::StreamUp {
        stream: stream(name),
        epoch: epoch(counter),
    }
}

pub(super) fn exited(name: &str, counter: u32) -> Event {
    Event::StreamExited {
        stream: stream(name),
        epoch: epoch(counter),
        reason: "eof".to_owned(),
    }
}

pub(super) fn stopped(name: &str, counter: u32) -> Event {
    Event::StreamStopped {
        stream: stream(name),
        epoch: epoch(counter),
    }
}

/// Commands in short: `+a5` start, `-a5` stop, `T1` remember, `!` refused, `C5` reconnect, `H` heartbeat, `Left`.
pub(super) fn short(commands: &[Command]) -> String {
    let one = |command: &Command| match command {
        Command::Heartbeat(_) => "H".to_owned(),
        Command::Start { stream, epoch, .. } => format!("+{stream}{}", epoch.counter()),
        Command::Stop { stream, epoch } => format!("-{stream}{}", epoch.counter()),
        Command::Remember { highest_term } => format!("T{highest_term}"),
        Command::Refused { .. } => "!".to_owned(),
        Command::Reconnect { unanswered, .. } => format!("C{unanswered}"),
        Command::Lease(lease) => format!("L{}", lease.stop_at.0),
        Command::Lapsed => "lapsed".to_owned(),
        Command::Left => "Left".to_owned(),
    };
    commands.iter().map(one).collect::<Vec<_>>().join(" ")
}

pub(super) fn heartbeats(commands: &[Command]) -> Vec<&Heartbeat> {
    let mut found = Vec::new();
    for command in commands {
        if let Command::Heartbeat(heartbeat) = command {
            found.push(&**heartbeat);
        }
    }
    found
}

#[track_caller]
pub(super) fn check(session: &mut Session, ms: u64, event: Event, expected: &str) {
    assert_eq!(short(&session.handle(Millis(ms), 1, event)), expected);
}

/// Runs a story without connection, so that only orders are seen.
#[track_caller]
fn story(steps: &[(Event, &str)]) -> Session {
    let mut session = session();
    for (step, (event, expected)) in steps.iter().enumerate() {
        let commands = session.handle(Millis(0), 1, event.clone());
        assert_eq!(short(&commands), *expected, "step {step}: {event:?}");
    }
    session
}

#[test]
fn what_is_not_named_is_stopped_and_stops_come_first() {
    let session = story(&[
        (set(1, "b1 c1"), "T1 +b1 +c1"),
        (set(2, "a1 c1"), "-b1 +a1"),
        (set(3, "a2 c1 d1"), "-a1 +d1"),
        (stopped("b", 1), ""),
        (stopped("a", 1), "+a2"),
    ]);
    assert_eq!(session.inventory().len(), 3);
}

#[test]
fn epochs_only_rise() {
    story(&[
        (set(1, "a5"), "T1 +a5"),
        (set(2, "a5"), ""),
        (set(3, "a4"), ""),
        (set(4, "a6"), "-a5"),
    ]);
    story(&[
        (set(1, "a5"), "T1 +a5"),
        (set(2, ""), "-a5"),
        (stopped("a", 5), ""),
        (set(3, "a4"), ""),
    ]);
}

#[test]
fn keep_never_starts() {
    story(&[
        (set(1, "a5k"), "T1"),
        (set(2, "a5"), "+a5"),
        (set(3, "a5k"), ""),
        (set(4, "a6k"), ""),
    ]);
    story(&[
        (set(1, "a5"), "T1 +a5"),
        (set(2, ""), "-a5"),
        (set(3, "a5k"), ""),
        (stopped("a", 5), ""),
    ]);
}

#[test]
fn a_stopping_stream_starts_again_after_its_stop() {
    let start = (set(1, "a5"), "T1 +a5");
    let stop = (set(2, ""), "-a5");
    let session = story(&[start.clone(), stop.clone()]);
    assert_eq!(session.inventory()[0].state, RunState::Stopping);
    story(&[
        start.clone(),
        stop.clone(),
        (set(3, "a5"), ""),
        (exited("a", 5), ""),
        (stopped("a", 5), "+a5"),
    ]);
    story(&[
        start.clone(),
        stop.clone(),
        (set(3, "a6"), ""),
        (set(4, ""), ""),
        (stopped("a", 5), ""),
    ]);
    story(&[
        start,
        stop,
        (set(3, "a6"), ""),
        (set(4, "a5"), ""),
        (stopped("a", 5), ""),
    ]);
}

#[test]
fn late_reports_of_other_epochs_are_ignored() {
    let start = (set(1, "a5"), "T1 +a5");
    let session = story(&[
        start,
        (up("a", 4), ""),
        (exited("a", 6), ""),
        (stopped("a", 4), ""),
        (stopped("a", 5), ""),
    ]);
    assert_eq!(session.inventory()[0].state, RunState::Starting);
}

#[test]
fn only_own_assigns_at_or_above_the_applied_version_count() {
    let foreign = Assign {
        session: SessionId::from_u128(8),
        ..desired(9, 9, Vec::new())
    };
    let other = Assign {
        worker: WorkerId::new("x").unwrap(),
        ..desired(9, 9, Vec::new())
    };
    let refused = answer(9, 9, AssignKind::Refused);
    let session = story(&[
        (
            Event::Assign(desired(3, 5, vec![entry("a", 1, Action::Run)])),
            "T3 +a1",
        ),
        (Event::Assign(foreign), "!"),
        (Event::Assign(other), "!"),
        (Event::Assign(refused), "!"),
        (Event::Assign(desired(2, 9, Vec::new())), "!"),
        (Event::Assign(desired(3, 4, Vec::new())), "!"),
        (Event::Assign(desired(3, 5, Vec::new())), ""),
        (Event::Assign(answer(3, 5, AssignKind::Current)), ""),
        (Event::Assign(answer(4, 0, AssignKind::LeaseOnly)), "T4"),
        (Event::Assign(desired(4, 1, Vec::new())), "-a1"),
    ]);
    assert_eq!(
        (session.applied().term, session.applied().generation),
        (term(4), 1)
    );
}

#[test]
fn a_remembered_term_refuses_lower_ones() {
    let mut session = session();
    session.highest_term = term(5);
    check(
        &mut session,
        0,
        Event::Assign(desired(4, 1, vec![entry("a", 1, Action::Run)])),
        "!",
    );
    let kind = ControlKind::Restart;
    check(&mut session, 0, Event::Control { term: term(4), kind }, "!");
}

#[test]
fn a_set_in_parts_applies_when_it_is_whole() {
    let part = |part, name: &str| {
        Event::Assign(Assign {
            part,
            parts: 2,
            ..desired(1, 1, vec![entry(name, 1, Action::Run)])
        })
    };
    story(&[(part(0, "a"), ""), (part(1, "b"), "T1 +a1 +b1")]);
    story(&[
        (part(1, "b"), "!"),
        (part(0, "a"), ""),
        (part(0, "a"), ""),
        (part(1, "b"), "T1 +a1 +b1"),
    ]);
    story(&[(part(0, "a"), ""), (part(1, "a"), "!"), (part(1, "b"), "!")]);
    let mut no_spec = desired(1, 1, vec![entry("a", 1, Action::Run)]);
    no_spec.entries[0].spec = None;
    story(&[
        (Event::Assign(no_spec), "!"),
        (Event::Assign(answer(1, 1, AssignKind::Desired)), "!"),
    ]);
}

#[test]
fn a_stream_that_ended_comes_back_after_its_backoff() {
    let mut session = session();
    check(&mut session, 0, set(1, "a5"), "T1 +a5");
    let mut now = 0;
    for restarts in 1..=8 {
        now += 100;
        session.handle(Millis(now), 1, up("a", 5));
        session.handle(Millis(now), u64::from(restarts), exited("a", 5));
        let held = session.inventory().remove(0);
        assert_eq!((held.state, held.restarts), (RunState::Failing, restarts));
        let at = session.next_deadline().unwrap();
        assert!(at.0 - now <= (1_000 << (restarts - 1)).min(30_000));
        if at.0 > now {
            check(&mut session, at.0 - 1, Event::Tick, "");
        }
        check(&mut session, at.0, Event::Tick, "+a5");
        now = at.0;
    }
    session.handle(Millis(now), 1, up("a", 5));
    session.handle(Millis(now + 60_000), 1, exited("a", 5));
    assert!(
        session.next_deadline().unwrap().0 <= now + 61_000,
        "healthy streams begin again"
    );
    check(&mut session, now + 60_000, set(2, ""), "");
    assert!(session.inventory().is_empty(), "nothing is left to stop");
}

#[test]
fn leaving_stops_everything_and_ends_with_gone() {
    let mut session = session();
    session.handle(Millis(0), 1, set(1, "a1 b1"));
    session.handle(Millis(0), 1, exited("b", 1));
    session.handle(Millis(0), 1, Event::Connected);
    check(&mut session, 100, Event::Leave, "-a1 H");
    check(&mut session, 101, set(2, "a2 c1"), "");
    let last = session.handle(Millis(102), 1, stopped("a", 1));
    assert_eq!(short(&last), "H Left");
    assert_eq!(
        (heartbeats(&last)[0].phase, heartbeats(&last)[0].inventory.count),
        (Phase::Gone, 0)
    );
    check(&mut session, 103, set(3, "a3"), "");
    assert_eq!(session.next_deadline(), None);
}
