//! Leader election (OWNERSHIP rules 5 and 11): a key that several orchestrators read and write by compare-and-set, and
//! nothing else that they share. No clock is compared with another one.
//!
//! - A candidate takes the key only from exactly the revision and nonce that it first saw a whole lease (and the drift
//!   and a margin) ago on its own clock; a key that is not there is free only after the same time. So whoever held it
//!   has lost it on his own clock before.
//! - A holder leads from the moment when it *sent* the write that was stored, for one lease. A write without an answer
//!   is looked for by its nonce; until it is found it gave nothing.
//! - One operation is on its way at a time, and is tried again only after its outcome, or the lack of one, is known.
//! - A term is remembered durably before it is written, and every election takes a higher one.

mod hold;
mod message;
mod nonces;
mod stand;
#[cfg(test)]
mod tests;

use std::time::Duration;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{LeaderRecord, OrchestratorId, PROTOCOL_VERSION, Term};

use crate::machine::Machine;
use crate::time::Timestamp;
use hold::Held;
pub use message::{Command, Config, Event, Found, Lead, Stage, Status, WriteOutcome};
use nonces::Nonces;
use stand::Seen;

/// Terms that others may be ahead; more is a broken or hostile speaker, not another leader.
const MAX_TERM_JUMP: u32 = 1 << 20;
/// Most writes of unknown outcome that are remembered. They are dropped with the first write of known success; the
/// oldest are the first whose lease is over.
const MAX_UNSURE: usize = 32;

/// The machine.
#[derive(Debug)]
pub struct Election {
    me: OrchestratorId,
    config: Config,
    nonces: Nonces,
    begun: bool,
    /// The highest term that is known from anywhere.
    highest: Term,
    /// Terms up to this one are remembered durably.
    remembered: Term,
    /// The coordinator needs a term above this one.
    needed: Term,
    /// The key, as it was found last.
    seen: Option<Seen>,
    /// A look got an answer: from then on a new connection may lead to an older state.
    looked: bool,
    /// The connection is new, and the key was not found over it yet.
    reconnected: bool,
    /// Until when another may lead whom this server knows nothing of: it may have gone back to an older state.
    rivals_until: Timestamp,
    /// The leadership, while there is one.
    held: Option<Held>,
    flying: Option<Flying>,
    /// Own writes whose outcome is not known.
    unsure: Vec<Sent>,
    attempts: u64,
    /// When to look at the key.
    look_at: Timestamp,
    /// Nothing happened since the last look that could have changed the key.
    fresh: bool,
    rest_until: Timestamp,
    reachable: bool,
    published: Status,
}

/// A write, as it was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Timestamp,
    term: Term,
    nonce: u64,
    released: bool,
}

/// The operation that is on its way.
#[derive(Debug, Clone, Copy)]
struct Flying {
    attempt: u64,
    deadline: Timestamp,
    what: Operation,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Read,
    Write(Sent),
    Remember(Term),
}

impl Election {
    /// An election that has not begun. `me` is drawn anew for each life of the process, `seed` for each machine.
    #[must_use]
    pub fn new(me: OrchestratorId, config: Config, seed: u64) -> Self {
        Self {
            me,
            config,
            nonces: Nonces(seed),
            begun: false,
            highest: Term::ZERO,
            remembered: Term::ZERO,
            needed: Term::ZERO,
            seen: None,
            looked: false,
            reconnected: false,
            rivals_until: Timestamp::ZERO,
            held: None,
            flying: None,
            unsure: Vec::new(),
            attempts: 0,
            look_at: Timestamp::ZERO,
            fresh: false,
            rest_until: Timestamp::ZERO,
            reachable: false,
            published: Status::default(),
        }
    }

    fn hear(&mut self, term: Term, out: &mut Vec<Command>) {
        if term <= self.highest {
            return;
        }
        if term.get() - self.highest.get() > MAX_TERM_JUMP {
            out.push(Command::Implausible(term));
            return;
        }
        self.highest = term;
        self.forget_absence();
        // A leader that hears a higher term retakes above it: the write shows whether the key is still its own.
        self.needed = term;
    }

    fn read(&mut self, now: Timestamp, found: &Found, out: &mut Vec<Command>) {
        self.reachable = *found != Found::Failed;
        self.see(now, found);
        if self.held.is_some() {
            self.read_while_holding(now, found, out);
        } else {
            self.read_while_waiting(now, found, out);
        }
    }

    fn written(&mut self, now: Timestamp, sent: Sent, outcome: WriteOutcome, out: &mut Vec<Command>) {
        self.fresh = false;
        self.look_at = now;
        self.reachable = outcome != WriteOutcome::Unknown;
        if self.held.is_none() && outcome == WriteOutcome::Conflict {
            // Another was faster, or the server contradicts itself: it is not to be stormed.
            self.pause(now);
        }
        match outcome {
            WriteOutcome::Stored { revision } => self.stored(now, sent, revision, out),
            WriteOutcome::Unknown if mutant::on(Mutant::UnknownIsStored) => {
                let revision = self.held.as_ref().map_or(0, |held| held.revision) + 1;
                self.stored(now, sent, revision, out);
            }
            // A conflict is no proof: the write may have come twice, and the first have been stored.
            WriteOutcome::Conflict | WriteOutcome::Unknown => {
                if self.unsure.len() == MAX_UNSURE {
                    self.unsure.remove(0);
                }
                self.unsure.push(sent);
                if let Some(held) = &mut self.held {
                    held.lookup = true;
                }
            }
        }
    }

