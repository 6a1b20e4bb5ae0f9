//! Why streams move.

/// Why a stream was given to its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MoveReason {
    /// It was declared or enabled.
    #[default]
    Declared,
    /// Its worker was lost or left.
    WorkerLost,
    /// Load was uneven.
    Balance,
    /// Its worker is being drained.
    Drain,
    /// A new leader found it running there.
    Adopted,
    /// Its worker said that it runs there no more.
    Missing,
    /// Its spec changed.
    Changed,
    /// The user asked for its restart.
    Restart,
    /// The user asked for the move.
    Asked,
    /// It failed where it was moved to.
    RolledBack,
    /// It did not keep running on the worker before.
    Failing,
    /// A stream of higher priority needed the room.
    Preempted,
    /// The operator gave it away from its lost worker.
    Released,
    /// Everything was taken from its worker, which is in trouble.
    Recovery,
}

impl MoveReason {
    /// All reasons.
    pub const ALL: [Self; 14] = [
        Self::Declared,
        Self::WorkerLost,
        Self::Balance,
        Self::Drain,
        Self::Adopted,
        Self::Missing,
        Self::Changed,
        Self::Restart,
        Self::Asked,
        Self::RolledBack,
        Self::Failing,
        Self::Preempted,
        Self::Released,
        Self::Recovery,
    ];

    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::WorkerLost => "worker_lost",
            Self::Balance => "balance",
            Self::Drain => "drain",
            Self::Adopted => "adopted",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Restart => "restart",
            Self::Released => "released",
            Self::Asked => "asked",
            Self::RolledBack => "rolled_back",
            Self::Failing => "failing",
            Self::Preempted => "preempted",
            Self::Recovery => "recovery",
        }
    }

    /// Whether the owner of a stream gave it up for this, though it could run it.
    #[must_use]
    pub const fn is_given_up(self) -> bool {
        match self {
            Self::Balance
            | Self::Drain
            | Self::Changed
            | Self::Restart
            | Self::Asked
            | Self::RolledBack
            | Self::Preempted
            | Self::Recovery
            | Self::Failing => true,
            Self::Declared | Self::WorkerLost | Self::Adopted | Self::Missing | Self::Released => false,
        }
    }
}
