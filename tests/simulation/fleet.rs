//! The workers' processes: sessions, connections, disks.

use streamkeeper_protocol::{
    Assign, Capacity, Heartbeat, Inventory, Mode, Ownership, PROTOCOL_VERSION, Phase, SessionId, Term,
    Version, WorkerId,
};
use streamkeeper_worker::{Command, Event};

use crate::guard::Deed;
use crate::network::{Order, Party};
use crate::node::Inside;
use crate::world::{Happening, World};

/// One step of so many is the last one before a pause or the end, while there are faults.
const STUMBLES: u64 = 4_096;
/// What changes in so long a time is saved at once.
const SAVE_MS: u64 = 1_000;

impl World {
    pub(crate) fn start_worker(&mut self, index: usize) {
        let session_id = SessionId::from_u128(u128::from(self.fate.draw()));
        let node = &mut self.nodes[index];
        if node.session.is_some() || !node.children.is_empty() || (node.twin && node.gate.life > 0) {
            return;
        }
        node.start(self.now, session_id);
        let text = format!("{} starts as {session_id}", node.id);
        self.trace(format_args!("{text}"));
        self.arm_worker(index);
        if self.nats_up {
            let delay = self.network.between(1, 50);
            self.soon(index, delay, Inside::Connect);
        }
    }

    /// Something that this life of a worker's process will do.
    pub(crate) fn soon(&mut self, index: usize, delay: u64, inside: Inside) {
        let life = self.nodes[index].gate.life;
        self.after(delay, Happening::Worker(index, life, inside));
    }

    pub(crate) fn assign(&mut self, index: usize, assign: &Assign) {
        if self.nodes[index].connected {
            let life = self.nodes[index].gate.life;
            let event = Event::Assign(assign.clone());
            self.inside(index, life, Inside::Hear(Box::new(event)));
        }
    }

    pub(crate) fn order(&mut self, index: usize, from: Party, order: &Order) {
        let node = &self.nodes[index];
        let meant = order.session.is_none_or(|session| session == node.session_id);
        if !meant || !node.connected || node.session.is_none() || node.gate.is_paused() {
            return;
        }
        let (life, term, kind) = (node.gate.life, order.term, order.kind);
        self.inside(index, life, Inside::Hear(Box::new(Event::Control { term, kind })));
        self.sometimes.saw("order to a worker");
        let deaf =
            self.link(from).deaf_until > self.now || self.link(Party::Worker(index)).mute_until > self.now;
        if let (Party::Orchestrator(sender), false) = (from, deaf) {
            let delay = self.network.between(0, 3);
            self.ordered(sender, order.life, delay, order.order, Ok(()));
        }
    }

    /// Something for a worker's process.
    pub(crate) fn inside(&mut self, index: usize, life: u64, inside: Inside) {
        if let Some(inside) = self.nodes[index].gate.pass(life, inside) {
            self.do_inside(index, inside);
        }
    }

    pub(crate) fn resume_worker(&mut self, index: usize) {
        let text = format!("{} goes on", self.nodes[index].id);
        self.trace(format_args!("{text}"));
        self.nodes[index].gate.go_on();
        while let Some(inside) = self.nodes[index].gate.next() {
            self.do_inside(index, inside);
        }
    }

    fn do_inside(&mut self, index: usize, inside: Inside) {
        let node = &mut self.nodes[index];
        if node.session.is_none() {
            return;
        }
        match inside {
            Inside::Timer => {
                if node.armed.take_if(|at| *at <= self.now).is_some() {
                    self.hear(index, Event::Tick);
                }
            }
            Inside::Connect => {
                if self.nats_up && !node.connected {
                    node.connected = true;
                    self.hear(index, Event::Connected);
                }
            }
            Inside::Disconnect => {
                // A connection that is whole again by then was never noticed to be broken.
                let broken = !self.nats_up || node.link.deaf_until > self.now;
                if broken && std::mem::take(&mut node.connected) {
                    self.hear(index, Event::Disconnected);
                }
            }
            Inside::Hear(event) => self.hear(index, *event),
            Inside::Do(command) => self.obey(index, vec![*command]),
            Inside::Save => {
                if let Some(session) = &node.session {
                    node.saving = session.plan_revision();
                    if let Some(plan) = session.plan() {
                        node.disk.saved = Some(plan);
                    }
                }
            }
        }
    }

    fn hear(&mut self, index: usize, event: Event) {
        let random = self.fate.draw();
        let node = &mut self.nodes[index];
        let time = node.time(self.now);
        let Some(session) = node.session.as_mut() else {
            return;
        };
        let commands = session.handle(time, random, event);
        node.lapsing = false;
        if session.last_ack() > 0 && !node.disk.acknowledged {
            node.disk.acknowledged = true;
        }
        let revision = session.plan_revision();
        if revision != node.saving {
            node.saving = revision;
            self.soon(index, SAVE_MS, Inside::Save);
        }
        self.arm_worker(index);
        self.obey(index, commands);
    }

    fn arm_worker(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.session.as_ref().and_then(|session| session.next_deadline()) else {
            return;
        };
        let at = node.clock.when(deadline.0).max(self.now + 1);
        if node.armed != Some(at) {
            node.armed = Some(at);
            let delay = at - self.now;
            self.soon(index, delay, Inside::Timer);
        }
    }

