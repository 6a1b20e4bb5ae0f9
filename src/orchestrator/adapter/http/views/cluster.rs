//! The cluster as a whole: status, alerts.

use std::collections::BTreeMap;

use serde::Serialize;
use streamkeeper_core::cluster::{Availability, ClusterState, Role, StreamState};
use streamkeeper_protocol::{OrchestratorId, Term};
use utoipa::ToSchema;

use super::Times;
use crate::port::ActorStatus;

/// How the whole is.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub(in super::super) struct StatusView<'a> {
    #[schema(value_type = String)]
    pub(in super::super) orchestrator: &'a OrchestratorId,
    pub(in super::super) version: &'static str,
    /// Whether the start is through.
    pub(in super::super) started: bool,
    pub(in super::super) leadership: LeadershipView<'a>,
    pub(in super::super) streams: StreamCounts,
    pub(in super::super) workers: WorkerCounts,
    pub(in super::super) health: super::recovery::SystemHealthView,
    pub(in super::super) findings: usize,
    pub(in super::super) alerts: usize,
    pub(in super::super) actors: Vec<ActorView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Leadership)]
pub(in super::super) struct LeadershipView<'a> {
    /// The leader, as far as this orchestrator knows: itself or nobody.
    #[schema(value_type = Option<String>, required)]
    leader: Option<&'a OrchestratorId>,
    /// `standby`, `taking_over` or `leading`.
    role: &'static str,
    #[schema(value_type = u32)]
    term: Term,
    #[schema(required)]
    since: Option<String>,
}

impl<'a> LeadershipView<'a> {
    pub(in super::super) fn new(cluster: &ClusterState, id: &'a OrchestratorId, times: Times<'_>) -> Self {
        let leadership = cluster.leadership;
        Self {
            leader: (leadership.role == Role::Leading).then_some(id),
            role: leadership.role.as_str(),
            term: leadership.term,
            since: times.known(leadership.since),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = StreamCounts)]
pub(in super::super) struct StreamCounts {
    total: usize,
    #[schema(value_type = BTreeMap<String, usize>)]
    by_state: BTreeMap<&'static str, usize>,
    needs_worker: usize,
}

impl StreamCounts {
    pub(in super::super) fn new(cluster: &ClusterState) -> Self {
        let mut by_state: BTreeMap<&'static str, usize> =
            StreamState::ALL.iter().map(|state| (state.as_str(), 0)).collect();
        for record in cluster.streams.values() {
            *by_state.entry(record.state().as_str()).or_default() += 1;
        }
        Self {
            total: cluster.streams.len(),
            by_state,
            needs_worker: cluster.needs_worker.len(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = WorkerCounts)]
pub(in super::super) struct WorkerCounts {
    total: usize,
    #[schema(value_type = BTreeMap<String, usize>)]
    by_availability: BTreeMap<&'static str, usize>,
    take_streams: usize,
}

impl WorkerCounts {
    pub(in super::super) fn new(cluster: &ClusterState) -> Self {
        let mut by_availability: BTreeMap<&'static str, usize> = Availability::ALL
            .iter()
            .map(|value| (value.as_str(), 0))
            .collect();
        for worker in cluster.workers.values() {
            *by_availability.entry(worker.availability.as_str()).or_default() += 1;
        }
        Self {
            total: cluster.workers.len(),
            by_availability,
            take_streams: cluster
                .workers
                .values()
                .filter(|worker| worker.takes_streams())
                .count(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Actor)]
pub(in super::super) struct ActorView {
    name: &'static str,
    restarts: u64,
    restarting: bool,
    waiting: usize,
}

impl From<ActorStatus> for ActorView {
    fn from(actor: ActorStatus) -> Self {
        Self {
            name: actor.name,
            restarts: actor.restarts,
            restarting: actor.restarting,
            waiting: actor.waiting,
        }
    }
}
