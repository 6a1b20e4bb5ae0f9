//! The pure session machine of a worker: what it holds, what it starts and stops, and what it tells.
//!
//! It does no IO and reads no clock: the caller brings time, randomness and events, and carries out the commands in
//! their order. Every [`Command::Stop`] must be answered by one [`Event::StreamStopped`], also when the stream ended
//! by itself in the meantime.

mod accept;
mod config;
mod holds;
mod pulse;
mod random;
mod text;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_drain;
#[cfg(test)]
mod tests_heartbeat;
#[cfg(test)]
mod tests_random;

use streamkeeper_protocol::{
    Assign, AssignKind, ControlKind, Epoch, Heartbeat, Inventory, Mode, PROTOCOL_VERSION, Phase, RunSpec,
    RunningStream, SessionId, StreamId, Term, Version,
};

pub use config::SessionConfig;

use accept::Assembly;
use holds::{Holds, Orders};
use pulse::Pulse;
use random::Random;

/// Milliseconds since any fixed origin; never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// The moment `ms` milliseconds later.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, 0 when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The connection to the message server stands.
    Connected,
    /// The connection is lost. It changes no stream.
    Disconnected,
    /// A leader answered.
    Assign(Assign),
    /// A leader ordered; the caller has checked the receiver and the order's id.
    Control {
        /// The leadership that orders.
        term: Term,
        /// What it orders; [`ControlKind::Restart`] is the same as [`Event::Leave`].
        kind: ControlKind,
    },
    /// A stream runs.
    StreamUp {
        /// The stream.
        stream: StreamId,
        /// The epoch under which it was started.
        epoch: Epoch,
    },
    /// A stream ended by itself; nothing of it runs any more.
    StreamExited {
        /// The stream.
        stream: StreamId,
        /// The epoch under which it was started.
        epoch: Epoch,
        /// Why, in words.
        reason: String,
    },
    /// An ordered stop is complete; nothing of the stream runs any more.
    StreamStopped {
        /// The stream.
        stream: StreamId,
        /// The epoch that the stop named.
        epoch: Epoch,
    },
    /// The process is to end.
    Leave,
    /// A deadline may have come.
    Tick,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Send this heartbeat.
    Heartbeat(Box<Heartbeat>),
    /// Start a stream.
    Start {
        /// The stream.
        stream: StreamId,
        /// The assignment under which it runs.
        epoch: Epoch,
        /// What to run.
        spec: RunSpec,
        /// How often it was restarted under this epoch.
        attempt: u32,
    },
    /// Stop a stream.
    Stop {
        /// The stream.
        stream: StreamId,
        /// The epoch that is stopped; never a higher one.
        epoch: Epoch,
    },
    /// Save the highest accepted term, so that a restart does not forget it.
    Remember {
        /// The term.
        highest_term: Term,
    },
    /// A message was not accepted; worth a line in the log.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// Nothing runs any more: the process may end. No command follows.
    Left,
}

/// One life of a worker.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    id: SessionId,
    boot_id: String,
    supersedes: Option<SessionId>,
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
    last_contact: Option<Millis>,
    phase: Phase,
}

impl Session {
    /// A new session that holds nothing. `supersedes` is a session that is proven dead; `highest_term` is what
    /// earlier sessions remembered.
    #[must_use]
    pub fn new(
        config: SessionConfig,
        session_id: SessionId,
        boot_id: String,
        supersedes: Option<SessionId>,
        highest_term: Term,
    ) -> Self {
        Self {
            config,
            id: session_id,
            boot_id,
            supersedes,
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
            last_contact: None,
            phase: Phase::Ready,
        }
    }

