//! Streams and assignments.

use serde::{Serialize, Serializer};
use streamkeeper_core::cluster::{ClusterState, Slot, StreamRecord};
use streamkeeper_core::contradiction::Contradiction;
use streamkeeper_core::labels::Labels;
use streamkeeper_core::request::Applied;
use streamkeeper_protocol::{Epoch, Ownership, Performance, SessionId, StreamId, WorkerId};
use utoipa::ToSchema;

use super::shape::PerformanceShape;
use super::{Times, as_text, explain, masked, masked_option};

/// One stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Stream)]
pub(in super::super) struct StreamView<'a> {
    #[schema(value_type = String)]
    name: &'a StreamId,
    /// Without the secrets in it.
    #[serde(serialize_with = "masked")]
    #[schema(value_type = String)]
    source: &'a str,
    /// Whether it should run.
    enabled: bool,
    /// How much of a worker's capacity it takes.
    weight: f64,
    /// Who yields when capacity lacks: lower ones first.
    priority: i32,
    /// `available` or `exclusive`.
    #[schema(value_type = String)]
    ownership: Ownership,
    /// What becomes of it when its owner is lost: `replace` or `hold`.
    on_owner_lost: &'static str,
    /// How long after the time-out its owner counts as lost for it, as in `30s`.
    #[schema(required)]
    lost_after: Option<String>,
    #[serde(serialize_with = "texts")]
    #[schema(value_type = BTreeMap<String, String>)]
    labels: &'a Labels,
    /// Labels that its worker must have.
    #[serde(serialize_with = "texts")]
    #[schema(value_type = BTreeMap<String, String>)]
    requires: &'a Labels,
    /// Labels that its worker should have.
    #[serde(serialize_with = "texts")]
    #[schema(value_type = BTreeMap<String, String>)]
    prefers: &'a Labels,
    /// Streams of the same key are never on one worker.
    #[schema(value_type = Option<String>, required)]
    spread: Option<&'a str>,
    /// The only worker that may run it.
    #[schema(value_type = Option<String>, required)]
    pin: Option<&'a WorkerId>,
    /// `disabled`, `unplaced`, `placing`, `starting`, `running`, `failing`, `moving`, `stopping`, `waiting` or
    /// `orphaned`.
    state: &'static str,
    /// Since when its slot is as it is.
    since: String,
    /// Why it is where it is: `declared`, `worker_lost`, `balance`, `drain`, `adopted`, `missing`, `changed`,
    /// `restart`, `preempted`, `released` or `recovery`.
    reason: &'static str,
    /// The worker whose capacity it takes.
    #[schema(value_type = Option<String>, required)]
    worker: Option<&'a WorkerId>,
    #[schema(required)]
    assignment: Option<AssignmentView<'a>>,
    /// How often its worker started it anew.
    #[schema(required)]
    restarts: Option<u32>,
    /// Why it ended the last time, without secrets.
    #[serde(serialize_with = "masked_option")]
    #[schema(value_type = Option<String>, required)]
    failure: Option<&'a str>,
    /// What it uses and gives on its worker, as last measured.
    #[schema(value_type = Option<PerformanceShape>, required)]
    performance: Option<Performance>,
    /// What it waits for, because its owner is lost: the end of its `lease`, of its own `lost_after`, or `hold`: its owner,
    /// proof of its death, or release.
    #[schema(required)]
    awaits: Option<&'static str>,
    #[schema(required)]
    unplaced: Option<UnplacedView>,
    /// Why it is where it is, in words; where one stream is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<String>,
}

fn texts<S: Serializer>(labels: &&Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

/// Why a stream has no worker.
#[derive(Serialize, ToSchema)]
#[schema(as = Unplaced)]
struct UnplacedView {
    /// `no_workers`, `no_labels`, `no_guard`, `no_pin`, `no_spread` or `no_capacity`.
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
            on_owner_lost: spec.on_owner_lost.as_str(),
            lost_after: spec
                .lost_after
                .map(|after| humantime::format_duration(after).to_string()),
            labels: &spec.labels,
            requires: &spec.requires,
            prefers: &spec.prefers,
            spread: spec.spread.as_deref(),
            pin: spec.pin.as_ref(),
            state: record.state().as_str(),
            since: times.show(record.since),
            reason: record.reason.as_str(),
            worker: record.slot.worker(),
            assignment: AssignmentView::new(record, times),
            restarts: observed.map(|observed| observed.restarts),
            failure: observed.and_then(|observed| observed.reason.as_deref()),
            performance: record.performance.as_deref().copied(),
            awaits: record.awaits.map(|(why, _)| why.as_str()),
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
#[derive(Serialize, ToSchema)]
#[schema(as = Streams)]
pub(in super::super) struct StreamsView<'a> {
    pub(in super::super) streams: Vec<StreamView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// Who may run a stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Assignment)]
pub(in super::super) struct AssignmentView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    #[schema(value_type = String)]
    worker: &'a WorkerId,
    /// The life of the worker's process.
    #[schema(value_type = String)]
    session: SessionId,
    /// Fencing token; it only grows. A text, because JavaScript rounds large numbers.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    epoch: Epoch,
    since: String,
    /// See the stream's.
    reason: &'static str,
    /// `held`, `committing`, `handing`, `releasing` or `orphaned`.
    slot: &'static str,
    /// Where it goes, when it is moved.
    #[schema(value_type = Option<String>, required)]
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
            Slot::Handing { to, .. } => ("handing", Some(&to.worker)),
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
#[derive(Serialize, ToSchema)]
#[schema(as = Assignments)]
pub(in super::super) struct AssignmentsView<'a> {
    pub(in super::super) assignments: Vec<AssignmentView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// What a change did: names of streams.
#[derive(Serialize, ToSchema)]
#[schema(as = Applied)]
pub(in super::super) struct AppliedView<'a> {
    #[schema(value_type = Vec<String>)]
    created: &'a [StreamId],
    #[schema(value_type = Vec<String>)]
    changed: &'a [StreamId],
    #[schema(value_type = Vec<String>)]
    deleted: &'a [StreamId],
    /// Streams that are being started again.
    #[schema(value_type = Vec<String>)]
    restarted: &'a [StreamId],
    /// Streams that wait for their lost owners no longer.
    #[schema(value_type = Vec<String>)]
    released: &'a [StreamId],
    /// Streams that were as asked already.
    #[schema(value_type = Vec<String>)]
    unchanged: &'a [StreamId],
    /// Rules that cannot be kept at present, the first hundred; the change is made nevertheless.
    warnings: Vec<WarningView<'a>>,
    /// Whether this only says what would be done.
    dry_run: bool,
}

/// A rule that cannot be kept at present.
#[derive(Serialize, ToSchema)]
#[schema(as = Warning)]
struct WarningView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    /// The field of its declaration.
    field: &'static str,
    /// The value, what is wrong with it, and what to do.
    detail: &'a str,
}

impl<'a> AppliedView<'a> {
    pub(in super::super) fn new(applied: &'a Applied, found: &'a [Contradiction], dry_run: bool) -> Self {
        let warning = |found: &'a Contradiction| WarningView {
            stream: &found.stream,
            field: found.field,
            detail: &found.detail,
        };
        Self {
            created: &applied.created,
            changed: &applied.changed,
            deleted: &applied.deleted,
            restarted: &applied.restarted,
            released: &applied.released,
            unchanged: &applied.unchanged,
            warnings: found.iter().map(warning).collect(),
            dry_run,
        }
    }
}
