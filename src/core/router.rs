//! Which machine hears what, and what the shell has to do: a pure function, so that the orchestrator and the simulator
//! cannot differ.

use streamkeeper_protocol::Heartbeat;

use crate::alert_manager::{self, AlertManager};
use crate::balancer::{self, Balancer};
use crate::cluster::ClusterState;
use crate::consistency_checker::{self, ConsistencyChecker};
use crate::coordinator::{self, Coordinator};
pub use crate::effect::Effect;
use crate::election::{self, Election};
use crate::heartbeat_tracker::{self, HeartbeatTracker};
use crate::machine::Machine;
use crate::notice::Notice;
use crate::recovery_manager::{self, RecoveryManager};

/// An event with its receiver.
#[derive(Debug, Clone)]
pub enum Input {
    /// For the election.
    Election(election::Event),
    /// For the one writer.
    Coordinator(coordinator::Event),
    /// For the failure detector.
    HeartbeatTracker(heartbeat_tracker::Event),
    /// For the balancer.
    Balancer(balancer::Event),
    /// For the consistency checker.
    ConsistencyChecker(consistency_checker::Event),
    /// For the recovery manager.
    RecoveryManager(recovery_manager::Event),
    /// For the alert manager.
    AlertManager(alert_manager::Event),
}

/// Where a command leads.
#[derive(Debug, Clone)]
pub enum Route {
    /// To another machine.
    To(Input),
    /// To the shell.
    Do(Effect),
}

/// A machine whose commands have a destination.
pub trait Routed: Machine {
    /// Name in logs, metrics and the API.
    const NAME: &'static str;

    /// Where a command leads.
    fn route(command: Self::Command) -> Vec<Route>;
}

/// Who hears a heartbeat. The failure detector first: a session that it finds dead is known before its seat is asked
/// for.
#[must_use]
pub fn heartbeat(heartbeat: Heartbeat) -> [Input; 2] {
    [
        Input::HeartbeatTracker(heartbeat_tracker::Event::Heard {
            worker: heartbeat.worker.clone(),
            session: heartbeat.session,
            seq: heartbeat.seq,
            phase: heartbeat.phase,
            supersedes: heartbeat.supersedes,
        }),
        Input::Coordinator(coordinator::Event::Heartbeat(Box::new(heartbeat))),
    ]
}

/// A machine that hears of every new state.
pub trait SnapshotReader: Routed {
    /// The event that brings it.
    fn snapshot(cluster: ClusterState) -> Self::Event;
}

impl SnapshotReader for Balancer {
    fn snapshot(cluster: ClusterState) -> balancer::Event {
        balancer::Event::Snapshot(cluster)
    }
}

impl SnapshotReader for ConsistencyChecker {
    fn snapshot(cluster: ClusterState) -> consistency_checker::Event {
        consistency_checker::Event::Snapshot(cluster)
    }
}

impl SnapshotReader for RecoveryManager {
    fn snapshot(cluster: ClusterState) -> recovery_manager::Event {
        recovery_manager::Event::Snapshot(cluster)
    }
}

impl SnapshotReader for AlertManager {
    fn snapshot(cluster: ClusterState) -> alert_manager::Event {
        alert_manager::Event::Snapshot(cluster)
    }
}

impl Routed for Election {
    const NAME: &'static str = "election";

    fn route(command: election::Command) -> Vec<Route> {
        use election::Command;
        vec![match command {
            Command::Read { attempt } => Route::Do(Effect::ReadLeaderKey { attempt }),
            Command::Write {
                attempt,
                record,
                expect,
            } => Route::Do(Effect::WriteLeaderKey {
                attempt,
                record,
                expect,
            }),
            Command::Remember(term) => Route::Do(Effect::RememberTerm(term)),
            Command::Elected(lead) => Route::To(Input::Coordinator(coordinator::Event::Elected(lead))),
            Command::Resigned { term } => {
                Route::To(Input::Coordinator(coordinator::Event::Resigned { term }))
            }
            Command::Publish(status) => Route::Do(Effect::PublishElection(status)),
            Command::Implausible(term) => Route::Do(Effect::ImplausibleTerm(term)),
        }]
    }
}

impl Routed for Coordinator {
    const NAME: &'static str = "coordinator";

    fn route(command: coordinator::Command) -> Vec<Route> {
        use coordinator::Command;
        vec![match command {
            Command::Notice(notice) => return noticed(notice),
            Command::TakeOver { term } => Route::Do(Effect::TakeOver { term }),
            Command::NewTerm { above } => Route::To(Input::Election(election::Event::NeedTerm { above })),
            Command::HeardTerm(term) => Route::To(Input::Election(election::Event::Heard(term))),
            Command::Vacated { term } => Route::To(Input::Election(election::Event::Vacated { term })),
            Command::Persist { ticket, fence, batch } => Route::Do(Effect::Persist { ticket, fence, batch }),
            Command::Assign(assign) => Route::Do(Effect::Assign(assign)),
            Command::Reply { request, outcome } => Route::Do(Effect::Reply { request, outcome }),
            Command::Expect(sessions) => Route::To(Input::HeartbeatTracker(
                heartbeat_tracker::Event::Expect(sessions),
            )),
            Command::Rival {
                worker,
                holder,
                refused,
            } => Route::To(Input::AlertManager(alert_manager::Event::Rival {
                worker,
                holder,
                refused,
            })),
            Command::Snapshot(cluster) => Route::Do(Effect::Publish(cluster)),
        }]
    }
}

