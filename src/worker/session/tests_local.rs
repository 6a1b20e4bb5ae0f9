//! Without a leader: starting from what was saved, giving up deaf connections, naming former sessions.

use streamkeeper_protocol::{Assign, AssignKind, ControlKind, Mode, Ownership, Phase, SessionId};

use super::tests::{
    answer, check, config, desired, exited, heartbeats, session, session_of, set, stopped, term, up,
};
use super::{Event, Millis, SavedSet, Session};

/// What a session saves that was given this set.
fn saved(short: &str) -> SavedSet {
    let mut session = session();
    session.handle(Millis(0), 1, set(1, short));
    session.plan().unwrap()
}

/// A session that found `saved` at 1 s.
fn restored(saved: SavedSet) -> Session {
    let mut session = session();
    session.restore(Millis(1_000), saved);
    session
}

fn refusal(ack_seq: u64) -> Event {
    Event::Assign(Assign {
        ack_seq,
        ..answer(1, 0, AssignKind::Refused)
    })
}

/// Beats regularly without an answer; gives the commands in short, and when it ended.
fn unanswered(session: &mut Session, from: u64, beats: u32) -> (String, u64) {
    let (mut told, mut at) = (String::new(), from);
    for _ in 0..beats {
        let Some(next) = session.next_deadline() else {
            break;
        };
        at = next.0.max(at);
        let commands = session.handle(Millis(at), 1, Event::Tick);
        told.push_str(&super::tests::short(&commands));
    }
    (told, at)
}

#[test]
fn the_plan_is_what_runs_or_is_to_run() {
    let mut session = session();
    assert_eq!(
        (session.plan_revision(), session.plan().unwrap().streams),
        (0, vec![])
    );
    session.handle(Millis(0), 1, set(1, "a1 b2 c3 d4"));
    session.handle(Millis(0), 1, exited("d", 4));
    session.handle(Millis(0), 1, set(2, "a1k b5 d4"));
    let revision = session.plan_revision();
    session.handle(Millis(0), 1, up("a", 1));
    assert_eq!(session.plan_revision(), revision, "only a set changes it");
    let plan = session.plan().unwrap();
    let told: Vec<_> = plan
        .streams
        .iter()
        .map(|saved| {
            (
                saved.stream.as_str(),
                saved.epoch.counter(),
                saved.spec.source.as_str(),
            )
        })
        .collect();
    assert_eq!(told, [("a", 1, "s"), ("b", 5, "s"), ("d", 4, "s")]);
    assert_eq!(plan.version.generation, 2);
    session.handle(Millis(0), 1, Event::Leave);
    assert_eq!(
        session.plan(),
        None,
        "the end of a process is not the leader's wish"
    );
}

#[test]
fn an_isolated_worker_starts_what_it_ran_before() {
    let mut old = saved("a1 b2 c3");
    old.streams[2].spec.ownership = Ownership::Exclusive;
    let mut session = restored(old);
    assert_eq!(
        (session.waiting(), session.next_deadline()),
        (2, Some(Millis(11_000)))
    );
    check(&mut session, 10_999, Event::Tick, "");
    check(&mut session, 11_000, Event::Tick, "+a1 +b2");
    assert_eq!(session.waiting(), 0);
    check(&mut session, 40_000, Event::Tick, "");
    let commands = session.handle(Millis(40_000), 1, Event::Connected);
    let told = heartbeats(&commands)[0];
    assert_eq!(
        (told.mode, told.inventory.count, told.inventory.parts),
        (Mode::Local, 2, 1)
    );
    assert_eq!(told.applied.generation, 0);

    // Then a leader's word counts: it adopts one and moves the other; the first answer changes nothing.
    check(
        &mut session,
        40_001,
        Event::Assign(answer(1, 0, AssignKind::LeaseOnly)),
        "T1",
    );
    check(&mut session, 40_002, set(1, "a1k"), "-b2");
    check(&mut session, 40_003, stopped("b", 2), "");
    assert_eq!(session.inventory().len(), 1);
}

#[test]
fn a_leaders_word_comes_before_what_was_saved() {
    for (word, later) in [
        // It is there, so its set will come; where it falls silent before, the wait begins again.
        (Event::Assign(answer(1, 0, AssignKind::LeaseOnly)), "+a1"),
        (Event::Assign(answer(1, 0, AssignKind::Current)), "+a1"),
        (refusal(0), "+a1"),
        (set(1, ""), ""),
    ] {
        let mut session = restored(saved("a1"));
        session.handle(Millis(9_000), 1, word.clone());
        check(&mut session, 11_000, Event::Tick, "");
        check(&mut session, 18_999, Event::Tick, "");
        let told = session.handle(Millis(19_000), 1, Event::Tick);
        assert_eq!(super::tests::short(&told), later, "{word:?}");
    }
    let mut deposed = restored(saved("a1"));
    deposed.highest_term = term(5);
    check(&mut deposed, 9_000, Event::Assign(desired(4, 1, Vec::new())), "!");
    check(&mut deposed, 11_000, Event::Tick, "+a1");

    let mut draining = restored(saved("a1"));
    let kind = ControlKind::Drain;
    draining.handle(Millis(2_000), 1, Event::Control { term: term(1), kind });
    check(&mut draining, 30_000, Event::Tick, "");
    let mut leaving = restored(saved("a1"));
    check(&mut leaving, 2_000, Event::Leave, "Left");
}

