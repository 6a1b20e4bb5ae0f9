//! What goes wrong.

use streamkeeper_core::election;
use streamkeeper_core::router::Input;
use streamkeeper_worker::Event;

use crate::guard::Deed;
use crate::network::{Link, Party};
use crate::node::{Inside, Node};
use crate::orchestrator::{Kind, Work};
use crate::shape::Menu;
use crate::world::{Happening, World};

/// After this time a leader has noticed that its database was restored, whether it had something to write or not.
const NOTICED_MS: u64 = 11_000;

/// Most worker processes, twins included.
const MAX_NODES: usize = 14;

impl World {
    /// One fault begins, and the next one is on its way.
    pub(crate) fn fault(&mut self) {
        if !self.stormy {
            return;
        }
        let (low, high) = self.shape.pause_ms;
        let next = self.fate.between(low, high);
        self.after(next, Happening::Fault);
        let length = self.fate.between(100, self.shape.fault_ms);
        match self.shape.menu {
            Menu::Everything if self.fate.per_mille(550) => self.worker_fault(length),
            Menu::Everything => self.leader_fault(length),
            Menu::Twins => {
                let index = self.any_node();
                if self.fate.per_mille(400) {
                    self.start_twin(index, length);
                } else {
                    self.suspend(index, length);
                }
            }
            Menu::OrchestratorsOnly => self.gentle_fault(length),
        }
    }

    fn any_node(&mut self) -> usize {
        usize::try_from(self.fate.draw() % self.nodes.len() as u64).unwrap_or(0)
    }

    fn any_orchestrator(&mut self) -> usize {
        usize::try_from(self.fate.draw() % self.orchestrators.len() as u64).unwrap_or(0)
    }

    /// The one that leads more often than another.
    fn some_orchestrator(&mut self) -> usize {
        let leader = (0..self.orchestrators.len()).find(|index| self.orchestrators[*index].leads());
        let any = self.any_orchestrator();
        leader.filter(|_| self.fate.per_mille(600)).unwrap_or(any)
    }

    fn worker_fault(&mut self, length: u64) {
        let index = self.any_node();
        let which = self.fate.between(0, 8);
        let worker = self.nodes[index].id.clone();
        self.trace(format_args!("fault {which} on {worker} for {length} ms"));
        match which {
            0 => {
                self.sometimes.saw("worker killed");
                self.end_process(index, false);
            }
            1 => self.power_off(index),
            2 | 3 => {
                self.sometimes.saw("worker paused");
                self.pause_worker(index, length);
            }
            4 => {
                self.sometimes.saw("worker's machine suspended");
                self.suspend(index, length);
            }
            5 | 6 => self.cut_off(index, length),
            7 => self.leaves(index),
            _ => self.start_twin(index, length),
        }
    }

    fn leaves(&mut self, index: usize) {
        self.sometimes.saw("worker leaves");
        self.nodes[index].touched = self.now;
        self.nodes[index].leaving = true;
        self.soon(index, 0, Inside::Hear(Box::new(Event::Leave)));
    }

    fn leader_fault(&mut self, length: u64) {
        let index = self.some_orchestrator();
        let which = self.fate.between(0, 13);
        self.trace(format_args!("fault {which} on o{index} for {length} ms"));
        self.touched = self.now + length;
        match which {
            0 | 1 => self.kill_orchestrator(index, length / 3),
            2 | 3 => {
                let kind = Kind::ALL[usize::try_from(self.fate.draw() % Kind::ALL.len() as u64).unwrap_or(0)];
                self.sometimes.saw("restart of an actor");
                self.later(index, 0, Work::Revive(kind));
            }
            4 => {
                self.sometimes.saw("database away");
                self.database.away = true;
                self.after(length, Happening::DatabaseBack);
            }
            5 => {
                self.sometimes.saw("database in trouble");
                self.database.trouble = 300;
                self.database.hangs = 200;
                self.after(length, Happening::DatabaseBack);
            }
            6 => {
                self.sometimes.saw("orchestrator without its database");
                self.orchestrators[index].no_database_until = self.now + length;
            }
            7 => self.stop_nats(length),
            8 => {
                self.sometimes.saw("orchestrator paused");
                self.pause_orchestrator(index, length);
            }
            9 => self.cut_orchestrator(index, length),
            10 => self.cut_pair(index, length),
            11 => self.step_down(index),
            12 => {
                let all = self.fate.per_mille(500);
                self.wipe_key(all);
            }
            _ => self.restore_database(),
        }
    }

    /// What no worker may notice, as long as somebody leads again before the leases end.
    fn gentle_fault(&mut self, length: u64) {
        let index = self.some_orchestrator();
        let which = self.fate.between(0, 5);
        let length = length.min(4_000);
        self.trace(format_args!("gentle fault {which} on o{index} for {length} ms"));
        self.touched = self.now + length;
        match which {
            0 => self.kill_orchestrator(index, length / 4),
            1 => {
                let kind = Kind::ALL[usize::try_from(self.fate.draw() % Kind::ALL.len() as u64).unwrap_or(0)];
                self.later(index, 0, Work::Revive(kind));
            }
            2 => self.pause_orchestrator(index, length),
            3 => self.orchestrators[index].no_database_until = self.now + length,
            4 => self.step_down(index),
            _ => {
                self.database.trouble = 300;
                self.after(length, Happening::DatabaseBack);
            }
        }
    }

    /// By the operator's word; or the process ends in order.
    fn step_down(&mut self, index: usize) {
        self.sometimes.saw("step-down");
        let for_good = self.fate.per_mille(500);
        let event = election::Event::StepDown { for_good };
        self.later(index, 0, Work::Arrive(Box::new(Input::Election(event))));
        if for_good {
            self.later(index, 1_000, Work::Crash);
        }
    }

