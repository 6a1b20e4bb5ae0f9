//! Shapes of wire types in answers, for the description of the API alone: the wire contract knows nothing of it. A test
//! compares answers with them.

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
}

/// Version of a worker's set of streams.
#[derive(ToSchema)]
#[schema(as = Version)]
#[expect(dead_code, reason = "only described")]
pub(super) struct VersionShape {
    term: u32,
    generation: u64,
}
