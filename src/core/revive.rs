//! How each machine begins, at the start and after a crash: empty, plus what it is told of what outlives it. There is no
//! other way to begin, so that a restart is the happy path.

use std::collections::BTreeSet;

use streamkeeper_protocol::Term;

use crate::alert_manager::{self, ActiveAlert, AlertManager, IncidentId};
use crate::balancer::{self, Balancer};
use crate::cluster::ClusterState;
use crate::consistency_checker::{self, ConsistencyChecker, Finding};
use crate::coordinator::{self, Coordinator};
use crate::election::{self, Election};
use crate::heartbeat_tracker::{self, HeartbeatTracker};
use crate::recovery_manager::{self, RecoveryManager};
use crate::router::Routed;

/// What the machines have told and what therefore outlives each of them.
#[derive(Debug, Clone, Default)]
pub struct Outliving {
    /// The highest term that is remembered durably.
    pub remembered: Term,
    /// The newest state.
    pub cluster: ClusterState,
    /// The newest findings.
    pub findings: Vec<Finding>,
    /// The term under which alerts were told last.
    pub alerts_of: Option<Term>,
    /// Alerts that fire.
    pub alerts: Vec<ActiveAlert>,
    /// The last incident that was named.
    pub newest_incident: Option<IncidentId>,
}

/// A machine that can be built anew at any time.
pub trait Revive: Routed {
    /// The events that bring a fresh machine up to date.
    fn revive(outliving: Outliving) -> Vec<Self::Event>;
}

impl Revive for Election {
    /// It looks at the key. What it held is still under the name of this process, and is taken again under a higher term.
    fn revive(outliving: Outliving) -> Vec<election::Event> {
        vec![election::Event::Begin {
            remembered: outliving.remembered,
        }]
    }
}

impl Revive for Coordinator {
    /// It takes a new term and reads everything from the database.
    fn revive(outliving: Outliving) -> Vec<coordinator::Event> {
        vec![coordinator::Event::Begin {
            above: outliving.cluster.leadership.term,
        }]
    }
}

impl Revive for HeartbeatTracker {
    fn revive(outliving: Outliving) -> Vec<heartbeat_tracker::Event> {
        let workers = outliving.cluster.workers.values();
        let mut sessions: BTreeSet<_> = workers
            .map(|worker| (worker.id.clone(), worker.session))
            .collect();
        // A stream may still count on a former life of its worker, whose seat another life has: its silence has to be
        // noticed as well.
        let streams = outliving.cluster.streams.values();
        let owners = streams.filter_map(|record| record.slot.assignment());
        sessions.extend(owners.map(|owner| (owner.worker.clone(), owner.session)));
        vec![heartbeat_tracker::Event::Expect(sessions.into_iter().collect())]
    }
}

impl Revive for Balancer {
    fn revive(outliving: Outliving) -> Vec<balancer::Event> {
        vec![balancer::Event::Snapshot(outliving.cluster)]
    }
}

impl Revive for ConsistencyChecker {
    fn revive(outliving: Outliving) -> Vec<consistency_checker::Event> {
        vec![consistency_checker::Event::Snapshot(outliving.cluster)]
    }
}

impl Revive for RecoveryManager {
    fn revive(outliving: Outliving) -> Vec<recovery_manager::Event> {
        vec![
            recovery_manager::Event::Snapshot(outliving.cluster),
            recovery_manager::Event::Findings(outliving.findings),
        ]
    }
}

impl Revive for AlertManager {
    fn revive(outliving: Outliving) -> Vec<alert_manager::Event> {
        vec![
            alert_manager::Event::Restore {
                term: outliving.alerts_of,
                alerts: outliving.alerts,
                newest: outliving.newest_incident,
            },
            alert_manager::Event::Findings(outliving.findings),
            alert_manager::Event::Snapshot(outliving.cluster),
        ]
    }
}
