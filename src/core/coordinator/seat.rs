//! Seats: which session speaks for a worker, what it has to be told, and the answer to each of its heartbeats.

use std::collections::BTreeSet;
use std::time::Duration;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{
    Action, Assign, AssignKind, DesiredEntry, Generation, Heartbeat, PROTOCOL_VERSION, Phase, RunSpec,
    RunningStream, SessionId, WorkerId,
};

use super::{Command, Coordinator, MAX_GENERATION};
use crate::cluster::Slot;
use crate::notice::Notice;
use crate::record::Assignment;
use crate::time::Timestamp;

/// What the leader keeps of one session beside the published record.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) session: SessionId,
    pub(super) last_seq: u64,
    /// Version of the desired set; 0 until the first complete inventory of this term was taken in.
    pub(super) generation: Generation,
    /// Version of the inventory that is held, once one came whole.
    pub(super) inventory_version: Option<u64>,
    /// Parts of an inventory that is still coming: its version, the next part, what came.
    incoming: Option<(u64, u32, Vec<RunningStream>)>,
    /// All is as its last inventory says, and nothing that concerns it has changed since: the same inventory again says
    /// nothing.
    pub(super) at_rest: bool,
}

impl Seat {
    const fn new(session: SessionId) -> Self {
        Self {
            session,
            last_seq: 0,
            generation: 0,
            inventory_version: None,
            incoming: None,
            at_rest: false,
        }
    }

    /// Takes what a heartbeat carries of the inventory. Answers the whole list when it has just become complete.
    fn assemble(&mut self, heartbeat: &mut Heartbeat) -> Option<Vec<RunningStream>> {
        let inventory = &mut heartbeat.inventory;
        if inventory.parts == 0 {
            return None;
        }
        let continues = |(version, next, _): &(u64, u32, Vec<RunningStream>)| {
            *version == inventory.version && *next == inventory.part
        };
        let mut list = match self.incoming.take() {
            Some(incoming) if continues(&incoming) => incoming.2,
            _ if inventory.part == 0 => Vec::new(),
            _ => return None,
        };
        if list.is_empty() {
            list = std::mem::take(&mut inventory.running);
        } else {
            list.append(&mut inventory.running);
        }
        if inventory.part + 1 < inventory.parts {
            self.incoming = Some((inventory.version, inventory.part + 1, list));
            return None;
        }
        if list.len() != inventory.count as usize {
            return None;
        }
        list.sort_by(|a, b| a.stream.cmp(&b.stream));
        self.inventory_version = Some(inventory.version);
        Some(list)
    }
}

impl Coordinator {
    pub(super) fn heartbeat(&mut self, now: Timestamp, heartbeat: &mut Heartbeat, out: &mut Vec<Command>) {
        let Some(fence) = self.fence else {
            return self.renew_only(now, heartbeat, out);
        };
        let key = (heartbeat.worker.clone(), heartbeat.session);
        let implausible = heartbeat.applied.generation > MAX_GENERATION;
        if heartbeat.phase == Phase::Gone || implausible || self.dead.contains(&key) {
            return;
        }
        if heartbeat.highest_term > fence.term {
            // Implausible, or it would have been believed before: this one accepts no answer of ours.
            return;
        }
        if let Some(holder) = self.rival(now, heartbeat) {
            let (worker, refused) = key;
            out.push(Command::Rival {
                worker,
                holder,
                refused,
            });
            let kind = AssignKind::Refused;
            let reason = Some(format!(
                "another live process (session {holder}) has this worker id"
            ));
            out.push(Command::Assign(Box::new(Assign {
                reason,
                ..self.blank(heartbeat, 0, kind)
            })));
            return;
        }
        let seated = self.seats.get(&heartbeat.worker);
        let new = seated.is_none_or(|seat| seat.session != heartbeat.session);
        let seat = self.take_seat(now, heartbeat);
        if heartbeat.seq <= seat.last_seq {
            return;
        }
        seat.last_seq = heartbeat.seq;
        let whole = seat.assemble(heartbeat);
        let complete = seat.inventory_version == Some(heartbeat.inventory.version);
        let whole = whole.and_then(|list| self.news(&heartbeat.worker, list));
        let heartbeat = &*heartbeat;
        let news = whole.is_some();
        // The failure detector that told the loss may have been restarted since and not know of it. Or it has heard more,
        // and this is a late message of a session that is lost: it says so again when asked.
        if self.found_again(&key, new) {
            out.push(Command::Expect(vec![key.clone()]));
        }
        self.renew_lease(now, key);
        self.note(now, heartbeat, whole);
        self.measured(heartbeat);
        if complete && (heartbeat.applied.term == fence.term || mutant::on(Mutant::StaleInventory)) {
            self.reconcile(now, &heartbeat.worker, heartbeat.applied.generation, news);
        }
        self.come_home(now, &heartbeat.worker);
        self.catch_up(heartbeat);
        let answer = self.answer(heartbeat, complete);
        if answer.kind == AssignKind::Desired {
            let told = answer.generation;
            self.update_worker(&heartbeat.worker, |record| record.desired.generation = told);
        }
        out.push(Command::Assign(Box::new(answer)));
    }

