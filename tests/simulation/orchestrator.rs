//! One orchestrator: the seven machines of the core, driven as the actors drive them, and what outlives its process.

use std::sync::{Arc, LazyLock};

use streamkeeper_core::Machine;
use streamkeeper_core::alert_manager::{self, ActiveAlert, AlertManager};
use streamkeeper_core::balancer::{self, Balancer};
use streamkeeper_core::cluster::{ClusterState, Role};
use streamkeeper_core::consistency_checker::{self, ConsistencyChecker, Finding};
use streamkeeper_core::coordinator::{self, Coordinator};
use streamkeeper_core::election::{self, Election};
use streamkeeper_core::heartbeat_tracker::{self, HeartbeatTracker};
use streamkeeper_core::recovery_manager::{self, RecoveryManager};
use streamkeeper_core::revive::{Outliving, Revive};
use streamkeeper_core::router::{Input, Route, Routed, SnapshotReader};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{Heartbeat, OrchestratorId, Term, WorkerId};

use crate::clock::Clock;
use crate::gate::Gate;
use crate::key::Key;
use crate::network::Link;
use crate::random::Random;

/// What an orchestrator's process does next.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// Every machine begins.
    Begin,
    /// Tells the others who leads.
    Beacon,
    /// The process ends and another one starts.
    Crash,
    /// One machine crashed and begins anew.
    Revive(Kind),
    /// A heartbeat came.
    Heard(Arc<Heartbeat>),
    /// An event for a machine comes from outside.
    Arrive(Box<Input>),
    /// A machine takes an event out of its mailbox.
    Mail(Box<Input>),
    /// A machine's timer.
    Timer(Kind),
    /// A reader looks at the newest state.
    Read(Kind),
    /// What it was about to do when it was paused.
    Do(Box<Route>),
}

/// One orchestrator: its machine and its disk, and the process that runs there now and then.
pub(crate) struct Orchestrator {
    /// Its own number within the fleet.
    pub(crate) number: u32,
    pub(crate) clock: Clock,
    pub(crate) link: Link,
    /// The message server broke its connection, and it has not reached the key since.
    pub(crate) reconnects: bool,
    /// Until when it does not reach the database.
    pub(crate) no_database_until: u64,
    pub(crate) gate: Gate<Work>,
    /// It leads by a lock on its own folder, and this key dies with the process.
    pub(crate) own_key: bool,
    key: Key,
    /// What its data folder remembers.
    pub(crate) term_file: Term,
    pub(crate) process: Option<Process>,
    /// When the newest message of each mailbox is taken.
    pub(crate) mailboxes: [u64; Kind::ALL.len()],
}

impl Orchestrator {
    pub(crate) fn new(number: u32, random: &mut Random) -> Self {
        Self {
            number,
            clock: Clock::new(random),
            link: Link::default(),
            reconnects: false,
            no_database_until: 0,
            gate: Gate::new(),
            own_key: false,
            key: Key::default(),
            term_file: Term::ZERO,
            process: None,
            mailboxes: [0; Kind::ALL.len()],
        }
    }

    pub(crate) const fn key_mut(&mut self) -> &mut Key {
        &mut self.key
    }

    /// A new process, which remembers this term.
    pub(crate) fn start(&mut self, index: usize, seed: u64, remembered: Term) {
        self.gate.close();
        self.key = Key::default();
        let id = OrchestratorId::new(format!("o{index}-{}", self.gate.life)).unwrap();
        let config = election::Config {
            number: self.number,
            observe: !self.own_key,
            ..election::Config::default()
        };
        let mut process = Process::new(id, config, seed);
        process.outliving.remembered = remembered;
        self.process = Some(process);
    }

    /// What its coordinator knows.
    pub(crate) fn cluster(&self) -> &ClusterState {
        static NOTHING: LazyLock<ClusterState> = LazyLock::new(ClusterState::default);
        self.process
            .as_ref()
            .map_or(&NOTHING, |process| process.coordinator.cluster())
    }

