//! How far the start of the process is, for probes.

use std::time::Duration;

use tokio::time::Instant;

/// The start, phase by phase.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Phases that are through, in their order.
    pub done: Vec<Phase>,
    /// The phase that it is in; none between two of them.
    pub current: Option<Current>,
    /// Whether all of them are through.
    pub through: bool,
}

/// A phase that is through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// What it found, where that is worth a word.
    pub detail: Option<String>,
}

/// The phase that the start is in.
#[derive(Debug, Clone)]
pub struct Current {
    /// Its name.
    pub name: &'static str,
    /// Since when.
    pub since: Instant,
    /// What it waits for, without secrets, where it does.
    pub waits_for: Option<String>,
}
