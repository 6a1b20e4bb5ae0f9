//! Shapes for the description of the API alone: of wire types in answers, because the wire contract knows nothing of it,
//! and of bodies, because they are read by hand. Tests compare them with what is sent.

use std::collections::BTreeMap;

use utoipa::ToSchema;

/// What a worker can carry.
#[derive(ToSchema)]
#[schema(as = Capacity)]
#[expect(dead_code, reason = "only described")]
pub(super) struct CapacityShape {
    /// Most streams at a time.
    max_streams: u32,
    /// Sum of stream weights that counts as full.
    weight: f64,
}

/// Load of a worker's machine.
#[derive(ToSchema)]
#[schema(as = Host)]
#[expect(dead_code, reason = "only described")]
pub(super) struct HostShape {
    /// Share of all cores in use, 0 to 1.
    cpu_share: f32,
    memory_used_bytes: u64,
    memory_total_bytes: u64,
    /// Load average of one minute.
    load1: f32,
    /// Processors of the machine.
    cores: Option<u32>,
}

/// What streams use and give; only what is measured is there.
#[derive(ToSchema)]
#[schema(as = Performance)]
#[expect(dead_code, reason = "only described")]
pub(super) struct PerformanceShape {
    /// Processors in use: 0.5 is half of one.
    cpu_cores: Option<f32>,
    /// Memory in use, in bytes.
    memory_bytes: Option<u64>,
    /// What comes from the source, in bytes.
    bytes_per_second: Option<u64>,
    /// How often nothing came for too long, under the present epoch.
    stalls: Option<u32>,
    /// How often it was connected anew, under the present epoch.
    reconnects: Option<u32>,
}

/// Why something is ordered.
#[derive(ToSchema)]
#[schema(as = Reason)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct ReasonShape {
    reason: Option<String>,
}

/// Where a stream moves.
#[derive(ToSchema)]
#[schema(as = Move)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct MoveShape {
    /// The worker.
    to: String,
}

/// A pause of evening out.
#[derive(ToSchema)]
#[schema(as = Pause)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct PauseShape {
    reason: String,
    /// How long, such as `1h`; at most 30 days.
    r#for: String,
}

/// What nobody is to be told of.
#[derive(ToSchema)]
#[schema(as = NewSilence)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct SilenceShape {
    /// Conditions on labels, all of which have to be met: `worker=a`, `stream=cam-*`, `severity!=critical`. Labels are those of the
    /// alert, `alertname` and `severity`, and of its worker or stream `zone` and `label.NAME`.
    matchers: Vec<String>,
    /// When it begins, RFC 3339; now where it is not given.
    starts: Option<String>,
    /// How long it holds, such as `1h`.
    r#for: String,
    /// After which time it begins again, such as `7days`; never where it is not given.
    every: Option<String>,
    /// Who wants it.
    by: String,
    reason: String,
}

/// Somebody takes an alert on.
#[derive(ToSchema)]
#[schema(as = Acknowledge)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct AcknowledgeShape {
    /// Who.
    by: String,
    /// How long, such as `2h`; as long as the alert fires where it is not given.
    r#for: Option<String>,
}

/// Version of a worker's set of streams.
#[derive(ToSchema)]
#[schema(as = Version)]
#[expect(dead_code, reason = "only described")]
pub(super) struct VersionShape {
    term: u32,
    generation: u64,
}

/// A stream as it is declared.
#[derive(ToSchema)]
#[schema(as = StreamSpec)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct SpecShape {
    /// 1 to 64 of A-Z a-z 0-9 _ -; where the path names the stream, it may be left out.
    name: Option<String>,
    /// What the worker reads: a URL, a device, a query.
    source: String,
    /// Whether it should run.
    #[schema(default = true)]
    enabled: Option<bool>,
    /// How much of a worker's capacity it takes; above 0.
    #[schema(default = 1.0)]
    weight: Option<f64>,
    /// Who yields when capacity lacks: lower ones first.
    #[schema(default = 0)]
    priority: Option<i32>,
    /// `available` or `exclusive`.
    #[schema(default = "available")]
    ownership: Option<String>,
    /// What becomes of it when its owner is lost: `replace`, or `hold`, which waits until the owner is back, is proven dead,
    /// or the stream is released.
    #[schema(default = "replace")]
    on_owner_lost: Option<String>,
    /// How long after the time-out its owner counts as lost for it, as in `30s`. For an exclusive stream it has to reach
    /// to the end of the lease; where it is left out, the end of the lease counts.
    lost_after: Option<String>,
    /// Handed to the worker.
    labels: Option<BTreeMap<String, String>>,
    /// Labels that its worker must have.
    requires: Option<BTreeMap<String, String>>,
    /// Labels that its worker should have: a worker without them counts as fuller.
    prefers: Option<BTreeMap<String, String>>,
    /// Streams of the same key are never on one worker, and in different zones where that is possible.
    spread: Option<String>,
    /// The only worker that may run it.
    pin: Option<String>,
}

/// A declarative change: all of it or nothing.
#[derive(ToSchema)]
#[schema(as = Change)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct ChangeShape {
    /// Streams to create or to change.
    streams: Option<Vec<SpecShape>>,
    /// Names of streams to delete.
    delete: Option<Vec<String>>,
    /// Deletes every stream that `streams` does not name.
    #[schema(default = false)]
    prune: Option<bool>,
}

/// Switches a stream.
#[derive(ToSchema)]
#[schema(as = Switch)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct SwitchShape {
    /// Whether it should run.
    enabled: bool,
}

/// One thing that is to be done to many streams.
#[derive(ToSchema)]
#[schema(as = Action)]
#[expect(dead_code, reason = "only described")]
pub(in super::super) struct ActionShape {
    /// `enable`, `disable`, `restart`, `release` (from a lost owner) or `delete`.
    action: String,
    /// With `release`: their owners are dead, says who asks; exclusive streams are released only then. Their leases are
    /// waited for all the same.
    #[schema(default = false)]
    owner_is_dead: Option<bool>,
    /// Names of the streams.
    names: Vec<String>,
}
