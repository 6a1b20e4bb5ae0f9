//! Attempts to recover workers, and how the whole and each worker is.

use serde::Serialize;
use streamkeeper_core::cluster::ClusterState;
use streamkeeper_core::consistency_checker::Finding;
use streamkeeper_core::recovery_manager::{Attempt, Level, Status};
use streamkeeper_core::system_health::{self, SystemHealth};
use streamkeeper_protocol::WorkerId;
use utoipa::ToSchema;

use super::{Times, as_text, masked};

/// One attempt to recover a worker.
#[derive(Serialize, ToSchema)]
#[schema(as = RecoveryAttempt)]
pub(in super::super) struct AttemptView<'a> {
    /// Names it.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    attempt: u64,
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    /// `soft`: asked for everything; `medium`: drained; `hard`: restarted; `emergency`: everything is taken from it.
    level: &'static str,
    /// Whether an operator asked for it.
    asked: bool,
    #[serde(serialize_with = "masked")]
    #[schema(value_type = String)]
    reason: &'a str,
    began: String,
    #[schema(required)]
    ended: Option<String>,
    /// `running`, `succeeded`, `failed` (what it ordered was taken back) or `refused` (it could not have helped).
    outcome: &'static str,
    #[serde(serialize_with = "masked")]
    #[schema(value_type = String)]
    detail: &'a str,
}

impl<'a> AttemptView<'a> {
    pub(in super::super) fn new(attempt: &'a Attempt, times: Times<'_>) -> Self {
        Self {
            attempt: attempt.id,
            worker: &attempt.worker,
            level: attempt.level.as_str(),
            asked: attempt.asked,
            reason: &attempt.reason,
            began: times.show(attempt.began),
            ended: attempt.ended.map(|at| times.show(at)),
            outcome: attempt.outcome.as_str(),
            detail: &attempt.detail,
        }
    }
}

/// How often one level was tried under this leader, and how often it helped.
#[derive(Serialize, ToSchema)]
#[schema(as = RecoveryRate)]
pub(in super::super) struct RateView {
    level: &'static str,
    tried: u64,
    succeeded: u64,
    /// None before the first.
    #[schema(required)]
    success_rate: Option<f64>,
}

/// A worker that waits for its turn.
#[derive(Serialize, ToSchema)]
#[schema(as = WaitingRecovery)]
pub(in super::super) struct WaitingView<'a> {
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    level: &'static str,
}

/// What is tried on workers in trouble, and what was.
#[derive(Serialize, ToSchema)]
#[schema(as = Recovery)]
pub(in super::super) struct RecoveryView<'a> {
    rates: Vec<RateView>,
    running: Vec<AttemptView<'a>>,
    waiting: Vec<WaitingView<'a>>,
    /// Workers for which people are needed.
    #[schema(value_type = Vec<String>)]
    exhausted: &'a [WorkerId],
    /// The attempts that ended last, newest first, at most 200.
    attempts: Vec<AttemptView<'a>>,
}

impl<'a> RecoveryView<'a> {
    pub(in super::super) fn new(status: &'a Status, times: Times<'_>) -> Self {
        let view = |attempt: &'a Attempt| AttemptView::new(attempt, times);
        let rate = |level: Level| RateView {
            level: level.as_str(),
            tried: status.rate(level).tried,
            succeeded: status.rate(level).succeeded,
            success_rate: status.rate(level).share(),
        };
        let waiting = status.waiting.iter();
        Self {
            rates: Level::ALL.into_iter().map(rate).collect(),
            running: status.running.iter().map(view).collect(),
            waiting: waiting
                .map(|(worker, level)| WaitingView {
                    worker,
                    level: level.as_str(),
                })
                .collect(),
            exhausted: &status.exhausted,
            attempts: status.ended.iter().rev().map(view).collect(),
        }
    }
}