    /// Before the fence stands, which takes as long as the database is away: the lease is renewed, and nothing changes
    /// (OWNERSHIP rule 10).
    fn renew_only(&mut self, now: Timestamp, heartbeat: &Heartbeat, out: &mut Vec<Command>) {
        let key = (heartbeat.worker.clone(), heartbeat.session);
        let ours = self.taking.is_some_and(|term| heartbeat.highest_term <= term);
        let gone = heartbeat.phase == Phase::Gone || self.dead.contains(&key);
        if !ours || gone || self.rival(now, heartbeat).is_some() {
            return;
        }
        self.renew_lease(now, key);
        // No inventory is asked for: nobody could use it yet, and each one would be answered at once.
        let answer = self.blank(heartbeat, 0, AssignKind::LeaseOnly);
        out.push(Command::Assign(Box::new(answer)));
    }

    /// The session that holds the worker's seat, when it is not the sender's and not free.
    fn rival(&self, now: Timestamp, heartbeat: &Heartbeat) -> Option<SessionId> {
        let record = self.cluster.workers.get(&heartbeat.worker)?;
        let holder = (heartbeat.worker.clone(), record.session);
        let lost = self.lost.contains_key(&holder) && now >= self.cluster.leadership.grace_until;
        let free = record.session == heartbeat.session
            || heartbeat.supersedes == Some(record.session)
            || self.dead.contains(&holder)
            || lost;
        (!free).then_some(record.session)
    }

    fn take_seat(&mut self, now: Timestamp, heartbeat: &Heartbeat) -> &mut Seat {
        let worker = &heartbeat.worker;
        let known = self.seats.get(worker);
        if known.is_none_or(|seat| seat.session != heartbeat.session) {
            // Above every set that was sent to it when it had a seat before.
            self.generations += 1;
            self.notices.push(Notice::WorkerJoined {
                worker: worker.clone(),
                session: heartbeat.session,
            });
        }
        if self
            .seats
            .get(worker)
            .is_none_or(|seat| seat.session != heartbeat.session)
        {
            self.seats.insert(worker.clone(), Seat::new(heartbeat.session));
        }
        if let Some(previous) = self.cluster.workers.get(worker).map(|record| record.session)
            && previous != heartbeat.session
        {
            self.orphan_session(now, worker, previous);
            self.lost.remove(&(worker.clone(), previous));
            self.leases.forget_former(now, worker);
            self.end_former_lives(now, heartbeat);
            self.call_home(worker);
        }
        self.seats
            .entry(worker.clone())
            .or_insert_with(|| Seat::new(heartbeat.session))
    }

    /// The worker is back: streams of any other lost life of it wait no longer. Several lives may have rows.
    fn end_former_lives(&mut self, now: Timestamp, heartbeat: &Heartbeat) {
        let is_former =
            |key: &&(WorkerId, SessionId)| key.0 == heartbeat.worker && key.1 != heartbeat.session;
        let former: Vec<_> = self.lost.keys().filter(is_former).cloned().collect();
        for (worker, session) in former {
            self.orphan_session(now, &worker, session);
        }
    }

    /// The desired set of an assignment's session changed.
    pub(super) fn desired_changed(&mut self, assignment: &Assignment) {
        if let Some(seat) = self.seats.get_mut(&assignment.worker)
            && seat.session == assignment.session
            && seat.generation > 0
        {
            self.generations += 1;
            seat.generation = self.generations.max(seat.generation + 1);
            self.behind.insert(assignment.worker.clone());
        }
    }

    /// A session that lost its seat and got it back has applied versions that the new seat knows nothing of: what is told
    /// next must be above them, or it would be refused for ever.
    fn catch_up(&mut self, heartbeat: &Heartbeat) {
        let applied = heartbeat.applied;
        if let Some(seat) = self.seats.get_mut(&heartbeat.worker)
            && applied.term == self.cluster.leadership.term
            && seat.generation > 0
            && applied.generation > seat.generation
        {
            self.generations += 1;
            seat.generation = self.generations.max(applied.generation + 1);
        }
    }

