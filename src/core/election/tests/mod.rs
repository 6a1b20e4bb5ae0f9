//! The election: one at a time what the rules promise, then all of it at random.

mod connection;
mod property;
mod world;

use std::time::Duration;

use super::*;
use world::World;

const SECOND: Duration = Duration::from_secs(1);
/// Longer than any wait for a lease.
const LONG: Duration = Duration::from_secs(20);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

/// A lone candidate that is told what happens.
struct Lone {
    election: Election,
    attempt: u64,
    record: Option<LeaderRecord>,
    told: Vec<Command>,
}

impl Lone {
    fn new(config: Config) -> Self {
        let me = OrchestratorId::new("me").unwrap();
        let mut lone = Self {
            election: Election::new(me, config, 7),
            attempt: 0,
            record: None,
            told: Vec::new(),
        };
        lone.tell(0, Event::Begin { remembered: term(5) });
        lone
    }

    /// Tells it, and answers what it wants remembered.
    fn tell(&mut self, ms: u64, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in self.election.handle(at(ms), event) {
                match &command {
                    Command::Read { attempt } => self.attempt = *attempt,
                    Command::Write { attempt, record, .. } => {
                        self.attempt = *attempt;
                        self.record = Some(record.clone());
                    }
                    Command::Remember(term) => events.push(Event::Remembered {
                        term: *term,
                        durable: true,
                    }),
                    _ => {}
                }
                self.told.push(command);
            }
        }
    }

    fn found(&mut self, ms: u64, found: Found) {
        let attempt = self.attempt;
        self.tell(ms, Event::Read { attempt, found });
    }

    fn written(&mut self, ms: u64, outcome: WriteOutcome) {
        let attempt = self.attempt;
        self.tell(ms, Event::Written { attempt, outcome });
    }

    /// What it did since it was last asked, without what is for readers.
    fn did(&mut self) -> Vec<Command> {
        let told = std::mem::take(&mut self.told);
        told.into_iter()
            .filter(|command| !matches!(command, Command::Publish(_)))
            .collect()
    }

    fn elected(&mut self) -> Option<(Term, Timestamp)> {
        self.did().into_iter().find_map(|command| match command {
            Command::Elected(lead) => Some((lead.term, lead.until)),
            _ => None,
        })
    }

    fn wants_to_write(&mut self) -> bool {
        let did = self.did();
        did.iter().any(|command| matches!(command, Command::Write { .. }))
    }
}

fn others(released: bool, nonce: u64, lease_ms: u64) -> Found {
    Found::Record {
        revision: 9,
        record: LeaderRecord {
            v: PROTOCOL_VERSION,
            term: term(33),
            nonce,
            leader: OrchestratorId::new("other").unwrap(),
            released,
            lease_ms,
        },
    }
}

#[test]
fn a_record_is_taken_a_whole_wait_after_it_was_first_seen_and_not_before() {
    for (found, free) in [
        (others(false, 1, 6_000), 6_560),
        (others(false, 1, 20_000), 20_700),
        (Found::Absent { revision: 0 }, 6_560),
        (Found::Garbled { revision: 3 }, 6_560),
    ] {
        let mut lone = Lone::new(Config::default());
        lone.found(0, found.clone());
        lone.tell(free - 1, Event::Tick);
        lone.found(free - 1, found.clone());
        assert!(!lone.wants_to_write(), "{found:?}");
        lone.tell(free, Event::Tick);
        lone.found(free, found.clone());
        assert!(lone.wants_to_write(), "{found:?}");
    }
}

#[test]
fn the_wait_begins_anew_with_every_write_even_under_the_same_revision() {
    let mut lone = Lone::new(Config::default());
    lone.found(0, others(false, 1, 6_000));
    lone.tell(6_000, Event::Tick);
    lone.found(6_000, others(false, 2, 6_000));
    lone.tell(12_559, Event::Tick);
    lone.found(12_559, others(false, 2, 6_000));
    assert!(!lone.wants_to_write());
    lone.tell(12_560, Event::Tick);
    lone.found(12_560, others(false, 2, 6_000));
    assert!(lone.wants_to_write());
}

