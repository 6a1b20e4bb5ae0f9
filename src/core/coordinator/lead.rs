//! Becoming the leader, and ceasing to be it. The election says who may lead and until when; the coordinator counts the
//! time itself too, because the election's word may come late.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{StreamId, Term};

use super::{Command, Coordinator, MAX_TERM_JUMP};
use crate::alert_manager::Inherited;
use crate::blame::Blame;
use crate::cluster::{ClusterState, Leadership, MoveReason, Role, Slot};
use crate::election::Lead;
use crate::notice::Notice;
use crate::record::{Assignment, Fence, Loaded};
use crate::request::ApplyError;
use crate::time::Timestamp;

impl Coordinator {
    /// A restarted coordinator knows nothing of what it led: only a higher term may go on (OWNERSHIP rule 11).
    pub(super) fn begin(&mut self, above: Term, out: &mut Vec<Command>) {
        self.highest_term = self.highest_term.max(above);
        out.push(Command::NewTerm {
            above: self.highest_term,
        });
    }

    /// Ends a leadership whose time is over, whether or not the election has said so yet.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let over = self.until <= now && !mutant::on(Mutant::NoValidityCheck);
        if self.cluster.leadership.role != Role::Standby && over {
            self.stand_by(now, out);
            // Should the election hold its key still, it is to be under another term.
            out.push(Command::NewTerm {
                above: self.highest_term,
            });
        }
    }

    pub(super) fn elected(&mut self, now: Timestamp, lead: Lead, out: &mut Vec<Command>) {
        let Lead { term, until, .. } = lead;
        if until <= now {
            return;
        }
        self.rivals_until = self.rivals_until.max(lead.rivals_until);
        let Leadership { role, term: own, .. } = self.cluster.leadership;
        let taking = self.taking == Some(term);
        if role != Role::Standby && (term == own || taking) {
            self.until = self.until.max(until);
        }
        if term > self.highest_term {
            // In doubt it goes on under the term that it had, until everything is read.
            if !self.doubtful {
                self.drop_term(out);
                self.turn(now, Role::TakingOver, term);
            }
            self.highest_term = term;
            self.until = until;
            self.taking = Some(term);
            out.push(Command::TakeOver { term });
        } else if self.fence.is_none() && self.taking.is_none() {
            // A term that was given up already; that a higher one is needed may have been lost.
            out.push(Command::NewTerm {
                above: self.highest_term,
            });
        }
    }

    pub(super) fn resigned(&mut self, now: Timestamp, term: Term, out: &mut Vec<Command>) {
        if self.cluster.leadership.role != Role::Standby {
            self.stand_by(now, out);
        }
        out.push(Command::Vacated { term });
    }

    pub(super) fn take_over_failed(
        &mut self,
        now: Timestamp,
        term: Term,
        stored: Option<Term>,
        out: &mut Vec<Command>,
    ) {
        if self.taking != Some(term) {
            return;
        }
        match stored.filter(|stored| *stored >= term) {
            Some(stored) => {
                self.highest_term = self.highest_term.max(stored);
                self.retake(now, out);
            }
            None => self.retry_at = Some(now + self.config.retry_delay),
        }
    }

    /// After a failure: the takeover is tried again, under the same term.
    pub(super) fn ask_again(&self, out: &mut Vec<Command>) {
        if let Some(term) = self.taking {
            out.push(Command::TakeOver { term });
        }
    }

    /// Somebody speaks of a term: a higher one means that another leader was there, or that our memory of terms is gone.
    pub(super) fn hear(&mut self, now: Timestamp, term: Term, out: &mut Vec<Command>) {
        let jump = term.get().saturating_sub(self.highest_term.get());
        if jump == 0 || jump > MAX_TERM_JUMP {
            return;
        }
        self.highest_term = term;
        if self.cluster.leadership.role == Role::Standby {
            out.push(Command::HeardTerm(term));
        } else {
            self.retake(now, out);
        }
    }

    /// Drops everything that belongs to the present term and asks for a higher one (OWNERSHIP rule 11).
    pub(super) fn retake(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.drop_term(out);
        self.turn(now, Role::TakingOver, self.cluster.leadership.term);
        out.push(Command::NewTerm {
            above: self.highest_term,
        });
    }

    /// Another may lead from now on: nothing is sent or written any more, and nothing is known.
    fn stand_by(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.drop_term(out);
        self.led = None;
        self.until = Timestamp::ZERO;
        self.writes.keeping.clear();
        self.wanted.clear();
        self.deleted.clear();
        self.leases.new_term(now);
        self.failed_at = None;
        self.failures = 0;
        self.forget_at = None;
        self.stale_since = None;
        self.cluster = ClusterState {
            revision: self.cluster.revision,
            ..ClusterState::default()
        };
        self.turn(now, Role::Standby, Term::ZERO);
    }

    fn drop_term(&mut self, out: &mut Vec<Command>) {
        self.fence = None;
        self.taking = None;
        self.doubtful = false;
        self.silent = false;
        self.seats.clear();
        self.homing.clear();
        self.behind.clear();
        self.retry_at = None;
        for request in self.writes.drop_all() {
            out.push(Command::Reply {
                request,
                outcome: Err(ApplyError::Ambiguous("leadership changed".into())),
            });
        }
    }

    const fn turn(&mut self, now: Timestamp, role: Role, term: Term) {
        self.cluster.leadership = Leadership {
            role,
            term,
            since: now,
            grace_until: now,
        };
        self.dirty = true;
    }

    /// Grants that took effect and were not stored: they hold where the database has no later one.
    fn remember(&mut self, now: Timestamp, memory: Vec<(StreamId, Assignment)>) {
        for (stream, assignment) in memory {
            let Some(record) = self.cluster.streams.get(&stream) else {
                continue;
            };
            let stored = record.slot.assignment().map(|stored| stored.epoch);
            if record.spec.enabled && !record.is_exclusive() && stored < Some(assignment.epoch) {
                self.writes.put(stream.clone(), assignment.clone());
                self.seat_unheard(now, &assignment);
                let slot = Slot::Held(assignment);
                self.set_slot(now, &stream, slot, MoveReason::Adopted);
            }
        }
    }

    /// Alerts of the leaderships before. Where nobody else has led since this coordinator did, its term is the last one,
    /// whatever an older copy of the database says.
    fn inherit(&mut self, stored: Inherited) -> Inherited {
        let from = self.led.unwrap_or(stored.from);
        self.led = self.fence.map(|fence| fence.term);
        Inherited { from, ..stored }
    }

    pub(super) fn took_over(
        &mut self,
        now: Timestamp,
        fence: Fence,
        longest_lease: Duration,
        mut loaded: Loaded,
        out: &mut Vec<Command>,
    ) {
        // Whoever was told to take a higher term meanwhile has no use for this one.
        if self.taking.take_if(|term| *term == fence.term).is_none() {
            return;
        }
        let memory = self.take_memory();
        self.drop_term(out);
        let revision = self.cluster.revision;
        self.fence = Some(fence);
        self.counter = 0;
        self.writes.begin_term(now);
        self.deleted.clear();
        self.wanted.clear();
        self.cluster = ClusterState {
            revision,
            migrations: Arc::new(self.migrations().new_term()),
            inherited: Arc::new(self.inherit(std::mem::take(&mut loaded.inherited))),
            ..ClusterState::default()
        };
        self.leases.new_term(now);
        // A database that knows no leader may be a restored one: only a fleet without any term has nothing to wait for.
        let first = longest_lease.is_zero() && fence.term.is_first();
        let grace_until = if first || mutant::on(Mutant::NoGrace) {
            now
        } else {
            now.max(self.rivals_until) + self.longest(longest_lease.max(self.config.lease))
        };
        self.cluster.leadership = Leadership {
            role: Role::Leading,
            term: fence.term,
            since: now,
            grace_until,
        };
        self.blame = Blame::default();
        self.load_directives(now, std::mem::take(&mut loaded.directives));
        let kept = std::mem::take(&mut loaded.kept);
        self.load(now, loaded);
        self.remember(now, memory);
        self.load_kept(now, kept);
        let owners = self
            .cluster
            .streams
            .values()
            .filter_map(|record| record.slot.assignment());
        let mut owners: BTreeSet<_> = owners
            .map(|owner| (owner.worker.clone(), owner.session))
            .collect();
        // A seat may be held on behalf of a stream that is deleted already: its silence has to be noticed as well.
        let seats = self.cluster.workers.values();
        owners.extend(seats.map(|worker| (worker.id.clone(), worker.session)));
        let buried = owners.iter().filter(|owner| self.dead.contains(owner));
        for (worker, session) in buried.cloned().collect::<Vec<_>>() {
            self.orphan_session(now, &worker, session);
        }
        out.push(Command::Expect(owners.into_iter().collect()));
        self.notices.push(Notice::Leading { term: fence.term });
        self.dirty = true;
    }
}
