//! One stream as the leader knows it.

use std::fmt;
use std::sync::Arc;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, Ownership, Performance, RunState, WorkerId};

use super::MoveReason;
use crate::record::Assignment;
use crate::spec::StreamSpec;
use crate::time::Timestamp;

/// One stream: what the user wants, who may run it, how it is.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord {
    /// What the user wants.
    pub spec: Arc<StreamSpec>,
    /// Who may run it.
    pub slot: Slot,
    /// Since when the slot is as it is.
    pub since: Timestamp,
    /// Why it is where it is.
    pub reason: MoveReason,
    /// What its worker last reported for the assigned epoch.
    pub observed: Option<Observed>,
    /// What it uses and gives there, as its worker last told.
    pub performance: Option<Box<Performance>>,
    /// Why no worker fits, as the balancer last found.
    pub unplaced: Option<UnplacedReason>,
    /// Since when it is known to have lost its worker, until it runs again.
    pub lost_at: Option<Timestamp>,
    /// The worker that it lost then.
    pub lost_from: Option<WorkerId>,
    /// No copy at or below this epoch is adopted while the stream has no assignment: it was ended on purpose.
    pub floor: Epoch,
    /// Its session stopped it for a move that was not stored: it may start it again under the epoch that it had.
    pub rerun: bool,
    /// What it waits for before its lost owner loses it, and since when.
    pub awaits: Option<(Awaited, Timestamp)>,
    /// The operator said that it is to wait for its lost owner no longer.
    pub released: bool,
    /// What its slot names was not stored (a new life runs it under a former epoch, say): it needs a fresh epoch.
    pub claimed: bool,
}

// Numbers in it are never NaN. With it, two references to the same record are known to be equal without a look at it.
impl Eq for StreamRecord {}

/// Who may run a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nobody, and nobody runs it.
    Vacant,
    /// Its session is lost; it may still run there. `last` is what the database says.
    Orphaned {
        /// The last assignment.
        last: Assignment,
    },
    /// A new assignment is being stored; nobody was told yet.
    Committing {
        /// What is being stored.
        next: Assignment,
        /// What the database said before.
        last: Option<Assignment>,
    },
    /// The assignment is stored and in its session's desired set.
    Held(Assignment),
    /// Goes to another session without a gap: both are to run it. The database says `from` until `to` runs it
    /// (OWNERSHIP rule 14).
    Handing {
        /// The assignment that is stored.
        from: Assignment,
        /// The one that replaces it.
        to: Assignment,
    },
    /// Taken out of the desired set; waits for the session to confirm that it stopped.
    Releasing {
        /// The assignment that ends.
        from: Assignment,
        /// Where it goes, if the release is part of a move.
        to: Option<WorkerId>,
    },
}

impl Slot {
    /// The assignment that is, was or becomes valid.
    #[must_use]
    pub const fn assignment(&self) -> Option<&Assignment> {
        match self {
            Self::Vacant => None,
            Self::Orphaned { last } => Some(last),
            Self::Committing { next, .. } => Some(next),
            Self::Held(assignment) => Some(assignment),
            Self::Releasing { from, .. } | Self::Handing { from, .. } => Some(from),
        }
    }

    /// The assignments whose sessions may go on running the stream, two of them while it is handed over: an orphan, and
    /// one whose replacement is not stored yet, runs on where it is, if it still does (S6). Not so an exclusive one: it is
    /// taken away before anything is stored (OWNERSHIP rule 12).
    pub fn wanted(&self, exclusive: bool) -> impl Iterator<Item = &Assignment> + Clone {
        let (first, second) = match self {
            Self::Held(assignment) => (Some(assignment), None),
            Self::Handing { from, to } => (Some(from), Some(to)),
            Self::Releasing { from, .. } if mutant::on(Mutant::SetAfterTransaction) => (Some(from), None),
            Self::Orphaned { last } if !exclusive => (Some(last), None),
            Self::Committing { last, .. } if !exclusive => (last.as_ref(), None),
            Self::Vacant | Self::Releasing { .. } | Self::Orphaned { .. } | Self::Committing { .. } => {
                (None, None)
            }
        };
        first.into_iter().chain(second)
    }

    /// The worker whose capacity the stream takes.
    #[must_use]
    pub const fn worker(&self) -> Option<&WorkerId> {
        match self {
            Self::Vacant | Self::Orphaned { .. } => None,
            Self::Committing { next: assignment, .. }
            | Self::Handing { to: assignment, .. }
            | Self::Held(assignment)
            | Self::Releasing { from: assignment, .. } => Some(&assignment.worker),
        }
    }
}

/// What a worker reported of a stream under its assigned epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// How it is.
    pub state: RunState,
    /// Restarts under this epoch.
    pub restarts: u32,
    /// Why it failed last.
    pub reason: Option<Box<str>>,
}

