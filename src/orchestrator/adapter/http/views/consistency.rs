//! Findings, checks and repairs.

use serde::Serialize;
use streamkeeper_core::consistency_checker::{Checks, Finding, Proposed, Repair, score};
use streamkeeper_protocol::{StreamId, WorkerId};
use utoipa::ToSchema;

use super::{Times, masked};

/// One inconsistency.
#[derive(Serialize, ToSchema)]
#[schema(as = Finding)]
pub(in super::super) struct FindingView<'a> {
    /// `orphan`, `duplicate`, `ghost`, `missing`, `epoch_mismatch`, `state_mismatch`, `spec_mismatch`,
    /// `counter_mismatch`, `unknown_worker` or `stale_status`.
    kind: &'static str,
    #[schema(value_type = Option<String>, required)]
    stream: Option<&'a StreamId>,
    #[schema(value_type = Option<String>, required)]
    worker: Option<&'a WorkerId>,
    #[serde(serialize_with = "masked")]
    #[schema(value_type = String)]
    detail: &'a str,
    /// `repair`: by itself; `propose`: an operator decides; `alert`: it is only told.
    policy: &'static str,
    /// What would bring it in line; none where only people can.
    #[schema(required)]
    repair: Option<String>,
    /// When it was confirmed.
    #[schema(required)]
    since: Option<String>,
}

/// How far the checks are.
#[derive(Serialize, ToSchema)]
#[schema(as = Checks)]
pub(in super::super) struct ChecksView<'a> {
    /// Sweeps over memory and inventories that came to their end.
    sweeps: u64,
    #[schema(required)]
    swept_at: Option<String>,
    sweep_ms: u64,
    /// Passes over the database that came to their end.
    passes: u64,
    #[schema(required)]
    passed_at: Option<String>,
    /// Streams or assignments, whichever are more, that the last pass read.
    rows: u64,
    /// Whether differences wait to be confirmed.
    unsure: bool,
    /// Why the database cannot be read.
    #[serde(serialize_with = "super::masked_option")]
    #[schema(value_type = Option<String>, required)]
    database_error: Option<&'a str>,
}

/// A repair that was proposed to the one who writes.
#[derive(Serialize, ToSchema)]
#[schema(as = PastRepair)]
pub(in super::super) struct PastRepairView {
    at: String,
    /// The kind of the finding.
    kind: &'static str,
    /// `restore`, `clear`, `want`, `recount`, `reread` or `resync`.
    repair: &'static str,
    detail: String,
    /// Whether an operator asked for it.
    asked: bool,
}

/// Memory, database and inventories; the findings are cut, the count says how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = Consistency)]
pub(in super::super) struct ConsistencyView<'a> {
    /// Share of the streams that nothing was found about.
    score: f64,
    checked_streams: usize,
    count: usize,
    findings: Vec<FindingView<'a>>,
    checks: ChecksView<'a>,
    /// The last repairs, newest first.
    repairs: Vec<PastRepairView>,
    /// Repairs that the budget holds back.
    waiting_repairs: usize,
}

impl<'a> ConsistencyView<'a> {
    pub(in super::super) fn new(
        findings: &'a [Finding],
        checks: &'a Checks,
        streams: usize,
        limit: usize,
        times: Times<'_>,
    ) -> Self {
        let view = |finding: &'a Finding| FindingView {
            kind: finding.kind.as_str(),
            stream: finding.stream.as_ref(),
            worker: finding.worker.as_ref(),
            detail: &finding.detail,
            policy: finding.policy.as_str(),
            repair: finding.repair.as_ref().map(ToString::to_string),
            since: times.known(finding.since),
        };
        Self {
            score: score(findings, streams),
            checked_streams: streams,
            count: findings.len(),
            findings: findings.iter().take(limit).map(view).collect(),
            checks: ChecksView {
                sweeps: checks.sweeps,
                swept_at: checks.swept_at.map(|at| times.show(at)),
                sweep_ms: u64::try_from(checks.sweep_took.as_millis()).unwrap_or(u64::MAX),
                passes: checks.passes,
                passed_at: checks.passed_at.map(|at| times.show(at)),
                rows: checks.rows,
                unsure: checks.unsure,
                database_error: checks.database_error.as_deref(),
            },
            repairs: checks
                .repairs
                .iter()
                .rev()
                .map(|repair| PastRepairView::new(repair, times))
                .collect(),
            waiting_repairs: checks.waiting,
        }
    }
}

impl PastRepairView {
    fn new(proposed: &Proposed, times: Times<'_>) -> Self {
        Self {
            at: times.show(proposed.at),
            kind: proposed.kind.as_str(),
            repair: proposed.repair.as_str(),
            detail: proposed.repair.to_string(),
            asked: proposed.asked,
        }
    }
}

/// A check that was begun: it is done when the report shows more.
#[derive(Serialize, ToSchema)]
#[schema(as = Checking)]
pub(in super::super) struct CheckingView {
    /// Sweeps before it.
    sweeps: u64,
    /// Passes before it.
    passes: u64,
}

impl CheckingView {
    pub(in super::super) const fn new(checks: &Checks) -> Self {
        Self {
            sweeps: checks.sweeps,
            passes: checks.passes,
        }
    }
}

/// One repair of a finding.
#[derive(Serialize, ToSchema)]
#[schema(as = Repair)]
pub(in super::super) struct RepairView<'a> {
    /// The kind of the finding.
    kind: &'static str,
    #[schema(value_type = Option<String>, required)]
    stream: Option<&'a StreamId>,
    #[schema(value_type = Option<String>, required)]
    worker: Option<&'a WorkerId>,
    /// `restore`, `clear`, `want`, `recount`, `reread` or `resync`.
    repair: &'static str,
    detail: String,
}

impl<'a> RepairView<'a> {
    pub(in super::super) fn of(finding: &'a Finding) -> Option<Self> {
        let repair: &Repair = finding.repair.as_ref()?;
        Some(Self {
            kind: finding.kind.as_str(),
            stream: finding.stream.as_ref(),
            worker: finding.worker.as_ref(),
            repair: repair.as_str(),
            detail: repair.to_string(),
        })
    }
}

/// Repairs, the first 1000; the count says how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = Repairs)]
pub(in super::super) struct RepairsView<'a> {
    pub(in super::super) dry_run: bool,
    pub(in super::super) count: usize,
    /// Findings that only people can bring in line.
    pub(in super::super) unrepairable: usize,
    pub(in super::super) repairs: Vec<RepairView<'a>>,
}

/// A worker that has exchanged everything with the leader.
#[derive(Serialize, ToSchema)]
#[schema(as = Synchronized)]
pub(in super::super) struct SynchronizedView<'a> {
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    synchronized: bool,
}

impl<'a> SynchronizedView<'a> {
    pub(in super::super) const fn new(worker: &'a WorkerId) -> Self {
        Self {
            worker,
            synchronized: true,
        }
    }
}