    fn obey(&mut self, index: usize, commands: Vec<Command>) {
        let life = self.nodes[index].gate.life;
        let mut commands = commands.into_iter();
        while let Some(command) = commands.next() {
            if self.nodes[index].gate.life != life {
                return;
            }
            if self.worker_stumbles(index) {
                let gate = &mut self.nodes[index].gate;
                if gate.is_paused() {
                    let rest: Vec<Inside> = std::iter::once(command)
                        .chain(commands)
                        .map(|command| Inside::Do(Box::new(command)))
                        .collect();
                    gate.put_back(rest.into_iter());
                }
                return;
            }
            self.carry_out(index, command);
        }
    }

    /// Whether the process is paused, or ends, before its next step.
    fn worker_stumbles(&mut self, index: usize) -> bool {
        if !self.stormy || self.shape.spares_workers() || !self.fate.draw().is_multiple_of(STUMBLES) {
            return false;
        }
        if self.fate.per_mille(500) {
            self.sometimes.saw("worker killed between two steps");
            self.end_process(index, false);
        } else {
            self.sometimes.saw("worker paused between two steps");
            let length = self.fate.between(50, 30_000);
            self.pause_worker(index, length);
        }
        true
    }

    fn carry_out(&mut self, index: usize, command: Command) {
        match command {
            Command::Heartbeat(heartbeat) => {
                if self.nodes[index].connected {
                    self.tell(format_args!("{heartbeat:?}"));
                    self.send_heartbeat(index, *heartbeat);
                }
            }
            Command::Start {
                stream, epoch, spec, ..
            } => self.start_child(index, stream, epoch, spec.ownership == Ownership::Exclusive),
            Command::Stop { stream, epoch } => {
                self.stopped(index, &stream, epoch);
                self.stop_child(index, stream, epoch);
            }
            Command::Reconnect { .. } => {
                self.sometimes.saw("connection made anew for want of answers");
                self.nodes[index].connected = false;
                let delay = self.network.between(1, 500);
                self.soon(index, delay, Inside::Connect);
            }
            Command::Remember { highest_term } => self.nodes[index].disk.term = highest_term,
            Command::Refused { reason } => {
                self.sometimes.saw("message refused by a worker");
                self.tell(format_args!("{} refuses: {reason}", self.nodes[index].id));
            }
            Command::Left => {
                let now = self.now;
                let node = &mut self.nodes[index];
                // Who was heard gives its streams to others.
                let time = node.time(now);
                if node.connected
                    && node
                        .session
                        .as_ref()
                        .is_some_and(|session| session.hears_leader(time))
                {
                    node.disk.saved = None;
                }
                self.end_process(index, true);
            }
            Command::Lease(lease) => self.lease(index, lease),
            Command::Lapsed => {
                self.sometimes.saw("lease lapsed");
                let text = format!("lease of {} lapses", self.nodes[index].id);
                self.trace(format_args!("{text}"));
                self.nodes[index].lapsing = true;
                self.check_lapse(index);
            }
        }
    }

    pub(crate) fn pause_worker(&mut self, index: usize, length: u64) {
        let node = &mut self.nodes[index];
        if node.session.is_none() || node.gate.is_paused() {
            return;
        }
        node.gate.pause();
        node.touched = self.now + length;
        let life = node.gate.life;
        let text = format!("{} is paused for {length} ms", node.id);
        self.trace(format_args!("{text}"));
        self.after(length, Happening::Resume(Party::Worker(index), life));
    }

    /// The process is gone; its guard ends the children.
    pub(crate) fn end_process(&mut self, index: usize, orderly: bool) {
        let node = &mut self.nodes[index];
        if node.session.take().is_none() {
            return;
        }
        node.connected = false;
        node.touched = self.now;
        node.gate.close();
        let life = node.gate.life;
        let text = format!("{} ends", node.id);
        self.trace(format_args!("{text}"));
        let delay = self.fate.between(1, 500);
        let tell = !orderly && self.fate.per_mille(800);
        self.after(delay, Happening::Guard(index, life, Deed::Reap { tell }));
    }

    /// What a guard says when nothing of the session runs any more.
    pub(crate) fn say_farewell(&mut self, index: usize) {
        let node = &self.nodes[index];
        if node.link.mute_until <= self.now && self.nats_up {
            self.sometimes.saw("proof of death by the guard");
            let farewell = bare_heartbeat(&self.nodes[index].id, self.nodes[index].session_id);
            self.send_heartbeat(index, farewell);
        }
    }
}

/// What a guard says at the end: nothing but whose session it is.
pub(crate) fn bare_heartbeat(worker: &WorkerId, session: SessionId) -> Heartbeat {
    Heartbeat {
        v: PROTOCOL_VERSION,
        worker: worker.clone(),
        session,
        seq: u64::MAX,
        boot_id: String::new(),
        supersedes: None,
        applied: Version::default(),
        highest_term: Term::ZERO,
        mode: Mode::Connected,
        lease_left_ms: 0,
        guarded: false,
        phase: Phase::Gone,
        capacity: Capacity {
            max_streams: 0,
            weight: 0.0,
        },
        labels: std::collections::BTreeMap::new(),
        zone: None,
        version: String::new(),
        inventory: Inventory::digest(0, 0),
        host: None,
        performance: Vec::new(),
        zlib: false,
    }
}
