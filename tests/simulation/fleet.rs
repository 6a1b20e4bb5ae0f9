//! The workers' side: sessions, children, connections.

use streamkeeper_protocol::{
    Assign, Capacity, ControlKind, Epoch, Heartbeat, Inventory, Mode, PROTOCOL_VERSION, Phase, SessionId,
    StreamId, Term, Version, WorkerId,
};
use streamkeeper_worker::{Command, Event};

use crate::node::Child;
use crate::world::{Happening, Inside, World};

impl World {
    pub(crate) fn start_worker(&mut self, index: usize) {
        let session_id = SessionId::from_u128(u128::from(self.fate.draw()));
        let node = &mut self.nodes[index];
        if node.session.is_some() || (node.twin && node.life > 0) {
            return;
        }
        node.start(session_id);
        let life = node.life;
        let text = format!("{} starts as {session_id}", node.id);
        self.trace(format_args!("{text}"));
        if self.nats_up {
            let delay = self.network.between(1, 50);
            self.after(delay, Happening::Worker(index, life, Inside::Connect));
        }
    }

    pub(crate) fn assign(&mut self, assign: &Assign) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if node.id == assign.worker && node.hears && node.connected {
                self.tell(index, Event::Assign(assign.clone()));
            }
        }
    }

    pub(crate) fn order(
        &mut self,
        life: u64,
        order: u64,
        worker: &WorkerId,
        session: Option<SessionId>,
        kind: ControlKind,
        term: Term,
    ) {
        let mut outcome = Err("nobody".to_owned());
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let meant = node.id == *worker && session.is_none_or(|session| session == node.session_id);
            if meant && node.hears && node.is_heard && node.connected && node.session.is_some() {
                self.tell(index, Event::Control { term, kind });
                outcome = Ok(());
            }
        }
        self.sometimes.saw("order to a worker");
        self.answer_order(life, order, outcome);
    }

    pub(crate) fn inside(&mut self, index: usize, life: u64, inside: Inside) {
        match inside {
            Inside::Reaped { tell } => return self.reaped(index, life, tell),
            Inside::Kill if self.nodes[index].life == life => return self.end_process(index, false),
            _ => {}
        }
        let node = &mut self.nodes[index];
        if node.life != life || node.session.is_none() {
            return;
        }
        match inside {
            Inside::Timer if node.armed == Some(self.now) => {
                node.armed = None;
                self.tell(index, Event::Tick);
            }
            Inside::Timer | Inside::Reaped { .. } | Inside::Kill => {}
            Inside::Connect if self.nats_up && !node.connected => {
                node.connected = true;
                self.tell(index, Event::Connected);
            }
            Inside::Connect => {}
            // A connection that is whole again by then was never noticed to be broken.
            Inside::Disconnect => {
                if (!self.nats_up || !node.hears) && std::mem::take(&mut node.connected) {
                    self.tell(index, Event::Disconnected);
                }
            }
            Inside::Heal => {
                node.hears = true;
                node.is_heard = true;
                node.touched = self.now;
                if !node.connected {
                    let delay = self.network.between(1, 500);
                    self.after(delay, Happening::Worker(index, life, Inside::Connect));
                }
            }
            Inside::Up(stream, epoch) => {
                if self.runs(index, &stream, epoch) {
                    self.tell(index, Event::StreamUp { stream, epoch });
                }
            }
            Inside::Exit(stream, epoch) => {
                if self.runs(index, &stream, epoch) {
                    self.nodes[index].children.remove(&stream);
                    self.sometimes.saw("stream that ended by itself");
                    let reason = "exit status 1".to_owned();
                    self.tell(
                        index,
                        Event::StreamExited {
                            stream,
                            epoch,
                            reason,
                        },
                    );
                }
            }
            Inside::Stopped(stream, epoch) => {
                let child = self.nodes[index].children.get(&stream);
                if child.is_some_and(|child| child.epoch == epoch) {
                    self.nodes[index].children.remove(&stream);
                }
                self.tell(index, Event::StreamStopped { stream, epoch });
            }
        }
    }

    fn runs(&self, index: usize, stream: &StreamId, epoch: Epoch) -> bool {
        let child = self.nodes[index].children.get(stream);
        child.is_some_and(|child| child.epoch == epoch && !child.stopping)
    }

    /// Hands an event to a session, or keeps it while the process is paused.
    pub(crate) fn tell(&mut self, index: usize, event: Event) {
        let (now, random) = (self.now, self.fate.draw());
        let node = &mut self.nodes[index];
        if now < node.paused_until {
            // Whatever came meanwhile is there when the process goes on; only timers come again by themselves.
            let (delay, life) = (node.paused_until - now, node.life);
            match event {
                Event::Assign(assign) => self.after(delay, Happening::Assign(Box::new(assign))),
                Event::StreamUp { stream, epoch } => {
                    self.after(delay, Happening::Worker(index, life, Inside::Up(stream, epoch)));
                }
                Event::StreamStopped { stream, epoch } => {
                    self.after(
                        delay,
                        Happening::Worker(index, life, Inside::Stopped(stream, epoch)),
                    );
                }
                Event::StreamExited { stream, epoch, .. } => {
                    // It counts as running until its process hears of its end.
                    self.nodes[index].children.insert(
                        stream.clone(),
                        Child {
                            epoch,
                            stopping: false,
                        },
                    );
                    self.after(delay, Happening::Worker(index, life, Inside::Exit(stream, epoch)));
                }
                Event::Tick => {
                    self.nodes[index].armed = Some(now + delay);
                    self.after(delay, Happening::Worker(index, life, Inside::Timer));
                }
                Event::Connected => {
                    self.nodes[index].connected = false;
                    self.after(delay, Happening::Worker(index, life, Inside::Connect));
                }
                Event::Disconnected => {
                    self.nodes[index].connected = true;
                    self.after(delay, Happening::Worker(index, life, Inside::Disconnect));
                }
                Event::Control { .. } | Event::Leave => {}
            }
            return;
        }
        let clock = node.clock(now);
        let Some(session) = node.session.as_mut() else {
            return;
        };
        let commands = session.handle(clock, random, event);
        for command in commands {
            self.obey(index, command);
        }
        self.arm_worker(index);
    }

    fn arm_worker(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(deadline) = node.session.as_ref().and_then(|session| session.next_deadline()) else {
            return;
        };
        let at = deadline.0.saturating_sub(node.clock_offset).max(self.now + 1);
        if node.armed != Some(at) {
            node.armed = Some(at);
            let (delay, life) = (at - self.now, node.life);
            self.after(delay, Happening::Worker(index, life, Inside::Timer));
        }
    }

    fn obey(&mut self, index: usize, command: Command) {
        let life = self.nodes[index].life;
        match command {
            Command::Heartbeat(heartbeat) => {
                if self.nodes[index].is_heard && self.nodes[index].connected {
                    self.send(Happening::Heartbeat(heartbeat));
                }
            }
            Command::Start { stream, epoch, .. } => {
                self.started(index, &stream, epoch);
                let child = Child {
                    epoch,
                    stopping: false,
                };
                let before = self.nodes[index].children.insert(stream.clone(), child);
                assert!(
                    before.is_none(),
                    "stop before start: {stream} runs on {}",
                    self.nodes[index].id
                );
                let delay = self.fate.between(1, 50);
                let fails = self.stormy && self.fate.per_mille(50);
                let end = self.fate.between(1, 20_000);
                if !fails || end > delay {
                    self.after(
                        delay,
                        Happening::Worker(index, life, Inside::Up(stream.clone(), epoch)),
                    );
                }
                if fails {
                    self.after(end, Happening::Worker(index, life, Inside::Exit(stream, epoch)));
                }
            }
            Command::Stop { stream, epoch } => {
                self.stopped(index, &stream, epoch);
                if let Some(child) = self.nodes[index].children.get_mut(&stream) {
                    child.stopping = true;
                }
                let delay = self.fate.between(1, 300);
                self.after(
                    delay,
                    Happening::Worker(index, life, Inside::Stopped(stream, epoch)),
                );
            }
            Command::Reconnect { .. } => {
                self.sometimes.saw("connection made anew for want of answers");
                self.nodes[index].connected = false;
                let delay = self.network.between(1, 500);
                self.after(delay, Happening::Worker(index, life, Inside::Connect));
            }
            Command::Remember { highest_term } => self.nodes[index].saved_term = highest_term,
            Command::Refused { .. } => self.sometimes.saw("message refused by a worker"),
            // These workers have no guard yet, so that no leader grants them exclusive streams.
            Command::Lease(_) | Command::Lapsed => {}
            Command::Left => self.end_process(index, true),
        }
    }

    /// The process is gone; its guard ends the children.
    pub(crate) fn end_process(&mut self, index: usize, orderly: bool) {
        let node = &mut self.nodes[index];
        if node.session.take().is_none() {
            return;
        }
        node.connected = false;
        node.touched = self.now;
        let life = node.life;
        let delay = self.fate.between(1, 500);
        let tell = !orderly && self.fate.per_mille(800);
        self.after(delay, Happening::Worker(index, life, Inside::Reaped { tell }));
    }

    fn reaped(&mut self, index: usize, life: u64, tell: bool) {
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        node.children.clear();
        if tell && node.is_heard {
            self.sometimes.saw("proof of death by the guard");
            let farewell = farewell(&self.nodes[index].id, self.nodes[index].session_id);
            self.send(Happening::Heartbeat(Box::new(farewell)));
        }
        let delay = self.fate.between(10, 20_000);
        self.after(delay, Happening::StartWorker(index));
    }
}

/// What a guard says when nothing of the session runs any more.
fn farewell(worker: &WorkerId, session: SessionId) -> Heartbeat {
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
