//! How this orchestrator and what it needs are.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::super::mask::mask;
use crate::port::{BreakerStatus, LongTransaction, Phase};

/// How something is. The worse one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Condition)]
pub(in super::super) enum Status {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Degraded,
    /// It does not work.
    Failed,
}

/// One dependency.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in super::super) struct Dependency {
    pub(in super::super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) suggestion: Option<String>,
}

/// How everything is that this orchestrator needs.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Health)]
pub(in super::super) struct HealthView {
    /// The worst of all.
    pub(in super::super) status: Status,
    /// `database`, `nats`, `leadership`, `actors`.
    #[schema(value_type = BTreeMap<String, Dependency>)]
    pub(in super::super) dependencies: BTreeMap<&'static str, Dependency>,
    /// Circuit breakers: `database_reads`, `database_writes`, `nats`, and one for each sink of alerts, such as `alerts_nats`.
    #[schema(value_type = BTreeMap<String, BreakerView>)]
    pub(in super::super) breakers: BTreeMap<&'static str, BreakerView>,
    /// Transactions of this orchestrator that are open for long, and the longest that ended, the longest first.
    pub(in super::super) long_transactions: Vec<LongTransactionView>,
}

/// Where one circuit breaker stands.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Breaker)]
pub(in super::super) struct BreakerView {
    /// `closed`: calls are made. `open`: they are refused. `half_open`: one call tries it out.
    state: &'static str,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl BreakerView {
    pub(in super::super) fn of(status: &BreakerStatus) -> Self {
        Self {
            state: status.state.as_str(),
            reason: status.reason.as_deref().map(|reason| mask(reason).into_owned()),
        }
    }
}

/// A transaction that was, or is, open for long.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = LongTransaction)]
pub(in super::super) struct LongTransactionView {
    /// What it is for.
    operation: &'static str,
    took_ms: u64,
    /// When it ended (RFC 3339); none while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
}

impl LongTransactionView {
    pub(in super::super) fn of(long: &LongTransaction) -> Self {
        Self {
            operation: long.operation,
            took_ms: u64::try_from(long.took.as_millis()).unwrap_or(u64::MAX),
            ended: long.ended.map(|ended| ended.to_rfc3339()),
        }
    }
}

/// A probe that holds.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Probe)]
pub(in super::super) struct ProbeView {
    pub(in super::super) status: Status,
    /// Of `/readyz`: `leading`, or `standby` while another one is known to lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in super::super) role: Option<&'static str>,
    /// The phases of the start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(in super::super) phases: Vec<PhaseView>,
    /// What was asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Dependency>, required = false)]
    pub(in super::super) dependencies: BTreeMap<&'static str, Dependency>,
}

/// A phase of the start that is through.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Phase)]
pub(in super::super) struct PhaseView {
    phase: &'static str,
    took_ms: u64,
    /// What it found.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl PhaseView {
    pub(in super::super) fn of(phase: &Phase) -> Self {
        Self {
            phase: phase.name,
            took_ms: u64::try_from(phase.took.as_millis()).unwrap_or(u64::MAX),
            detail: phase.detail.clone(),
        }
    }

    /// For people.
    pub(in super::super) fn in_words(&self) -> String {
        let detail: String = self.detail.iter().map(|detail| format!(", {detail}")).collect();
        format!("{} ({} ms{detail})", self.phase, self.took_ms)
    }
}
