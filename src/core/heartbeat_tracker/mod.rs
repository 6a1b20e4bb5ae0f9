//! The failure detector: who is heard, who is late, who is lost, who is proven dead.
//!
//! It judges sessions, not workers: a restarted worker is another session. Silence is judged in passes, so that all
//! changes of a pass reach the coordinator together, and so that a mass failure is seen before anything is
//! redistributed: when most of the fleet falls silent at once, it is likelier that this orchestrator is cut off.

mod message;
mod suspicion;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_suspicion;

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{Phase, SessionId, WorkerId};

use crate::cluster::Availability;
use crate::graveyard::{Graveyard, Key};
use crate::machine::Machine;
use crate::time::Timestamp;
pub use message::{Command, Event, SessionChange};
use suspicion::Suspicion;
pub use suspicion::{Answer, MAX_PINGS_PER_WINDOW, WINDOW, Way};

/// When silence means what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Silence after which a session is late.
    pub warning: Duration,
    /// Silence after which a session is lost.
    pub timeout: Duration,
    /// Silence after which somebody should look.
    pub emergency: Duration,
    /// Silence after which a session is asked whether it still listens.
    pub ping_after: Duration,
    /// How long a worker that nobody hears listening may take to come back.
    pub disconnect_grace: Duration,
    /// Time between two passes.
    pub check_interval: Duration,
    /// Share of the fleet (0 to 1) above which silence at once is held back.
    pub mass_failure_share: f64,
    /// Silent sessions from which the share counts.
    pub mass_failure_count: usize,
    /// Longest time that a mass failure is held back, unless everybody is silent.
    pub mass_failure_max_hold: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            warning: Duration::from_secs(6),
            timeout: Duration::from_secs(10),
            emergency: Duration::from_secs(30),
            ping_after: Duration::from_secs(3),
            disconnect_grace: Duration::from_secs(1),
            check_interval: Duration::from_millis(250),
            mass_failure_share: 0.5,
            mass_failure_count: 3,
            mass_failure_max_hold: Duration::from_secs(20),
        }
    }
}

#[derive(Debug)]
struct Tracked {
    last_heard: Timestamp,
    last_seq: u64,
    availability: Availability,
    emergency: bool,
    /// Whether it was heard over our present connection.
    near: bool,
    /// Whether it was asked since it was heard last.
    pinged: bool,
    /// Why it is to be asked.
    hint: Option<Way>,
    suspicion: Option<Suspicion>,
}

/// The machine.
#[derive(Debug)]
pub struct HeartbeatTracker {
    config: Config,
    sessions: BTreeMap<Key, Tracked>,
    dead: Graveyard,
    held_since: Option<Timestamp>,
    told_hold: Option<bool>,
    /// Whether everybody was silent in the last pass.
    nobody_heard: bool,
    next_pass: Option<Timestamp>,
    /// When the first grace ends.
    next_confirm: Option<Timestamp>,
    /// When the present window of pings began, and how many it has seen.
    pings: (Timestamp, usize),
}

