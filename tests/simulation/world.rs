//! The seeded world: one queue of happenings in virtual time, and everything that answers them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use crate::database::{Database, Transaction};
use crate::guard::Deed;
use crate::invariant::Watch;
use crate::key::{Ask, Key};
use crate::network::{Link, Message, Party};
use crate::node::{Inside, Node};
use crate::orchestrator::{Orchestrator, Work};
use crate::random::Random;
use crate::shape::Shape;
use crate::sometimes::Sometimes;
use crate::user::User;

/// Something that comes at its time.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// For an orchestrator's process, in this life of it.
    Orchestrator(usize, u64, Work),
    /// For a worker's process, in this life of it.
    Worker(usize, u64, Inside),
    /// Beside a worker's process, on its machine.
    Guard(usize, u64, Deed),
    /// A message arrives.
    Deliver(Party, Party, Message),
    /// A transaction reaches the database.
    Store(Box<Transaction>),
    /// Something reaches the leader's key.
    Key(Box<Ask>),
    /// A paused process goes on, if it is still this life of it.
    Resume(Party, u64),
    /// A process starts, if none runs.
    Start(Party),
    /// The user does something; a fault begins; it is over.
    User,
    Fault,
    NatsUp,
    DatabaseBack,
    Heal(Party),
    Backup,
}

struct Entry {
    at: u64,
    number: u64,
    happening: Happening,
}

impl Ord for Entry {
    /// The earliest is the greatest, since a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// How much of what happens is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Print {
    Nothing,
    /// Faults, decisions, streams.
    Trace,
    /// Every message as well.
    Messages,
}

pub(crate) struct World {
    pub(crate) now: u64,
    queue: BinaryHeap<Entry>,
    happenings: u64,
    pub(crate) shape: Shape,
    pub(crate) network: Random,
    pub(crate) fate: Random,
    pub(crate) database: Database,
    pub(crate) leader_key: Key,
    pub(crate) orchestrators: Vec<Orchestrator>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) nats_up: bool,
    /// The leader's key answers nobody, though all else gets through.
    pub(crate) keyless: bool,
    /// Pairs between which nothing gets through, until then.
    pub(crate) cuts: BTreeMap<(Party, Party), u64>,
    /// Whether faults still happen.
    pub(crate) stormy: bool,
    /// When a fault touched everybody last.
    pub(crate) touched: u64,
    pub(crate) user: User,
    pub(crate) sometimes: Sometimes,
    /// What the invariants remember.
    pub(crate) watch: Watch,
    /// When a stream was started or stopped last.
    pub(crate) last_change: u64,
    hash: u64,
    print: Print,
}

impl World {
    /// A world in which nothing has begun yet.
    pub(crate) fn empty(seed: u64, shape: Shape, print: Print) -> Self {
        let mut random = Random::new(seed);
        let mut machines = random.child();
        let orchestrator = |number| Orchestrator::new(u32::try_from(number).unwrap_or(0), &mut machines);
        let mut orchestrators: Vec<Orchestrator> = (0..shape.orchestrators).map(orchestrator).collect();
        if let [alone] = &mut orchestrators[..] {
            alone.own_key = machines.per_mille(500);
        }
        let nodes = (0..shape.workers)
            .map(|number| Node::new(&format!("w{number}"), &mut machines))
            .collect();
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            happenings: 0,
            shape,
            network: random.child(),
            fate: random.child(),
            database: Database::default(),
            leader_key: Key::default(),
            orchestrators,
            nodes,
            nats_up: true,
            keyless: false,
            cuts: BTreeMap::new(),
            stormy: true,
            touched: 0,
            user: User::new(random.child(), shape),
            sometimes: Sometimes::default(),
            watch: Watch::default(),
            last_change: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        }
    }

    /// A world whose processes start, whose user acts and in which things go wrong.
    pub(crate) fn new(seed: u64, shape: Shape, print: Print) -> Self {
        let mut world = Self::empty(seed, shape, print);
        for index in 0..world.orchestrators.len() {
            let delay = world.fate.between(0, 500);
            world.after(delay, Happening::Start(Party::Orchestrator(index)));
        }
        for index in 0..world.nodes.len() {
            let delay = world.fate.between(0, 500);
            world.after(delay, Happening::Start(Party::Worker(index)));
        }
        world.after(100, Happening::User);
        world.after(1_000, Happening::Backup);
        let first = world.fate.between(5_000, 10_000);
        world.after(first, Happening::Fault);
        world
    }

    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.happenings += 1;
        self.queue.push(Entry {
            at: self.now + delay,
            number: self.happenings,
            happening,
        });
    }

    /// A line of the trace: always part of the trace's hash, printed where it is asked for.
    pub(crate) fn trace(&mut self, line: fmt::Arguments<'_>) {
        let text = line.to_string();
        for byte in text.bytes().chain(self.now.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print >= Print::Trace {
            println!("{:>8.3} {text}", self.now as f64 / 1_000.0);
        }
    }

    /// A line for people alone.
    pub(crate) fn tell(&self, line: fmt::Arguments<'_>) {
        if self.print >= Print::Messages {
            println!("{:>8.3}     {line}", self.now as f64 / 1_000.0);
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn happenings(&self) -> u64 {
        self.happenings
    }

    /// Lets everything happen up to `end`.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.queue.peek().is_some_and(|entry| entry.at <= end) {
            let Some(entry) = self.queue.pop() else { break };
            self.now = entry.at;
            self.happen(entry.happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Orchestrator(index, life, work) => self.work(index, life, work),
            Happening::Worker(index, life, inside) => self.inside(index, life, inside),
            Happening::Guard(index, life, deed) => self.guard(index, life, deed),
            Happening::Deliver(from, to, message) => self.deliver(from, to, message),
            Happening::Store(transaction) => self.store(*transaction),
            Happening::Key(ask) => self.key(&ask),
            Happening::Resume(party, life) => self.resume(party, life),
            Happening::Start(Party::Orchestrator(index)) => self.start_orchestrator(index),
            Happening::Start(Party::Worker(index)) => self.start_worker(index),
            Happening::User => self.user_acts(),
            Happening::Fault => self.fault(),
            Happening::NatsUp => self.nats_returns(),
            Happening::DatabaseBack => self.database_returns(),
            Happening::Heal(party) => self.heal(party),
            Happening::Backup => self.back_up(),
        }
    }

    /// Every way to the message server is free again.
    pub(crate) fn free_ways(&mut self) {
        self.cuts.clear();
        for orchestrator in &mut self.orchestrators {
            orchestrator.link = Link::default();
            orchestrator.no_database_until = 0;
        }
        for node in &mut self.nodes {
            node.link = Link::default();
        }
    }
}