    fn blank(&self, heartbeat: &Heartbeat, generation: Generation, kind: AssignKind) -> Assign {
        Assign {
            v: PROTOCOL_VERSION,
            worker: heartbeat.worker.clone(),
            session: heartbeat.session,
            ack_seq: heartbeat.seq,
            term: self.cluster.leadership.term,
            generation,
            lease_ms: millis(self.config.lease),
            stop_budget_ms: millis(self.config.stop_budget),
            kill_margin_ms: millis(self.config.kill_margin),
            whole_inventory: false,
            kind,
            reason: None,
            part: 0,
            parts: 0,
            entries: Vec::new(),
            zlib: true,
        }
    }

    fn answer(&self, heartbeat: &Heartbeat, complete: bool) -> Assign {
        let term = self.cluster.leadership.term;
        let generation = self
            .seats
            .get(&heartbeat.worker)
            .map_or(0, |seat| seat.generation);
        let mut answer = self.blank(heartbeat, generation, AssignKind::Current);
        answer.whole_inventory = !complete;
        if heartbeat.applied.term != term {
            // The term's first answer changes nothing (OWNERSHIP rule 9).
            answer.kind = AssignKind::LeaseOnly;
            answer.generation = 0;
            answer.whole_inventory = true;
        } else if generation == 0 {
            // Nothing is wanted before its inventory came whole; a lower version than its own would be refused. That what
            // it applied is still wanted nobody can say: it may have lost its seat, and its streams, since. A set that was
            // sent to it before that is late now, and is below what it applies here: it may name such a stream.
            answer.kind = AssignKind::LeaseOnly;
            answer.generation = if mutant::on(Mutant::GenerationReused) {
                heartbeat.applied.generation
            } else {
                self.generations.max(heartbeat.applied.generation)
            };
            answer.whole_inventory = true;
        } else if heartbeat.applied.generation != generation {
            answer.kind = AssignKind::Desired;
            answer.parts = 1;
            answer.entries = self.desired(&heartbeat.worker, heartbeat.session);
        }
        answer
    }

    /// The whole desired set of a session.
    fn desired(&self, worker: &WorkerId, session: SessionId) -> Vec<DesiredEntry> {
        let Some(wanted) = self.wanted.get(&(worker.clone(), session)) else {
            return Vec::new();
        };
        let mut entries = Vec::with_capacity(wanted.len());
        for stream in wanted {
            let Some(record) = self.cluster.streams.get(stream) else {
                continue;
            };
            let mut wanted = record.wanted();
            let own = |wanted: &&Assignment| wanted.worker == *worker && wanted.session == session;
            let Some(assignment) = wanted.find(own) else {
                continue;
            };
            // Only what was granted in this term, or stopped for a move that was not stored, may be started; everything
            // else goes on where it runs.
            let held = matches!(record.slot, Slot::Held(_) | Slot::Handing { .. });
            let own = assignment.epoch.term() == self.cluster.leadership.term;
            let granted = held && (own || record.rerun);
            let spec = granted.then(|| RunSpec {
                source: record.spec.source.to_string(),
                ownership: record.spec.ownership,
                labels: record.spec.labels.to_map(),
            });
            let action = if granted { Action::Run } else { Action::Keep };
            entries.push(DesiredEntry {
                stream: stream.clone(),
                epoch: assignment.epoch,
                action,
                spec,
            });
        }
        entries
    }

    /// Tells every session whose desired set changed since it was told last.
    pub(super) fn push_changed(&self, changed: &BTreeSet<WorkerId>, out: &mut Vec<Command>) {
        for worker in changed {
            let (Some(seat), Some(record)) = (self.seats.get(worker), self.cluster.workers.get(worker))
            else {
                continue;
            };
            if seat.session != record.session {
                continue;
            }
            out.push(Command::Assign(Box::new(Assign {
                v: PROTOCOL_VERSION,
                worker: worker.clone(),
                session: seat.session,
                ack_seq: seat.last_seq,
                term: self.cluster.leadership.term,
                generation: seat.generation,
                lease_ms: millis(self.config.lease),
                stop_budget_ms: millis(self.config.stop_budget),
                kill_margin_ms: millis(self.config.kill_margin),
                whole_inventory: false,
                kind: AssignKind::Desired,
                reason: None,
                part: 0,
                parts: 1,
                entries: self.desired(worker, seat.session),
                zlib: true,
            })));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
