//! What a worker tells: `sk.v1.heartbeat.<worker>`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::epoch::{Epoch, Term, Version};
use crate::id::{SessionId, StreamId, WorkerId};

/// One heartbeat. The worker sends it every interval and at once when its inventory or its applied version changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// The sender; equals the last token of the subject.
    pub worker: WorkerId,
    /// This life of the worker process.
    pub session: SessionId,
    /// Counts the heartbeats of the session, from 1.
    pub seq: u64,
    /// Boot id of the machine: proofs by the state folder's lock hold within one boot only.
    pub boot_id: String,
    /// The session before this one, when the lock of the state folder proves that it is dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<SessionId>,
    /// The newest desired set that is wholly applied.
    pub applied: Version,
    /// The highest term this worker ever accepted, over restarts.
    pub highest_term: Term,
    /// Whether the worker hears a leader.
    pub mode: Mode,
    /// What is left of the lease for exclusive streams, in milliseconds; 0 without one.
    #[serde(default)]
    pub lease_left_ms: u64,
    /// Whether the runner ends exclusive streams by itself when the lease ends, also while the worker's process is
    /// frozen. Exclusive streams are granted to such workers only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guarded: bool,
    /// Where the worker is in its life.
    pub phase: Phase,
    /// What the worker can carry.
    pub capacity: Capacity,
    /// Labels that streams may require.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Failure zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Version of the worker's software.
    pub version: String,
    /// What really runs.
    pub inventory: Inventory,
    /// Load of the machine, when the worker measures it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostMetrics>,
    /// What streams use and give, as far as it is measured: only those that are due, spread over many heartbeats. It is
    /// no part of the inventory: it changes all the time, and nothing depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub performance: Vec<StreamPerformance>,
    /// Whether the sender understands messages that are compressed with zlib.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zlib: bool,
}

/// Whether the worker hears a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Assignments arrive.
    Connected,
    /// No leader was heard for a while: streams go on by the last desired set.
    Local,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not ready for streams yet.
    Starting,
    /// Takes streams.
    Ready,
    /// Keeps its streams until they are moved, takes no new ones.
    Draining,
    /// Stops its streams and ends.
    Leaving,
    /// Proof of death, sent by the guard or after an orderly end: nothing of this session runs any more. The last
    /// message of a session; everything later is ignored.
    Gone,
}

/// What a worker can carry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Most streams at a time.
    pub max_streams: u32,
    /// Sum of stream weights that counts as full; compared with other workers' to balance.
    pub weight: f64,
}

/// What a worker really runs, streams that are stopping included.
///
/// `version` counts changes within the session, so (session, version) names one content: a heartbeat whose version
/// the leader already holds need not carry the list. `running` is the list, whole or in `parts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Counts the changes of this session's inventory, from 0.
    pub version: u64,
    /// How many streams the whole list has.
    pub count: u32,
    /// Which part this is, from 0.
    #[serde(default)]
    pub part: u32,
    /// How many parts the list has; 0 when the heartbeat carries none of it.
    #[serde(default)]
    pub parts: u32,
    /// The entries of this part, sorted by stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<RunningStream>,
}

impl Inventory {
    /// An inventory that only names its version and size.
    #[must_use]
    pub const fn digest(version: u64, count: u32) -> Self {
        Self {
            version,
            count,
            part: 0,
            parts: 0,
            running: Vec::new(),
        }
    }
}

/// One stream as it runs on a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningStream {
    /// The stream.
    pub stream: StreamId,
    /// The assignment under which it runs.
    pub epoch: Epoch,
    /// How it is.
    pub state: RunState,
    /// How often it was restarted under this epoch.
    #[serde(default)]
    pub restarts: u32,
    /// Why it failed last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a stream is on its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its start was ordered; it does not run yet.
    Starting,
    /// It runs.
    Running,
    /// It ended by itself and waits for its next start.
    Failing,
    /// Its stop was ordered; it may still run.
    Stopping,
}

/// Load of the worker's machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HostMetrics {
    /// Share of all cores in use, 0 to 1.
    pub cpu_share: f32,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Memory of the machine, in bytes.
    pub memory_total_bytes: u64,
    /// Load average of one minute.
    pub load1: f32,
    /// Processors of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
}

/// What one stream uses and gives; only what is measured is there.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Performance {
    /// Processors in use: 0.5 is half of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<f32>,
    /// Memory in use, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What comes from its source, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// How often nothing came for too long, under the present epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalls: Option<u32>,
    /// How often it was connected anew, under the present epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u32>,
}

impl Performance {
    /// The sum of two; what only one has measured counts as it is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        fn sum<T>(one: Option<T>, other: Option<T>, add: fn(T, T) -> T) -> Option<T> {
            match (one, other) {
                (Some(one), Some(other)) => Some(add(one, other)),
                (one, other) => one.or(other),
            }
        }
        Self {
            cpu_cores: sum(self.cpu_cores, other.cpu_cores, |one, other| one + other),
            memory_bytes: sum(self.memory_bytes, other.memory_bytes, u64::saturating_add),
            bytes_per_second: sum(self.bytes_per_second, other.bytes_per_second, u64::saturating_add),
            stalls: sum(self.stalls, other.stalls, u32::saturating_add),
            reconnects: sum(self.reconnects, other.reconnects, u32::saturating_add),
        }
    }
}

/// The performance of one stream on its worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamPerformance {
    /// The stream.
    pub stream: StreamId,
    /// The assignment under which it runs.
    pub epoch: Epoch,
    /// What it uses and gives.
    #[serde(flatten)]
    pub measured: Performance,
}
