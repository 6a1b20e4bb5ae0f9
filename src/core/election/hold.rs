//! While the key is held: renewing it, raising the term, noticing its loss, giving it up.

use streamkeeper_protocol::Term;
use streamkeeper_protocol::mutant::{self, Mutant};

use super::{Command, Election, Found, Lead, Operation, Sent};
use crate::time::Timestamp;

/// A leadership.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) term: Term,
    /// When it ends, on the own clock, counted from the sending of the newest write that is known to be stored.
    pub(super) until: Timestamp,
    /// The key's revision that the next write expects.
    pub(super) revision: u64,
    pub(super) renew_at: Timestamp,
    /// A write got no answer: the key is looked at before the next one.
    pub(super) lookup: bool,
    /// Until when another may lead too: the server may have forgotten it.
    pub(super) rivals_until: Timestamp,
    /// The term that was told to be over, while the key is being given up.
    pub(super) leaving: Option<Term>,
    /// The coordinator does nothing under that term any more.
    pub(super) vacated: bool,
}

impl Election {
    /// Own write is what the key holds.
    pub(super) fn stored(&mut self, now: Timestamp, sent: Sent, revision: u64, out: &mut Vec<Command>) {
        self.unsure.clear();
        if sent.released {
            self.held = None;
            self.seen = None;
            return;
        }
        let from = if mutant::on(Mutant::ValidityAtAnswer) {
            now
        } else {
            sent.at
        };
        let until = from + self.config.lease;
        if until <= now {
            return;
        }
        self.highest = self.highest.max(sent.term);
        self.reconnected = false;
        let rivals_until = self
            .held
            .as_ref()
            .map_or(self.rivals_until, |held| held.rivals_until);
        let (leaving, vacated) = match &self.held {
            Some(held) => (held.leaving, held.vacated),
            // Told to step down meanwhile. Nobody heard of this term, but who was restarted may have led under another,
            // and the coordinator act under that still: it is asked to end, as always.
            None if now < self.rest_until => {
                out.push(Command::Resigned { term: sent.term });
                (Some(sent.term), false)
            }
            None => (None, false),
        };
        self.held = Some(Held {
            term: sent.term,
            until,
            revision,
            renew_at: sent.at + self.config.renew_every,
            lookup: false,
            rivals_until,
            leaving,
            vacated,
        });
        if leaving.is_none() {
            out.push(Command::Elected(Lead {
                term: sent.term,
                until,
                rivals_until,
            }));
        }
    }

    /// Ends a leadership whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let over = self.held.as_ref().is_some_and(|held| held.until <= now);
        if over && !mutant::on(Mutant::NoValidityCheck) {
            self.lose(now, out);
        }
    }

    /// The leadership is over; whatever is still on its way for it counts no more.
    fn lose(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if let Some(held) = self.held.take()
            && held.leaving.is_none()
        {
            out.push(Command::Resigned { term: held.term });
        }
        // A renewal that is found stored later would bring a term back that is over.
        self.unsure.clear();
        self.flying = None;
        self.fresh = false;
        self.look_at = now;
    }

    /// A term above this one is needed, because of what the database, or the coordinator's own doubt, said.
    pub(super) fn need(&mut self, above: Term, out: &mut Vec<Command>) {
        self.highest = self.highest.max(above);
        self.needed = self.needed.max(above);
        if let Some(held) = &self.held
            && held.leaving.is_none()
            && held.term > above
        {
            // Whoever asks has missed it.
            out.push(Command::Elected(Lead {
                term: held.term,
                until: held.until,
                rivals_until: held.rivals_until,
            }));
        }
    }

    pub(super) fn step_down(&mut self, now: Timestamp, for_good: bool, out: &mut Vec<Command>) {
        let rest_until = if for_good {
            Timestamp::MAX
        } else {
            now + self.config.rest
        };
        self.rest_until = self.rest_until.max(rest_until);
        if let Some(held) = self.held.as_mut().filter(|held| held.leaving.is_none()) {
            // The key is given up only when nobody acts under it any more: it is free at once then.
            held.leaving = Some(held.term);
            out.push(Command::Resigned { term: held.term });
        }
    }

    /// What a holder does next.
    pub(super) fn hold(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let Some(held) = &self.held else { return };
        let (term, revision) = (held.term, held.revision);
        if held.lookup {
            if now >= self.look_at {
                self.begin(now, Operation::Read, out);
            }
        } else if held.leaving.is_some() {
            if held.vacated || mutant::on(Mutant::ReleasedTooEarly) {
                self.write(now, term, true, revision, out);
            }
        } else if term <= self.needed {
            // Without a next term (they are used up) the lease ends unrenewed.
            match self.highest.next_for(self.config.number) {
                Some(next) if now >= self.look_at => self.write(now, next, false, revision, out),
                Some(_) => {}
                None => self.pause(now),
            }
        } else if now >= held.renew_at {
            self.write(now, term, false, revision, out);
        }
    }

    pub(super) fn hold_deadline(&self, held: &Held) -> Timestamp {
        let next = if self.flying.is_some() {
            Timestamp::MAX
        } else if held.lookup || (held.leaving.is_none() && held.term <= self.needed) {
            self.look_at
        } else if held.leaving.is_some() {
            Timestamp::MAX
        } else {
            held.renew_at
        };
        next.min(held.until)
    }

    /// A holder looked at the key because a write got no answer.
    pub(super) fn read_while_holding(&mut self, now: Timestamp, found: &Found, out: &mut Vec<Command>) {
        let (revision, record) = match found {
            Found::Failed => return self.pause(now),
            // It may have been given up already, and another have held it since.
            Found::Absent { .. } if self.unsure.iter().any(|sent| sent.released) => {
                return self.lose(now, out);
            }
            // Vanished: it may be made anew while it is still ours, because nobody else may before that.
            Found::Absent { revision } => (*revision, None),
            Found::Garbled { .. } => return self.lose(now, out),
            Found::Record { revision, record } => (*revision, Some(record)),
        };
        if let Some(sent) = record.and_then(|record| self.own_write(record)) {
            return self.stored(now, sent, revision, out);
        }
        let Some(held) = &mut self.held else { return };
        // An older write of this leadership: the one without an answer was not stored, or the server forgot it.
        let ours = record.is_none_or(|record| record.leader == self.me && record.term == held.term);
        if ours {
            held.revision = revision;
            held.lookup = false;
            held.renew_at = now;
        } else {
            self.lose(now, out);
        }
    }
}
