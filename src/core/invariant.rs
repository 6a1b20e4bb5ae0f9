//! Guarantees that the coordinator sees broken by itself. Each is a debug assertion, and in production an event, an error
//! in the log, a metric that must stay 0 and an alert: never a panic, because what runs must go on.

/// A guarantee, as far as one orchestrator can see it broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// An exclusive stream is given away while somebody may hold it, or to two at once.
    SingleOwner,
    /// A stream is given an epoch that is not above the one it had.
    EpochMonotonic,
    /// Something is told or written without the right to it.
    FencedLeader,
    /// A stream that is to run is taken from whoever runs it, and given to nobody.
    NoEmptyPlan,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SingleOwner,
        Self::EpochMonotonic,
        Self::FencedLeader,
        Self::NoEmptyPlan,
    ];

    /// Metric label, label of the alert, field of the event.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleOwner => "s1_single_owner",
            Self::EpochMonotonic => "s2_epoch_monotonic",
            Self::FencedLeader => "s4_fenced_leader",
            Self::NoEmptyPlan => "s6_no_empty_plan",
        }
    }
}
