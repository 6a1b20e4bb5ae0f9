//! Exclusive streams: one test for each rule of the lease. The lease has 15 s, exclusive streams end 2 s before.

use std::time::Duration;

use streamkeeper_protocol::{
    Action, Assign, AssignKind, ControlKind, DesiredEntry, Generation, Ownership, RunState,
};
use streamkeeper_resilience::Backoff;

use super::tests::{
    answer, check, config, desired, entry, exited, heartbeats, session_of, short, stopped, up,
};
use super::{Event, Lease, Millis, Session};

/// The set of term 1 in short: `x5` runs the exclusive stream x at epoch 5, `x5k` keeps it; other names are available.
fn entries(words: &str) -> Vec<DesiredEntry> {
    let one = |word: &str| {
        let action = if word.ends_with('k') {
            Action::Keep
        } else {
            Action::Run
        };
        let mut entry = entry(
            &word[..1],
            word[1..].trim_end_matches('k').parse().unwrap(),
            action,
        );
        if let Some(spec) = entry.spec.as_mut().filter(|_| word.starts_with(['x', 'y'])) {
            spec.ownership = Ownership::Exclusive;
        }
        entry
    };
    words.split_whitespace().map(one).collect()
}

fn acks(ack_seq: u64, assign: Assign) -> Event {
    Event::Assign(Assign { ack_seq, ..assign })
}

fn set(ack_seq: u64, generation: Generation, words: &str) -> Event {
    acks(ack_seq, desired(1, generation, entries(words)))
}

fn current(ack_seq: u64, generation: Generation) -> Event {
    acks(ack_seq, answer(1, generation, AssignKind::Current))
}

fn guarded() -> Session {
    let mut config = config();
    config.guarded = true;
    session_of(config, None)
}

/// Of which heartbeat 1 was sent at 1 s, and which runs x at epoch 5, and the available a at 1, since 1.1 s.
fn running() -> Session {
    let mut session = guarded();
    check(&mut session, 1_000, Event::Connected, "H");
    check(&mut session, 1_100, set(1, 1, "a1 x5"), "T1 L14000 +a1 +x5 H");
    session.handle(Millis(1_200), 1, up("x", 5));
    session.handle(Millis(1_200), 1, up("a", 1));
    // From here on without connection, so that heartbeats do not stand between the orders.
    check(&mut session, 1_300, Event::Disconnected, "");
    session
}

fn states(session: &Session) -> Vec<(String, RunState)> {
    let inventory = session.inventory().into_iter();
    inventory
        .map(|running| (running.stream.to_string(), running.state))
        .collect()
}

#[test]
fn exclusive_streams_end_before_the_lease_and_available_ones_go_on() {
    let mut session = running();
    assert_eq!(
        session.next_deadline(),
        Some(Millis(14_000)),
        "it wakes up by itself"
    );
    check(&mut session, 13_999, Event::Tick, "");
    check(&mut session, 14_000, Event::Tick, "lapsed -x5");
    let expected = [
        ("a".to_owned(), RunState::Running),
        ("x".to_owned(), RunState::Stopping),
    ];
    assert_eq!(states(&session), expected, "what stops may run still");
    check(&mut session, 14_100, stopped("x", 5), "");
    assert_eq!(states(&session), expected[..1]);
    check(&mut session, 60_000, Event::Tick, "");
}

#[test]
fn a_lease_counts_from_the_sending_of_the_heartbeat_that_is_answered() {
    let mut session = running();
    // Heartbeat 1 again, late; a heartbeat that was never sent; one that is forgotten.
    for seq in [1, 99, 0] {
        check(&mut session, 9_000, current(seq, 1), "");
    }
    check(&mut session, 9_000, Event::Connected, "H");
    let seq = session.seq;
    check(&mut session, 9_500, current(seq, 1), "L22000");
    check(&mut session, 9_600, current(1, 1), "");
    check(&mut session, 9_600, Event::Disconnected, "");
    check(&mut session, 21_999, Event::Tick, "");
    check(&mut session, 22_000, Event::Tick, "lapsed -x5");
}