#[test]
fn an_absence_counts_anew_when_a_key_may_have_been_made_and_lost_since() {
    let failed = |lone: &mut Lone| lone.found(3_000, Found::Failed);
    let changed = |lone: &mut Lone| {
        lone.found(3_000, Found::Absent { revision: 0 });
        lone.tell(3_500, Event::Changed);
        lone.found(3_500, Found::Absent { revision: 0 });
    };
    let told = |lone: &mut Lone| {
        lone.found(3_000, Found::Absent { revision: 0 });
        lone.tell(3_500, Event::Heard(term(33)));
    };
    let happenings: [fn(&mut Lone); 3] = [failed, changed, told];
    for (number, happens) in happenings.into_iter().enumerate() {
        let mut lone = Lone::new(Config::default());
        lone.found(0, Found::Absent { revision: 0 });
        lone.tell(3_000, Event::Tick);
        happens(&mut lone);
        lone.tell(7_000, Event::Tick);
        lone.found(7_000, Found::Absent { revision: 0 });
        assert!(!lone.wants_to_write(), "{number}");
        lone.tell(15_000, Event::Tick);
        lone.found(15_000, Found::Absent { revision: 0 });
        assert!(lone.wants_to_write(), "{number}");
    }
}

#[test]
fn a_key_that_looks_unchanged_after_a_new_connection_is_waited_for_anew() {
    let mut lone = Lone::new(Config::default());
    lone.found(0, others(false, 1, 6_000));
    lone.tell(5_000, Event::Connection);
    for (at, takes) in [(7_000, false), (11_559, false), (11_560, true)] {
        lone.tell(at, Event::Tick);
        lone.found(at, others(false, 1, 6_000));
        assert_eq!(lone.wants_to_write(), takes, "{at}");
    }
}

#[test]
fn a_released_key_is_waited_for_where_a_later_term_is_known() {
    let mut lone = Lone::new(Config::default());
    lone.tell(0, Event::Heard(term(1_000)));
    for (at, takes) in [(0, false), (6_559, false), (6_560, true)] {
        lone.tell(at, Event::Tick);
        lone.found(at, others(true, 1, 6_000));
        assert_eq!(lone.wants_to_write(), takes, "{at}");
    }
}

#[test]
fn a_released_key_is_taken_at_once_with_a_higher_term_of_the_own_number() {
    let number = 3;
    let mut lone = Lone::new(Config {
        number,
        ..Config::default()
    });
    lone.found(10, others(true, 1, 6_000));
    lone.written(30, WriteOutcome::Stored { revision: 10 });
    // From the sending at 10, not from the answer at 30.
    assert_eq!(lone.elected(), Some((term(35), at(6_010))));
}

#[test]
fn a_term_is_remembered_before_it_is_written() {
    let mut election = Election::new(OrchestratorId::new("me").unwrap(), Config::default(), 7);
    election.handle(at(0), Event::Begin { remembered: term(5) });
    let found = others(true, 1, 6_000);
    let commands = election.handle(at(1), Event::Read { attempt: 1, found });
    assert!(commands.contains(&Command::Remember(term(48))), "{commands:?}");
    let failed = Event::Remembered {
        term: term(48),
        durable: false,
    };
    let commands = election.handle(at(2), failed);
    let writes = |command: &Command| matches!(command, Command::Write { .. });
    assert!(!commands.iter().any(writes), "{commands:?}");
}

/// One that leads since 0 under term 48.
fn leader() -> Lone {
    let mut lone = Lone::new(Config::default());
    lone.found(0, others(true, 1, 6_000));
    lone.written(1, WriteOutcome::Stored { revision: 10 });
    assert_eq!(lone.elected(), Some((term(48), at(6_000))));
    lone
}

#[test]
fn a_renewal_without_an_answer_gives_nothing_until_it_is_found() {
    let mut lone = leader();
    lone.tell(2_000, Event::Tick);
    let record = lone.record.clone().unwrap();
    lone.written(3_000, WriteOutcome::Unknown);
    assert_eq!(lone.elected(), None);
    lone.found(3_010, Found::Record { revision: 11, record });
    assert_eq!(lone.elected(), Some((term(48), at(8_000))));
}

#[test]
fn a_leadership_that_cannot_be_renewed_ends_by_itself() {
    let mut lone = leader();
    lone.tell(2_000, Event::Tick);
    lone.written(3_000, WriteOutcome::Unknown);
    lone.found(3_000, Found::Failed);
    lone.did();
    lone.tell(5_999, Event::Tick);
    assert!(!lone.did().contains(&Command::Resigned { term: term(48) }));
    lone.tell(6_000, Event::Tick);
    assert!(lone.did().contains(&Command::Resigned { term: term(48) }));
}

