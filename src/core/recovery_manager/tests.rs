//! What is tried, how often, and when people are asked.

use streamkeeper_protocol::StreamId;

use super::*;
use crate::consistency_checker::Policy;
use crate::consistency_checker::fixture::{at, session, worker_id};

const SECOND: u64 = 1_000;

/// Nothing stronger than a resync.
fn gentle() -> Config {
    Config {
        highest: Level::Soft,
        ..Config::default()
    }
}

fn manager() -> RecoveryManager {
    RecoveryManager::new(gentle())
}

fn finding(kind: FindingKind, worker: &str) -> Finding {
    Finding {
        kind,
        stream: Some(StreamId::new("s").unwrap()),
        worker: Some(worker_id(worker)),
        detail: "differs".into(),
        repair: Some(Repair::Resync {
            worker: worker_id(worker),
        }),
        policy: Policy::Repair,
        since: Timestamp::ZERO,
    }
}

fn ghosts(workers: &[&str]) -> Event {
    Event::Findings(
        workers
            .iter()
            .map(|worker| finding(FindingKind::Ghost, worker))
            .collect(),
    )
}

fn turned(worker: &str, availability: Availability) -> Event {
    Event::Availability(vec![SessionChange {
        worker: worker_id(worker),
        session: session(1),
        availability,
    }])
}

/// `1 resync a 00..1`, `exhausted a`, `over a`.
fn short(commands: &[Command]) -> Vec<String> {
    let text = |command: &Command| match command {
        Command::Order {
            order,
            worker,
            session,
            kind,
            ..
        } => {
            let session = session.map_or(String::new(), |session| format!(" {}", session.as_u128()));
            format!("{order} {kind:?} {worker}{session}")
        }
        Command::Exhausted {
            worker, exhausted, ..
        } if *exhausted => format!("exhausted {worker}"),
        Command::Exhausted { worker, .. } => format!("over {worker}"),
        other => panic!("{other:?}"),
    };
    // What readers see of it is another test's.
    let told = |command: &&Command| !matches!(command, Command::Tried(_) | Command::Publish(_));
    commands.iter().filter(told).map(text).collect()
}

/// Everything that happens by time alone until `until`: (second, command).
fn until(manager: &mut RecoveryManager, until: u64) -> Vec<(u64, String)> {
    let mut all = Vec::new();
    while let Some(due) = manager.next_deadline().filter(|due| due.as_ms() <= until) {
        let commands = short(&manager.handle(due, Event::Tick));
        assert!(
            !commands.is_empty(),
            "a deadline at {due} at which nothing happens"
        );
        assert!(all.len() < 10_000, "it never rests");
        all.extend(
            commands
                .into_iter()
                .map(|command| (due.as_ms() / SECOND, command)),
        );
    }
    all
}

#[test]
fn only_what_a_resync_repairs_by_itself_is_answered_with_one() {
    let of = |policy, repair| Finding {
        policy,
        repair,
        ..finding(FindingKind::Ghost, "a")
    };
    let resync = || {
        Some(Repair::Resync {
            worker: worker_id("a"),
        })
    };
    for (finding, expected) in [
        (of(Policy::Repair, resync()), &["1 Resync a"] as &[&str]),
        (of(Policy::Propose, resync()), &[]),
        (of(Policy::Alert, resync()), &[]),
        (of(Policy::Repair, Some(Repair::Reread)), &[]),
        (of(Policy::Repair, None), &[]),
    ] {
        let commands = manager().handle(at(0), Event::Findings(vec![finding.clone()]));
        assert_eq!(short(&commands), expected, "{finding:?}");
    }
}

#[test]
fn who_is_wished_for_is_asked_once() {
    let mut manager = manager();
    let wish = Event::Synchronize(vec![worker_id("a"), worker_id("b")]);
    assert_eq!(
        short(&manager.handle(at(0), wish.clone())),
        ["1 Resync a", "2 Resync b"]
    );
    assert_eq!(manager.next_deadline(), None);
    // Who was asked already is asked again when that is over.
    assert_eq!(short(&manager.handle(at(100), wish)), [] as [&str; 0]);
    let over = manager.next_deadline().unwrap();
    assert_eq!(
        short(&manager.handle(over, Event::Tick)),
        ["3 Resync a", "4 Resync b"]
    );
}

