//! What silence means, and what it does not.

use super::*;

const SECOND: u64 = 1_000;

struct World {
    tracker: HeartbeatTracker,
}

fn worker(number: u32) -> WorkerId {
    WorkerId::new(format!("w{number}")).unwrap()
}

fn session(number: u32) -> SessionId {
    SessionId::from_u128(u128::from(number))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

impl World {
    fn of(workers: u32) -> Self {
        let mut world = Self {
            tracker: HeartbeatTracker::new(Config::default()),
        };
        for number in 0..workers {
            world.hear(0, number, Phase::Ready);
        }
        world
    }

    fn hear(&mut self, ms: u64, number: u32, phase: Phase) -> Vec<Command> {
        let (worker, session) = (worker(number), session(number));
        self.tracker.handle(
            at(ms),
            Event::Heard {
                worker,
                session,
                seq: ms + 1,
                phase,
                supersedes: None,
            },
        )
    }

    fn tick(&mut self, ms: u64) -> Vec<Command> {
        self.tracker.handle(at(ms), Event::Tick)
    }
}

fn changed(commands: &[Command]) -> Vec<(String, Availability)> {
    let mut all = Vec::new();
    for command in commands {
        if let Command::Changed(changes) = command {
            all.extend(
                changes
                    .iter()
                    .map(|change| (change.worker.to_string(), change.availability)),
            );
        }
    }
    all
}

#[test]
fn silence_goes_from_warning_to_lost_to_emergency_and_back() {
    let mut world = World::of(3);
    for second in 0..=30 {
        world.hear(second * SECOND, 0, Phase::Ready);
        world.hear(second * SECOND, 1, Phase::Ready);
        let commands = world.tick(second * SECOND);
        let expected = match second {
            6 => vec![("w2".to_owned(), Availability::Warning)],
            10 => vec![("w2".to_owned(), Availability::Lost)],
            _ => vec![],
        };
        assert_eq!(changed(&commands), expected, "second {second}");
        let emergency = Command::Emergency {
            worker: worker(2),
            session: session(2),
        };
        assert_eq!(commands.contains(&emergency), second == 30, "second {second}");
    }
    let back = world.hear(31 * SECOND, 2, Phase::Ready);
    assert_eq!(changed(&back), [("w2".to_owned(), Availability::Alive)]);
}

#[test]
fn a_final_message_is_proof_and_nothing_later_revives() {
    let mut world = World::of(2);
    assert_eq!(
        changed(&world.hear(10, 1, Phase::Gone)),
        [("w1".to_owned(), Availability::Dead)]
    );
    // Said again whenever it speaks: who was restarted meanwhile has forgotten it.
    for (ms, phase) in [(20, Phase::Gone), (30, Phase::Ready)] {
        let told = world.hear(ms, 1, phase);
        assert_eq!(changed(&told), [("w1".to_owned(), Availability::Dead)]);
    }
    assert!(changed(&world.tick(300)).is_empty(), "nobody speaks");
}

#[test]
fn a_new_life_proves_the_old_one_dead_by_the_lock_of_its_state_folder() {
    let mut world = World::of(2);
    let event = Event::Heard {
        worker: worker(1),
        session: session(9),
        seq: 1,
        phase: Phase::Starting,
        supersedes: Some(session(1)),
    };
    let commands = world.tracker.handle(at(10), event);
    assert_eq!(changed(&commands), [("w1".to_owned(), Availability::Dead)]);
    let late = world.hear(20, 1, Phase::Ready);
    assert_eq!(changed(&late), [("w1".to_owned(), Availability::Dead)]);
}

#[test]
fn silence_counts_from_the_takeover() {
    let mut tracker = HeartbeatTracker::new(Config::default());
    let expected = vec![(worker(1), session(1))];
    tracker.handle(at(100 * SECOND), Event::Expect(expected));
    let heard = Event::Heard {
        worker: worker(2),
        session: session(2),
        seq: 1,
        phase: Phase::Ready,
        supersedes: None,
    };
    tracker.handle(at(109 * SECOND), heard);
    let late = tracker.handle(at(109 * SECOND), Event::Tick);
    assert_eq!(changed(&late), [("w1".to_owned(), Availability::Warning)]);
    let lost = tracker.handle(at(110 * SECOND), Event::Tick);
    assert_eq!(changed(&lost), [("w1".to_owned(), Availability::Lost)]);
}

#[test]
fn most_of_the_fleet_silent_at_once_is_held_back_for_a_while() {
    let mut world = World::of(5);
    let mut lost_at = None;
    for second in 1..=60 {
        world.hear(second * SECOND, 0, Phase::Ready);
        let commands = world.tick(second * SECOND);
        let held = Command::MassFailure {
            held: true,
            silent: 4,
            of: 5,
        };
        assert_eq!(commands.contains(&held), second == 10, "second {second}");
        if changed(&commands)
            .iter()
            .any(|(_, availability)| *availability == Availability::Lost)
        {
            assert_eq!(changed(&commands).len(), 4, "released together");
            lost_at = Some(second);
            break;
        }
    }
    assert_eq!(lost_at, Some(30), "timeout of 10 s and a hold of 20 s");
}

#[test]
fn everybody_silent_is_held_back_until_one_is_heard() {
    let mut world = World::of(2);
    for second in 1..=3_600 {
        let commands = world.tick(second * SECOND);
        let lost = changed(&commands)
            .iter()
            .any(|(_, availability)| *availability == Availability::Lost);
        assert!(
            !lost,
            "second {second}: nobody may be lost while everybody is silent"
        );
    }
    // Whoever is heard first is not the only one that comes back: the silence of the others counts from then.
    let mut lost_at = None;
    for second in 3_601..=3_700 {
        world.hear(second * SECOND, 0, Phase::Ready);
        let commands = world.tick(second * SECOND);
        if changed(&commands).contains(&("w1".to_owned(), Availability::Lost)) {
            lost_at = Some(second);
            break;
        }
    }
    assert_eq!(lost_at, Some(3_611), "a timeout of 10 s");
}

#[test]
fn who_falls_silent_together_was_not_heard_last_together() {
    for workers in [2, 3, 10] {
        let mut world = World::of(workers);
        for number in 0..workers {
            world.hear(
                u64::from(number) * 2 * SECOND / u64::from(workers),
                number,
                Phase::Ready,
            );
        }
        for quarter in 1..=240 {
            let commands = world.tick(quarter * SECOND / 4);
            let lost = changed(&commands)
                .into_iter()
                .find(|(_, availability)| *availability == Availability::Lost);
            assert_eq!(lost, None, "{workers} workers, quarter {quarter}");
        }
    }
}

#[test]
fn the_proven_dead_do_not_count_as_a_mass_failure() {
    let mut world = World::of(6);
    for number in 0..4 {
        let commands = world.hear(SECOND, number, Phase::Gone);
        assert_eq!(changed(&commands).len(), 1);
    }
    world.hear(9 * SECOND, 4, Phase::Ready);
    let commands = world.tick(10 * SECOND);
    assert_eq!(changed(&commands), [("w5".to_owned(), Availability::Lost)]);
}

#[test]
fn a_tick_is_always_due_within_one_interval() {
    let mut world = World::of(1);
    assert_eq!(world.tracker.next_deadline(), Some(at(250)));
    world.tick(700);
    assert_eq!(world.tracker.next_deadline(), Some(at(950)));
}

#[test]
fn whoever_forgot_hears_again_who_is_dead_or_lost() {
    let mut world = World::of(4);
    world.hear(10, 0, Phase::Gone);
    for number in [2, 3] {
        world.hear(9 * SECOND, number, Phase::Ready);
    }
    let lost = world.tick(11 * SECOND);
    assert_eq!(changed(&lost), [("w1".to_owned(), Availability::Lost)]);
    let expected = (0..4).map(|number| (worker(number), session(number))).collect();
    let told = world.tracker.handle(at(12 * SECOND), Event::Expect(expected));
    let known = [
        ("w0".to_owned(), Availability::Dead),
        ("w1".to_owned(), Availability::Lost),
    ];
    assert_eq!(changed(&told), known);
}

#[test]
fn a_lost_session_is_forgotten_when_another_one_speaks_for_its_worker() {
    let mut world = World::of(3);
    for number in [1, 2] {
        world.hear(9 * SECOND, number, Phase::Ready);
    }
    world.tick(11 * SECOND);
    let event = Event::Heard {
        worker: worker(0),
        session: session(9),
        seq: 1,
        phase: Phase::Ready,
        supersedes: None,
    };
    world.tracker.handle(at(12 * SECOND), event);
    assert_eq!(world.tracker.sessions.len(), 3, "two others and the new one");
}

#[test]
fn a_late_copy_of_a_heartbeat_is_no_sign_of_life() {
    let mut world = World::of(3);
    let copy = |seq| Event::Heard {
        worker: worker(0),
        session: session(0),
        seq,
        phase: Phase::Ready,
        supersedes: None,
    };
    for number in [1, 2] {
        world.hear(9 * SECOND, number, Phase::Ready);
    }
    world.tracker.handle(at(5 * SECOND), copy(5));
    world.tracker.handle(at(14 * SECOND), copy(5));
    world.hear(14 * SECOND, 1, Phase::Ready);
    let late = world.tick(16 * SECOND);
    assert!(
        changed(&late).contains(&("w0".to_owned(), Availability::Lost)),
        "{late:?}"
    );
}