#[test]
fn old_send_times_are_forgotten_and_new_ones_are_not() {
    let mut leases = super::lease::Leases::default();
    let mut terms = |ack_seq, at| {
        leases.sent(Millis(at), at);
        let assign = Assign {
            ack_seq,
            ..answer(1, 1, AssignKind::Current)
        };
        leases
            .renew(Millis(at), super::lease::Terms::from(&assign))
            .map(|lease| lease.stop_at.0)
    };
    let found: Vec<_> = (1..=3_000).map(|at| terms(at, at)).collect();
    assert_eq!(found[2_999], Some(16_000));
    assert!(found.iter().all(Option::is_some));
    assert_eq!(terms(3_002, 3_001), None, "never sent");
    assert_eq!(terms(1_000, 3_002), None);
}

#[test]
fn the_runner_learns_of_every_renewal() {
    let mut session = guarded();
    session.handle(Millis(1_000), 1, Event::Connected);
    let budgets = Assign {
        stop_budget_ms: 3_000,
        kill_margin_ms: 1_000,
        ..answer(1, 0, AssignKind::LeaseOnly)
    };
    let commands = session.handle(Millis(1_500), 1, Event::Assign(budgets));
    let lease = Lease {
        stop_at: Millis(13_000),
        kill_at: Millis(15_000),
    };
    assert!(commands.contains(&super::Command::Lease(lease)), "{commands:?}");
    let told = heartbeats(&commands)[0];
    assert_eq!((told.guarded, told.lease_left_ms), (true, 14_500));
    let commands = session.handle(Millis(14_000), 1, Event::Connected);
    assert_eq!(heartbeats(&commands)[0].lease_left_ms, 0, "it lapsed");
    // A margin above the budget: who is to be killed is told to end before.
    let seq = session.seq;
    let odd = Assign {
        stop_budget_ms: 100,
        kill_margin_ms: 700,
        ..answer(1, 0, AssignKind::Current)
    };
    check(&mut session, 14_001, acks(seq, odd), "L28300");
}

#[test]
fn a_lease_counts_only_with_the_set_that_it_comes_with() {
    let mut session = running();
    check(&mut session, 9_000, Event::Connected, "H");
    check(&mut session, 9_000, Event::Disconnected, "");
    let seq = session.seq;
    let part = |part, words| {
        let assign = Assign {
            part,
            parts: 2,
            ..desired(1, 2, entries(words))
        };
        acks(seq, assign)
    };
    // It may take x away: nobody knows before all of it is there.
    check(&mut session, 9_100, part(0, "a1"), "");
    check(&mut session, 9_100, current(seq, 2), "");
    let refused = answer(1, 1, AssignKind::Refused);
    check(&mut session, 9_100, acks(seq, refused), "!");
    check(&mut session, 9_100, current(seq, 0), "!");
    assert_eq!(session.next_deadline(), Some(Millis(14_000)));
    check(&mut session, 9_200, part(0, "a1"), "");
    check(&mut session, 9_300, part(1, "x5k"), "L22000");
    check(&mut session, 14_000, Event::Tick, "");

    let mut session = running();
    check(&mut session, 9_000, Event::Connected, "H");
    check(&mut session, 9_000, Event::Disconnected, "");
    // A new term's first answer renews; the first part of its set does not.
    check(
        &mut session,
        9_050,
        acks(1, answer(2, 0, AssignKind::LeaseOnly)),
        "T2",
    );
    let first = Assign {
        part: 0,
        parts: 2,
        ..desired(2, 0, entries("a1"))
    };
    check(&mut session, 9_100, acks(seq, first), "");
    check(
        &mut session,
        9_200,
        acks(seq, answer(2, 0, AssignKind::LeaseOnly)),
        "L22000",
    );
}

