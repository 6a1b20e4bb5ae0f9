//! Who is lost before the time-out, and who is not.

use super::*;

const SECOND: u64 = 1_000;

fn key(number: u32) -> Key {
    let worker = WorkerId::new(format!("w{number}")).unwrap();
    (worker, SessionId::from_u128(u128::from(number)))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

struct World {
    tracker: HeartbeatTracker,
    workers: u32,
}

impl World {
    /// Workers that are heard at 0 over a connection that stands.
    fn of(workers: u32) -> Self {
        let tracker = HeartbeatTracker::new(Config::default());
        let mut world = Self { tracker, workers };
        for number in 0..workers {
            world.hear(0, number);
        }
        world.tick(0);
        world
    }

    fn hear(&mut self, ms: u64, number: u32) -> Vec<Command> {
        let (worker, session) = key(number);
        let event = Event::Heard {
            worker,
            session,
            seq: ms + 1,
            phase: Phase::Ready,
            supersedes: None,
        };
        self.tracker.handle(at(ms), event)
    }

    /// All but one are heard.
    fn others(&mut self, ms: u64, silent: u32) {
        for number in (0..self.workers).filter(|number| *number != silent) {
            self.hear(ms, number);
        }
    }

    fn tick(&mut self, ms: u64) -> Vec<Command> {
        self.tracker.handle(at(ms), Event::Tick)
    }

    fn disconnected(&mut self, ms: u64, number: u32) -> Vec<Command> {
        let (worker, session) = key(number);
        self.tracker
            .handle(at(ms), Event::Disconnected { worker, session })
    }

    fn answer(&mut self, ms: u64, number: u32, way: Way, answer: Answer) -> Vec<Command> {
        let (worker, session) = key(number);
        let event = Event::Pinged {
            worker,
            session,
            way,
            answer,
        };
        self.tracker.handle(at(ms), event)
    }
}

/// Pings as `?1 advisory`, losses as `-1 advisory`; the rest is left out.
fn seen(commands: &[Command]) -> Vec<String> {
    let word = |command: &Command| match command {
        Command::Ping { worker, way, .. } => Some(format!("?{worker} {}", way.as_str())),
        Command::Found { worker, way, .. } => Some(format!("-{worker} {}", way.as_str())),
        _ => None,
    };
    commands.iter().filter_map(word).collect()
}

fn lost(commands: &[Command]) -> bool {
    let is_lost = |change: &SessionChange| change.availability == Availability::Lost;
    let changed = |command: &Command| matches!(command, Command::Changed(all) if all.iter().any(is_lost));
    commands.iter().any(changed)
}

#[test]
fn a_broken_connection_is_a_loss_after_two_pings_and_a_grace() {
    let mut world = World::of(3);
    assert_eq!(seen(&world.disconnected(100, 1)), ["?w1 advisory"]);
    assert!(world.answer(101, 1, Way::Advisory, Answer::Nobody).is_empty());
    assert_eq!(world.tracker.next_deadline(), Some(at(250)));
    assert!(seen(&world.tick(1_000)).is_empty(), "the grace is not over");
    assert_eq!(
        world.tracker.next_deadline(),
        Some(at(1_101)),
        "it is looked at just then"
    );
    assert_eq!(seen(&world.tick(1_101)), ["?w1 advisory"]);
    let found = world.answer(1_102, 1, Way::Advisory, Answer::Nobody);
    assert_eq!(seen(&found), ["-w1 advisory"]);
    assert!(lost(&found));
    // Said once.
    assert!(seen(&world.tick(2_000)).is_empty());
    assert!(world.disconnected(2_001, 1).is_empty());
}

#[test]
fn who_comes_back_within_the_grace_loses_nothing() {
    let mut world = World::of(3);
    world.disconnected(100, 1);
    world.answer(101, 1, Way::Advisory, Answer::Nobody);
    world.hear(600, 1);
    assert!(seen(&world.tick(1_200)).is_empty());
    // The end of a former connection, told late: the ping is answered.
    assert_eq!(seen(&world.disconnected(1_300, 1)), ["?w1 advisory"]);
    assert!(world.answer(1_301, 1, Way::Advisory, Answer::Somebody).is_empty());
    world.others(2_400, 9);
    assert!(seen(&world.tick(2_500)).is_empty());
    // Its heartbeat is late, but the second ping is answered.
    world.disconnected(2_600, 1);
    world.answer(2_601, 1, Way::Advisory, Answer::Nobody);
    assert_eq!(seen(&world.tick(3_700)), ["?w1 advisory"]);
    assert!(!lost(&world.answer(3_701, 1, Way::Advisory, Answer::Somebody)));
    assert!(!lost(&world.tick(5_000)));
}

#[test]
fn a_word_of_before_the_way_back_counts_for_nothing() {
    let mut world = World::of(3);
    world.disconnected(100, 1);
    world.answer(101, 1, Way::Advisory, Answer::Nobody);
    assert_eq!(seen(&world.tick(1_101)), ["?w1 advisory"]);
    // It comes back while the second ping is on its way.
    world.hear(1_102, 1);
    let late = world.answer(1_103, 1, Way::Advisory, Answer::Nobody);
    assert!(!lost(&late), "that was before it came back");
    assert_eq!(seen(&world.tick(2_103)), ["?w1 advisory"]);
    assert!(!lost(&world.answer(2_104, 1, Way::Advisory, Answer::Somebody)));
}

#[test]
fn an_overdue_heartbeat_is_asked_for_once() {
    let mut world = World::of(3);
    world.others(2 * SECOND, 1);
    assert!(seen(&world.tick(2_900)).is_empty());
    assert_eq!(seen(&world.tick(3 * SECOND)), ["?w1 ping"]);
    assert!(seen(&world.tick(3_250)).is_empty());
    world.answer(3_300, 1, Way::Ping, Answer::Nobody);
    world.others(4 * SECOND, 1);
    assert_eq!(seen(&world.tick(4_300)), ["?w1 ping"]);
    assert_eq!(
        seen(&world.answer(4_301, 1, Way::Ping, Answer::Nobody)),
        ["-w1 ping"]
    );
}

#[test]
fn a_frozen_worker_is_judged_by_silence() {
    let mut world = World::of(3);
    world.others(2 * SECOND, 1);
    assert_eq!(seen(&world.tick(3 * SECOND)), ["?w1 ping"]);
    // It still listens, and says nothing.
    world.answer(5 * SECOND, 1, Way::Ping, Answer::Unknown);
    world.others(9 * SECOND, 1);
    assert!(seen(&world.tick(9_999)).is_empty());
    assert_eq!(seen(&world.tick(10 * SECOND)), ["-w1 timeout"]);
}

#[test]
fn after_a_gap_of_our_own_nobody_is_lost_before_the_time_out() {
    let mut world = World::of(3);
    world.disconnected(100, 1);
    world.answer(101, 1, Way::Advisory, Answer::Nobody);
    world.tracker.handle(at(200), Event::Connection);
    world.tracker.handle(at(300), Event::Connection);
    assert!(world.disconnected(301, 1).is_empty(), "it was not heard since");
    assert!(seen(&world.tick(4 * SECOND)).is_empty());
    world.others(9 * SECOND, 1);
    assert_eq!(seen(&world.tick(10 * SECOND)), ["-w1 timeout"]);
    // Heard again, its connection means something again.
    world.hear(11 * SECOND, 1);
    assert_eq!(seen(&world.disconnected(11_001, 1)), ["?w1 advisory"]);
}

#[test]
fn when_most_connections_break_at_once_losses_are_held_back() {
    let mut world = World::of(4);
    for number in 0..3 {
        let ms = 100 + u64::from(number) * 50;
        world.disconnected(ms, number);
        world.answer(ms + 1, number, Way::Advisory, Answer::Nobody);
    }
    let held = |commands: &[Command]| {
        let mut holds = commands.iter().filter_map(|command| match command {
            Command::MassFailure { held, silent, .. } => Some((*held, *silent)),
            _ => None,
        });
        holds.next()
    };
    assert_eq!(held(&world.tick(500)), None, "nobody is about to be lost yet");
    assert_eq!(seen(&world.tick(1_101)), ["?w0 advisory"]);
    // The first of them is as little lost as the last.
    let first = world.answer(1_102, 0, Way::Advisory, Answer::Nobody);
    assert_eq!((held(&first), lost(&first)), (Some((true, 3)), false));
    world.tick(1_201);
    for number in 1..3 {
        assert!(!lost(&world.answer(1_202, number, Way::Advisory, Answer::Nobody)));
    }
    for second in 2..=21 {
        world.hear(second * SECOND, 3);
        assert!(!lost(&world.tick(second * SECOND)), "second {second}");
    }
    // Longer than that it is not held back.
    let all = ["-w0 advisory", "-w1 advisory", "-w2 advisory"];
    assert_eq!(seen(&world.tick(22 * SECOND)), all);
}

#[test]
fn strangers_and_the_dead_are_not_asked() {
    let mut world = World::of(2);
    assert!(world.disconnected(100, 9).is_empty());
    let (worker, session) = key(1);
    let gone = Event::Heard {
        worker,
        session,
        seq: u64::MAX,
        phase: Phase::Gone,
        supersedes: None,
    };
    assert_eq!(seen(&world.tracker.handle(at(50), gone)), ["-w1 proof"]);
    assert!(world.disconnected(100, 1).is_empty());
    assert!(world.answer(101, 1, Way::Advisory, Answer::Nobody).is_empty());
}

#[test]
fn pings_have_a_limit_and_nobody_is_forgotten() {
    let many = u32::try_from(MAX_PINGS_PER_WINDOW).unwrap() + 10;
    let mut world = World::of(many);
    let first: usize = (0..many)
        .map(|number| world.disconnected(100, number).len())
        .sum();
    assert_eq!(first, MAX_PINGS_PER_WINDOW);
    assert_eq!(seen(&world.tick(350)).len(), 10);
}
