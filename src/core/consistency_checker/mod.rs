//! Whether memory (which follows the database) and the workers' inventories agree.
//!
//! Every check compares the newest snapshot with what the workers last reported. One comparison proves little, because
//! orders and reports are always on their way: a finding counts only when several checks in a row saw it of the same
//! session.

mod compare;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::cluster::{ClusterState, Role};
use crate::machine::Machine;
use crate::time::Timestamp;

/// How often and how surely it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Time between two checks.
    pub check_interval: Duration,
    /// Checks in a row that must see the same finding before it counts: what is merely on its way is no finding.
    pub confirmations: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            confirmations: 2,
        }
    }
}

/// What the checker is told.
#[derive(Debug, Clone)]
pub enum Event {
    /// The state changed.
    Snapshot(ClusterState),
    /// Time passed.
    Tick,
}

/// What the checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Every confirmed finding of this check, sorted; it replaces the list before. Sent only when the list changed.
    Findings(Vec<Finding>),
}

/// One inconsistency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// The stream.
    pub stream: Option<StreamId>,
    /// The worker.
    pub worker: Option<WorkerId>,
    /// What differs, in words.
    pub detail: String,
}

/// The kinds of inconsistency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A stream should run and has no living owner.
    Orphan,
    /// Two workers run the stream.
    Duplicate,
    /// A worker runs a stream that is not its own.
    Ghost,
    /// A worker does not run a stream that it should.
    Missing,
    /// A worker runs a stream under another epoch than the assigned one.
    EpochMismatch,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Orphan,
        Self::Duplicate,
        Self::Ghost,
        Self::Missing,
        Self::EpochMismatch,
    ];

    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orphan => "orphan",
            Self::Duplicate => "duplicate",
            Self::Ghost => "ghost",
            Self::Missing => "missing",
            Self::EpochMismatch => "epoch_mismatch",
        }
    }
}

/// Most findings of one kind that are told; beyond this the number says nothing new.
pub const MAX_FINDINGS_PER_KIND: usize = 10_000;

/// Share of the streams, from 0 to 1, about which everybody agrees.
#[must_use]
pub fn score(findings: usize, streams: usize) -> f64 {
    if findings == 0 {
        return 1.0;
    }
    (1.0 - findings as f64 / streams.max(1) as f64).max(0.0)
}

/// The machine.
#[derive(Debug)]
pub struct ConsistencyChecker {
    config: Config,
    cluster: ClusterState,
    next_check: Option<Timestamp>,
    /// In how many checks in a row each present finding was seen.
    streaks: BTreeMap<compare::Key, u32>,
    /// The list that was told last; none before the first.
    told: Option<Vec<Finding>>,
    checks: u32,
    /// The last check found nothing, and nothing that time alone could turn into a finding.
    quiet: bool,
}

impl ConsistencyChecker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cluster: ClusterState::default(),
            next_check: None,
            streaks: BTreeMap::new(),
            told: None,
            checks: 0,
            quiet: false,
        }
    }

    fn check(&mut self, now: Timestamp) -> Vec<Command> {
        let leading = self.cluster.leadership.role == Role::Leading;
        let compared = if leading {
            self.checks = self.checks.saturating_add(1);
            compare::compare(&self.cluster, now, self.config.check_interval)
        } else {
            compare::Compared::default()
        };
        let nothing = compared.found.is_empty() && !compared.pending;
        let mut confirmed = Vec::new();
        let mut streaks = BTreeMap::new();
        for (key, finding) in compared.found {
            let seen = self
                .streaks
                .get(&key)
                .map_or(1, |streak| streak.saturating_add(1));
            if seen >= self.config.confirmations {
                confirmed.push(finding);
            }
            streaks.insert(key, seen);
        }
        self.streaks = streaks;
        confirmed.sort();
        // A checker that has just been restarted says so too when all is well: a predecessor may have told findings,
        // which would stand for ever.
        let unsure = !leading || self.checks < self.config.confirmations;
        let news = match &self.told {
            Some(told) => *told != confirmed,
            None => !confirmed.is_empty() || !unsure,
        };
        if news {
            self.told = Some(confirmed.clone());
        }
        self.quiet = nothing && self.told.is_some();
        if news {
            vec![Command::Findings(confirmed)]
        } else {
            Vec::new()
        }
    }
}

impl Machine for ConsistencyChecker {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        match event {
            Event::Snapshot(cluster) => {
                self.cluster = cluster;
                self.quiet = false;
                self.next_check.get_or_insert(now + self.config.check_interval);
                Vec::new()
            }
            Event::Tick if self.next_check.is_some_and(|at| at <= now) => {
                self.next_check = Some(now + self.config.check_interval);
                if self.quiet {
                    return Vec::new();
                }
                self.check(now)
            }
            Event::Tick => Vec::new(),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_check
    }

    fn tick() -> Event {
        Event::Tick
    }
}
