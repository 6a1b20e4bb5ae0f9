//! Group commit: one transaction at a time, everything that waits goes into the next.

mod pending;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, StreamId};

use super::apply::Planned;
use super::kept::Keeping;
use super::{Command, Coordinator};
use crate::cluster::{MoveReason, Slot};
use crate::directive::{DirectiveWrite, Key};
use crate::notice::Notice;
use crate::record::{Assignment, AssignmentWrite, Persisted, StreamWrite, WriteBatch};
use crate::request::{ApplyError, ApplyStreams, RequestId};
use crate::time::Timestamp;

/// Transactions that fail one after the other make an outage.
const FAILURES_OF_AN_OUTAGE: u32 = 2;
/// A leader that has nothing to write asks the database so often whether it is still the one that it leads: another one
/// may have raised the fence, or somebody may have put an older copy in its place.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// What waits for the database, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) assignments: BTreeMap<StreamId, AssignmentWrite>,
    pub(super) requests: VecDeque<(RequestId, ApplyStreams)>,
    /// Directives of the leader's own, and those that are over.
    own: BTreeMap<Key, DirectiveWrite>,
    /// What the next leader is to know besides.
    pub(super) keeping: Keeping,
    pub(super) in_flight: Option<InFlight>,
    tickets: u64,
    /// Transactions that were committed under the present fence.
    committed: u64,
    /// When the database is asked again although there is nothing to write.
    check_at: Timestamp,
}

#[derive(Debug)]
pub(super) struct InFlight {
    ticket: u64,
    since: Timestamp,
    deadline: Timestamp,
    pub(super) batch: WriteBatch,
    pub(super) planned: Vec<Planned>,
}

impl Writes {
    /// Stores an assignment with the next transaction. A later write of the same stream replaces an earlier one: answers
    /// whether an assignment is not stored for it.
    pub(super) fn put(&mut self, stream: StreamId, assignment: Assignment) -> bool {
        let write = AssignmentWrite::Put {
            stream: stream.clone(),
            assignment,
        };
        let before = self.assignments.insert(stream, write);
        matches!(before, Some(AssignmentWrite::Put { .. }))
    }

    pub(super) fn clear(&mut self, stream: StreamId, epoch: Epoch) {
        self.assignments
            .insert(stream.clone(), AssignmentWrite::Clear { stream, epoch });
    }

    /// Since when an answer is waited for.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        self.in_flight.as_ref().map(|in_flight| in_flight.since)
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.in_flight.as_ref().map(|in_flight| in_flight.deadline)
    }

    /// When the next check is due, if nothing is written before.
    pub(super) fn next_check(&self) -> Option<Timestamp> {
        self.in_flight.is_none().then_some(self.check_at)
    }

    /// A fence has just been raised: nothing was written under it.
    pub(super) fn begin_term(&mut self, now: Timestamp) {
        self.committed = 0;
        self.check_at = now + CHECK_INTERVAL;
    }
}

impl Coordinator {
    /// Sends the next transaction, when none is on its way; then tells the sessions whose set changed.
    pub(super) fn flush(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if let Some(fence) = self.fence
            && self.writes.in_flight.is_none()
            && self.retry_at.is_none()
            && !self.doubtful
        {
            let planned = self.plan_requests(now, out);
            let streams: BTreeMap<StreamId, StreamWrite> = planned
                .iter()
                .flat_map(|planned| planned.writes.iter().cloned())
                .map(|write| (write.stream().clone(), write))
                .collect();
            let mut batch = WriteBatch {
                before: Some(self.writes.committed),
                streams: streams.into_values().collect(),
                assignments: std::mem::take(&mut self.writes.assignments)
                    .into_values()
                    .collect(),
                directives: self.writes.directives_with(&planned),
                ..WriteBatch::default()
            };
            let due = self.writes.keeping.is_due() || self.writes.check_at <= now;
            // Whoever asked for what is so already is answered when it is known to be so in the database.
            if !batch.is_empty() || !planned.is_empty() || due {
                batch.kept = self.writes.keeping.take(now, &planned);
                self.writes.tickets += 1;
                self.writes.check_at = now + CHECK_INTERVAL;
                let ticket = self.writes.tickets;
                let deadline = now + self.config.persist_timeout;
                out.push(Command::Persist {
                    ticket,
                    fence,
                    batch: batch.clone(),
                });
                self.writes.in_flight = Some(InFlight {
                    ticket,
                    since: now,
                    deadline,
                    batch,
                    planned,
                });
            }
        }
        let mut changed = std::mem::take(&mut self.behind);
        changed.retain(|worker| {
            let generation = self.seats.get(worker).map_or(0, |seat| seat.generation);
            let record = self.cluster.workers.get(worker);
            generation > 0 && record.is_some_and(|record| record.desired.generation != generation)
        });
        self.push_changed(&changed, out);
        for worker in &changed {
            let generation = self.seats.get(worker).map_or(0, |seat| seat.generation);
            self.update_worker(worker, |record| record.desired.generation = generation);
        }
    }

