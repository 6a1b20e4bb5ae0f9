//! What a session is told once, at its start.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{Capacity, WorkerId};
use streamkeeper_resilience::Backoff;

/// Settings of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    /// The own id.
    pub worker: WorkerId,
    /// Time between two heartbeats in milliseconds, spread by ± 10 %.
    pub interval_ms: u64,
    /// Shortest time between two heartbeats, in milliseconds: a burst of changes is told once.
    pub min_gap_ms: u64,
    /// After so many milliseconds without a word from a leader the worker is in local mode.
    pub local_after_ms: u64,
    /// After so many milliseconds without a word from a leader a restarted worker starts the `available` streams that
    /// it ran before.
    pub local_start_after_ms: u64,
    /// After so many heartbeats without an answer the connection is made anew: one of its directions may be dead.
    pub unanswered_limit: u32,
    /// Delay before a stream that ended by itself is started again.
    pub backoff: Backoff,
    /// A stream that ran for so many milliseconds is healthy: its backoff starts again.
    pub healthy_after_ms: u64,
    /// Most inventory entries of one heartbeat. An entry has up to 1,250 bytes (reason and names at their limits),
    /// and a message server takes 1 MiB by default: a larger heartbeat would be refused each time.
    pub max_entries_per_part: usize,
    /// Whether the runner ends exclusive streams by itself when the lease ends, also while this process is frozen.
    /// [`crate::Worker`] asks its handler.
    pub guarded: bool,
    /// What the worker can carry.
    pub capacity: Capacity,
    /// Labels that streams may require.
    pub labels: BTreeMap<String, String>,
    /// Failure zone.
    pub zone: Option<String>,
    /// Version of the worker's software.
    pub version: String,
}

impl SessionConfig {
    /// The default settings of a worker.
    #[must_use]
    pub fn new(worker: WorkerId, capacity: Capacity) -> Self {
        Self {
            worker,
            interval_ms: 2_000,
            min_gap_ms: 20,
            local_after_ms: 10_000,
            local_start_after_ms: 10_000,
            unanswered_limit: 5,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(30)),
            healthy_after_ms: 60_000,
            max_entries_per_part: 512,
            guarded: false,
            capacity,
            labels: BTreeMap::new(),
            zone: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
