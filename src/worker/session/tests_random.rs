//! Invariants of the session machine under random events.

use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_protocol::{Action, AssignKind, ControlKind, DesiredEntry, Epoch, StreamId, Term};

use super::random::Random;
use super::tests::{answer, desired, entry, epoch, session, stream, term};
use super::{Command, Event, Millis, Session};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn below(random: &mut Random, limit: u32) -> u32 {
    u32::try_from(random.draw() % u64::from(limit)).unwrap()
}

fn random_event(random: &mut Random, clock: u32) -> Event {
    let version = (
        1 + clock / 2_000 + below(random, 2),
        u64::from(clock + below(random, 4)),
    );
    let name = stream(NAMES[below(random, 4) as usize]);
    let at = epoch((clock / 50 + below(random, 4)).max(1));
    match below(random, 16) {
        0 => Event::Connected,
        1 => Event::Disconnected,
        2 => Event::Assign(answer(version.0, version.1, AssignKind::LeaseOnly)),
        3 => Event::Assign(answer(version.0, version.1, AssignKind::Current)),
        4 => Event::Control {
            term: Term::MAX,
            kind: [ControlKind::Drain, ControlKind::Resume, ControlKind::Resync][below(random, 3) as usize],
        },
        5 | 6 => Event::StreamUp {
            stream: name,
            epoch: at,
        },
        7 => Event::StreamExited {
            stream: name,
            epoch: at,
            reason: "r".to_owned(),
        },
        8..=10 => Event::StreamStopped {
            stream: name,
            epoch: at,
        },
        11 => Event::Tick,
        _ => {
            let mut entries: Vec<DesiredEntry> = Vec::new();
            for name in NAMES {
                let action = if below(random, 4) == 0 {
                    Action::Keep
                } else {
                    Action::Run
                };
                if below(random, 3) > 0 {
                    entries.push(entry(name, (clock / 50 + below(random, 4)).max(1), action));
                }
            }
            Event::Assign(desired(version.0, version.1, entries))
        }
    }
}

/// What an observer knows who sees only events and commands.
#[derive(Default)]
struct Observer {
    /// Held streams with their epochs and whether a process may exist.
    held: BTreeMap<StreamId, (Epoch, bool)>,
    seen: BTreeMap<StreamId, Epoch>,
    ever: BTreeSet<(StreamId, Epoch)>,
    stopping: BTreeSet<StreamId>,
    starts: u32,
    stops: u32,
}

impl Observer {
    fn event(&mut self, event: &Event) {
        match event {
            Event::StreamStopped { stream, epoch }
                if self.stopping.contains(stream)
                    && self.held.get(stream).is_some_and(|held| held.0 == *epoch) =>
            {
                self.held.remove(stream);
                self.stopping.remove(stream);
            }
            Event::StreamExited { stream, epoch, .. } if !self.stopping.contains(stream) => {
                if let Some(held) = self.held.get_mut(stream).filter(|held| held.0 == *epoch) {
                    held.1 = false;
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Start { stream, epoch, .. } => {
                let running = self.held.get(&stream).is_some_and(|held| held.1);
                assert!(!running, "{stream} is held or stopping");
                let seen = self.seen.entry(stream.clone()).or_default();
                assert!(epoch >= *seen, "{stream} at {epoch} is below {seen}");
                *seen = epoch;
                self.ever.insert((stream.clone(), epoch));
                self.held.insert(stream, (epoch, true));
                self.starts += 1;
            }
            Command::Stop { stream, epoch } => {
                assert_eq!(self.held.get(&stream), Some(&(epoch, true)));
                assert!(self.stopping.insert(stream));
                self.stops += 1;
            }
            _ => {}
        }
    }

    fn check(&mut self, session: &Session) {
        let inventory = session.inventory();
        for running in &inventory {
            assert!(self.ever.contains(&(running.stream.clone(), running.epoch)));
        }
        let listed = |name: &StreamId| inventory.iter().any(|running| running.stream == *name);
        self.held.retain(|name, held| listed(name) || held.1);
        for (name, held) in &self.held {
            assert!(listed(name), "{name} at {held:?} is not in the inventory");
        }
    }
}

#[test]
fn invariants_hold_for_random_events() {
    let mut random = Random(42);
    let mut session = session();
    let mut observer = Observer::default();
    let mut now = Millis(0);
    let mut applied = session.applied();
    let mut seq = 0;
    for step in 0..20_000 {
        now = now.plus(u64::from(below(&mut random, 400)));
        let event = random_event(&mut random, step / 10);
        observer.event(&event);
        for command in session.handle(now, random.draw(), event) {
            if let Command::Heartbeat(heartbeat) = &command {
                seq += 1;
                assert_eq!(heartbeat.seq, seq);
            }
            observer.command(command);
        }
        observer.check(&session);
        assert!(session.applied() >= applied);
        applied = session.applied();
    }
    assert!(applied.term >= term(1) && seq > 500);
    assert!(
        observer.starts > 200 && observer.stops > 200,
        "{} {}",
        observer.starts,
        observer.stops
    );
}
