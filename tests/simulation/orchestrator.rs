//! One orchestrator process: the seven machines of the core, driven as the actors drive them.

use streamkeeper_core::Machine;
use streamkeeper_core::alert_manager::{self, AlertManager};
use streamkeeper_core::balancer::{self, Balancer};
use streamkeeper_core::consistency_checker::{self, ConsistencyChecker};
use streamkeeper_core::coordinator::{self, Coordinator};
use streamkeeper_core::election::{self, Election};
use streamkeeper_core::heartbeat_tracker::{self, HeartbeatTracker};
use streamkeeper_core::recovery_manager::{self, RecoveryManager};
use streamkeeper_core::revive::{Outliving, Revive};
use streamkeeper_core::router::{Input, Route, Routed, SnapshotReader};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::OrchestratorId;

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

    pub(crate) const READERS: [Self; 3] = [Self::Balancer, Self::ConsistencyChecker, Self::AlertManager];
}

pub(crate) struct Orchestrator {
    election: Election,
    id: OrchestratorId,
    seed: u64,
    pub(crate) coordinator: Coordinator,
    tracker: HeartbeatTracker,
    balancer: Balancer,
    checker: ConsistencyChecker,
    recovery: RecoveryManager,
    alerts: AlertManager,
    pub(crate) outliving: Outliving,
    /// Readers that will look at the newest state soon.
    pub(crate) reading: Vec<Kind>,
    /// The armed timers.
    pub(crate) armed: Vec<(Kind, Timestamp)>,
}

impl Orchestrator {
    pub(crate) fn new(life: u64, seed: u64) -> Self {
        let id = OrchestratorId::new(format!("o-{life}")).unwrap();
        let config = election::Config {
            observe: false,
            ..election::Config::default()
        };
        Self {
            election: Election::new(id.clone(), config, seed),
            id,
            seed,
            coordinator: Coordinator::new(coordinator::Config::default()),
            tracker: HeartbeatTracker::new(heartbeat_tracker::Config::default()),
            balancer: Balancer::new(balancer::Config::default()),
            checker: ConsistencyChecker::new(consistency_checker::Config::default()),
            recovery: RecoveryManager::new(recovery_manager::Config::default()),
            alerts: AlertManager::new(alert_manager::Config::default()),
            outliving: Outliving::default(),
            reading: Vec::new(),
            armed: Vec::new(),
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
            Kind::Election | Kind::Coordinator | Kind::HeartbeatTracker | Kind::RecoveryManager => Vec::new(),
        }
    }

    /// A machine crashed and begins anew.
    pub(crate) fn revive(&mut self, now: Timestamp, kind: Kind) -> Vec<Route> {
        self.seed = self.seed.wrapping_add(1);
        let mut fresh = Self::new(0, self.seed);
        let config = election::Config {
            observe: false,
            ..election::Config::default()
        };
        fresh.election = Election::new(self.id.clone(), config, self.seed);
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