    pub(crate) fn leads(&self) -> bool {
        self.cluster().leadership.role == Role::Leading
    }

    /// Share of its capacity that its balancer trusts a worker with.
    pub(crate) fn trust(&self, now: u64, worker: &WorkerId) -> f64 {
        let process = self.process.as_ref();
        process.map_or(1.0, |process| process.balancer.trust(self.time(now), worker))
    }

    pub(crate) fn findings(&self) -> &[Finding] {
        self.process
            .as_ref()
            .map_or(&[], |process| &process.outliving.findings)
    }

    pub(crate) fn alerts(&self) -> &[ActiveAlert] {
        self.process
            .as_ref()
            .map_or(&[], |process| &process.outliving.alerts)
    }

    pub(crate) fn time(&self, now: u64) -> Timestamp {
        Timestamp::from_ms(self.clock.read(now))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Election,
    Coordinator,
    HeartbeatTracker,
    Balancer,
    ConsistencyChecker,
    RecoveryManager,
    AlertManager,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Election,
        Self::Coordinator,
        Self::HeartbeatTracker,
        Self::Balancer,
        Self::ConsistencyChecker,
        Self::RecoveryManager,
        Self::AlertManager,
    ];

    pub(crate) const fn of(input: &Input) -> Self {
        match input {
            Input::Election(_) => Self::Election,
            Input::Coordinator(_) => Self::Coordinator,
            Input::HeartbeatTracker(_) => Self::HeartbeatTracker,
            Input::Balancer(_) => Self::Balancer,
            Input::ConsistencyChecker(_) => Self::ConsistencyChecker,
            Input::RecoveryManager(_) => Self::RecoveryManager,
            Input::AlertManager(_) => Self::AlertManager,
        }
    }

    pub(crate) const READERS: [Self; 4] = [
        Self::Balancer,
        Self::ConsistencyChecker,
        Self::AlertManager,
        Self::RecoveryManager,
    ];
}

/// The machines of one process.
pub(crate) struct Process {
    election: Election,
    pub(crate) id: OrchestratorId,
    config: election::Config,
    seed: u64,
    pub(crate) coordinator: Coordinator,
    tracker: HeartbeatTracker,
    balancer: Balancer,
    checker: ConsistencyChecker,
    recovery: RecoveryManager,
    alerts: AlertManager,
    pub(crate) outliving: Outliving,
    /// Changes of alerts that nobody was told, because another seemed to lead: whether each fires.
    pub(crate) untold: Vec<(ActiveAlert, bool)>,
    /// Readers that will look at the newest state soon.
    pub(crate) reading: Vec<Kind>,
    /// The armed timers.
    pub(crate) armed: [Option<Timestamp>; Kind::ALL.len()],
}

impl Process {
    pub(crate) fn new(id: OrchestratorId, config: election::Config, seed: u64) -> Self {
        Self {
            election: Election::new(id.clone(), config, seed),
            id,
            config,
            seed,
            coordinator: Coordinator::new(coordinator::Config::default()),
            tracker: HeartbeatTracker::new(heartbeat_tracker::Config::default()),
            balancer: Balancer::new(balancer::Config::default()),
            checker: ConsistencyChecker::new(consistency_checker::Config::default()),
            recovery: RecoveryManager::new(recovery_manager::Config::default()),
            alerts: AlertManager::new(alert_manager::Config::default()),
            outliving: Outliving::default(),
            untold: Vec::new(),
            reading: Vec::new(),
            armed: [None; Kind::ALL.len()],
        }
    }