#[test]
fn a_holder_makes_a_vanished_key_anew_and_yields_to_another_ones() {
    let mut lone = leader();
    lone.tell(2_000, Event::Tick);
    lone.written(2_001, WriteOutcome::Conflict);
    lone.did();
    lone.found(2_002, Found::Absent { revision: 0 });
    let did = lone.did();
    assert!(matches!(did[..], [Command::Write { expect: 0, .. }]), "{did:?}");
    lone.written(2_003, WriteOutcome::Conflict);
    lone.found(2_004, others(false, 4, 6_000));
    assert!(lone.did().contains(&Command::Resigned { term: term(48) }));
}

#[test]
fn a_key_that_vanished_after_it_may_have_been_given_up_is_not_made_anew() {
    let mut lone = leader();
    lone.tell(100, Event::StepDown { for_good: false });
    lone.tell(200, Event::Vacated { term: term(48) });
    lone.written(1_200, WriteOutcome::Unknown);
    lone.did();
    lone.found(1_201, Found::Absent { revision: 0 });
    assert!(!lone.wants_to_write());
}

#[test]
fn a_higher_term_that_is_heard_or_needed_is_retaken_above_and_an_implausible_one_is_not() {
    for event in [Event::Heard(term(70)), Event::NeedTerm { above: term(70) }] {
        let mut lone = leader();
        lone.tell(100, event.clone());
        lone.written(110, WriteOutcome::Stored { revision: 11 });
        assert_eq!(lone.elected(), Some((term(80), at(6_100))), "{event:?}");
    }
    let mut lone = leader();
    lone.tell(100, Event::Heard(Term::MAX));
    assert_eq!(lone.did(), [Command::Implausible(Term::MAX)]);
}

#[test]
fn who_missed_its_term_is_told_again() {
    let mut lone = leader();
    lone.tell(100, Event::NeedTerm { above: term(47) });
    assert_eq!(lone.elected(), Some((term(48), at(6_000))));
}

#[test]
fn the_key_is_released_only_when_nobody_acts_under_it_any_more() {
    let mut lone = leader();
    lone.tell(100, Event::StepDown { for_good: false });
    assert_eq!(lone.did(), [Command::Resigned { term: term(48) }]);
    lone.tell(150, Event::Vacated { term: term(32) });
    assert_eq!(lone.did(), []);
    lone.tell(200, Event::Vacated { term: term(48) });
    assert!(lone.wants_to_write());
    let record = lone.record.clone().unwrap();
    assert!(record.released && record.term == term(48));
    lone.written(201, WriteOutcome::Stored { revision: 11 });
    // Another may go first.
    let found = Found::Record { revision: 11, record };
    lone.found(5_000, found.clone());
    assert!(!lone.wants_to_write());
    lone.tell(6_100, Event::Tick);
    lone.found(6_100, found);
    assert!(lone.wants_to_write());
}

/// Its coordinator was not restarted, and may act under what it was told before.
#[test]
fn who_was_restarted_and_is_told_to_step_down_waits_for_its_coordinator_as_well() {
    let mut lone = Lone::new(Config::default());
    let mut own = others(false, 1, 6_000);
    if let Found::Record { record, .. } = &mut own {
        record.leader = OrchestratorId::new("me").unwrap();
    }
    lone.found(0, own);
    lone.tell(1, Event::StepDown { for_good: true });
    lone.did();
    lone.written(2, WriteOutcome::Stored { revision: 10 });
    assert_eq!(lone.did(), [Command::Resigned { term: term(48) }]);
    lone.tell(3, Event::Vacated { term: term(48) });
    assert!(lone.wants_to_write());
    assert!(lone.record.is_some_and(|record| record.released));
}

#[test]
fn without_rivals_nothing_is_waited_for() {
    let mut lone = Lone::new(Config {
        observe: false,
        ..Config::default()
    });
    lone.found(0, Found::Absent { revision: 0 });
    lone.written(0, WriteOutcome::Stored { revision: 1 });
    assert_eq!(lone.elected(), Some((term(32), at(6_000))));
}

#[test]
fn a_released_lead_passes_to_another_at_its_next_look() {
    let mut world = World::new(1, 2);
    world.run(LONG);
    let first = world.leaders()[0];
    world.tell(first, Event::StepDown { for_good: true });
    world.run(SECOND * 2);
    let second = world.leaders()[0];
    assert_ne!(first, second);
    assert!(world.term(second) > world.term(first));
    world.run(LONG * 3);
    assert_eq!(world.leaders(), [second], "it stands no more");
}

#[test]
fn a_dead_leader_is_followed_by_another() {
    let mut world = World::new(2, 2);
    world.run(LONG);
    let first = world.leaders()[0];
    world.kill(first);
    world.run(SECOND * 8);
    assert_eq!(world.leaders(), [1 - first]);
}
