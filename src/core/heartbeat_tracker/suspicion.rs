//! Losses that show before the time-out: a session whose connection is gone.
//!
//! Nobody is lost by one word. A hint (the message server saw the connection end, or a heartbeat is overdue) leads to a
//! ping; where nobody listens any more, a grace begins, in which a worker that only lost its connection comes back; a
//! second ping after it decides. Only sessions that were heard over our own present connection are asked: after a
//! restart of the message server everybody has to come back first, and silence alone judges who does not.

use std::time::Duration;

use super::{Command, HeartbeatTracker, Tracked};
use crate::cluster::Availability;
use crate::graveyard::Key;
use crate::time::Timestamp;

/// Most pings of one [`WINDOW`]. Whoever is not asked in it is asked in the next pass.
pub const MAX_PINGS_PER_WINDOW: usize = 256;

/// The time in which pings are counted.
pub const WINDOW: Duration = Duration::from_millis(100);

/// How a loss was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// A guard, an orderly end, or the next life of the worker proved the death.
    Proof,
    /// The message server saw the connection end.
    Advisory,
    /// A heartbeat was overdue, and nobody listened.
    Ping,
    /// Silence.
    Timeout,
}

impl Way {
    /// Name in events, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::Advisory => "advisory",
            Self::Ping => "ping",
            Self::Timeout => "timeout",
        }
    }
}

/// What became of a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The worker answered.
    Somebody,
    /// The message server says that nobody listens.
    Nobody,
    /// No answer came, or there was no connection to ask over.
    Unknown,
}

/// Nobody listened for a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspicion {
    way: Way,
    /// The end of the grace.
    confirm_at: Timestamp,
    /// Whether the second ping is on its way.
    asked: bool,
    /// Whether nobody listened then either.
    pub(super) gone: bool,
}

impl HeartbeatTracker {
    /// The message server saw a connection of this session end. It may have another one already: the ping tells.
    pub(super) fn disconnected(&mut self, now: Timestamp, key: &Key) -> Vec<Command> {
        let may = self.may_ping(now);
        let Some(tracked) = self
            .sessions
            .get_mut(key)
            .filter(|tracked| tracked.may_be_asked())
        else {
            return Vec::new();
        };
        tracked.hint = Some(Way::Advisory);
        if may {
            tracked.first_ping(key).into_iter().collect()
        } else {
            Vec::new()
        }
    }

    /// Our own connection was made anew, or is gone: nothing that was found over it counts any more.
    pub(super) fn connection(&mut self) {
        for tracked in self.sessions.values_mut() {
            tracked.near = false;
            tracked.forget_suspicion();
        }
        self.next_confirm = None;
    }

    pub(super) fn pinged(&mut self, now: Timestamp, key: &Key, way: Way, answer: Answer) -> Vec<Command> {
        let Some(tracked) = self.sessions.get_mut(key).filter(|tracked| tracked.near) else {
            return Vec::new();
        };
        match (answer, &mut tracked.suspicion) {
            (Answer::Somebody | Answer::Unknown, _) => tracked.suspicion = None,
            (Answer::Nobody, None) => {
                let confirm_at = now + self.config.disconnect_grace;
                tracked.suspicion = Some(Suspicion {
                    way,
                    confirm_at,
                    asked: false,
                    gone: false,
                });
                self.next_confirm = Some(self.next_confirm.map_or(confirm_at, |next| next.min(confirm_at)));
            }
            (Answer::Nobody, Some(suspicion)) if suspicion.asked && now >= suspicion.confirm_at => {
                suspicion.gone = true;
                return self.pass(now);
            }
            (Answer::Nobody, Some(_)) => {}
        }
        Vec::new()
    }

    /// Sends the pings that are due, as many as may be.
    pub(super) fn ask(&mut self, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut next: Option<Timestamp> = None;
        let (began, mut given) = self.pings;
        let fresh = now.since(began) >= WINDOW;
        if fresh {
            given = 0;
        }
        for (key, tracked) in &mut self.sessions {
            if !tracked.may_be_asked() {
                continue;
            }
            if tracked.suspicion.is_none()
                && !tracked.pinged
                && now.since(tracked.last_heard) >= self.config.ping_after
            {
                tracked.hint.get_or_insert(Way::Ping);
            }
            if given < MAX_PINGS_PER_WINDOW
                && let Some(ping) = tracked.first_ping(key).or_else(|| tracked.second_ping(now, key))
            {
                given += 1;
                commands.push(ping);
            }
            let waiting = tracked.suspicion.filter(|suspicion| !suspicion.asked);
            if let Some(at) = waiting
                .map(|suspicion| suspicion.confirm_at)
                .filter(|at| *at > now)
            {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        self.pings = (if fresh { now } else { began }, given);
        self.next_confirm = next;
        commands
    }

    /// Takes one ping from what the present window may see.
    fn may_ping(&mut self, now: Timestamp) -> bool {
        let (began, given) = &mut self.pings;
        if now.since(*began) >= WINDOW {
            (*began, *given) = (now, 0);
        }
        let may = *given < MAX_PINGS_PER_WINDOW;
        *given += usize::from(may);
        may
    }
}

impl Tracked {
    /// Whether the message server's word about it means something.
    fn may_be_asked(&self) -> bool {
        self.near && matches!(self.availability, Availability::Alive | Availability::Warning)
    }

    /// It was heard, or nothing that was found counts any more.
    pub(super) fn forget_suspicion(&mut self) {
        self.suspicion = None;
        self.hint = None;
        self.pinged = false;
    }

    /// How it was found to be lost.
    pub(super) fn way(&self) -> Way {
        let gone = self.suspicion.filter(|suspicion| suspicion.gone);
        gone.map_or(Way::Timeout, |suspicion| suspicion.way)
    }

    /// Whether nobody listens for it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.suspicion.is_some_and(|suspicion| suspicion.gone)
    }

    fn first_ping(&mut self, key: &Key) -> Option<Command> {
        let way = self.hint.take().filter(|_| self.suspicion.is_none())?;
        self.pinged = true;
        Some(ping(key, way))
    }

    fn second_ping(&mut self, now: Timestamp, key: &Key) -> Option<Command> {
        let suspicion = self.suspicion.as_mut()?;
        if suspicion.asked || now < suspicion.confirm_at {
            return None;
        }
        suspicion.asked = true;
        Some(ping(key, suspicion.way))
    }
}

fn ping(key: &Key, way: Way) -> Command {
    Command::Ping {
        worker: key.0.clone(),
        session: key.1,
        way,
    }
}
