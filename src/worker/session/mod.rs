//! The pure session machine of a worker: what it holds, what it starts and stops, and what it tells.
//!
//! It does no IO and reads no clock: the caller brings time, randomness and events, and carries out the commands in
//! their order. Every [`Command::Stop`] must be answered by one [`Event::StreamStopped`], also when the stream ended
//! by itself in the meantime.

mod accept;
mod config;
mod contact;
mod event;
mod exclusive;
mod former;
mod holds;
mod lease;
mod pulse;
mod random;
mod report;
mod saved;
mod text;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_drain;
#[cfg(test)]
mod tests_heartbeat;
#[cfg(test)]
mod tests_lease;
#[cfg(test)]
mod tests_lease_random;
#[cfg(test)]
mod tests_local;
#[cfg(test)]
mod tests_random;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{
    Assign, AssignKind, ControlKind, Phase, RunningStream, SessionId, Term, Version,
};

pub use config::SessionConfig;
pub use event::{Command, Event, Millis};
pub use lease::Lease;
pub use saved::{SavedSet, SavedStream};

use accept::Assembly;
use contact::Contact;
use exclusive::Gate;
use former::Former;
use holds::{Holds, Orders};
use lease::{Leases, Terms};
use pulse::Pulse;
use random::Random;
use saved::Waiting;

/// One life of a worker.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    id: SessionId,
    boot_id: String,
    former: Former,
    highest_term: Term,
    applied: Version,
    /// The applied version came without a set; a set of the same version is still to be applied.
    lease_only: bool,
    assembly: Assembly,
    holds: Holds,
    inventory_version: u64,
    /// The newest inventory version that was sent whole.
    told_version: Option<u64>,
    pulse: Pulse,
    seq: u64,
    last_ack: u64,
    contact: Contact,
    leases: Leases,
    phase: Phase,
    /// What an earlier session left, while it is neither started nor replaced by a leader's word.
    waiting: Option<Waiting>,
    /// Counts what changes [`Self::plan`].
    plan_revision: u64,
}

impl Session {
    /// A new session that holds nothing. `former` are sessions of this worker that are proven dead, the one that a
    /// leader knew last first; `highest_term` is what earlier sessions remembered.
    ///
    /// ```
    /// use streamkeeper_worker::{Capacity, Command, Event, Millis, Session, SessionConfig, SessionId, WorkerId};
    ///
    /// let capacity = Capacity { max_streams: 10, weight: 1.0 };
    /// let config = SessionConfig::new(WorkerId::new("w-1")?, capacity);
    /// let mut session = Session::new(config, SessionId::from_u128(1), "boot".to_owned(), None, Default::default());
    /// let commands = session.handle(Millis(0), 42, Event::Connected);
    /// assert!(matches!(&commands[..], [Command::Heartbeat(first)] if first.seq == 1));
    /// # Ok::<(), streamkeeper_worker::IdError>(())
    /// ```
    #[must_use]
    pub fn new(
        config: SessionConfig,
        session_id: SessionId,
        boot_id: String,
        former: impl IntoIterator<Item = SessionId>,
        highest_term: Term,
    ) -> Self {
        Self {
            config,
            id: session_id,
            boot_id,
            former: Former::new(former),
            highest_term,
            applied: Version::default(),
            lease_only: true,
            assembly: Assembly::default(),
            holds: Holds::default(),
            inventory_version: 0,
            told_version: None,
            pulse: Pulse::default(),
            seq: 0,
            last_ack: 0,
            contact: Contact::default(),
            leases: Leases::default(),
            phase: Phase::Ready,
            waiting: None,
            plan_revision: 0,
        }
    }

    /// Takes what an earlier session saved; to be called before the first event. Where no leader answers for
    /// [`SessionConfig::local_start_after_ms`], its `available` streams start under the epochs that they had. A
    /// leader's desired set replaces it.
    pub fn restore(&mut self, now: Millis, saved: SavedSet) {
        self.holds.remember(&saved);
        self.waiting = Some(Waiting::new(now, saved));
    }