    /// Hands an event to its machine.
    pub(crate) fn step(&mut self, now: Timestamp, input: Input) -> Vec<Route> {
        match input {
            Input::Election(event) => step(&mut self.election, now, event),
            Input::Coordinator(event) => step(&mut self.coordinator, now, event),
            Input::HeartbeatTracker(event) => step(&mut self.tracker, now, event),
            Input::Balancer(event) => step(&mut self.balancer, now, event),
            Input::ConsistencyChecker(event) => step(&mut self.checker, now, event),
            Input::RecoveryManager(event) => step(&mut self.recovery, now, event),
            Input::AlertManager(event) => step(&mut self.alerts, now, event),
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp, kind: Kind) -> Vec<Route> {
        self.step(
            now,
            match kind {
                Kind::Election => Input::Election(Election::tick()),
                Kind::Coordinator => Input::Coordinator(Coordinator::tick()),
                Kind::HeartbeatTracker => Input::HeartbeatTracker(HeartbeatTracker::tick()),
                Kind::Balancer => Input::Balancer(Balancer::tick()),
                Kind::ConsistencyChecker => Input::ConsistencyChecker(ConsistencyChecker::tick()),
                Kind::RecoveryManager => Input::RecoveryManager(RecoveryManager::tick()),
                Kind::AlertManager => Input::AlertManager(AlertManager::tick()),
            },
        )
    }

    pub(crate) fn deadline(&self, kind: Kind) -> Option<Timestamp> {
        match kind {
            Kind::Election => self.election.next_deadline(),
            Kind::Coordinator => self.coordinator.next_deadline(),
            Kind::HeartbeatTracker => self.tracker.next_deadline(),
            Kind::Balancer => self.balancer.next_deadline(),
            Kind::ConsistencyChecker => self.checker.next_deadline(),
            Kind::RecoveryManager => self.recovery.next_deadline(),
            Kind::AlertManager => self.alerts.next_deadline(),
        }
    }

    /// The newest state reaches a reader.
    pub(crate) fn read(&mut self, now: Timestamp, kind: Kind) -> Vec<Route> {
        let cluster = self.outliving.cluster.clone();
        match kind {
            Kind::Balancer => self.step(now, Input::Balancer(Balancer::snapshot(cluster))),
            Kind::ConsistencyChecker => self.step(
                now,
                Input::ConsistencyChecker(ConsistencyChecker::snapshot(cluster)),
            ),
            Kind::AlertManager => self.step(now, Input::AlertManager(AlertManager::snapshot(cluster))),
            Kind::RecoveryManager => {
                self.step(now, Input::RecoveryManager(RecoveryManager::snapshot(cluster)))
            }
            Kind::Election | Kind::Coordinator | Kind::HeartbeatTracker => Vec::new(),
        }
    }

    /// A machine crashed and begins anew.
    pub(crate) fn revive(&mut self, now: Timestamp, kind: Kind) -> Vec<Route> {
        self.seed = self.seed.wrapping_add(1);
        let fresh = Self::new(self.id.clone(), self.config, self.seed);
        let outliving = self.outliving.clone();
        match kind {
            Kind::Election => revive(&mut self.election, fresh.election, now, outliving),
            Kind::Coordinator => revive(&mut self.coordinator, fresh.coordinator, now, outliving),
            Kind::HeartbeatTracker => revive(&mut self.tracker, fresh.tracker, now, outliving),
            Kind::Balancer => revive(&mut self.balancer, fresh.balancer, now, outliving),
            Kind::ConsistencyChecker => revive(&mut self.checker, fresh.checker, now, outliving),
            Kind::RecoveryManager => revive(&mut self.recovery, fresh.recovery, now, outliving),
            Kind::AlertManager => revive(&mut self.alerts, fresh.alerts, now, outliving),
        }
    }
}

fn step<M: Routed>(machine: &mut M, now: Timestamp, event: M::Event) -> Vec<Route> {
    machine
        .handle(now, event)
        .into_iter()
        .flat_map(M::route)
        .collect()
}

fn revive<M: Revive>(machine: &mut M, fresh: M, now: Timestamp, outliving: Outliving) -> Vec<Route> {
    *machine = fresh;
    let events = M::revive(outliving);
    events
        .into_iter()
        .flat_map(|event| step(machine, now, event))
        .collect()
}
