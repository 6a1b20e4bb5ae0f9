//! The one writer: only the coordinator changes assignments, and it answers the heartbeats, because the same place
//! has to know who may run what.
//!
//! Order of every change: decide, persist, and only then tell workers. Whatever it is unsure of (an ambiguous commit, a
//! refused row) it does not guess: it takes a new term and reads everything again, which moves no stream.

mod apply;
mod asked;
mod blame;
mod doubt;
mod drain;
mod ghost;
mod guarantees;
mod heard;
mod kept;
mod lead;
mod lease;
mod message;
mod moves;
mod orders;
mod outage;
mod owner;
mod propose;
mod reconcile;
mod recover;
mod repair;
mod rest;
mod seat;
mod slots;
#[cfg(test)]
mod tests;
mod watch;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{Generation, SessionId, StreamId, Term, WorkerId};

use crate::blame::Blame;
use crate::cluster::{Availability, ClusterState, Role, WorkerRecord};
use crate::graveyard::Graveyard;
use crate::heartbeat_tracker::SessionChange;
use crate::machine::Machine;
use crate::notice::Notice;
use crate::record::Fence;
use crate::time::Timestamp;
use lease::Leases;
pub use message::{Command, Config, Event, Proposal, Release};
pub(crate) use repair::is_close;
use seat::Seat;
use writes::Writes;

/// Terms that a heartbeat may be ahead; more is a broken or hostile sender, not another leader.
const MAX_TERM_JUMP: u32 = 1 << 20;
/// Generations count one by one, so that no honest session ever applied a higher one.
const MAX_GENERATION: u64 = 1 << 62;

/// The machine.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    cluster: ClusterState,
    fence: Option<Fence>,
    /// Until when this orchestrator may lead.
    until: Timestamp,
    /// Until when another may have renewed leases of sessions, though this one leads.
    rivals_until: Timestamp,
    /// The term whose fence is being raised.
    taking: Option<Term>,
    /// Generations that were given to any session: none is given twice, so that each names one set for ever.
    generations: Generation,
    /// Counter of the last epoch that was granted in this term.
    counter: u32,
    seats: BTreeMap<WorkerId, Seat>,
    /// What each session is to run on: its desired set.
    wanted: BTreeMap<(WorkerId, SessionId), BTreeSet<StreamId>>,
    /// Sessions that are proven dead.
    dead: Graveyard,
    /// Sessions that are silent beyond the timeout, and since when.
    lost: BTreeMap<(WorkerId, SessionId), Timestamp>,
    /// Streams that go to the new life of their owner.
    homing: owner::Homing,
    /// Streams that the user deleted and that still have to stop.
    deleted: BTreeSet<StreamId>,
    leases: Leases,
    /// Streams that do not keep running.
    blame: Blame,
    writes: Writes,
    retry_at: Option<Timestamp>,
    /// When streams that wait to move are looked at next.
    moves_at: Option<Timestamp>,
    /// When a transaction failed last.
    failed_at: Option<Timestamp>,
    /// A transaction got no answer: memory may be wrong about the database, until everything is read again.
    doubtful: bool,
    /// A transaction has waited for its answer for long, and none was stored since.
    silent: bool,
    /// Transactions that failed since one succeeded.
    failures: u32,
    /// When workers that are gone are looked through next.
    forget_at: Option<Timestamp>,
    /// The last term that was led, if nobody else can have led since.
    led: Option<Term>,
    highest_term: Term,
    /// Workers whose desired set changed since they were told last.
    behind: BTreeSet<WorkerId>,
    /// What happened in the present event.
    notices: Vec<Notice>,
    /// Readers must have the state now.
    dirty: bool,
    /// Since when the state differs from what readers have in ways that nobody acts on (times of heartbeats).
    stale_since: Option<Timestamp>,
}

/// What nobody acts on reaches the readers at the latest after this time.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

impl Coordinator {
    /// A coordinator that does not lead.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cluster: ClusterState::default(),
            fence: None,
            until: Timestamp::ZERO,
            rivals_until: Timestamp::ZERO,
            taking: None,
            generations: 0,
            counter: 0,
            seats: BTreeMap::new(),
            wanted: BTreeMap::new(),
            dead: Graveyard::default(),
            lost: BTreeMap::new(),
            homing: owner::Homing::new(),
            deleted: BTreeSet::new(),
            leases: Leases::default(),
            blame: Blame::default(),
            writes: Writes::default(),
            retry_at: None,
            moves_at: None,
            failed_at: None,
            doubtful: false,
            silent: false,
            failures: 0,
            forget_at: None,
            led: None,
            highest_term: Term::ZERO,
            behind: BTreeSet::new(),
            notices: Vec::new(),
            dirty: false,
            stale_since: None,
        }
    }

    /// What it knows.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterState {
        &self.cluster
    }

    const fn leads(&self) -> bool {
        self.fence.is_some()
    }
}