/// A broken guarantee is an alert as well.
fn noticed(notice: Notice) -> Vec<Route> {
    let alert = match &notice {
        Notice::InvariantViolated {
            invariant, detail, ..
        } => Some(alert_manager::Event::Violated {
            invariant: *invariant,
            detail: detail.clone(),
        }),
        _ => None,
    };
    let alert = alert.map(|event| Route::To(Input::AlertManager(event)));
    std::iter::once(Route::Do(Effect::Notice(notice)))
        .chain(alert)
        .collect()
}

impl Routed for HeartbeatTracker {
    const NAME: &'static str = "heartbeat_tracker";

    fn route(command: heartbeat_tracker::Command) -> Vec<Route> {
        use heartbeat_tracker::Command;
        match command {
            Command::Changed(changes) => vec![
                Route::To(Input::Coordinator(coordinator::Event::Availability(
                    changes.clone(),
                ))),
                Route::To(Input::RecoveryManager(recovery_manager::Event::Availability(
                    changes,
                ))),
            ],
            Command::Emergency { worker, session } => {
                let notice = Notice::WorkerEmergency {
                    worker: worker.clone(),
                    session,
                };
                vec![
                    Route::Do(Effect::Notice(notice)),
                    Route::To(Input::AlertManager(alert_manager::Event::Emergency {
                        worker,
                        session,
                    })),
                ]
            }
            Command::Ping { worker, session, way } => {
                vec![Route::Do(Effect::Ping { worker, session, way })]
            }
            Command::Found { worker, session, way } => {
                let notice = Notice::LossFound { worker, session, way };
                vec![Route::Do(Effect::Notice(notice))]
            }
            Command::MassFailure { held, silent, of } => {
                vec![Route::To(Input::AlertManager(
                    alert_manager::Event::MassFailure { held, silent, of },
                ))]
            }
        }
    }
}

impl Routed for Balancer {
    const NAME: &'static str = "balancer";

    fn route(command: balancer::Command) -> Vec<Route> {
        let event = match command {
            balancer::Command::Propose(proposals) => coordinator::Event::Propose(proposals),
            balancer::Command::Preempt(streams) => coordinator::Event::Preempt(streams),
            balancer::Command::Unplaced(streams) => coordinator::Event::Unplaced(streams),
        };
        vec![Route::To(Input::Coordinator(event))]
    }
}

impl Routed for ConsistencyChecker {
    const NAME: &'static str = "consistency_checker";

    fn route(command: consistency_checker::Command) -> Vec<Route> {
        use consistency_checker::Command;
        match command {
            Command::Findings(findings) => vec![
                Route::Do(Effect::PublishFindings(findings.clone())),
                Route::To(Input::RecoveryManager(recovery_manager::Event::Findings(
                    findings.clone(),
                ))),
                Route::To(Input::AlertManager(alert_manager::Event::Findings(findings))),
            ],
            Command::Confirmed(finding) => {
                vec![Route::Do(Effect::Notice(Notice::FindingConfirmed(finding)))]
            }
            Command::Over(finding) => vec![Route::Do(Effect::Notice(Notice::FindingOver(finding)))],
            Command::ReadStored(part) => vec![Route::Do(Effect::ReadStored(part))],
            Command::Repair(repairs) => {
                vec![Route::To(Input::Coordinator(coordinator::Event::Repair(repairs)))]
            }
            Command::Synchronize(workers) => vec![Route::To(Input::RecoveryManager(
                recovery_manager::Event::Synchronize(workers),
            ))],
            Command::Checked(checks) => vec![
                Route::To(Input::RecoveryManager(recovery_manager::Event::Checked(
                    checks.clone(),
                ))),
                Route::Do(Effect::PublishChecks(checks)),
            ],
        }
    }
}

impl Routed for RecoveryManager {
    const NAME: &'static str = "recovery_manager";

    fn route(command: recovery_manager::Command) -> Vec<Route> {
        use recovery_manager::Command;
        vec![match command {
            Command::Order {
                order,
                worker,
                session,
                kind,
                timeout,
            } => Route::Do(Effect::Order {
                order,
                worker,
                session,
                kind,
                timeout,
            }),
            Command::Measure(measure) => Route::To(Input::Coordinator(coordinator::Event::Measure(measure))),
            Command::Check => Route::To(Input::ConsistencyChecker(consistency_checker::Event::Check)),
            Command::Tried(attempt) => Route::Do(Effect::Notice(Notice::RecoveryTried(attempt))),
            Command::Publish(status) => Route::Do(Effect::PublishRecovery(status)),
            Command::Exhausted {
                worker,
                exhausted,
                detail,
            } => Route::To(Input::AlertManager(alert_manager::Event::RecoveryExhausted {
                worker,
                exhausted,
                detail,
            })),
        }]
    }
}

impl Routed for AlertManager {
    const NAME: &'static str = "alert_manager";

    fn route(command: alert_manager::Command) -> Vec<Route> {
        vec![Route::Do(Effect::Alert(command))]
    }
}
