//! The seeded world: one queue of happenings in virtual time, and everything that answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use streamkeeper_core::record::{Fence, WriteBatch};
use streamkeeper_core::router::{Effect, Input, Route};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{
    Assign, ControlKind, Epoch, Heartbeat, LeaderRecord, SessionId, StreamId, Term, WorkerId,
};

use crate::database::Database;
use crate::node::Node;
use crate::orchestrator::{Kind, Orchestrator};
use crate::random::Random;
use crate::sometimes::Sometimes;
use crate::user::User;

/// Something that comes at its time.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    /// An event for a machine comes from outside.
    Arrive(u64, Box<Input>),
    /// A machine takes an event out of its mailbox.
    Mail(u64, Box<Input>),
    /// A machine's timer.
    Timer(u64, Kind),
    /// A reader looks at the newest state.
    Read(u64, Kind),
    /// The database is reached by a takeover, a transaction.
    TakeOver(u64, Term),
    Persist(u64, u64, Fence, Box<WriteBatch>),
    /// A message arrives.
    Heartbeat(Box<Heartbeat>),
    Assign(Box<Assign>),
    Order {
        life: u64,
        order: u64,
        worker: WorkerId,
        session: Option<SessionId>,
        kind: ControlKind,
        term: Term,
    },
    /// In the worker at this index, in this life of it.
    Worker(usize, u64, Inside),
    /// The user does something; a fault begins; the orchestrator's process starts.
    User,
    Fault,
    StartOrchestrator,
    NatsUp,
    DatabaseBack,
    StartWorker(usize),
}

/// What happens inside a worker's process or to its children.
#[derive(Debug, Clone)]
pub(crate) enum Inside {
    Timer,
    Connect,
    Disconnect,
    Heal,
    Up(StreamId, Epoch),
    Exit(StreamId, Epoch),
    Stopped(StreamId, Epoch),
    Kill,
    /// The guard reaped the children of a dead process.
    Reaped {
        tell: bool,
    },
}

pub(crate) struct World {
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    pub(crate) network: Random,
    pub(crate) fate: Random,
    pub(crate) database: Database,
    pub(crate) term_file: Term,
    /// The key that leading means to hold: of one process, and gone with it.
    pub(crate) leader_key: Option<(u64, LeaderRecord)>,
    pub(crate) orchestrator: Option<Orchestrator>,
    pub(crate) life: u64,
    /// When the newest message of each mailbox is taken.
    mailboxes: BTreeMap<Kind, u64>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) nats_up: bool,
    /// Whether faults still happen.
    pub(crate) stormy: bool,
    /// When a fault touched everybody last.
    pub(crate) touched: u64,
    pub(crate) user: User,
    pub(crate) sometimes: Sometimes,
    /// The one session that an epoch of a stream names for ever.
    pub(crate) named: BTreeMap<(StreamId, Epoch), SessionId>,
    /// Epochs that a leader took out of a desired set on purpose.
    pub(crate) released: BTreeSet<(StreamId, Epoch)>,
    /// When a stream was started or stopped last.
    pub(crate) last_change: u64,
    hash: u64,
    print: bool,
}

impl World {
    pub(crate) fn new(seed: u64, workers: u64, streams: u64, print: bool) -> Self {
        let mut random = Random::new(seed);
        let mut offsets = random.child();
        let node = |number| {
            let id = WorkerId::new(format!("w{number}")).unwrap();
            Node::new(id, offsets.between(1, 1_000_000))
        };
        let nodes = (0..workers).map(node).collect();
        let mut world = Self {
            now: 0,
            queue: BTreeMap::new(),
            happenings: 0,
            network: random.child(),
            fate: random.child(),
            database: Database::default(),
            term_file: Term::ZERO,
            leader_key: None,
            orchestrator: None,
            life: 0,
            mailboxes: BTreeMap::new(),
            nodes,
            nats_up: true,
            stormy: true,
            touched: 0,
            user: User::new(random.child(), streams),
            sometimes: Sometimes::default(),
            named: BTreeMap::new(),
            released: BTreeSet::new(),
            last_change: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        };
        world.after(0, Happening::StartOrchestrator);
        for index in 0..world.nodes.len() {
            let delay = world.fate.between(0, 500);
            world.after(delay, Happening::StartWorker(index));
        }
        world.after(100, Happening::User);
        let first = world.fate.between(5_000, 10_000);
        world.after(first, Happening::Fault);
        world
    }

