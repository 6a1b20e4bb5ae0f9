//! Workers.

use std::collections::BTreeMap;

use serde::Serialize;
use streamkeeper_core::cluster::{ClusterState, WorkerRecord};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{
    Capacity, Epoch, HostMetrics, Mode, Performance, Phase, RunState, RunningStream, SessionId, StreamId,
    Version, WorkerId,
};
use utoipa::ToSchema;

use super::super::paging::MAX_LIMIT;
use super::shape::{CapacityShape, HostShape, PerformanceShape, VersionShape};
use super::{Times, as_text, masked_option};

/// One worker.
#[derive(Serialize, ToSchema)]
#[schema(as = Worker)]
pub(in super::super) struct WorkerView<'a> {
    #[schema(value_type = String)]
    id: &'a WorkerId,
    /// The life of its process.
    #[schema(value_type = String)]
    session: SessionId,
    /// `alive`, `warning`, `lost` or `dead`.
    availability: &'static str,
    /// Since when it is so.
    since: String,
    /// Whether it was heard in this term; if not, the rest is empty.
    heard: bool,
    #[schema(required)]
    last_heard: Option<String>,
    #[schema(required)]
    last_heard_ms_ago: Option<u64>,
    /// `starting`, `ready`, `draining`, `leaving` or `gone`.
    #[schema(value_type = String)]
    phase: Phase,
    /// `connected` or `local`.
    #[schema(value_type = String)]
    mode: Mode,
    /// Whether an operator ordered that it gets no streams.
    cordoned: bool,
    /// Whether it may be given streams.
    takes_streams: bool,
    #[schema(value_type = CapacityShape)]
    capacity: Capacity,
    /// Weight of the streams that count on it.
    load: f64,
    /// Load as a share of capacity; none while the capacity is unknown.
    #[schema(required)]
    load_ratio: Option<f64>,
    #[schema(value_type = Option<String>, required)]
    zone: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    version: &'a str,
    #[schema(value_type = Option<HostShape>, required)]
    host: Option<HostMetrics>,
    assigned_count: usize,
    running_count: usize,
    /// The set of streams that it should run.
    #[schema(value_type = VersionShape)]
    desired: Version,
    /// The set of streams that it has taken over.
    #[schema(value_type = VersionShape)]
    applied: Version,
}

impl<'a> WorkerView<'a> {
    pub(in super::super) fn new(worker: &'a WorkerRecord, now: Timestamp, times: Times<'_>) -> Self {
        let ratio = worker.relative_load();
        let heard_at = (worker.last_heard > Timestamp::ZERO).then_some(worker.last_heard);
        Self {
            id: &worker.id,
            session: worker.session,
            availability: worker.availability.as_str(),
            since: times.show(worker.since),
            heard: worker.heard,
            last_heard: times.known(worker.last_heard),
            last_heard_ms_ago: heard_at.map(|at| now.as_ms().saturating_sub(at.as_ms())),
            phase: worker.phase,
            mode: worker.mode,
            cordoned: worker.cordoned,
            takes_streams: worker.takes_streams(),
            capacity: worker.capacity,
            load: worker.load,
            load_ratio: ratio.is_finite().then_some(ratio),
            zone: worker.zone.as_deref(),
            labels: &worker.labels,
            version: &worker.version,
            host: worker.host,
            assigned_count: worker.assigned.len(),
            running_count: worker.inventory.len(),
            desired: worker.desired,
            applied: worker.applied,
        }
    }
}

/// A page of workers.
#[derive(Serialize, ToSchema)]
#[schema(as = Workers)]
pub(in super::super) struct WorkersView<'a> {
    pub(in super::super) workers: Vec<WorkerView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// One worker with its streams, the first 1000 of each list; the counts say how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = WorkerDetail)]
pub(in super::super) struct WorkerDetailView<'a> {
    #[serde(flatten)]
    worker: WorkerView<'a>,
    /// The sums over all streams that count on it, as far as they are measured.
    #[schema(value_type = PerformanceShape)]
    performance: Performance,
    #[schema(value_type = Vec<String>)]
    assigned: Vec<&'a StreamId>,
    running: Vec<RunningView<'a>>,
}

/// A stream that a worker reports.
#[derive(Serialize, ToSchema)]
#[schema(as = Running)]
struct RunningView<'a> {
    #[schema(value_type = String)]
    stream: &'a StreamId,
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String)]
    epoch: Epoch,
    /// `starting`, `running`, `failing` or `stopping`.
    #[schema(value_type = String)]
    state: RunState,
    restarts: u32,
    #[serde(serialize_with = "masked_option")]
    #[schema(value_type = Option<String>, required)]
    reason: Option<&'a str>,
    /// What it uses and gives, as last measured.
    #[schema(value_type = Option<PerformanceShape>, required)]
    performance: Option<Performance>,
}

impl<'a> WorkerDetailView<'a> {
    pub(in super::super) fn new(
        worker: &'a WorkerRecord,
        cluster: &ClusterState,
        now: Timestamp,
        times: Times<'_>,
    ) -> Self {
        let performance = |entry: &RunningStream| {
            let record = cluster.streams.get(&entry.stream)?;
            let assignment = record.slot.assignment()?;
            let here = assignment.worker == worker.id && assignment.epoch == entry.epoch;
            record.performance.as_deref().copied().filter(|_| here)
        };
        let streams = worker.assigned.iter();
        let measured =
            streams.filter_map(|stream| cluster.streams.get(stream)?.performance.as_deref().copied());
        let running = |entry: &'a RunningStream| RunningView {
            stream: &entry.stream,
            epoch: entry.epoch,
            state: entry.state,
            restarts: entry.restarts,
            reason: entry.reason.as_deref(),
            performance: performance(entry),
        };
        Self {
            worker: WorkerView::new(worker, now, times),
            performance: measured.fold(Performance::default(), Performance::plus),
            assigned: worker.assigned.iter().take(MAX_LIMIT).collect(),
            running: worker.inventory.iter().take(MAX_LIMIT).map(running).collect(),
        }
    }
}