    pub(super) fn persisted(
        &mut self,
        now: Timestamp,
        ticket: u64,
        outcome: Persisted,
        out: &mut Vec<Command>,
    ) {
        let Some(in_flight) = self
            .writes
            .in_flight
            .take_if(|in_flight| in_flight.ticket == ticket)
        else {
            return;
        };
        match outcome {
            Persisted::Committed { refused } if refused.is_empty() => self.committed(now, in_flight, out),
            Persisted::Failed { reason } => self.failed(now, in_flight, &reason, out),
            // Nothing was to be written, so nothing is in doubt.
            Persisted::Ambiguous { reason } if in_flight.batch.is_empty() => {
                self.failed(now, in_flight, &reason, out);
            }
            Persisted::Ambiguous { .. } if mutant::on(Mutant::GrantOnAmbiguous) => {
                self.committed(now, in_flight, out);
            }
            Persisted::Ambiguous { .. } => {
                self.writes.in_flight = Some(in_flight);
                self.doubt(now, out);
            }
            // Memory is wrong about the database: read again under a higher term.
            Persisted::Committed { .. } | Persisted::Fenced { .. } | Persisted::Rewound => {
                if let Persisted::Fenced { term: stored } = outcome {
                    self.highest_term = self.highest_term.max(stored);
                }
                let term = self.cluster.leadership.term;
                let older = matches!(outcome, Persisted::Fenced { term: stored } if stored < term);
                if older || outcome == Persisted::Rewound {
                    self.notices.push(Notice::DatabaseRewound { term });
                }
                self.writes.in_flight = Some(in_flight);
                self.retake(now, out);
            }
        }
    }

    fn committed(&mut self, now: Timestamp, in_flight: InFlight, out: &mut Vec<Command>) {
        self.outage_over();
        self.failures = 0;
        self.silent = false;
        if !in_flight.batch.is_empty() {
            self.writes.committed += 1;
        }
        self.writes.keeping.committed(&in_flight.batch.kept);
        for write in in_flight.batch.streams {
            self.stream_stored(now, write);
        }
        for write in in_flight.batch.directives {
            self.directive_stored(now, write);
        }
        for planned in in_flight.planned {
            self.restart(now, &planned.applied.restarted);
            self.move_asked(now, &planned.applied.moves, planned.move_reason);
            self.release(now, &planned.applied.released);
            out.push(Command::Reply {
                request: planned.request,
                outcome: Ok(planned.applied),
            });
        }
        for write in in_flight.batch.assignments {
            let AssignmentWrite::Put { stream, assignment } = write else {
                continue;
            };
            let Some(record) = self.cluster.streams.get(&stream) else {
                continue;
            };
            match &record.slot {
                Slot::Committing { next, .. } if *next == assignment => {
                    self.granted(now, &stream, assignment);
                    self.settle(now, &stream);
                }
                Slot::Handing { to, .. } if *to == assignment => self.handed(now, &stream, assignment),
                _ => {}
            }
        }
    }