#[test]
fn after_a_lapse_only_a_new_run_entry_starts_it() {
    let mut session = running();
    check(&mut session, 14_500, Event::Tick, "lapsed -x5");
    // The last answer again: of a lease that has lapsed.
    check(&mut session, 14_500, current(1, 1), "");
    // A live lease again, while it is still stopping: that alone starts nothing, neither does a `keep`.
    check(&mut session, 14_500, Event::Connected, "H");
    check(&mut session, 14_501, Event::Disconnected, "");
    let seq = session.seq;
    check(&mut session, 14_600, current(seq, 1), "L27500");
    check(&mut session, 14_700, set(seq, 2, "a1 x5k"), "");
    check(&mut session, 14_800, stopped("x", 5), "");
    check(&mut session, 14_800, Event::Tick, "");
    check(&mut session, 14_900, set(seq, 2, "a1 x6"), "");
    check(&mut session, 14_900, set(seq, 3, "a1 x4"), "");
    check(&mut session, 14_900, set(seq, 4, "a1 x6"), "+x6");
}

#[test]
fn a_lapse_forgets_what_was_to_follow_a_stop() {
    let mut session = running();
    check(&mut session, 13_000, set(1, 2, "a1 x6"), "-x5");
    check(&mut session, 14_000, Event::Tick, "lapsed");
    check(&mut session, 14_001, Event::Connected, "H");
    check(&mut session, 14_001, Event::Disconnected, "");
    let seq = session.seq;
    check(&mut session, 14_100, current(seq, 2), "L27001");
    check(&mut session, 14_200, stopped("x", 5), "");
    assert_eq!(session.inventory().len(), 1);
}

#[test]
fn a_failed_stream_is_not_started_again_after_a_lapse() {
    let mut session = running();
    check(&mut session, 13_900, exited("x", 5), "");
    check(&mut session, 14_000, Event::Tick, "lapsed");
    assert_eq!(states(&session).len(), 1);
    check(&mut session, 60_000, Event::Tick, "");
}

#[test]
fn what_happens_after_the_lapse_counts_after_it() {
    // The process was frozen; the first that it sees is the end of the stream, or a renewal that came late.
    let mut session = running();
    check(&mut session, 14_500, exited("x", 5), "lapsed -x5");
    check(&mut session, 14_500, stopped("x", 5), "");
    assert_eq!(session.inventory().len(), 1);

    let mut session = running();
    check(&mut session, 13_000, Event::Connected, "H");
    let seq = session.seq;
    let late = session.handle(Millis(14_500), 1, current(seq, 1));
    assert_eq!(short(&late), "lapsed -x5 L26000 H");
}

#[test]
fn too_little_of_a_lease_starts_nothing_until_it_is_renewed() {
    let mut session = guarded();
    check(&mut session, 1_000, Event::Connected, "H");
    check(&mut session, 1_000, Event::Disconnected, "");
    // 13.5 s after the heartbeat: 2 s of stop budget and half a second of margin are no life.
    check(&mut session, 13_500, set(1, 1, "a1 x5"), "T1 L14000 +a1");
    check(&mut session, 13_600, Event::Connected, "H");
    check(&mut session, 13_600, Event::Disconnected, "");
    let seq = session.seq;
    check(&mut session, 13_700, current(seq, 1), "L26600 +x5");
    check(&mut session, 26_600, Event::Tick, "lapsed -x5");

    // Without any lease the same.
    let mut session = guarded();
    check(&mut session, 1_000, set(1, 1, "x5"), "T1");
    check(&mut session, 1_000, Event::Connected, "H");
    check(&mut session, 1_000, Event::Disconnected, "");
    check(&mut session, 1_100, current(1, 1), "L14000 +x5");

    // What waits is forgotten by a lapse like what runs.
    let mut session = running();
    check(&mut session, 13_500, set(1, 2, "y7"), "-a1 -x5");
    check(&mut session, 14_000, Event::Tick, "lapsed");
    check(&mut session, 14_000, Event::Connected, "H");
    check(&mut session, 14_000, Event::Disconnected, "");
    let seq = session.seq;
    check(&mut session, 14_100, current(seq, 2), "L27000");
}

