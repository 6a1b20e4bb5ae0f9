//! What is found, what is done about it, and how much is well.

use std::collections::BTreeSet;
use std::fmt;

use streamkeeper_protocol::{Epoch, StreamId, WorkerId};

use crate::time::Timestamp;

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
    /// What would bring it in line; none where only people can.
    pub repair: Option<Repair>,
    /// Whether that is done by itself.
    pub policy: Policy,
    /// When it was confirmed.
    pub since: Timestamp,
}

impl Finding {
    /// Whether it is repaired without anybody asking.
    #[must_use]
    pub const fn is_repaired(&self) -> bool {
        self.repair.is_some() && matches!(self.policy, Policy::Repair)
    }
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
    /// The database holds another assignment than the leader's memory.
    StateMismatch,
    /// The database holds another spec than the leader's memory, or none.
    SpecMismatch,
    /// A worker's streams are counted in another way than they are listed.
    CounterMismatch,
    /// An assignment names a worker that the leader does not know.
    UnknownWorker,
    /// What is known of a worker or a stream is too old to be true.
    StaleStatus,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Orphan,
        Self::Duplicate,
        Self::Ghost,
        Self::Missing,
        Self::EpochMismatch,
        Self::StateMismatch,
        Self::SpecMismatch,
        Self::CounterMismatch,
        Self::UnknownWorker,
        Self::StaleStatus,
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
            Self::StateMismatch => "state_mismatch",
            Self::SpecMismatch => "spec_mismatch",
            Self::CounterMismatch => "counter_mismatch",
            Self::UnknownWorker => "unknown_worker",
            Self::StaleStatus => "stale_status",
        }
    }
}

/// What is done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It is repaired by itself, within the budget.
    Repair,
    /// The repair is shown and waits for an operator.
    Propose,
    /// It is only told.
    Alert,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Repair, Self::Propose, Self::Alert];

    /// Name in the configuration and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Repair => "repair",
            Self::Propose => "propose",
            Self::Alert => "alert",
        }
    }
}

/// The policy of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policies([Policy; FindingKind::ALL.len()]);

impl Policies {
    /// The policy of this kind.
    #[must_use]
    pub fn of(&self, kind: FindingKind) -> Policy {
        self.0.get(kind as usize).copied().unwrap_or(Policy::Alert)
    }

    /// Gives a kind another policy.
    pub fn set(&mut self, kind: FindingKind, policy: Policy) {
        if let Some(present) = self.0.get_mut(kind as usize) {
            *present = policy;
        }
    }
}

impl Default for Policies {
    /// What a stream is belongs to its users: who changed it in the database nobody knows, so they are asked.
    fn default() -> Self {
        let mut policies = Self([Policy::Repair; FindingKind::ALL.len()]);
        policies.set(FindingKind::SpecMismatch, Policy::Propose);
        policies
    }
}

/// What would bring a finding in line. Only the coordinator changes assignments, so it is a proposal: it does nothing
/// where the stream has changed since.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Repair {
    /// Store once more what was granted under this epoch.
    Restore {
        /// The stream.
        stream: StreamId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Remove the stored assignment of a stream that nobody runs.
    Clear {
        /// The stream.
        stream: StreamId,
        /// The stored epoch.
        epoch: Epoch,
    },
    /// Offer a stream without a worker to the balancer again.
    Want {
        /// The stream.
        stream: StreamId,
    },
    /// Count a worker's streams anew.
    Recount {
        /// The worker.
        worker: WorkerId,
    },
    /// Read the whole database again under a higher term, which moves no stream.
    Reread,
    /// Exchange the whole inventory and the whole desired set with a worker.
    Resync {
        /// The worker.
        worker: WorkerId,
    },
}

impl Repair {
    /// Name in the API, events and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Restore { .. } => "restore",
            Self::Clear { .. } => "clear",
            Self::Want { .. } => "want",
            Self::Recount { .. } => "recount",
            Self::Reread => "reread",
            Self::Resync { .. } => "resync",
        }
    }

    /// The stream that it changes, if it is one.
    #[must_use]
    pub const fn stream(&self) -> Option<&StreamId> {
        match self {
            Self::Restore { stream, .. } | Self::Clear { stream, .. } | Self::Want { stream } => Some(stream),
            Self::Recount { .. } | Self::Reread | Self::Resync { .. } => None,
        }
    }

    /// The worker that it is about, if it is one.
    #[must_use]
    pub const fn worker(&self) -> Option<&WorkerId> {
        match self {
            Self::Recount { worker } | Self::Resync { worker } => Some(worker),
            Self::Restore { .. } | Self::Clear { .. } | Self::Want { .. } | Self::Reread => None,
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restore { stream, epoch } => {
                write!(
                    f,
                    "store the assignment of {stream} under epoch {epoch} once more"
                )
            }
            Self::Clear { stream, epoch } => {
                write!(f, "remove the stored assignment of {stream} up to epoch {epoch}")
            }
            Self::Want { stream } => write!(f, "offer {stream} to the balancer again"),
            Self::Recount { worker } => write!(f, "count the streams of {worker} anew"),
            Self::Reread => f.write_str("read the whole database again under a higher term; no stream moves"),
            Self::Resync { worker } => write!(f, "exchange the whole inventory with {worker}"),
        }
    }
}

/// Share of the streams, from 0 to 1, about which everybody agrees. A stream counts once; a finding without a stream, or
/// about one that is not declared, counts as a stream of its own.
#[must_use]
pub fn score(findings: &[Finding], streams: usize) -> f64 {
    let named: BTreeSet<&StreamId> = findings
        .iter()
        .filter_map(|finding| finding.stream.as_ref())
        .collect();
    let nameless = findings.iter().filter(|finding| finding.stream.is_none()).count();
    let wrong = named.len() + nameless;
    if wrong == 0 {
        return 1.0;
    }
    1.0 - wrong as f64 / streams.max(wrong) as f64
}
