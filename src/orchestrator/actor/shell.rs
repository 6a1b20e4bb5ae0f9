//! What every actor has at hand: clocks, mailboxes, ports, and what outlives a restart.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::cluster::ClusterState;
use streamkeeper_core::consistency_checker::{self, Checks, Finding};
use streamkeeper_core::election;
use streamkeeper_core::revive::Outliving;
use streamkeeper_core::router::{Input, Route};
use streamkeeper_core::{alert_manager, balancer, coordinator, heartbeat_tracker, recovery_manager};
use streamkeeper_protocol::{OrchestratorId, Term};
use tokio::sync::watch;

use super::alerts::AlertOutbox;
use super::gateway::Replies;
use super::mailbox::Mailbox;
use super::supervise::{Fatal, Supervision};
use crate::port::{AlertSink, Breakers, Bus, Clock, Journal, LeaderKey, LeaderSeen, Store, TermMemory};

/// How the machines and their supervision behave.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The election.
    pub election: election::Config,
    /// The one writer.
    pub coordinator: coordinator::Config,
    /// The failure detector.
    pub heartbeat_tracker: heartbeat_tracker::Config,
    /// Placement and evening out.
    pub balancer: balancer::Config,
    /// The comparison of memory and inventories.
    pub consistency_checker: consistency_checker::Config,
    /// What is tried on workers in trouble.
    pub recovery_manager: recovery_manager::Config,
    /// Alerts.
    pub alert_manager: alert_manager::Config,
    /// How long alerts that are over are kept in the database.
    pub alert_retention: Duration,
    /// Restarts of actors.
    pub supervision: Supervision,
    /// How long a change of the streams may wait for the database.
    pub change_timeout: Duration,
}

/// The outside world.
#[derive(Clone)]
pub struct Ports {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The message server.
    pub bus: Arc<dyn Bus>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Where circuit breakers stand.
    pub breakers: Breakers,
    /// Where alerts go besides the message server.
    pub alert_sinks: Vec<Arc<dyn AlertSink>>,
    /// Where events are kept.
    pub journal: Journal,
    /// Terms over restarts.
    pub terms: Arc<dyn TermMemory>,
    /// The key that leading means to hold.
    pub leader_key: Arc<dyn LeaderKey>,
}

/// The mailboxes of all actors.
pub(super) struct Mailboxes {
    pub(super) election: Mailbox<election::Event>,
    pub(super) coordinator: Mailbox<coordinator::Event>,
    pub(super) heartbeat_tracker: Mailbox<heartbeat_tracker::Event>,
    pub(super) balancer: Mailbox<balancer::Event>,
    pub(super) consistency_checker: Mailbox<consistency_checker::Event>,
    pub(super) recovery_manager: Mailbox<recovery_manager::Event>,
    pub(super) alert_manager: Mailbox<alert_manager::Event>,
}

/// What every actor has at hand.
pub struct Shell {
    pub(super) id: OrchestratorId,
    pub(super) settings: Settings,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ports: Ports,
    pub(super) mailboxes: Mailboxes,
    /// The runtime for everything that waits: actors never do.
    pub(super) io: tokio::runtime::Handle,
    /// The highest term that is remembered durably.
    pub(super) remembered: watch::Sender<Term>,
    pub(super) election: watch::Sender<election::Status>,
    /// Another orchestrator that leads, or led last.
    pub(super) leader: watch::Sender<Option<LeaderSeen>>,
    pub(super) cluster: watch::Sender<ClusterState>,
    pub(super) findings: watch::Sender<Vec<Finding>>,
    pub(super) checks: watch::Sender<Checks>,
    pub(super) recovery: watch::Sender<recovery_manager::Status>,
    /// Why the last takeover failed.
    pub(super) takeover_failure: watch::Sender<String>,
    pub(super) alerts: Arc<AlertOutbox>,
    pub(super) replies: Replies,
    pub(super) fatal: Fatal,
}

impl Shell {
    /// What a machine that begins anew is told.
    pub(super) fn outliving(&self) -> Outliving {
        let (alerts_of, alerts, newest_incident) = self.alerts.told();
        Outliving {
            remembered: *self.remembered.borrow(),
            cluster: self.cluster.borrow().clone(),
            findings: self.findings.borrow().clone(),
            alerts_of,
            alerts,
            newest_incident,
        }
    }

    /// Takes a machine's command where it leads.
    pub(super) fn follow(&self, route: Route) {
        match route {
            Route::To(input) => {
                self.offer(input);
            }
            Route::Do(effect) => self.perform(effect),
        }
    }

    /// Queues an event for its machine; false when the queue is full.
    pub(super) fn offer(&self, input: Input) -> bool {
        match input {
            Input::Election(event) => self.mailboxes.election.offer(event),
            Input::Coordinator(event) => self.mailboxes.coordinator.offer(event),
            Input::HeartbeatTracker(event) => self.mailboxes.heartbeat_tracker.offer(event),
            Input::Balancer(event) => self.mailboxes.balancer.offer(event),
            Input::ConsistencyChecker(event) => self.mailboxes.consistency_checker.offer(event),
            Input::RecoveryManager(event) => self.mailboxes.recovery_manager.offer(event),
            Input::AlertManager(event) => self.mailboxes.alert_manager.offer(event),
        }
    }
}