impl HeartbeatTracker {
    /// A tracker that knows nobody.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            dead: Graveyard::new(),
            held_since: None,
            told_hold: None,
            nobody_heard: false,
            next_pass: None,
            next_confirm: None,
            pings: (Timestamp::ZERO, 0),
        }
    }

    /// A takeover names the sessions that own streams. What is known of one already is told again: whoever asks has
    /// forgotten it.
    fn expect(&mut self, now: Timestamp, sessions: Vec<Key>) -> Vec<Command> {
        let mut known = Vec::new();
        for key in sessions {
            if self.dead.contains(&key) {
                known.push(change(&key, Availability::Dead));
            } else {
                let expected = self.sessions.entry(key.clone());
                let tracked = expected.or_insert_with(|| Tracked::new(now));
                if tracked.availability != Availability::Alive {
                    known.push(change(&key, tracked.availability));
                }
            }
        }
        told(known)
    }

    fn heard(
        &mut self,
        now: Timestamp,
        key: Key,
        seq: u64,
        phase: Phase,
        supersedes: Option<SessionId>,
    ) -> Vec<Command> {
        if self.dead.contains(&key) {
            // Whoever was restarted since may have forgotten it and take the late message for a sign of life.
            return told(vec![change(&key, Availability::Dead)]);
        }
        let mut changes = Vec::new();
        let mut commands = Vec::new();
        if let Some(previous) = supersedes.filter(|previous| *previous != key.1) {
            changes.extend(self.bury((key.0.clone(), previous), &mut commands));
        }
        if phase == Phase::Gone {
            changes.extend(self.bury(key, &mut commands));
        } else {
            let tracked = self
                .sessions
                .entry(key.clone())
                .or_insert_with(|| Tracked::new(now));
            // A late copy of a message proves nothing about now.
            if seq <= tracked.last_seq {
                commands.extend(told(changes));
                return commands;
            }
            tracked.last_seq = seq;
            if std::mem::take(&mut self.nobody_heard) {
                // It was us who heard nobody. The others come back too, each in its time: silence counts from now.
                for other in self.sessions.values_mut() {
                    other.last_heard = now;
                }
            }
            let Some(tracked) = self.sessions.get_mut(&key) else {
                return commands;
            };
            tracked.last_heard = now;
            tracked.emergency = false;
            tracked.near = true;
            tracked.forget_suspicion();
            if tracked.availability != Availability::Alive {
                tracked.availability = Availability::Alive;
                changes.push(change(&key, Availability::Alive));
            }
            self.forget_former(&key.0, key.1);
        }
        commands.extend(told(changes));
        commands
    }

    /// Marks a session as proven dead, once.
    fn bury(&mut self, key: Key, out: &mut Vec<Command>) -> Option<SessionChange> {
        let before = self.sessions.remove(&key);
        if before.is_some_and(|tracked| tracked.availability != Availability::Lost) {
            out.push(found(&key, Way::Proof));
        }
        let change = change(&key, Availability::Dead);
        self.dead.bury(key).then_some(change)
    }

    /// Forgets former sessions of a worker that are lost: another one speaks for it now, and they may not come back.
    fn forget_former(&mut self, worker: &WorkerId, session: SessionId) {
        let first = (worker.clone(), SessionId::from_u128(0));
        let last = (worker.clone(), SessionId::from_u128(u128::MAX));
        let former = self.sessions.range(first..=last);
        let lost: Vec<Key> = former
            .filter(|(key, tracked)| key.1 != session && tracked.availability == Availability::Lost)
            .map(|(key, _)| key.clone())
            .collect();
        for key in lost {
            self.sessions.remove(&key);
        }
    }

    fn pass(&mut self, now: Timestamp) -> Vec<Command> {
        self.next_pass = Some(now + self.config.check_interval);
        let mut commands = self.ask(now);
        let hold = self.judge_mass_failure(now, &mut commands);
        let config = self.config;
        let mut changes = Vec::new();
        let mut emergencies = Vec::new();
        for (key, tracked) in &mut self.sessions {
            let silence = now.since(tracked.last_heard);
            let judged = match tracked.availability {
                Availability::Lost | Availability::Dead => tracked.availability,
                _ if tracked.is_silent(silence, config.timeout) && !hold => Availability::Lost,
                _ if silence >= config.warning => Availability::Warning,
                other => other,
            };
            if judged != tracked.availability {
                if judged == Availability::Lost {
                    commands.push(found(key, tracked.way()));
                }
                tracked.availability = judged;
                changes.push(change(key, judged));
            }
            if silence >= config.emergency && !tracked.emergency {
                tracked.emergency = true;
                emergencies.push(Command::Emergency {
                    worker: key.0.clone(),
                    session: key.1,
                });
            }
        }
        if !changes.is_empty() {
            commands.push(Command::Changed(changes));
        }
        commands.append(&mut emergencies);
        commands
    }

    /// Whether losses are held back in this pass. Sessions that are lost already do not count: they were judged.
    fn judge_mass_failure(&mut self, now: Timestamp, commands: &mut Vec<Command>) -> bool {
        let judged = |tracked: &&Tracked| tracked.availability != Availability::Lost;
        let of = self.sessions.values().filter(judged).count();
        // Once one of them is about to be lost, those that are late or whose grace still goes on count as well: who falls
        // silent together was not heard last together, and connections that break together are found one by one.
        let config = &self.config;
        let is_over = |tracked: &Tracked| tracked.is_silent(now.since(tracked.last_heard), config.timeout);
        let deciding = self
            .sessions
            .values()
            .any(|tracked| judged(&tracked) && is_over(tracked));
        let is_silent = |tracked: &&Tracked| {
            let late = now.since(tracked.last_heard) >= config.warning;
            is_over(tracked) || (deciding && (late || tracked.suspicion.is_some()))
        };
        let silent = self.sessions.values().filter(judged).filter(is_silent).count();
        let share = if of == 0 { 0.0 } else { silent as f64 / of as f64 };
        let everybody = of > 0 && silent == of;
        let hold = match self.held_since {
            None => {
                everybody
                    || (share > self.config.mass_failure_share && silent >= self.config.mass_failure_count)
            }
            // Half of the entry share, so that a fleet at the border does not switch to and fro.
            Some(since) => {
                let over = share > self.config.mass_failure_share / 2.0;
                everybody || (over && now.since(since) < self.config.mass_failure_max_hold)
            }
        };
        self.nobody_heard = everybody;
        if hold != self.held_since.is_some() {
            self.held_since = hold.then_some(now);
        }
        // The first word is said also when all is well: a predecessor may have said otherwise.
        if self.told_hold != Some(hold) {
            self.told_hold = Some(hold);
            commands.push(Command::MassFailure {
                held: hold,
                silent,
                of,
            });
        }
        hold
    }
}

impl Machine for HeartbeatTracker {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        self.next_pass.get_or_insert(now + self.config.check_interval);
        match event {
            Event::Expect(sessions) => self.expect(now, sessions),
            Event::Heard {
                worker,
                session,
                seq,
                phase,
                supersedes,
            } => self.heard(now, (worker, session), seq, phase, supersedes),
            Event::Disconnected { worker, session } => self.disconnected(now, &(worker, session)),
            Event::Pinged {
                worker,
                session,
                way,
                answer,
            } => self.pinged(now, &(worker, session), way, answer),
            Event::Connection => {
                self.connection();
                Vec::new()
            }
            Event::Tick => self.pass(now),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_pass.into_iter().chain(self.next_confirm).min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}

impl Tracked {
    const fn new(now: Timestamp) -> Self {
        Self {
            last_heard: now,
            last_seq: 0,
            availability: Availability::Alive,
            emergency: false,
            near: false,
            pinged: false,
            hint: None,
            suspicion: None,
        }
    }

    /// Whether it counts as silent: its time is over, or nobody listens for it any more.
    fn is_silent(&self, silence: Duration, timeout: Duration) -> bool {
        silence >= timeout || self.is_gone()
    }
}

fn found(key: &Key, way: Way) -> Command {
    Command::Found {
        worker: key.0.clone(),
        session: key.1,
        way,
    }
}

fn change(key: &Key, availability: Availability) -> SessionChange {
    SessionChange {
        worker: key.0.clone(),
        session: key.1,
        availability,
    }
}

fn told(changes: Vec<SessionChange>) -> Vec<Command> {
    if changes.is_empty() {
        Vec::new()
    } else {
        vec![Command::Changed(changes)]
    }
}
