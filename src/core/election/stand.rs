//! While another holds the key, or nobody: watching it, and taking it when it is free.

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{LeaderRecord, OrchestratorId};

use super::{Command, Election, Found, Sent};
use crate::time::Timestamp;

/// The key as it was found, and since when it is known to have been so.
#[derive(Debug)]
pub(super) struct Seen {
    found: Found,
    since: Timestamp,
    /// It was found so by the first look over a new connection: whatever was written to it since may be forgotten.
    doubtful: bool,
}

impl Seen {
    /// Who holds the key, or held it last.
    pub(super) const fn leader(&self) -> Option<&OrchestratorId> {
        match &self.found {
            Found::Record { record, .. } if !record.released => Some(&record.leader),
            _ => None,
        }
    }
}

impl Election {
    /// Takes in what a look found. Revision and nonce together tell whether anything was written: revisions begin anew
    /// when the server loses its data.
    pub(super) fn see(&mut self, now: Timestamp, found: &Found) {
        match found {
            Found::Failed => return self.forget_absence(),
            Found::Record { record, .. } => self.highest = self.highest.max(record.term),
            Found::Garbled { .. } | Found::Absent { .. } => {}
        }
        self.looked = true;
        let doubtful = std::mem::take(&mut self.reconnected);
        match self.seen.as_mut().filter(|seen| seen.found == *found) {
            Some(seen) => seen.doubtful |= doubtful,
            None => {
                self.seen = Some(Seen {
                    found: found.clone(),
                    since: now,
                    doubtful,
                });
            }
        }
    }

    /// A hint that somebody wrote the key.
    pub(super) fn changed(&mut self, now: Timestamp) {
        self.look_at = now;
        self.forget_absence();
    }

    /// The server may be another one than before, with an older state of the key: one that looks unchanged may have been
    /// written since and be back at what it was, so whoever wrote it is waited for anew.
    pub(super) fn connection(&mut self, now: Timestamp) {
        if mutant::on(Mutant::ReconnectIgnored) {
            return;
        }
        self.look_at = now;
        self.fresh = false;
        // The first connection of all forgets nothing that was known.
        self.reconnected = self.looked;
        if self.config.observe && self.looked {
            self.rivals_until = now + self.wait(self.config.lease);
        }
        if let Some(seen) = &mut self.seen {
            seen.since = now;
        }
    }

    /// A key that is made and lost between two looks leaves no trace: its absence counts anew when a look failed, or when
    /// somebody wrote it or speaks of a term.
    pub(super) fn forget_absence(&mut self) {
        self.seen
            .take_if(|seen| matches!(seen.found, Found::Absent { .. }));
    }

    /// The write without an answer that this record is.
    pub(super) fn own_write(&self, record: &LeaderRecord) -> Option<Sent> {
        let same = |sent: &&Sent| sent.nonce == record.nonce && sent.term == record.term;
        let found = self.unsure.iter().find(same).copied();
        found.filter(|_| record.leader == self.me)
    }

    pub(super) fn read_while_waiting(&mut self, now: Timestamp, found: &Found, out: &mut Vec<Command>) {
        if *found == Found::Failed {
            self.fresh = false;
            return self.pause(now);
        }
        if let Found::Record { revision, record } = found
            && let Some(sent) = self.own_write(record)
        {
            self.stored(now, sent, *revision, out);
            if self.held.is_some() {
                return;
            }
        }
        self.fresh = true;
        let soon = now + self.config.renew_every / 2;
        let next = [self.free_at(), self.rest_until]
            .into_iter()
            .filter(|at| *at > now);
        self.look_at = next.min().map_or(soon, |next| next.min(soon));
    }

    /// From when on the key, as it was found last, may be taken.
    fn free_at(&self) -> Timestamp {
        let Some(seen) = &self.seen else {
            return Timestamp::MAX;
        };
        if !self.config.observe || mutant::on(Mutant::HeldKeyIsFree) {
            return Timestamp::ZERO;
        }
        // Where a higher term is known, the server has gone back to an older state, and whoever wrote the key since may lead.
        let newest = |record: &LeaderRecord| record.term >= self.highest || mutant::on(Mutant::OldKeyIsFree);
        match &seen.found {
            // Given up: another may have taken it at once, and the server have forgotten that.
            Found::Record { record, .. } if record.released && newest(record) && !seen.doubtful => {
                Timestamp::ZERO
            }
            // The own one is taken up again, so that no exclusive stream ends because a server was restarted. Should another
            // have taken it while nothing was heard, and the server have forgotten that, it leads for a lease at most: the
            // coordinator counts that in.
            Found::Record { record, .. }
                if !record.released && record.leader == self.me && newest(record) =>
            {
                Timestamp::ZERO
            }
            Found::Record { record, .. } => {
                seen.since + self.wait(std::time::Duration::from_millis(record.lease_ms))
            }
            Found::Absent { .. } if mutant::on(Mutant::AbsentKeyIsFree) => Timestamp::ZERO,
            Found::Absent { .. } | Found::Garbled { .. } => seen.since + self.wait(self.config.lease),
            Found::Failed => Timestamp::MAX,
        }
    }

    /// Takes the key, if a look has just shown that it is free.
    pub(super) fn stand(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if !self.fresh || now < self.rest_until || now < self.free_at() {
            return;
        }
        let revision = match self.seen.as_ref().map(|seen| &seen.found) {
            Some(
                Found::Record { revision, .. } | Found::Garbled { revision } | Found::Absent { revision },
            ) => *revision,
            Some(Found::Failed) | None => return,
        };
        // None: terms are used up.
        if let Some(term) = self.highest.next_for(self.config.number) {
            self.write(now, term, false, revision, out);
        }
    }
}