    /// Takes one event; `random` has 64 uniform bits. The commands are to be carried out in their order.
    pub fn handle(&mut self, now: Millis, random: u64, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        if self.phase == Phase::Gone {
            return out;
        }
        let mut random = Random(random);
        match event {
            Event::Connected => self.pulse.connected(),
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
            Event::Tick => out.extend(self.holds.retry(now).into_commands()),
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
        let deadlines = [self.pulse.deadline(&self.config), self.holds.next_retry()];
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
        let mut objection = accept::objection(&assign, own, self.highest_term, self.applied);
        if objection.is_none() && assign.kind == AssignKind::Refused {
            objection = Some(
                assign
                    .reason
                    .clone()
                    .unwrap_or_else(|| "refused by the leader".to_owned()),
            );
        }
        if let Some(reason) = objection {
            out.push(Command::Refused { reason });
            return;
        }
        self.last_contact = Some(now);
        // An answer to a heartbeat that was never sent proves nothing.
        if assign.ack_seq <= self.seq {
            self.last_ack = self.last_ack.max(assign.ack_seq);
        }
        if assign.whole_inventory {
            self.pulse.ask_whole();
        }
        let version = assign.version();
        let news = version > self.applied;
        match assign.kind {
            AssignKind::LeaseOnly if news => {
                self.pulse.ask_whole();
                self.applies(version, true, out);
            }
            // A repeated set is not applied again: it would start again what ended since.
            AssignKind::Desired if news || self.lease_only => match self.assembly.take(assign) {
                Ok(None) => {}
                Ok(Some(set)) => {
                    self.applies(version, false, out);
                    out.extend(self.holds.apply(set, self.phase.into()).into_commands());
                }
                Err(reason) => out.push(Command::Refused { reason }),
            },
            AssignKind::LeaseOnly | AssignKind::Desired | AssignKind::Current | AssignKind::Refused => {}
        }
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
            ControlKind::Drain if self.phase == Phase::Ready => self.phase = Phase::Draining,
            ControlKind::Resume if self.phase == Phase::Draining => self.phase = Phase::Ready,
            ControlKind::Drain | ControlKind::Resume => {}
            ControlKind::Restart => out.extend(self.leave().into_commands()),
        }
    }

    fn leave(&mut self) -> Orders {
        self.phase = Phase::Leaving;
        self.pulse.hurry();
        self.holds.end_all()
    }

    fn tell(&mut self, now: Millis, random: &mut Random, out: &mut Vec<Command>) {
        if self.holds.take_changed() {
            self.inventory_version += 1;
            self.pulse.hurry();
        }
        if self.phase == Phase::Leaving && self.holds.is_empty() {
            self.phase = Phase::Gone;
            // The proof of death waits for no gap; without a connection the leader learns by silence.
            if self.pulse.is_connected() {
                self.heartbeats(now, true, out);
            }
            out.push(Command::Left);
        } else if let Some(asked) = self.pulse.beat(now, &self.config, random) {
            let whole = asked || self.told_version != Some(self.inventory_version);
            self.heartbeats(now, whole, out);
        }
    }

    fn heartbeats(&mut self, now: Millis, whole: bool, out: &mut Vec<Command>) {
        let digest = Inventory::digest(self.inventory_version, self.holds.count());
        if !whole {
            let heartbeat = self.heartbeat(now, digest);
            out.push(Command::Heartbeat(Box::new(heartbeat)));
            return;
        }
        self.told_version = Some(self.inventory_version);
        let entries = self.holds.inventory();
        let mut chunks: Vec<&[RunningStream]> =
            entries.chunks(self.config.max_entries_per_part.max(1)).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let parts = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        for (part, chunk) in (0..parts).zip(chunks) {
            let running = chunk.to_vec();
            let inventory = Inventory {
                part,
                parts,
                running,
                ..digest.clone()
            };
            let heartbeat = self.heartbeat(now, inventory);
            out.push(Command::Heartbeat(Box::new(heartbeat)));
        }
    }

    fn heartbeat(&mut self, now: Millis, inventory: Inventory) -> Heartbeat {
        self.seq += 1;
        let hears = self
            .last_contact
            .is_some_and(|at| now.since(at) < self.config.local_after_ms);
        Heartbeat {
            v: PROTOCOL_VERSION,
            worker: self.config.worker.clone(),
            session: self.id,
            seq: self.seq,
            boot_id: self.boot_id.clone(),
            supersedes: self.supersedes,
            applied: self.applied,
            highest_term: self.highest_term,
            mode: if hears { Mode::Connected } else { Mode::Local },
            lease_left_ms: 0,
            phase: self.phase,
            capacity: self.config.capacity,
            labels: self.config.labels.clone(),
            zone: self.config.zone.clone(),
            version: self.config.version.clone(),
            inventory,
            host: None,
        }
    }
}