#[test]
fn attempts_back_off_and_then_people_are_asked_once() {
    let mut manager = manager();
    assert_eq!(short(&manager.handle(at(0), ghosts(&["a"]))), ["1 Resync a"]);
    // 5, 10, 20, 40 seconds, and the last attempt gets the longest delay, 60, to help.
    let expected = [
        (5, "2 Resync a"),
        (15, "3 Resync a"),
        (35, "4 Resync a"),
        (75, "5 Resync a"),
        (135, "exhausted a"),
    ];
    let expected: Vec<_> = expected.map(|(second, text)| (second, text.to_owned())).into();
    assert_eq!(until(&mut manager, 1_000 * SECOND), expected);
    assert_eq!(manager.next_deadline(), None);
    assert_eq!(manager.handle(at(2_000 * SECOND), ghosts(&["a"])), []);
    let over = manager.handle(at(2_001 * SECOND), ghosts(&[]));
    assert_eq!(short(&over), ["over a"]);
    // The same trouble again is new trouble.
    let again = manager.handle(at(2_002 * SECOND), ghosts(&["a"]));
    assert_eq!(short(&again), ["6 Resync a"]);
}

#[test]
fn people_are_told_what_was_tried() {
    for (outcome, words) in [
        (None, "none was answered"),
        (Some(Ok(())), "the worker answered the last one"),
        (
            Some(Err("no responders".to_owned())),
            "the last answer was: no responders",
        ),
    ] {
        let mut manager = RecoveryManager::new(Config {
            max_attempts: 1,
            ..gentle()
        });
        let both = vec![
            finding(FindingKind::Ghost, "a"),
            finding(FindingKind::Ghost, "a"),
            finding(FindingKind::Missing, "a"),
        ];
        manager.handle(at(0), Event::Findings(both));
        if let Some(outcome) = outcome {
            manager.handle(at(1), Event::Ordered { order: 1, outcome });
        }
        let commands = manager.handle(at(5 * SECOND), Event::Tick);
        let [_, Command::Exhausted { detail, .. }, _] = commands.as_slice() else {
            panic!("{commands:?}");
        };
        assert_eq!(
            *detail,
            format!(
                "1 resync in 5 s did not help and {words}; it still has these findings: 2 ghost, 1 missing"
            )
        );
    }
}

#[test]
fn trouble_that_ends_in_time_is_forgotten_silently() {
    let mut manager = manager();
    manager.handle(at(0), ghosts(&["a", "b"]));
    let nothing: [&str; 0] = [];
    assert_eq!(short(&manager.handle(at(SECOND), ghosts(&["b"]))), nothing);
    assert_eq!(until(&mut manager, 6 * SECOND), [(5, "3 Resync b".to_owned())]);
    assert_eq!(short(&manager.handle(at(7 * SECOND), ghosts(&[]))), nothing);
    assert_eq!(manager.next_deadline(), None);
}

#[test]
fn death_forgets_what_was_tried_but_not_what_is_found() {
    let mut manager = manager();
    manager.handle(at(0), ghosts(&["a"]));
    until(&mut manager, 40 * SECOND);
    let dead = || turned("a", Availability::Dead);
    assert_eq!(manager.handle(at(40 * SECOND), dead()), []);
    // An older session had died: the findings of the present one go on, and are mended from the start.
    let expected = [(100, "5 Resync a".to_owned()), (105, "6 Resync a".to_owned())];
    assert_eq!(until(&mut manager, 110 * SECOND), expected);
    manager.handle(at(110 * SECOND), dead());
    manager.handle(at(111 * SECOND), ghosts(&[]));
    assert_eq!(manager.next_deadline(), None);
}

#[test]
fn death_ends_what_people_were_asked_for() {
    let mut manager = manager();
    manager.handle(at(0), ghosts(&["a"]));
    until(&mut manager, 1_000 * SECOND);
    let commands = manager.handle(at(1_000 * SECOND), turned("a", Availability::Dead));
    assert_eq!(short(&commands), ["over a"]);
}

