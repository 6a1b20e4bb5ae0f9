//! Transactions without an answer: memory may be wrong about the database until everything was read again. A database that
//! only takes long is waited for, but not by streams whose worker is gone.

use streamkeeper_protocol::StreamId;

use super::apply::Planned;
use super::{Command, Coordinator};
use crate::cluster::Slot;
use crate::record::{Assignment, AssignmentWrite};
use crate::request::ApplyError;
use crate::time::Timestamp;

impl Coordinator {
    /// When the database has said nothing for so long that streams fail over without it.
    pub(super) fn silent_at(&self) -> Option<Timestamp> {
        let since = self.writes.waits_since().filter(|_| !self.silent);
        since.map(|since| since + self.config.silent_after)
    }

    /// The database may have died without a word. The transaction is waited for as before, and its answer counts, whatever
    /// it is: a grant that took effect and was not stored is stored later, and one that nobody can tell of is read again.
    /// That a database is slow takes nothing from anybody else: no term ends, and no change is given up.
    pub(super) fn fell_silent(&mut self, now: Timestamp) {
        self.silent = true;
        self.outage(now, "no answer yet");
        let flying = self.writes.in_flight.as_ref();
        let flying = flying.map_or(&[][..], |in_flight| &in_flight.batch.assignments);
        let all = flying.iter().chain(self.writes.assignments.values());
        let grants: Vec<(StreamId, Assignment)> = all
            .filter_map(|write| match write {
                AssignmentWrite::Put { stream, assignment } => Some((stream.clone(), assignment.clone())),
                AssignmentWrite::Restore { .. } | AssignmentWrite::Clear { .. } => None,
            })
            .collect();
        for (stream, assignment) in grants {
            let slot = self.cluster.streams.get(&stream).map(|record| &record.slot);
            let waits = matches!(slot, Some(Slot::Committing { next, .. }) if *next == assignment);
            if waits && self.fails_over_from_memory(&stream) {
                self.granted(now, &stream, assignment);
            }
        }
    }

    /// A transaction has no answer, and is waited for no longer.
    pub(super) fn unanswered(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        match self.writes.in_flight.take_if(|flying| flying.batch.is_empty()) {
            Some(check) => self.failed(now, check, "no answer in time", out),
            None => self.doubt(now, out),
        }
    }

    /// A transaction is durable, or not: everything is read again under a higher term, and stored nothing meanwhile. Until
    /// then the leader goes on from memory, where it harms nothing to be wrong: what runs goes on, and available streams
    /// fail over (OWNERSHIP rules 12 and 16).
    pub(super) fn doubt(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.doubtful = true;
        self.outage(now, "no answer to the commit");
        self.failed_at = Some(now);
        let in_flight = self.writes.in_flight.take();
        let (planned, batch) = in_flight
            .map(|in_flight| (in_flight.planned, in_flight.batch))
            .unwrap_or_default();
        for Planned { request, .. } in planned {
            let outcome = Err(ApplyError::Ambiguous("no answer to the commit".to_owned()));
            out.push(Command::Reply { request, outcome });
        }
        self.refuse_requests("it is being read again", out);
        let waiting = std::mem::take(&mut self.writes.assignments).into_values();
        for write in batch.assignments.into_iter().chain(waiting) {
            self.keep_in_memory(now, write);
        }
        out.push(Command::NewTerm {
            above: self.highest_term,
        });
    }

    /// Keeps what took effect, or does now, until everything is read again. What nobody was told of is left to what is
    /// stored: a grant that is remembered and not told would take the stream from whoever runs it.
    fn keep_in_memory(&mut self, now: Timestamp, write: AssignmentWrite) {
        let AssignmentWrite::Put { stream, assignment } = write else {
            return;
        };
        let slot = self.cluster.streams.get(&stream).map(|record| &record.slot);
        let granted = match slot {
            Some(Slot::Committing { next, .. }) => {
                *next == assignment && self.fails_over_from_memory(&stream)
            }
            Some(Slot::Held(held)) if *held == assignment => {
                self.writes.put(stream, assignment);
                return;
            }
            _ => false,
        };
        if granted {
            self.writes.put(stream.clone(), assignment.clone());
            self.granted(now, &stream, assignment);
        }
    }

    /// Answers everybody who waits for a transaction that is not begun.
    fn refuse_requests(&mut self, reason: &str, out: &mut Vec<Command>) {
        for (request, _) in std::mem::take(&mut self.writes.requests) {
            let outcome = Err(ApplyError::Store(reason.to_owned()));
            out.push(Command::Reply { request, outcome });
        }
    }
}