/// An attempt that will begin; `GET /api/v1/recovery/ATTEMPT` tells how it goes.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderedRecovery)]
pub(in super::super) struct OrderedRecoveryView<'a> {
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub(in super::super) attempt: u64,
    #[schema(value_type = String)]
    pub(in super::super) worker: &'a WorkerId,
    pub(in super::super) level: &'static str,
}

/// How the whole is.
#[derive(Serialize, ToSchema)]
#[schema(as = SystemHealth)]
pub(in super::super) struct SystemHealthView {
    /// `HEALTHY`, `DEGRADED`, `CRITICAL` or `EMERGENCY`.
    overall: &'static str,
    /// 1: the workers that take streams are loaded alike; 0: one is full and another one empty.
    load_balance_score: f64,
    /// Share of the streams that memory, database and workers agree about.
    consistency_score: f64,
    /// Share of the enabled streams that run.
    performance_score: f64,
    /// What is not as it should be, the worst first.
    reasons: Vec<String>,
    /// Whether it does not become well by itself.
    needs_intervention: bool,
}

impl From<SystemHealth> for SystemHealthView {
    fn from(health: SystemHealth) -> Self {
        Self {
            overall: health.overall.as_str(),
            load_balance_score: health.load_balance,
            consistency_score: health.consistency,
            performance_score: health.performance,
            reasons: health
                .reasons
                .iter()
                .map(|reason| super::mask(reason).into_owned())
                .collect(),
            needs_intervention: health.needs_intervention,
        }
    }
}

/// How one worker is.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerHealth)]
pub(in super::super) struct WorkerHealthView<'a> {
    #[schema(value_type = String)]
    worker_id: &'a WorkerId,
    /// `alive`, `warning`, `lost` or `dead`.
    status: &'static str,
    /// From 0 to 1: whether it is heard, its streams run, nothing is found about it and it has room for what it has.
    health_score: f64,
    /// Load as a share of capacity; none while the capacity is unknown.
    #[schema(required)]
    load_factor: Option<f64>,
    stream_count: usize,
    should_receive_streams: bool,
    reasons: Vec<String>,
}

/// How the whole and each worker is, the first 1000 of them.
#[derive(Serialize, ToSchema)]
#[schema(as = ResilienceHealth)]
pub(in super::super) struct ResilienceHealthView<'a> {
    timestamp: String,
    system: SystemHealthView,
    workers: Vec<WorkerHealthView<'a>>,
}

impl<'a> ResilienceHealthView<'a> {
    pub(in super::super) fn new(
        timestamp: String,
        system: SystemHealth,
        cluster: &'a ClusterState,
        findings: &[Finding],
        limit: usize,
    ) -> Self {
        let workers = cluster.workers.values().take(limit).map(|worker| {
            let health = system_health::worker(cluster, worker, findings);
            WorkerHealthView {
                worker_id: &worker.id,
                status: worker.availability.as_str(),
                health_score: health.score,
                load_factor: health.load_factor,
                stream_count: worker.assigned.len(),
                should_receive_streams: health.should_receive_streams,
                reasons: health.reasons,
            }
        });
        Self {
            timestamp,
            workers: workers.collect(),
            system: system.into(),
        }
    }
}

/// Everything about resilience at a glance.
#[derive(Serialize, ToSchema)]
#[schema(as = ResilienceStatus)]
pub(in super::super) struct ResilienceStatusView<'a> {
    pub(in super::super) timestamp: String,
    pub(in super::super) health: SystemHealthView,
    pub(in super::super) workers: super::cluster::WorkerCounts,
    pub(in super::super) streams: super::cluster::StreamCounts,
    /// Inconsistencies that last.
    pub(in super::super) inconsistencies: usize,
    /// Alerts that fire.
    pub(in super::super) alerts: usize,
    /// Whether losses are held back, since most workers are silent at once.
    pub(in super::super) mass_failure: bool,
    pub(in super::super) recovery: RecoveryView<'a>,
}