    fn kill_orchestrator(&mut self, index: usize, away: u64) {
        if self.orchestrators[index].process.is_none() {
            return;
        }
        self.sometimes.saw("orchestrator killed");
        self.end_orchestrator(index);
        self.after(away, Happening::Start(Party::Orchestrator(index)));
    }

    fn stop_nats(&mut self, length: u64) {
        if !self.nats_up {
            return;
        }
        self.sometimes.saw("message server away");
        self.nats_up = false;
        for index in 0..self.nodes.len() {
            self.soon(index, 1, Inside::Disconnect);
        }
        self.after(length, Happening::NatsUp);
    }

    pub(crate) fn nats_returns(&mut self) {
        self.nats_up = true;
        self.connections_are_new();
        for index in 0..self.nodes.len() {
            let delay = self.network.between(1, 1_000);
            self.soon(index, delay, Inside::Connect);
        }
    }

    pub(crate) const fn database_returns(&mut self) {
        self.database.away = false;
        self.database.trouble = 0;
        self.database.hangs = 0;
    }

    pub(crate) fn back_up(&mut self) {
        self.database.back_up();
        let next = self.fate.between(5_000, 40_000);
        if self.stormy {
            self.after(next, Happening::Backup);
        }
    }

    fn restore_database(&mut self) {
        if self.fate.per_mille(500) {
            return;
        }
        let (nonce, raw) = (self.fate.draw(), self.fate.per_mille(500));
        if self.database.restore(nonce, raw, &mut self.watch) {
            self.sometimes.saw(if raw {
                "database's files put back to an older copy"
            } else {
                "database restored from a backup"
            });
            self.trace(format_args!("the database is restored"));
            self.user.reads_again(self.database.streams());
            self.touched = self.touched.max(self.now + NOTICED_MS);
        }
    }

    /// The machine goes off: children and process end at once, nobody tells, and the lock proves nothing later.
    fn power_off(&mut self, index: usize) {
        self.sometimes.saw("worker's machine off");
        self.end_children(index);
        self.nodes[index].boot += 1;
        self.end_process(index, true);
    }

    fn cut_off(&mut self, index: usize, length: u64) {
        let until = self.now + length;
        let direction = self.fate.between(0, 2);
        let link = match direction {
            0 => {
                self.sometimes.saw("worker hears nothing");
                (until, 0)
            }
            1 => {
                self.sometimes.saw("worker is not heard");
                (0, until)
            }
            _ => {
                self.sometimes.saw("worker cut off");
                // The client notices by its own pings.
                self.soon(index, 6_000, Inside::Disconnect);
                (until, until)
            }
        };
        self.nodes[index].touched = until;
        self.cut(Party::Worker(index), link, length);
    }

    fn cut_orchestrator(&mut self, index: usize, length: u64) {
        let until = self.now + length;
        let link = match self.fate.between(0, 2) {
            0 => (until, 0),
            1 => (0, until),
            _ => (until, until),
        };
        self.sometimes.saw("orchestrator cut off");
        self.cut(Party::Orchestrator(index), link, length);
    }

    fn cut(&mut self, party: Party, (deaf_until, mute_until): (u64, u64), length: u64) {
        *self.link_mut(party) = Link {
            deaf_until,
            mute_until,
        };
        self.after(length, Happening::Heal(party));
    }

    /// Servers of a cluster of message servers do not reach each other: one way, between two parties.
    fn cut_pair(&mut self, index: usize, length: u64) {
        self.sometimes.saw("pair cut");
        let node = self.any_node();
        let (one, other) = (Party::Orchestrator(index), Party::Worker(node));
        let until = self.now + length;
        self.nodes[node].touched = self.nodes[node].touched.max(until);
        if self.fate.per_mille(500) {
            self.cuts.insert((one, other), until);
        } else {
            self.cuts.insert((other, one), until);
        }
    }

    /// A way to the message server is free again.
    pub(crate) fn heal(&mut self, party: Party) {
        if let Party::Worker(index) = party
            && !self.nodes[index].connected
        {
            let delay = self.network.between(1, 500);
            self.soon(index, delay, Inside::Connect);
        }
    }

    /// A second process with the same id.
    pub(crate) fn start_twin(&mut self, index: usize, length: u64) {
        if self.nodes.len() >= MAX_NODES {
            return;
        }
        self.sometimes.saw("second process with the same id");
        self.nodes[index].touched = self.now + length;
        let mut twin = Node::new(self.nodes[index].id.as_str(), &mut self.fate);
        twin.twin = true;
        twin.touched = u64::MAX / 2;
        twin.boot = 1 << 40;
        self.nodes.push(twin);
        let index = self.nodes.len() - 1;
        self.start_worker(index);
        let life = self.nodes[index].gate.life;
        self.after(length, Happening::Guard(index, life, Deed::Kill));
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm(&mut self) {
        self.trace(format_args!("calm"));
        self.stormy = false;
        self.touched = self.now;
        self.database_returns();
        self.free_ways();
        if !self.nats_up {
            self.nats_returns();
        }
        for index in 0..self.orchestrators.len() {
            let (party, life) = (Party::Orchestrator(index), self.orchestrators[index].gate.life);
            self.after(1, Happening::Resume(party, life));
            self.after(1, Happening::Start(party));
        }
        for index in 0..self.nodes.len() {
            let (party, life) = (Party::Worker(index), self.nodes[index].gate.life);
            self.nodes[index].suspended_until = self.now;
            self.after(1, Happening::Guard(index, life, Deed::Thaw));
            self.after(1, Happening::Resume(party, life));
            self.after(2, Happening::Heal(party));
        }
    }
}
