//! What a new connection to the message server puts in doubt.

use super::*;

#[test]
fn a_released_key_is_waited_for_after_a_new_connection_unless_it_was_seen_to_be_given_up() {
    let reconnected = || {
        let mut lone = Lone::new(Config::default());
        lone.found(0, others(false, 5, 6_000));
        lone.tell(1_000, Event::Connection);
        lone
    };
    let mut lone = reconnected();
    for (at, takes) in [(1_000, false), (7_559, false), (7_560, true)] {
        lone.tell(at, Event::Tick);
        lone.found(at, others(true, 1, 6_000));
        assert_eq!(lone.wants_to_write(), takes, "{at}");
    }
    let mut lone = reconnected();
    lone.found(1_000, others(false, 5, 6_000));
    lone.tell(2_000, Event::Tick);
    lone.found(2_000, others(true, 6, 6_000));
    assert!(lone.wants_to_write());
    // The first connection of all.
    let mut lone = Lone::new(Config::default());
    lone.tell(0, Event::Connection);
    lone.found(0, others(true, 1, 6_000));
    assert!(lone.wants_to_write());
}

#[test]
fn the_own_key_is_taken_up_again_at_once_and_says_that_another_may_have_led() {
    for connection in [false, true] {
        let mut lone = leader();
        let record = lone.record.clone().unwrap();
        lone.tell(6_000, Event::Tick);
        assert!(lone.did().contains(&Command::Resigned { term: term(48) }));
        if connection {
            lone.tell(6_500, Event::Connection);
        }
        lone.tell(7_000, Event::Tick);
        let revision = 10;
        lone.found(7_000, Found::Record { revision, record });
        lone.written(7_001, WriteOutcome::Stored { revision: 11 });
        let lead = lone.did().into_iter().find_map(|command| match command {
            Command::Elected(lead) => Some(lead),
            _ => None,
        });
        let rivals_until = if connection { at(13_060) } else { Timestamp::ZERO };
        assert_eq!(lead.unwrap().rivals_until, rivals_until);
    }
}