#[test]
fn nothing_starts_below_what_was_saved() {
    let mut session = restored(saved("a5 b5"));
    check(&mut session, 2_000, set(1, "a4 b6"), "T1 +b6");
    assert_eq!(session.waiting(), 0);
}

#[test]
fn a_connection_without_answers_is_given_up() {
    let mut session = session();
    session.handle(Millis(0), 1, Event::Connected);
    session.handle(Millis(1), 1, Event::Assign(answer(1, 0, AssignKind::LeaseOnly)));
    let (told, at) = unanswered(&mut session, 1_000, 6);
    assert_eq!(told, "HHHHHC5");
    assert_eq!(session.next_deadline(), None, "nothing more is sent on it");
    let told = session.handle(Millis(at), 1, Event::Connected);
    assert_eq!(heartbeats(&told)[0].mode, Mode::Local);
    // In vain: the next wait is twice as long, and never endless.
    let (told, mut at) = unanswered(&mut session, at, 10);
    assert_eq!(told, "HHHHHHHHHC10");
    for _ in 0..9 {
        session.handle(Millis(at), 1, Event::Connected);
        at = unanswered(&mut session, at, 500).1;
    }
    session.handle(Millis(at), 1, Event::Connected);
    let (told, at) = unanswered(&mut session, at, 500);
    assert!(told.ends_with("C160"), "{told}");

    session.handle(Millis(at), 1, Event::Connected);
    session.handle(Millis(at), 1, Event::Assign(answer(1, 0, AssignKind::Current)));
    let told = session.handle(Millis(at + 5_000), 1, Event::Tick);
    assert_eq!(heartbeats(&told)[0].mode, Mode::Connected);
    assert!(unanswered(&mut session, at, 6).0.ends_with("C5"));
}

#[test]
fn a_burst_of_changes_is_no_silence() {
    let mut session = session();
    session.handle(Millis(0), 1, Event::Connected);
    session.handle(Millis(0), 1, set(1, "a1"));
    for step in 1..=50 {
        session.handle(
            Millis(step * 20),
            1,
            Event::Control {
                term: term(1),
                kind: ControlKind::Ping,
            },
        );
    }
    assert_eq!(session.seq, 51);
    assert!(session.pulse.is_connected());
}

#[test]
fn former_sessions_are_named_until_a_leader_accepts_this_one() {
    let id = SessionId::from_u128;
    let mut session = session_of(config(), [1, 2].map(id));
    let named = |session: &mut Session, ms, event| {
        let commands = session.handle(Millis(ms), 1, event);
        heartbeats(&commands).last().map(|heartbeat| heartbeat.supersedes)
    };
    assert_eq!(named(&mut session, 0, Event::Connected), Some(Some(id(1))));
    assert_eq!(
        named(&mut session, 50, refusal(1)),
        Some(Some(id(2))),
        "the next one, at once"
    );
    assert_eq!(
        named(&mut session, 51, refusal(1)),
        None,
        "a late copy turns nothing"
    );
    assert_eq!(
        named(&mut session, 100, refusal(2)),
        None,
        "all were tried: at the usual pace"
    );
    assert_eq!(named(&mut session, 3_000, Event::Tick), Some(Some(id(1))));
    let accepted = Event::Assign(answer(1, 0, AssignKind::LeaseOnly));
    assert_eq!(named(&mut session, 3_050, accepted), Some(None));
    // A leader that knows less refuses it later: the proof is given again.
    assert_eq!(named(&mut session, 3_100, refusal(4)), Some(Some(id(1))));
}

#[test]
fn leaving_without_connection_ends_when_everything_has_stopped() {
    let mut session = session();
    session.handle(Millis(0), 1, Event::Connected);
    session.handle(Millis(0), 1, set(1, "a1 b1"));
    session.handle(Millis(1), 1, Event::Disconnected);
    check(&mut session, 2, Event::Leave, "-a1 -b1");
    check(&mut session, 3, stopped("a", 1), "");
    check(&mut session, 4, stopped("b", 1), "Left");
    assert_eq!(session.phase, Phase::Gone);
}