impl Machine for Coordinator {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        // First, so that nothing is done for a leadership that is over.
        self.expire(now, &mut out);
        match event {
            Event::Begin { above } => self.begin(above, &mut out),
            Event::Elected(lead) => self.elected(now, lead, &mut out),
            Event::Resigned { term } => self.resigned(now, term, &mut out),
            Event::TookOver {
                fence,
                longest_lease,
                loaded,
            } => {
                self.took_over(now, fence, longest_lease, loaded, &mut out);
            }
            Event::TakeOverFailed { term, stored } => self.take_over_failed(now, term, stored, &mut out),
            Event::Heartbeat(mut heartbeat) => {
                self.hear(now, heartbeat.highest_term, &mut out);
                self.heartbeat(now, &mut heartbeat, &mut out);
            }
            Event::Availability(changes) => self.availability(now, &changes),
            Event::Propose(proposals) => {
                for proposal in proposals {
                    self.propose(now, &proposal);
                }
            }
            Event::Preempt(streams) => {
                for stream in streams {
                    self.preempt(now, &stream);
                }
            }
            Event::Unplaced(streams) => {
                for (stream, reason) in streams {
                    if self.cluster.needs_worker.contains(&stream) {
                        self.update_stream(&stream, |record| record.unplaced = reason);
                    }
                }
            }
            Event::Repair(repairs) => self.repair(now, repairs, &mut out),
            Event::Measure(measure) => self.measure(now, measure),
            Event::Apply { request, change } => self.apply(request, change, &mut out),
            // An answer to an earlier leadership says nothing about this one.
            Event::Persisted {
                fence,
                ticket,
                outcome,
            } if self.fence == Some(fence) => {
                self.persisted(now, ticket, outcome, &mut out);
                // What was to be undone had to wait for this.
                self.end_moves(now);
            }
            Event::Persisted { .. } => {}
            Event::Tick => self.tick(now, &mut out),
        }
        self.flush(now, &mut out);
        self.check_acts(now, &mut out);
        let notices = self.notices.drain(..);
        if self.cluster.leadership.role != Role::Standby {
            out.extend(notices.map(Command::Notice));
        }
        let stale = self
            .stale_since
            .is_some_and(|since| since + SNAPSHOT_INTERVAL <= now);
        if std::mem::take(&mut self.dirty) || stale {
            self.stale_since = None;
            self.cluster.revision += 1;
            out.push(Command::Snapshot(self.cluster.clone()));
        }
        out
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let grace = self.cluster.leadership.grace_until;
        let in_grace = (grace > self.cluster.leadership.since).then_some(grace);
        let snapshot = self.stale_since.map(|since| since + SNAPSHOT_INTERVAL);
        let waits = self.leads() && self.retry_at.is_none() && !self.doubtful;
        let check = self.writes.next_check().filter(|_| waits);
        let expiry = (self.cluster.leadership.role != Role::Standby).then_some(self.until);
        [
            expiry,
            self.retry_at,
            self.forget_at,
            self.writes.deadline(),
            self.silent_at(),
            check,
            in_grace,
            snapshot,
            self.next_lease_end(),
            self.next_move_end(),
            self.next_look_at_moves(),
            self.next_blame(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}

impl Coordinator {
    fn availability(&mut self, now: Timestamp, changes: &[SessionChange]) {
        for SessionChange {
            worker,
            session,
            availability,
        } in changes
        {
            let key = (worker.clone(), *session);
            let known_dead = self.dead.contains(&key);
            match availability {
                Availability::Alive | Availability::Warning => {
                    self.found_again(&key, false);
                }
                Availability::Lost => {
                    self.lost.entry(key).or_insert(now);
                }
                Availability::Dead => {
                    self.lost.remove(&key);
                    self.dead.bury(key);
                }
            }
            self.update_worker(worker, |record| {
                if record.session == *session && record.availability != *availability {
                    record.availability = *availability;
                    record.since = now;
                }
            });
            if !known_dead {
                self.notices.push(Notice::WorkerAvailability {
                    worker: worker.clone(),
                    session: *session,
                    availability: *availability,
                });
            }
            let gone = match availability {
                Availability::Dead => true,
                // Within the grace a silent session may still hold a predecessor's lease (OWNERSHIP rule 8).
                Availability::Lost => now >= self.cluster.leadership.grace_until,
                Availability::Alive | Availability::Warning => false,
            };
            if gone {
                self.orphan_session(now, worker, *session);
            }
            let seat = self.seats.get(worker);
            if matches!(availability, Availability::Lost | Availability::Dead)
                && seat.is_some_and(|seat| seat.session == *session)
            {
                self.give_up_home(worker);
            }
            if matches!(availability, Availability::Lost | Availability::Dead) {
                self.forget_at.get_or_insert(now + self.config.forget_after);
            }
        }
    }

    /// Forgets workers that have been gone for long and own nothing: names that never come again must not pile up.
    fn forget(&mut self, now: Timestamp) {
        let gone =
            |worker: &WorkerRecord| matches!(worker.availability, Availability::Lost | Availability::Dead);
        let due = |worker: &WorkerRecord| {
            worker.assigned.is_empty() && worker.since + self.config.forget_after <= now
        };
        let workers = self.cluster.workers.values();
        let (old, young): (Vec<_>, Vec<_>) = workers
            .filter(|worker| gone(worker))
            .cloned()
            .partition(|worker| due(worker));
        for worker in old {
            self.seats.remove(&worker.id);
            self.lost.remove(&(worker.id.clone(), worker.session));
            self.cluster.workers.remove(&worker.id);
            self.dirty = true;
        }
        self.forget_at = (!young.is_empty()).then_some(now + self.config.forget_after);
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.ask_again(out);
        }
        if self.silent_at().is_some_and(|at| at <= now) {
            self.fell_silent(now);
        }
        if self.writes.deadline().is_some_and(|at| at <= now) {
            self.unanswered(now, out);
        }
        if self.forget_at.is_some_and(|at| at <= now) {
            self.forget(now);
        }
        let leadership = &mut self.cluster.leadership;
        if leadership.role == Role::Leading
            && leadership.grace_until > leadership.since
            && leadership.grace_until <= now
        {
            leadership.grace_until = leadership.since;
            self.dirty = true;
            for (worker, session) in self.lost.clone().into_keys() {
                self.orphan_session(now, &worker, session);
            }
        }
        self.end_leases(now);
        self.end_moves(now);
        self.go_on_moving(now);
        self.judge(now);
    }
}