/// How a stream is, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamState {
    /// The user switched it off, and it is off.
    Disabled,
    /// No worker fits.
    Unplaced,
    /// A worker is being chosen or the choice is being stored.
    Placing,
    /// Its worker was told and did not report it running yet.
    Starting,
    /// It runs.
    Running,
    /// Its worker starts it again and again.
    Failing,
    /// It goes to another worker.
    Moving,
    /// It stops, because the user switched it off or deleted it.
    Stopping,
    /// Its worker is lost, and it waits for it.
    Waiting,
    /// Its worker is lost; a new one is being chosen.
    Orphaned,
}

impl StreamState {
    /// All states.
    pub const ALL: [Self; 10] = [
        Self::Disabled,
        Self::Unplaced,
        Self::Placing,
        Self::Starting,
        Self::Running,
        Self::Failing,
        Self::Moving,
        Self::Stopping,
        Self::Waiting,
        Self::Orphaned,
    ];

    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Unplaced => "unplaced",
            Self::Placing => "placing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Failing => "failing",
            Self::Moving => "moving",
            Self::Stopping => "stopping",
            Self::Waiting => "waiting",
            Self::Orphaned => "orphaned",
        }
    }
}

/// What a stream waits for whose owner is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaited {
    /// The end of its owner's lease.
    Lease,
    /// The end of its own `lost_after`.
    LostAfter,
    /// Its owner, proof of its death, or the operator's word (`on_owner_lost = hold`).
    Hold,
}

impl Awaited {
    /// Name in the API and in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::LostAfter => "lost_after",
            Self::Hold => "hold",
        }
    }
}

impl StreamRecord {
    /// A stream that nobody runs.
    #[must_use]
    pub const fn new(spec: Arc<StreamSpec>, since: Timestamp) -> Self {
        Self {
            spec,
            slot: Slot::Vacant,
            since,
            reason: MoveReason::Declared,
            observed: None,
            performance: None,
            unplaced: None,
            lost_at: None,
            lost_from: None,
            floor: Epoch::ZERO,
            rerun: false,
            awaits: None,
            released: false,
            claimed: false,
        }
    }

    /// Whether at most one copy of it may run, ever.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.spec.ownership == Ownership::Exclusive
    }

    /// The assignments whose sessions may go on running it; see [`Slot::wanted`].
    pub fn wanted(&self) -> impl Iterator<Item = &Assignment> + Clone {
        self.slot.wanted(self.is_exclusive())
    }

    /// How the stream is, as users see it.
    #[must_use]
    pub fn state(&self) -> StreamState {
        match &self.slot {
            Slot::Vacant if !self.spec.enabled => StreamState::Disabled,
            Slot::Vacant if self.unplaced.is_some() => StreamState::Unplaced,
            Slot::Orphaned { .. } if self.unplaced.is_some() => StreamState::Unplaced,
            Slot::Vacant => StreamState::Placing,
            Slot::Committing { last: Some(_), .. } if self.reason == MoveReason::Balance => {
                StreamState::Moving
            }
            Slot::Committing { .. } => StreamState::Placing,
            Slot::Orphaned { .. } => StreamState::Orphaned,
            Slot::Held(_) | Slot::Releasing { to: Some(_), .. } if self.awaits.is_some() => {
                StreamState::Waiting
            }
            Slot::Releasing { to: Some(_), .. } | Slot::Handing { .. } => StreamState::Moving,
            Slot::Releasing { to: None, .. } => StreamState::Stopping,
            Slot::Held(_) => match self.observed.as_ref().map(|observed| observed.state) {
                None | Some(RunState::Starting) => StreamState::Starting,
                Some(RunState::Running) => StreamState::Running,
                Some(RunState::Failing) => StreamState::Failing,
                Some(RunState::Stopping) => StreamState::Stopping,
            },
        }
    }
}

/// Why no worker fits a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnplacedReason {
    /// There is no worker that takes streams.
    NoWorkers,
    /// Workers there are; none has the labels that the stream requires.
    NoLabels,
    /// It is exclusive, and none of the workers with the labels ends such streams by itself when its lease is over.
    NoGuard,
    /// The worker that it is pinned to is not ready, or may not run it.
    NoPin,
    /// Each worker that fits has another stream with its spread key.
    NoSpread,
    /// Workers that fit there are; all are full.
    NoCapacity,
}

impl UnplacedReason {
    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoWorkers => "no_workers",
            Self::NoLabels => "no_labels",
            Self::NoGuard => "no_guard",
            Self::NoPin => "no_pin",
            Self::NoSpread => "no_spread",
            Self::NoCapacity => "no_capacity",
        }
    }
}

impl fmt::Display for UnplacedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoWorkers => "no worker is ready; start one with `streamkeeper agent`",
            Self::NoLabels => "no ready worker has the labels that the stream requires",
            Self::NoGuard => {
                "it is exclusive, and no ready worker guards such streams; start one with `streamkeeper agent --exec`"
            }
            Self::NoPin => {
                "the worker that it is pinned to is not ready or may not run it; start that worker or remove the pin"
            }
            Self::NoSpread => {
                "every worker that fits has another stream with its spread key; add a worker or change the key"
            }
            Self::NoCapacity => "every worker that fits is full; add a worker or raise max_streams",
        })
    }
}
