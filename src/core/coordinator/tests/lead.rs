//! Becoming the leader, and ceasing to be it.

use super::*;
use crate::cluster::ClusterState;
use crate::election::Lead;
use crate::record::Loaded;
use crate::request::ApplyError;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

fn new_term(above: u32) -> Command {
    Command::NewTerm { above: term(above) }
}

fn took_over(number: u32) -> Event {
    Event::TookOver {
        fence: Fence {
            term: term(number),
            nonce: 1,
        },
        longest_lease: Duration::ZERO,
        loaded: Loaded::default(),
    }
}

/// Commands in words, without snapshots.
fn said(commands: &[Command]) -> Vec<String> {
    let told = commands.iter().filter(|command| !is_snapshot(command));
    told.map(|command| format!("{command:?}")).collect()
}

const fn is_snapshot(command: &Command) -> bool {
    matches!(command, Command::Snapshot(_))
}

#[track_caller]
fn says(commands: &[Command], expected: &[Command]) {
    assert_eq!(said(commands), said(expected));
}

fn role(coordinator: &Coordinator) -> (Role, Term) {
    let leadership = coordinator.cluster().leadership;
    (leadership.role, leadership.term)
}

fn elected(number: u32, until: u64) -> Event {
    unrivalled(term(number), at(until))
}

/// An election of which nobody else can have led meanwhile.
pub(super) fn unrivalled(term: Term, until: Timestamp) -> Event {
    Event::Elected(Lead {
        term,
        until,
        rivals_until: Timestamp::ZERO,
    })
}

/// One that leads under term 16 until 6 s.
fn leading() -> Coordinator {
    let mut coordinator = Coordinator::new(Config::default());
    let commands = coordinator.handle(at(0), elected(16, 6_000));
    says(&commands, &[Command::TakeOver { term: term(16) }]);
    coordinator.handle(at(1), took_over(16));
    assert_eq!(role(&coordinator), (Role::Leading, term(16)));
    coordinator
}

#[test]
fn a_predecessor_of_whom_the_message_server_forgot_may_give_leases_until_its_own_is_over() {
    for (rivals_until, grace_until) in [(0, 15_651), (6_560, 22_210)] {
        let mut coordinator = Coordinator::new(Config::default());
        let lead = Lead {
            term: term(32),
            until: at(6_000),
            rivals_until: at(rivals_until),
        };
        coordinator.handle(at(0), Event::Elected(lead));
        coordinator.handle(at(1), took_over(32));
        assert_eq!(coordinator.cluster().leadership.grace_until, at(grace_until));
    }
}

#[test]
fn a_lead_ends_by_itself_unless_it_is_renewed() {
    let mut coordinator = leading();
    coordinator.handle(at(2_000), elected(16, 8_000));
    coordinator.handle(at(7_999), Event::Tick);
    assert_eq!(role(&coordinator), (Role::Leading, term(16)));
    assert_eq!(coordinator.next_deadline(), Some(at(8_000)));
    let commands = coordinator.handle(at(8_000), elected(16, 9_000));
    // The renewal came too late: whoever renews is to do so under another term.
    assert_eq!(role(&coordinator), (Role::Standby, Term::ZERO));
    says(&commands, &[new_term(16), new_term(16)]);
}

#[test]
fn who_resigns_forgets_everything_answers_who_waits_and_writes_nothing_more() {
    let mut world = World::new();
    world.join("a", 1);
    world.declare(&["s1"]);
    let mut coordinator = world.coordinator.take().unwrap();
    let own = coordinator.cluster().leadership.term;
    let request = 7;
    let change = ApplyStreams {
        streams: vec![StreamSpec::new(id("s2"), "http://source")],
        ..ApplyStreams::default()
    };
    let commands = coordinator.handle(at(100), Event::Apply { request, change });
    assert!(
        commands
            .iter()
            .any(|command| matches!(command, Command::Persist { .. }))
    );
    let commands = coordinator.handle(at(101), Event::Resigned { term: own });
    let outcome = Err(ApplyError::Ambiguous("leadership changed".into()));
    says(
        &commands,
        &[
            Command::Reply { request, outcome },
            Command::Vacated { term: own },
        ],
    );
    let ClusterState { streams, workers, .. } = coordinator.cluster();
    assert!(streams.is_empty() && workers.is_empty());
    let change = ApplyStreams::default();
    let commands = coordinator.handle(at(102), Event::Apply { request, change });
    let outcome = Err(ApplyError::NotLeading);
    says(&commands, &[Command::Reply { request, outcome }]);
}

#[test]
fn a_takeover_is_tried_again_under_its_term_or_under_a_higher_one_where_that_is_used() {
    let mut coordinator = Coordinator::new(Config::default());
    coordinator.handle(at(0), elected(16, 60_000));
    let failed = |stored: Option<u32>| Event::TakeOverFailed {
        term: term(16),
        stored: stored.map(term),
    };
    says(&coordinator.handle(at(1), failed(None)), &[]);
    let due = coordinator.next_deadline().unwrap();
    let commands = coordinator.handle(due, Event::Tick);
    says(&commands, &[Command::TakeOver { term: term(16) }]);
    let commands = coordinator.handle(at(2_000), failed(Some(40)));
    says(&commands, &[new_term(40)]);
    // The first attempt's answer, late: nobody waits for it any more.
    coordinator.handle(at(2_001), took_over(16));
    assert_eq!(role(&coordinator), (Role::TakingOver, term(16)));
    let commands = coordinator.handle(at(2_002), elected(48, 60_000));
    says(&commands, &[Command::TakeOver { term: term(48) }]);
    coordinator.handle(at(2_003), took_over(48));
    assert_eq!(role(&coordinator), (Role::Leading, term(48)));
}

#[test]
fn a_new_term_that_was_not_heard_of_is_asked_for_again_with_every_renewal() {
    let mut coordinator = leading();
    let mut heartbeat = {
        let mut world = World::new();
        world.join("a", 1);
        world.report(&worker("a")).unwrap()
    };
    heartbeat.highest_term = term(35);
    let commands = coordinator.handle(at(10), Event::Heartbeat(Box::new(heartbeat)));
    says(&commands, &[new_term(35)]);
    let commands = coordinator.handle(at(2_000), elected(16, 8_000));
    says(&commands, &[new_term(35)]);
}

#[test]
fn a_standby_passes_on_what_it_hears_of_terms() {
    let mut coordinator = Coordinator::new(Config::default());
    let commands = coordinator.handle(at(0), Event::Begin { above: term(16) });
    says(&commands, &[new_term(16)]);
    let mut world = World::new();
    world.join("a", 1);
    let mut heartbeat = world.report(&worker("a")).unwrap();
    heartbeat.highest_term = term(35);
    let commands = coordinator.handle(at(1), Event::Heartbeat(Box::new(heartbeat.clone())));
    says(&commands, &[Command::HeardTerm(term(35))]);
    heartbeat.highest_term = Term::MAX;
    let commands = coordinator.handle(at(2), Event::Heartbeat(Box::new(heartbeat)));
    says(&commands, &[]);
}
