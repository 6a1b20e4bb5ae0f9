//! One worker as the leader knows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdSet;
use streamkeeper_protocol::{
    Capacity, HostMetrics, Mode, Phase, RunningStream, SessionId, StreamId, Version, WorkerId,
};

use crate::time::Timestamp;

/// One worker: its present session and what it carries.
#[derive(Debug, Clone)]
pub struct WorkerRecord {
    /// Its id.
    pub id: WorkerId,
    /// The life that holds the seat.
    pub session: SessionId,
    /// Whether its session is heard.
    pub availability: Availability,
    /// Since when.
    pub since: Timestamp,
    /// When its last heartbeat came.
    pub last_heard: Timestamp,
    /// Whether it was heard in this term at all; if not, the rest is empty.
    pub heard: bool,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it hears the leader.
    pub mode: Mode,
    /// What it can carry.
    pub capacity: Capacity,
    /// Failure zone.
    pub zone: Option<String>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its software.
    pub version: Arc<str>,
    /// Whether its runner ends exclusive streams by itself when the lease is over.
    pub guarded: bool,
    /// Load of its machine.
    pub host: Option<HostMetrics>,
    /// Whether an operator ordered that it gets no streams.
    pub cordoned: bool,
    /// Whether its session understands compressed messages.
    pub zlib: bool,
    /// Streams whose slot counts on it: `Held`, `Committing` to it, `Releasing` from it.
    pub assigned: OrdSet<StreamId>,
    /// Sum of their weights.
    pub load: f64,
    /// What its session wants to have applied.
    pub desired: Version,
    /// What it has applied.
    pub applied: Version,
    /// How many streams it runs, as it last said.
    pub declared: Option<u32>,
    /// What it really runs, as it last said; sorted by stream.
    pub inventory: Arc<Vec<RunningStream>>,
}

impl WorkerRecord {
    /// A worker of which only the life is known that owns something, or speaks for the first time.
    #[must_use]
    pub fn unheard(now: Timestamp, id: WorkerId, session: SessionId) -> Self {
        Self {
            id,
            session,
            availability: Availability::Alive,
            since: now,
            last_heard: now,
            heard: false,
            phase: Phase::Starting,
            mode: Mode::Local,
            capacity: Capacity {
                max_streams: 0,
                weight: 0.0,
            },
            zone: None,
            labels: Arc::default(),
            version: "".into(),
            guarded: false,
            host: None,
            cordoned: false,
            zlib: false,
            assigned: OrdSet::new(),
            load: 0.0,
            desired: Version::default(),
            applied: Version::default(),
            declared: None,
            inventory: Arc::default(),
        }
    }

    /// Whether new streams may be given to it.
    #[must_use]
    pub fn takes_streams(&self) -> bool {
        !self.cordoned && self.heard && self.availability == Availability::Alive && self.phase == Phase::Ready
    }

    /// Whether this stream may be given to it, as far as its kind goes.
    #[must_use]
    pub const fn may_run(&self, exclusive: bool) -> bool {
        self.guarded || !exclusive
    }

    /// Whether it can carry a stream of this weight beside what it has.
    #[must_use]
    pub fn has_room(&self, weight: f64) -> bool {
        // A rounding error of the sums is no lack of room.
        let fits = self.load + weight <= self.capacity.weight * (1.0 + 1e-9);
        fits && self.assigned.len() < self.capacity.max_streams as usize
    }

    /// Load relative to capacity; infinite without capacity.
    #[must_use]
    pub fn relative_load(&self) -> f64 {
        if self.capacity.weight > 0.0 {
            self.load / self.capacity.weight
        } else {
            f64::INFINITY
        }
    }
}

/// Whether a worker's session is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Availability {
    /// Heartbeats come.
    Alive,
    /// Heartbeats are late.
    Warning,
    /// Silent beyond the timeout: its `available` streams are replaced.
    Lost,
    /// Proven dead: nothing of its session runs any more.
    Dead,
}

impl Availability {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Warning, Self::Lost, Self::Dead];

    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Warning => "warning",
            Self::Lost => "lost",
            Self::Dead => "dead",
        }
    }
}