#[test]
fn one_order_at_a_time() {
    let mut manager = RecoveryManager::new(Config {
        retry_delay: Duration::from_millis(10),
        ..Config::default()
    });
    manager.handle(at(0), turned("a", Availability::Lost));
    let back = manager.handle(at(10), turned("a", Availability::Alive));
    assert_eq!(short(&back), ["1 Resync a 1"]);
    assert_eq!(manager.handle(at(20), ghosts(&["a"])), [], "it is asked already");
    assert_eq!(manager.next_deadline(), Some(at(2_010)));
    // The answer came; the findings are still there.
    let outcome = Ok(());
    let commands = manager.handle(at(30), Event::Ordered { order: 1, outcome });
    assert_eq!(short(&commands), ["2 Resync a"]);
    assert_eq!(
        manager.next_deadline(),
        Some(at(2_030)),
        "not before the order timed out"
    );
}

#[test]
fn a_worker_that_was_lost_and_returns_is_asked_once() {
    let mut manager = manager();
    assert_eq!(manager.handle(at(0), turned("a", Availability::Alive)), []);
    assert_eq!(manager.handle(at(1), turned("a", Availability::Lost)), []);
    let commands = manager.handle(at(2), turned("a", Availability::Alive));
    assert_eq!(short(&commands), ["1 Resync a 1"]);
    assert_eq!(manager.handle(at(3), turned("a", Availability::Alive)), []);
    manager.handle(at(4), turned("a", Availability::Lost));
    manager.handle(at(5), turned("a", Availability::Dead));
    assert_eq!(manager.handle(at(6), turned("a", Availability::Alive)), []);
    assert_eq!(manager.next_deadline(), None);
}

#[test]
fn a_late_worker_is_pinged() {
    let commands = manager().handle(at(0), turned("a", Availability::Warning));
    assert_eq!(short(&commands), ["1 Ping a 1"]);
}

#[test]
fn answers_to_unknown_orders_are_ignored() {
    let mut manager = manager();
    let outcome = Err("late".to_owned());
    assert_eq!(manager.handle(at(0), Event::Ordered { order: 7, outcome }), []);
}

#[test]
fn a_storm_is_spread_over_windows() {
    let many = MAX_ORDERS_PER_WINDOW * 2 + 10;
    let names: Vec<String> = (0..many).map(|number| format!("w{number:04}")).collect();
    let all = |availability| {
        let change = |name: &String| SessionChange {
            worker: worker_id(name),
            session: session(1),
            availability,
        };
        Event::Availability(names.iter().map(change).collect())
    };
    let mut manager = manager();
    let pings = manager.handle(at(0), all(Availability::Warning));
    assert_eq!(pings.len(), MAX_ORDERS_PER_WINDOW, "the rest is not pinged");
    manager.handle(at(10 * SECOND), all(Availability::Lost));
    let first = manager.handle(at(20 * SECOND), all(Availability::Alive));
    assert_eq!(first.len(), MAX_ORDERS_PER_WINDOW);
    assert_eq!(manager.next_deadline(), Some(at(20 * SECOND + 100)));
    assert_eq!(manager.handle(at(20 * SECOND + 50), Event::Tick), []);
    assert_eq!(
        until(&mut manager, 30 * SECOND).len(),
        many - MAX_ORDERS_PER_WINDOW
    );
    assert_eq!(manager.next_deadline(), None);
    // The same bound holds for workers with findings, and none is left out.
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = manager.handle(at(40 * SECOND), ghosts(&names));
    assert_eq!(first.len(), MAX_ORDERS_PER_WINDOW);
    assert_eq!(
        until(&mut manager, 41 * SECOND).len(),
        many - MAX_ORDERS_PER_WINDOW
    );
}

#[test]
fn nothing_is_kept_of_workers_out_of_trouble() {
    let mut manager = manager();
    manager.handle(at(0), ghosts(&["a"]));
    manager.handle(at(0), turned("b", Availability::Lost));
    manager.handle(at(1), turned("b", Availability::Alive));
    manager.handle(at(2), ghosts(&[]));
    manager.handle(at(10 * SECOND), Event::Tick);
    assert!(manager.cases.is_empty() && manager.lost.is_empty() && manager.returning.is_empty());
    assert!(manager.resyncs.is_empty() && manager.orders.is_empty());
}