    /// A grant takes effect.
    pub(super) fn granted(&mut self, now: Timestamp, stream: &StreamId, assignment: Assignment) {
        let reason = self
            .cluster
            .streams
            .get(stream)
            .map_or(MoveReason::Declared, |record| record.reason);
        let key = (assignment.worker.clone(), assignment.session);
        // A new life of the worker may have its seat by now: the one that was meant is never told.
        let seat = self.cluster.workers.get(&assignment.worker);
        let unseated = seat.is_none_or(|seat| seat.session != assignment.session);
        let gone = unseated || self.dead.contains(&key) || self.lost.contains_key(&key);
        self.set_slot(now, stream, Slot::Held(assignment.clone()), reason);
        self.notices.push(Notice::Assigned {
            stream: stream.clone(),
            worker: assignment.worker.clone(),
            epoch: assignment.epoch,
            reason,
        });
        if gone {
            let slot = Slot::Orphaned { last: assignment };
            self.set_slot(now, stream, slot, MoveReason::WorkerLost);
        }
    }

    /// A grant was not stored. Who gave the stream up for it, and lives, gets it back (OWNERSHIP rule 12).
    fn restore(&mut self, now: Timestamp, stream: &StreamId, last: Option<Assignment>) {
        let Some(last) = last else {
            return self.set_slot(now, stream, Slot::Vacant, MoveReason::Declared);
        };
        let key = (last.worker.clone(), last.session);
        let seated = self
            .cluster
            .workers
            .get(&last.worker)
            .is_some_and(|worker| worker.heard && worker.session == last.session);
        let record = self.cluster.streams.get(stream);
        let reason = record.map_or(MoveReason::WorkerLost, |record| record.reason);
        let claimed = record.is_some_and(|record| record.claimed);
        let gone = self.lost.contains_key(&key) || self.dead.contains(&key);
        if reason.is_given_up() && seated && !claimed && !gone {
            self.set_slot(now, stream, Slot::Held(last.clone()), reason);
            self.update_stream(stream, |record| record.rerun = true);
            self.desired_changed(&last);
        } else {
            self.set_slot(now, stream, Slot::Orphaned { last }, reason);
        }
    }

    /// Whether a grant takes effect although the database does not take it: it is stored later, unless a successor decides
    /// otherwise (OWNERSHIP rule 16). A failure may be chance; then a stream is better started under a stored epoch.
    pub(super) fn fails_over_from_memory(&self, stream: &StreamId) -> bool {
        let record = self.cluster.streams.get(stream);
        (self.doubtful || self.silent || self.failures >= FAILURES_OF_AN_OUTAGE)
            && record.is_some_and(|record| {
                let allowed = !record.is_exclusive() || mutant::on(Mutant::ExclusiveFromMemory);
                allowed && record.spec.enabled && !record.reason.is_given_up()
            })
    }

    /// Nothing was written: memory goes back to what the database says, and the callers are told.
    pub(super) fn failed(
        &mut self,
        now: Timestamp,
        in_flight: InFlight,
        reason: &str,
        out: &mut Vec<Command>,
    ) {
        self.retry_at = Some(now + self.config.retry_delay);
        self.outage(now, reason);
        self.failed_at = Some(now);
        self.failures = self.failures.saturating_add(1);
        self.writes.keeping.failed(in_flight.batch.kept);
        for planned in in_flight.planned {
            let outcome = Err(ApplyError::Store(reason.to_owned()));
            out.push(Command::Reply {
                request: planned.request,
                outcome,
            });
        }
        for write in in_flight.batch.assignments {
            let stream = write.stream().clone();
            let slot = self
                .cluster
                .streams
                .get(&stream)
                .map(|record| record.slot.clone());
            match (slot, &write) {
                (Some(Slot::Committing { last, next }), AssignmentWrite::Put { assignment, .. })
                    if next == *assignment =>
                {
                    if self.fails_over_from_memory(&stream) {
                        self.granted(now, &stream, next);
                        self.writes.assignments.entry(stream.clone()).or_insert(write);
                    } else {
                        self.restore(now, &stream, last);
                    }
                    self.settle(now, &stream);
                }
                // An adoption that was replaced since: where the later grant fails as well, it is not what is stored.
                (Some(Slot::Committing { .. }), AssignmentWrite::Put { .. }) => {
                    self.update_stream(&stream, |record| record.claimed = true);
                }
                // An adoption, a removal or a hand-over still holds: it goes into the next transaction.
                _ => {
                    self.writes.assignments.entry(stream.clone()).or_insert(write);
                    self.check_target(now, &stream);
                }
            }
        }
    }
}
