//! The message server, the ways to it, and what they do to messages.

use std::sync::Arc;

use streamkeeper_core::election;
use streamkeeper_protocol::{Assign, ControlKind, Heartbeat, SessionId, Term, WorkerId};

use crate::orchestrator::Work;
use crate::world::{Happening, World};

/// Who talks over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Orchestrator(usize),
    Worker(usize),
}

/// One party's way to the message server: each direction may be dead for itself, until then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) deaf_until: u64,
    pub(crate) mute_until: u64,
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Heartbeat(Arc<Heartbeat>),
    Assign(Arc<Assign>),
    Order(Order),
    /// Who leads tells its term.
    Beacon(Term),
}

/// An order to a worker, whose answer goes back to this life of its sender.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) life: u64,
    pub(crate) order: u64,
    pub(crate) session: Option<SessionId>,
    pub(crate) kind: ControlKind,
    pub(crate) term: Term,
}

/// Messages of a thousand that wait in a socket's buffer when their way is dead, and come when it is not any more.
const BUFFERED: u64 = 300;

impl World {
    pub(crate) fn link(&self, party: Party) -> Link {
        match party {
            Party::Orchestrator(index) => self.orchestrators[index].link,
            Party::Worker(index) => self.nodes[index].link,
        }
    }

    pub(crate) fn link_mut(&mut self, party: Party) -> &mut Link {
        match party {
            Party::Orchestrator(index) => &mut self.orchestrators[index].link,
            Party::Worker(index) => &mut self.nodes[index].link,
        }
    }

    /// Until when nothing gets from one to the other.
    fn dead_until(&self, from: Party, to: Party) -> u64 {
        let cut = self.cuts.get(&(from, to)).copied().unwrap_or(0);
        self.link(from).mute_until.max(cut)
    }

    /// Sends a message through a network that loses, doubles, delays and reorders.
    pub(crate) fn send(&mut self, from: Party, to: Party, message: Message) {
        if !self.nats_up {
            return;
        }
        let dead = self.dead_until(from, to).saturating_sub(self.now);
        if dead > 0 {
            return self.buffer(dead, from, to, message);
        }
        if self.stormy {
            if self.network.per_mille(20) {
                return;
            }
            if self.network.per_mille(20) {
                let late = self.network.between(0, 8_000);
                self.after(late, Happening::Deliver(from, to, message.clone()));
            }
        }
        let late = self.stormy && self.network.per_mille(20);
        let delay = self.network.between(0, if late { 5_000 } else { 3 });
        self.after(delay, Happening::Deliver(from, to, message));
    }

    fn buffer(&mut self, dead: u64, from: Party, to: Party, message: Message) {
        if self.network.per_mille(BUFFERED) {
            let delay = dead + self.network.between(0, 300);
            self.after(delay, Happening::Deliver(from, to, message));
        }
    }

    pub(crate) fn deliver(&mut self, from: Party, to: Party, message: Message) {
        if !self.nats_up {
            return;
        }
        let deaf = self.link(to).deaf_until.saturating_sub(self.now);
        if deaf > 0 {
            return self.buffer(deaf, from, to, message);
        }
        match (to, message) {
            (Party::Orchestrator(index), Message::Heartbeat(heartbeat)) => {
                let life = self.orchestrators[index].gate.life;
                self.work(index, life, Work::Heard(heartbeat));
            }
            (Party::Worker(index), Message::Assign(assign)) => self.assign(index, &assign),
            (Party::Worker(index), Message::Order(order)) => self.order(index, from, &order),
            (Party::Orchestrator(index), Message::Beacon(term)) => {
                let life = self.orchestrators[index].gate.life;
                self.answer_election(index, life, 0, election::Event::Heard(term));
            }
            (Party::Orchestrator(_), Message::Assign(_) | Message::Order(_))
            | (Party::Worker(_), Message::Heartbeat(_) | Message::Beacon(_)) => {}
        }
    }

    /// A worker speaks: every orchestrator may hear it.
    pub(crate) fn send_heartbeat(&mut self, index: usize, heartbeat: Heartbeat) {
        let heartbeat = Arc::new(heartbeat);
        for orchestrator in 0..self.orchestrators.len() {
            let message = Message::Heartbeat(Arc::clone(&heartbeat));
            self.send(Party::Worker(index), Party::Orchestrator(orchestrator), message);
        }
    }

    /// An orchestrator speaks to whoever has the worker's id.
    pub(crate) fn send_to_worker(&mut self, from: usize, worker: &WorkerId, message: &Message) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].id == *worker {
                self.send(Party::Orchestrator(from), Party::Worker(index), message.clone());
            }
        }
    }
}