    /// The streams of the saved set that wait for their start.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, Waiting::count)
    }

    /// Changes with every change of [`Self::plan`].
    #[must_use]
    pub const fn plan_revision(&self) -> u64 {
        self.plan_revision
    }

    /// What is to be saved, so that a later session can start from it; `None` while the session ends: what it had
    /// before stays saved.
    #[must_use]
    pub fn plan(&self) -> Option<SavedSet> {
        let ends = matches!(self.phase, Phase::Leaving | Phase::Gone);
        (!ends).then(|| SavedSet {
            version: self.applied,
            streams: self.holds.plan(),
        })
    }

    /// Whether a leader is heard and hears this session.
    #[must_use]
    pub fn hears_leader(&self, now: Millis) -> bool {
        self.contact.hears(now, &self.config)
    }

    /// Takes one event; `random` has 64 uniform bits. The commands are to be carried out in their order.
    pub fn handle(&mut self, now: Millis, random: u64, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        if self.phase == Phase::Gone {
            return out;
        }
        let mut random = Random(random);
        // Before the event: an answer that comes after the lapse renews nothing that ran before it.
        self.watch_lease(now, &mut out);
        match event {
            Event::Connected => {
                self.pulse.connected();
                self.contact.connected();
            }
            Event::Disconnected => self.pulse.disconnected(),
            Event::Assign(assign) => self.assign(now, assign, &mut out),
            Event::Control { term, kind } => self.control(term, kind, &mut out),
            Event::StreamUp { stream, epoch } => self.holds.up(now, &stream, epoch),
            Event::StreamExited {
                stream,
                epoch,
                reason,
            } => {
                let exit = (&stream, epoch, reason);
                self.holds.exited(now, exit, &self.config, &mut random);
            }
            Event::StreamStopped { stream, epoch } => {
                out.extend(self.holds.stopped(&stream, epoch).into_commands());
            }
            Event::Leave => out.extend(self.leave().into_commands()),
            Event::Tick => {
                out.extend(self.holds.retry(now).into_commands());
                out.extend(self.start_alone(now).into_commands());
            }
        }
        self.tell(now, &mut random, &mut out);
        out
    }

    /// When [`Event::Tick`] is due, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.phase == Phase::Gone {
            return None;
        }
        let deadlines = [
            self.pulse.deadline(&self.config),
            self.holds.next_retry(),
            self.leases.lapse_at().filter(|_| self.holds.has_exclusive()),
            self.alone_at(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The newest desired set that is wholly applied.
    #[must_use]
    pub const fn applied(&self) -> Version {
        self.applied
    }

    /// The newest heartbeat that a leader answered, 0 before the first answer.
    #[must_use]
    pub const fn last_ack(&self) -> u64 {
        self.last_ack
    }

    /// What the session holds, sorted by stream; streams that are stopping included.
    #[must_use]
    pub fn inventory(&self) -> Vec<RunningStream> {
        self.holds.inventory()
    }

    fn assign(&mut self, now: Millis, assign: Assign, out: &mut Vec<Command>) {
        let own = (&self.config.worker, self.id);
        let refused = assign.kind == AssignKind::Refused;
        // A refusal is of no generation.
        let applied = if refused { Version::default() } else { self.applied };
        if let Some(reason) = accept::objection(&assign, own, self.highest_term, applied) {
            out.push(Command::Refused { reason });
            return;
        }
        self.contact.answer(now, !refused);
        if refused {
            if self.former.refused(assign.ack_seq, self.seq) {
                self.pulse.hurry();
            }
            let reason = assign
                .reason
                .unwrap_or_else(|| "refused by the leader".to_owned());
            out.push(Command::Refused { reason });
            return;
        }
        self.former.accepted();
        // An answer to a heartbeat that was never sent proves nothing.
        if assign.ack_seq <= self.seq {
            self.last_ack = self.last_ack.max(assign.ack_seq);
        }
        if assign.whole_inventory {
            self.pulse.ask_whole();
        }
        let version = assign.version();
        let news =
            version > self.applied || (version.term < self.applied.term && mutant::on(Mutant::NoTermCheck));
        let (kind, terms) = (assign.kind, Terms::from(&assign));
        match kind {
            AssignKind::LeaseOnly if news => {
                self.pulse.ask_whole();
                self.applies(version, true, out);
                // What a leader before wanted is nobody's word any more.
                self.holds.forget_unstarted();
            }
            // A repeated set is not applied again: it would start again what ended since.
            AssignKind::Desired if news || self.lease_only => match self.assembly.take(assign) {
                Ok(None) => {}
                Ok(Some(set)) => {
                    self.applies(version, false, out);
                    // Before the set: its starts need what its answer grants.
                    self.renew_lease(now, terms, out);
                    out.extend(self.holds.apply(set, self.phase.into()).into_commands());
                    self.waiting = None;
                    self.plan_revision += 1;
                }
                Err(reason) => out.push(Command::Refused { reason }),
            },
            // The seat was lost and is back: the leader may have given away what was not started yet.
            AssignKind::LeaseOnly if version == self.applied => self.holds.forget_unstarted(),
            AssignKind::LeaseOnly | AssignKind::Desired | AssignKind::Current | AssignKind::Refused => {}
        }
        // A set is not applied before all of its parts have come, and till then its lease does not count: it may take
        // streams away (OWNERSHIP rule 1).
        let is_applied = version == self.applied && !(kind == AssignKind::Desired && self.lease_only);
        if is_applied && self.renew_lease(now, terms, out) {
            out.extend(self.holds.start_deferred().into_commands());
        }
    }

    /// Ends the exclusive streams where the lease was not renewed in time, and looks whether others may start.
    fn watch_lease(&mut self, now: Millis, out: &mut Vec<Command>) {
        if self.leases.lapses(now) && self.holds.has_exclusive() {
            out.push(Command::Lapsed);
            out.extend(self.holds.lapse().into_commands());
        }
        self.set_gate(now);
    }

    /// Answers whether it ends later now. A worker without guard has no use for a lease, and counts none.
    fn renew_lease(&mut self, now: Millis, terms: Terms, out: &mut Vec<Command>) -> bool {
        if !self.config.guarded {
            return false;
        }
        let Some(lease) = self.leases.renew(now, terms) else {
            return false;
        };
        out.push(Command::Lease(lease));
        self.set_gate(now);
        true
    }

    fn set_gate(&mut self, now: Millis) {
        self.holds.set_gate(match self.config.guarded {
            false => Gate::Unguarded,
            true if self.leases.may_start(now) || mutant::on(Mutant::StartWithoutLease) => Gate::Open,
            true => Gate::Shut,
        });
    }

    fn applies(&mut self, version: Version, lease_only: bool, out: &mut Vec<Command>) {
        self.applied = version;
        self.lease_only = lease_only;
        self.pulse.hurry();
        if version.term > self.highest_term {
            self.highest_term = version.term;
            out.push(Command::Remember {
                highest_term: version.term,
            });
        }
    }

    fn control(&mut self, term: Term, kind: ControlKind, out: &mut Vec<Command>) {
        if term < self.highest_term {
            let reason = format!("order of term {term} is below {}", self.highest_term);
            out.push(Command::Refused { reason });
            return;
        }
        self.pulse.hurry();
        match kind {
            ControlKind::Ping => {}
            ControlKind::Resync => self.pulse.ask_whole(),
            ControlKind::Drain if self.phase == Phase::Ready => {
                self.phase = Phase::Draining;
                self.holds.forget_deferred();
            }
            ControlKind::Resume if self.phase == Phase::Draining => {
                self.phase = Phase::Ready;
                if term == self.applied.term {
                    out.extend(self.holds.start_skipped().into_commands());
                    self.plan_revision += 1;
                }
            }
            ControlKind::Drain | ControlKind::Resume => {}
            ControlKind::Restart => out.extend(self.leave().into_commands()),
        }
    }

    /// When the saved set is started, if no leader speaks before.
    fn alone_at(&self) -> Option<Millis> {
        let waiting = self.waiting.as_ref().filter(|_| self.phase == Phase::Ready)?;
        Some(waiting.due(self.contact.answered(), self.config.local_start_after_ms))
    }

    fn start_alone(&mut self, now: Millis) -> Orders {
        if self.alone_at().is_none_or(|at| at > now) {
            return Orders::default();
        }
        let waiting = self.waiting.take().map(Waiting::into_streams);
        self.holds.start(waiting.unwrap_or_default())
    }

    fn leave(&mut self) -> Orders {
        self.waiting = None;
        self.phase = Phase::Leaving;
        self.pulse.hurry();
        self.holds.end_all()
    }
}