    pub(crate) fn after(&mut self, delay: u64, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((self.now + delay, self.happenings), happening);
    }

    /// A line of the trace: always part of the trace's hash, printed where it is asked for.
    pub(crate) fn trace(&mut self, line: fmt::Arguments<'_>) {
        let text = line.to_string();
        for byte in text.bytes().chain(self.now.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.print {
            println!("{:>8.3} {text}", self.now as f64 / 1_000.0);
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
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive(life, input) if life == self.life => self.post(*input),
            Happening::Mail(life, input) if life == self.life => self.mail(*input),
            Happening::Timer(life, kind) if life == self.life => self.timer(kind),
            Happening::Read(life, kind) if life == self.life => self.read(kind),
            Happening::TakeOver(life, term) if life == self.life => self.take_over(term),
            Happening::Persist(life, ticket, fence, batch) => self.persist(life, ticket, fence, *batch),
            Happening::Arrive(..)
            | Happening::Mail(..)
            | Happening::Timer(..)
            | Happening::Read(..)
            | Happening::TakeOver(..) => {}
            Happening::Heartbeat(heartbeat) => self.heartbeat(*heartbeat),
            Happening::Assign(assign) => self.assign(&assign),
            Happening::Order {
                life,
                order,
                worker,
                session,
                kind,
                term,
            } => self.order(life, order, &worker, session, kind, term),
            Happening::Worker(index, life, inside) => self.inside(index, life, inside),
            Happening::User => self.user_acts(),
            Happening::Fault => self.fault(),
            Happening::StartOrchestrator => self.start_orchestrator(),
            Happening::NatsUp => self.nats_returns(),
            Happening::DatabaseBack => self.database_returns(),
            Happening::StartWorker(index) => self.start_worker(index),
        }
    }

    fn start_orchestrator(&mut self) {
        if self.orchestrator.is_some() {
            return;
        }
        self.life += 1;
        let life = self.life;
        self.trace(format_args!("orchestrator starts, life {life}"));
        self.leader_key = None;
        let mut orchestrator = Orchestrator::new(life, self.network.draw());
        orchestrator.outliving.remembered = self.term_file.max(self.database.stored_term());
        self.orchestrator = Some(orchestrator);
        for kind in Kind::ALL.into_iter().rev() {
            self.revive(kind);
        }
    }

    pub(crate) fn clock(&self) -> Timestamp {
        // Another origin than the workers': no decision may compare the two.
        Timestamp::from_ms(self.now + 7_000_000)
    }

    pub(crate) fn revive(&mut self, kind: Kind) {
        let now = self.clock();
        if kind == Kind::Coordinator {
            self.user.nobody_knows();
        }
        if let Some(orchestrator) = self.orchestrator.as_mut() {
            let routes = orchestrator.revive(now, kind);
            self.follow(routes);
            self.arm(kind);
        }
    }

    fn mail(&mut self, input: Input) {
        let now = self.clock();
        let kind = Kind::of(&input);
        if let Some(orchestrator) = self.orchestrator.as_mut() {
            let routes = orchestrator.step(now, input);
            self.follow(routes);
            self.arm(kind);
        }
    }

    fn timer(&mut self, kind: Kind) {
        let now = self.clock();
        let Some(orchestrator) = self.orchestrator.as_mut() else {
            return;
        };
        let due = orchestrator
            .armed
            .iter()
            .position(|(armed, at)| *armed == kind && *at <= now);
        let Some(due) = due else { return };
        orchestrator.armed.swap_remove(due);
        let routes = orchestrator.tick(now, kind);
        self.follow(routes);
        self.arm(kind);
    }

    fn read(&mut self, kind: Kind) {
        let now = self.clock();
        if let Some(orchestrator) = self.orchestrator.as_mut() {
            orchestrator.reading.retain(|reading| *reading != kind);
            let routes = orchestrator.read(now, kind);
            self.follow(routes);
            self.arm(kind);
        }
    }

    fn arm(&mut self, kind: Kind) {
        let now = self.clock();
        let Some(orchestrator) = self.orchestrator.as_mut() else {
            return;
        };
        let deadline = orchestrator.deadline(kind);
        let armed = orchestrator.armed.iter().position(|(armed, _)| *armed == kind);
        if armed.map(|index| orchestrator.armed[index].1) == deadline {
            return;
        }
        if let Some(index) = armed {
            orchestrator.armed.swap_remove(index);
        }
        if let Some(at) = deadline {
            orchestrator.armed.push((kind, at));
            let delay = u64::try_from(at.since(now).as_millis())
                .unwrap_or(u64::MAX)
                .max(1);
            self.after(delay, Happening::Timer(self.life, kind));
        }
    }

    /// Mailboxes are queues of unlike speed: each keeps its order.
    pub(crate) fn post(&mut self, input: Input) {
        let soon = self.now + self.network.between(0, 3);
        let last = self.mailboxes.entry(Kind::of(&input)).or_default();
        *last = soon.max(*last);
        let delay = *last - self.now;
        self.after(delay, Happening::Mail(self.life, Box::new(input)));
    }

    fn follow(&mut self, routes: Vec<Route>) {
        for route in routes {
            match route {
                Route::To(input) => self.post(input),
                Route::Do(effect) => self.perform(effect),
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::ReadLeaderKey { attempt } => self.read_leader_key(attempt),
            Effect::WriteLeaderKey {
                attempt,
                record,
                expect,
            } => self.write_leader_key(attempt, record, expect),
            Effect::RememberTerm(term) => self.remember_term(term),
            Effect::PublishElection(_) => {}
            Effect::ImplausibleTerm(_) => self.sometimes.saw("implausible term"),
            Effect::TakeOver { term } => {
                let delay = self.network.between(1, 50);
                self.after(delay, Happening::TakeOver(self.life, term));
            }
            Effect::Persist { ticket, fence, batch } => {
                let delay = self.network.between(1, if self.stormy { 200 } else { 20 });
                self.after(
                    delay,
                    Happening::Persist(self.life, ticket, fence, Box::new(batch)),
                );
            }
            Effect::Assign(assign) => self.send(Happening::Assign(assign)),
            Effect::Reply { request, outcome } => self.replied(request, outcome),
            Effect::Publish(cluster) => self.publish(cluster),
            Effect::PublishFindings(findings) => {
                if let Some(orchestrator) = self.orchestrator.as_mut() {
                    orchestrator.outliving.findings = findings;
                }
            }
            Effect::Order {
                order,
                worker,
                session,
                kind,
                ..
            } => {
                let term = self.orchestrator.as_ref().map_or(Term::ZERO, |orchestrator| {
                    orchestrator.outliving.cluster.leadership.term
                });
                let life = self.life;
                self.send(Happening::Order {
                    life,
                    order,
                    worker,
                    session,
                    kind,
                    term,
                });
            }
            Effect::Notice(notice) => self.noticed(&notice),
            Effect::Fire(alert) => {
                self.trace(format_args!("alert {} {:?} fires", alert.rule, alert.labels));
                self.sometimes.saw(alert.rule);
                if let Some(orchestrator) = self.orchestrator.as_mut() {
                    orchestrator.outliving.alerts.push(alert);
                }
            }
            Effect::Resolve(alert) => {
                self.trace(format_args!("alert {} {:?} is over", alert.rule, alert.labels));
                if let Some(orchestrator) = self.orchestrator.as_mut() {
                    let alerts = &mut orchestrator.outliving.alerts;
                    alerts.retain(|other| other.fingerprint != alert.fingerprint);
                }
            }
        }
    }
}
