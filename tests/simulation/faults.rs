//! What goes wrong.

use streamkeeper_worker::Event;

use crate::node::Node;
use crate::orchestrator::Kind;
use crate::world::{Happening, Inside, World};

impl World {
    /// One fault begins, and the next one is on its way.
    pub(crate) fn fault(&mut self) {
        if !self.stormy {
            return;
        }
        let next = self.fate.between(200, 6_000);
        self.after(next, Happening::Fault);
        let which = self.fate.between(0, 11);
        let index = usize::try_from(self.fate.draw() % self.nodes.len() as u64).unwrap_or(0);
        let length = self.fate.between(100, 20_000);
        let worker = self.nodes[index].id.clone();
        self.trace(format_args!("fault {which} on {worker} for {length} ms"));
        match which {
            0 => self.kill_orchestrator(length / 3),
            1 | 2 => {
                let kind = Kind::ALL[usize::try_from(self.fate.draw() % 6).unwrap_or(0)];
                self.sometimes.saw("restart of an actor");
                self.touched = self.now;
                self.revive(kind);
            }
            3 => {
                self.sometimes.saw("database away");
                self.database.away = true;
                self.after(length, Happening::DatabaseBack);
            }
            4 => {
                self.sometimes.saw("database in trouble");
                self.database.trouble = 300;
                self.after(length, Happening::DatabaseBack);
            }
            5 => self.stop_nats(length),
            6 => {
                self.sometimes.saw("worker killed");
                self.end_process(index, false);
            }
            7 => self.power_off(index),
            8 => {
                self.sometimes.saw("worker paused");
                let node = &mut self.nodes[index];
                node.paused_until = self.now + length;
                node.touched = self.now + length;
            }
            9 => self.cut_off(index, length),
            10 => {
                self.sometimes.saw("worker leaves");
                self.nodes[index].touched = self.now;
                self.nodes[index].leaving = true;
                self.tell(index, Event::Leave);
            }
            _ => self.start_twin(index, length),
        }
    }

    fn kill_orchestrator(&mut self, away: u64) {
        self.sometimes.saw("orchestrator killed");
        self.orchestrator = None;
        self.life += 1;
        self.user.nobody_knows();
        self.touched = self.now + away;
        self.after(away, Happening::StartOrchestrator);
    }

    fn stop_nats(&mut self, length: u64) {
        if !self.nats_up {
            return;
        }
        self.sometimes.saw("message server away");
        self.nats_up = false;
        self.touched = self.now + length;
        for index in 0..self.nodes.len() {
            let life = self.nodes[index].life;
            self.after(1, Happening::Worker(index, life, Inside::Disconnect));
        }
        self.after(length, Happening::NatsUp);
    }

    pub(crate) fn nats_returns(&mut self) {
        self.nats_up = true;
        for index in 0..self.nodes.len() {
            let (life, delay) = (self.nodes[index].life, self.network.between(1, 1_000));
            self.after(delay, Happening::Worker(index, life, Inside::Connect));
        }
    }

    pub(crate) fn database_returns(&mut self) {
        self.database.away = false;
        self.database.trouble = 0;
    }

    /// The machine goes off: children and process end at once, nobody tells, and the lock proves nothing later.
    fn power_off(&mut self, index: usize) {
        self.sometimes.saw("worker's machine off");
        let node = &mut self.nodes[index];
        node.children.clear();
        node.boot += 1;
        self.end_process(index, true);
    }

    fn cut_off(&mut self, index: usize, length: u64) {
        let direction = self.fate.between(0, 2);
        let node = &mut self.nodes[index];
        node.touched = self.now + length;
        let life = node.life;
        match direction {
            0 => {
                self.sometimes.saw("worker hears nothing");
                node.hears = false;
            }
            1 => {
                self.sometimes.saw("worker is not heard");
                node.is_heard = false;
            }
            _ => {
                self.sometimes.saw("worker cut off");
                node.hears = false;
                node.is_heard = false;
                // The client notices by its own pings.
                self.after(6_000, Happening::Worker(index, life, Inside::Disconnect));
            }
        }
        self.after(length, Happening::Worker(index, life, Inside::Heal));
    }

    /// A second process with the same id.
    fn start_twin(&mut self, index: usize, length: u64) {
        if self.nodes.len() >= 8 {
            return;
        }
        self.sometimes.saw("second process with the same id");
        self.nodes[index].touched = self.now + length;
        let mut twin = Node::new(self.nodes[index].id.clone(), 5);
        twin.twin = true;
        twin.touched = u64::MAX / 2;
        twin.boot = 1 << 40;
        self.nodes.push(twin);
        let index = self.nodes.len() - 1;
        self.start_worker(index);
        let life = self.nodes[index].life;
        self.after(length, Happening::Worker(index, life, Inside::Kill));
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.trace(format_args!("calm"));
        self.stormy = false;
        self.database_returns();
        if !self.nats_up {
            self.nats_returns();
        }
        self.after(1, Happening::StartOrchestrator);
        for index in 0..self.nodes.len() {
            let life = self.nodes[index].life;
            self.nodes[index].hears = true;
            self.nodes[index].is_heard = true;
            self.after(1, Happening::Worker(index, life, Inside::Heal));
        }
    }
}