#[test]
fn a_failed_stream_waits_for_the_lease_without_waking_up_for_nothing() {
    let mut session = running();
    session.config.backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
    check(&mut session, 13_000, exited("x", 5), "");
    check(&mut session, 13_001, Event::Tick, "+x5");
    check(&mut session, 13_500, exited("x", 5), "");
    check(&mut session, 13_501, Event::Tick, "");
    assert_eq!(session.next_deadline(), Some(Millis(14_000)));
    check(&mut session, 13_600, Event::Connected, "H");
    check(&mut session, 13_600, Event::Disconnected, "");
    let seq = session.seq;
    check(&mut session, 13_700, current(seq, 1), "L26600");
    check(&mut session, 13_700, Event::Tick, "+x5");
}

#[test]
fn what_waits_for_a_lease_is_of_the_newest_word() {
    let waiting = || {
        let mut session = guarded();
        check(&mut session, 1_000, set(0, 1, "x5"), "T1");
        check(&mut session, 1_000, Event::Connected, "H");
        check(&mut session, 1_000, Event::Disconnected, "");
        session
    };
    check(&mut waiting(), 1_100, set(1, 2, "a1"), "L14000 +a1");
    check(&mut waiting(), 1_100, set(1, 2, "x5k"), "L14000");
    let mut session = waiting();
    check(
        &mut session,
        1_100,
        acks(1, answer(2, 0, AssignKind::LeaseOnly)),
        "T2 L14000",
    );
    check(
        &mut session,
        1_200,
        acks(1, answer(2, 0, AssignKind::Current)),
        "",
    );
    let mut session = waiting();
    let (term, kind) = (super::tests::term(1), ControlKind::Drain);
    session.handle(Millis(1_050), 1, Event::Control { term, kind });
    check(&mut session, 1_100, current(1, 1), "L14000");
    let mut session = waiting();
    check(&mut session, 1_050, Event::Leave, "Left");
}

#[test]
fn what_waits_for_a_lease_is_told_as_starting_or_its_leader_would_give_it_to_another() {
    let mut session = guarded();
    check(&mut session, 1_000, set(0, 1, "x5"), "T1");
    let waiting = [("x".to_owned(), RunState::Starting)];
    assert_eq!(states(&session), waiting);
    let told = session.handle(Millis(1_000), 1, Event::Connected);
    assert_eq!(heartbeats(&told)[0].inventory.count, 1);
    check(&mut session, 1_100, current(1, 1), "L14000 +x5");
    assert_eq!(states(&session), waiting);

    // What follows a stop waits as well.
    let mut session = running();
    check(&mut session, 13_000, set(1, 2, "a1 x6"), "-x5");
    check(&mut session, 13_600, stopped("x", 5), "");
    assert_eq!(session.inventory()[1].epoch.counter(), 6);
    // A set without it, and a lapse, end the waiting.
    check(&mut session, 13_700, set(1, 3, "a1"), "");
    assert_eq!(states(&session).len(), 1);
    check(&mut session, 13_800, set(1, 4, "a1 x7"), "");
    assert_eq!(states(&session).len(), 2);
    check(&mut session, 14_000, Event::Tick, "lapsed");
    assert_eq!(states(&session).len(), 1);
}

#[test]
fn a_worker_without_guard_refuses_exclusive_streams() {
    let mut session = session_of(config(), None);
    check(&mut session, 1_000, Event::Connected, "H");
    let commands = session.handle(Millis(1_100), 1, set(1, 1, "a1 x5"));
    assert_eq!(short(&commands), "T1 +a1 H");
    let told = &heartbeats(&commands)[0];
    assert_eq!(
        (told.guarded, told.lease_left_ms, told.inventory.count),
        (false, 0, 2)
    );
    let refused = session.inventory().remove(1);
    assert_eq!((refused.state, refused.restarts), (RunState::Failing, 0));
    assert!(refused.reason.unwrap().contains("need a guard"));
    check(&mut session, 1_150, Event::Disconnected, "");
    assert_eq!(session.next_deadline(), None, "it is not tried again");
    check(&mut session, 90_000, Event::Tick, "");
    check(&mut session, 90_000, set(1, 2, "a1 x6"), "");
    assert_eq!(session.inventory()[1].epoch.counter(), 6);
    check(&mut session, 90_000, set(1, 3, "a1"), "");
    assert_eq!(session.inventory().len(), 1, "there is nothing to stop");
}
