//! Streams and assignments.

use std::collections::BTreeMap;

use serde::Serialize;
use streamkeeper_core::cluster::{ClusterState, Slot, StreamRecord};
use streamkeeper_core::request::Applied;
use streamkeeper_protocol::{Epoch, Ownership, SessionId, StreamId, WorkerId};

use super::{Times, as_text, explain, masked, masked_option};

/// One stream.
#[derive(Serialize)]
pub(in super::super) struct StreamView<'a> {
    name: &'a StreamId,
    #[serde(serialize_with = "masked")]
    source: &'a str,
    enabled: bool,
    weight: f64,
    priority: i32,
    ownership: Ownership,
    labels: &'a BTreeMap<String, String>,
    requires: &'a BTreeMap<String, String>,
    state: &'static str,
    since: String,
    reason: &'static str,
    worker: Option<&'a WorkerId>,
    assignment: Option<AssignmentView<'a>>,
    restarts: Option<u32>,
    #[serde(serialize_with = "masked_option")]
    failure: Option<&'a str>,
    unplaced: Option<UnplacedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

#[derive(Serialize)]
struct UnplacedView {
    reason: &'static str,
    detail: String,
}

impl<'a> StreamView<'a> {
    pub(in super::super) fn new(record: &'a StreamRecord, times: Times<'_>) -> Self {
        let spec = &*record.spec;
        let observed = record.observed.as_ref();
        Self {
            name: &spec.name,
            source: &spec.source,
            enabled: spec.enabled,
            weight: spec.weight,
            priority: spec.priority,
            ownership: spec.ownership,
            labels: &spec.labels,
            requires: &spec.requires,
            state: record.state().as_str(),
            since: times.show(record.since),
            reason: record.reason.as_str(),
            worker: record.slot.worker(),
            assignment: AssignmentView::new(record, times),
            restarts: observed.map(|observed| observed.restarts),
            failure: observed.and_then(|observed| observed.reason.as_deref()),
            unplaced: record.unplaced.map(|reason| UnplacedView {
                reason: reason.as_str(),
                detail: reason.to_string(),
            }),
            explanation: None,
        }
    }

    /// With the words why it is where it is.
    pub(in super::super) fn explained(
        record: &'a StreamRecord,
        cluster: &ClusterState,
        times: Times<'_>,
    ) -> Self {
        Self {
            explanation: Some(explain::stream(record, cluster, times)),
            ..Self::new(record, times)
        }
    }
}

/// A page of streams.
#[derive(Serialize)]
pub(in super::super) struct StreamsView<'a> {
    pub(in super::super) streams: Vec<StreamView<'a>>,
    pub(in super::super) next: Option<String>,
}

/// Who may run a stream.
#[derive(Serialize)]
pub(in super::super) struct AssignmentView<'a> {
    stream: &'a StreamId,
    worker: &'a WorkerId,
    session: SessionId,
    #[serde(serialize_with = "as_text")]
    epoch: Epoch,
    since: String,
    reason: &'static str,
    /// `held`, `committing`, `releasing` or `orphaned`.
    slot: &'static str,
    /// Where it goes, when it is moved.
    moves_to: Option<&'a WorkerId>,
}

impl<'a> AssignmentView<'a> {
    pub(in super::super) fn new(record: &'a StreamRecord, times: Times<'_>) -> Option<Self> {
        let assignment = record.slot.assignment()?;
        let (slot, moves_to) = match &record.slot {
            Slot::Vacant => ("vacant", None),
            Slot::Orphaned { .. } => ("orphaned", None),
            Slot::Committing { .. } => ("committing", None),
            Slot::Held(_) => ("held", None),
            Slot::Releasing { to, .. } => ("releasing", to.as_ref()),
        };
        Some(Self {
            stream: &record.spec.name,
            worker: &assignment.worker,
            session: assignment.session,
            epoch: assignment.epoch,
            since: times.show(record.since),
            reason: record.reason.as_str(),
            slot,
            moves_to,
        })
    }
}

/// A page of assignments.
#[derive(Serialize)]
pub(in super::super) struct AssignmentsView<'a> {
    pub(in super::super) assignments: Vec<AssignmentView<'a>>,
    pub(in super::super) next: Option<String>,
}

/// What a change did.
#[derive(Serialize)]
pub(in super::super) struct AppliedView<'a> {
    created: &'a [StreamId],
    changed: &'a [StreamId],
    deleted: &'a [StreamId],
    unchanged: &'a [StreamId],
    dry_run: bool,
}

impl<'a> AppliedView<'a> {
    pub(in super::super) fn new(applied: &'a Applied, dry_run: bool) -> Self {
        Self {
            created: &applied.created,
            changed: &applied.changed,
            deleted: &applied.deleted,
            unchanged: &applied.unchanged,
            dry_run,
        }
    }
}