    /// No answer came, or one that says nothing.
    fn unanswered(&mut self, now: Timestamp, operation: Operation, out: &mut Vec<Command>) {
        match operation {
            Operation::Read => self.read(now, &Found::Failed, out),
            Operation::Write(sent) => self.written(now, sent, WriteOutcome::Unknown, out),
            Operation::Remember(_) => {
                self.fresh = false;
                self.pause(now);
            }
        }
    }

    fn pause(&mut self, now: Timestamp) {
        self.look_at = now + self.config.retry_delay;
    }

    /// Begins the next operation, when none is on its way.
    fn proceed(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if !self.begun || self.flying.is_some() {
            return;
        }
        if self.held.is_some() {
            self.hold(now, out);
        } else if now < self.look_at {
            self.stand(now, out);
        } else {
            self.begin(now, Operation::Read, out);
        }
    }

    fn begin(&mut self, now: Timestamp, what: Operation, out: &mut Vec<Command>) {
        self.attempts += 1;
        self.flying = Some(Flying {
            attempt: self.attempts,
            deadline: now + self.config.answer_timeout,
            what,
        });
        match what {
            Operation::Read => out.push(Command::Read {
                attempt: self.attempts,
            }),
            Operation::Remember(term) => out.push(Command::Remember(term)),
            Operation::Write(_) => {}
        }
    }

    /// Writes the key under a term, remembering the term first.
    fn write(&mut self, now: Timestamp, term: Term, released: bool, expect: u64, out: &mut Vec<Command>) {
        if term > self.remembered {
            return self.begin(now, Operation::Remember(term), out);
        }
        let nonce = self.nonces.next();
        let sent = Sent {
            at: now,
            term,
            nonce,
            released,
        };
        self.begin(now, Operation::Write(sent), out);
        let record = LeaderRecord {
            v: PROTOCOL_VERSION,
            term,
            nonce,
            leader: self.me.clone(),
            released,
            lease_ms: u64::try_from(self.config.lease.as_millis()).unwrap_or(u64::MAX),
        };
        out.push(Command::Write {
            attempt: self.attempts,
            record,
            expect,
        });
    }

    /// How long a key must have been unchanged, for whoever wrote it with this lease.
    fn wait(&self, lease: Duration) -> Duration {
        lease.max(self.config.lease).mul_f64(1.0 + self.config.drift) + self.config.margin
    }

    fn land(&mut self, attempt: u64) -> Option<Operation> {
        let landed = self.flying.take_if(|flying| flying.attempt == attempt);
        landed.map(|flying| flying.what)
    }

    fn take(&mut self, now: Timestamp, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Begin { remembered } => {
                self.begun = true;
                self.highest = self.highest.max(remembered);
                self.remembered = remembered;
                self.look_at = now;
            }
            Event::Changed => self.changed(now),
            Event::Connection => self.connection(now),
            // Answers to what was given up already say nothing: the next look shows what became of it.
            Event::Read { attempt, found } => {
                if let Some(Operation::Read) = self.land(attempt) {
                    self.read(now, &found, out);
                }
            }
            Event::Written { attempt, outcome } => {
                if let Some(Operation::Write(sent)) = self.land(attempt) {
                    self.written(now, sent, outcome, out);
                }
            }
            Event::Remembered { term, durable } => {
                let waited =
                    |flying: &mut Flying| matches!(flying.what, Operation::Remember(of) if of == term);
                if let Some(flying) = self.flying.take_if(waited)
                    && !durable
                {
                    self.unanswered(now, flying.what, out);
                }
                if durable {
                    self.remembered = self.remembered.max(term);
                }
            }
            Event::Heard(term) => self.hear(term, out),
            Event::NeedTerm { above } => self.need(above, out),
            Event::StepDown { for_good } => self.step_down(now, for_good, out),
            Event::Vacated { term } => {
                if let Some(held) = self.held.as_mut().filter(|held| held.leaving == Some(term)) {
                    held.vacated = true;
                }
            }
            Event::Tick => {}
        }
    }

    fn publish(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let stage = match &self.held {
            Some(held) if held.leaving.is_some() => Stage::Leaving,
            Some(_) => Stage::Holding,
            None if now < self.rest_until => Stage::Resting,
            None => Stage::Waiting,
        };
        let status = Status {
            stage,
            term: self.held.as_ref().map_or(self.highest, |held| held.term),
            leader: match &self.held {
                Some(_) => Some(self.me.clone()),
                None => self.seen.as_ref().and_then(Seen::leader).cloned(),
            },
            reachable: self.reachable,
        };
        if status != self.published {
            self.published = status.clone();
            out.push(Command::Publish(status));
        }
    }
}

impl Machine for Election {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        // First, so that nothing is done for a leadership that is over.
        self.expire(now, &mut out);
        if let Some(late) = self.flying.take_if(|flying| flying.deadline <= now) {
            // The answer may be this very event: it is no longer waited for, and the next look shows the same.
            self.unanswered(now, late.what, &mut out);
        }
        self.take(now, event, &mut out);
        self.proceed(now, &mut out);
        self.publish(now, &mut out);
        out
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        if !self.begun {
            return None;
        }
        let flying = self.flying.as_ref().map(|flying| flying.deadline);
        let own = match &self.held {
            Some(held) => Some(self.hold_deadline(held)),
            None if flying.is_some() => None,
            None => Some(self.look_at),
        };
        [flying, own].into_iter().flatten().min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}
