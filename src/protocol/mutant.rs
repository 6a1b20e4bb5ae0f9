//! Rules of the ownership protocol that the simulation switches off, one at a time, to see that it notices. Without the
//! feature `mutants`, which only the simulation turns on, every switch is a constant.

/// A rule that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A worker accepts what is meant for another of its lives.
    NoSessionCheck,
    /// A worker accepts sets of lower terms.
    NoTermCheck,
    /// A worker starts streams below the epoch that it had.
    EpochsNotCompared,
    /// A worker starts the next epoch before the last one has stopped.
    StopAfterStart,
    /// The lease counts from the receipt of the answer.
    LeaseAtReceipt,
    /// A worker starts exclusive streams without a lease.
    StartWithoutLease,
    /// The guard does not look at the lease.
    SleepingGuard,
    /// No wait after a takeover.
    NoGrace,
    /// Within the grace, the owner that the database names is granted the stream anew.
    OwnerGrantedInGrace,
    /// An exclusive stream is taken from a silent session before its lease is over.
    LeaseNotAwaited,
    /// An inventory of a former term counts.
    StaleInventory,
    /// An inventory from before the newest set counts.
    UnsettledInventory,
    /// A stream is granted elsewhere before its owner has confirmed the stop.
    RevokeNotAwaited,
    /// Copies of a stream that nobody has are not waited for.
    GhostsIgnored,
    /// An exclusive stream leaves the desired set only when its move is stored.
    SetAfterTransaction,
    /// A grant is told before it is stored.
    TellBeforeStore,
    /// A commit without an answer counts as done.
    GrantOnAmbiguous,
    /// Exclusive streams fail over from memory too.
    ExclusiveFromMemory,
    /// A failover from memory keeps the epoch.
    MemoryKeepsEpoch,
    /// Whoever loses the role keeps what waits for the database, and writes it when it has the role again.
    QueueKept,
    /// Generations begin anew when a session gets its seat back.
    GenerationReused,
    /// A leader goes on when its time is over.
    NoValidityCheck,
    /// A leader's time counts from the answer to its write.
    ValidityAtAnswer,
    /// A leader's key that is not there is free.
    AbsentKeyIsFree,
    /// A key that was given up counts as free, though a later term is known.
    OldKeyIsFree,
    /// A key that looks unchanged after the connection was lost counts as unchanged.
    ReconnectIgnored,
    /// A key that somebody holds is taken at the first look.
    HeldKeyIsFree,
    /// A write of the key without an answer counts as stored.
    UnknownIsStored,
    /// The key is given up while the coordinator still acts.
    ReleasedTooEarly,
    /// The fence is raised with the first write, not at the takeover.
    LazyFence,
    /// The database does not compare the fence.
    NoFence,
    /// The database does not compare epochs.
    RowsNotCompared,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::NoSessionCheck,
        Self::NoTermCheck,
        Self::EpochsNotCompared,
        Self::StopAfterStart,
        Self::LeaseAtReceipt,
        Self::StartWithoutLease,
        Self::SleepingGuard,
        Self::NoGrace,
        Self::OwnerGrantedInGrace,
        Self::LeaseNotAwaited,
        Self::StaleInventory,
        Self::UnsettledInventory,
        Self::RevokeNotAwaited,
        Self::GhostsIgnored,
        Self::SetAfterTransaction,
        Self::TellBeforeStore,
        Self::GrantOnAmbiguous,
        Self::ExclusiveFromMemory,
        Self::MemoryKeepsEpoch,
        Self::QueueKept,
        Self::GenerationReused,
        Self::NoValidityCheck,
        Self::ValidityAtAnswer,
        Self::AbsentKeyIsFree,
        Self::OldKeyIsFree,
        Self::ReconnectIgnored,
        Self::HeldKeyIsFree,
        Self::UnknownIsStored,
        Self::ReleasedTooEarly,
        Self::LazyFence,
        Self::NoFence,
        Self::RowsNotCompared,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether the rule is switched off in this thread.
    #[must_use]
    pub fn on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Whether any rule is switched off in this thread.
    #[must_use]
    pub fn any() -> bool {
        ON.get().is_some()
    }

    /// Switches one rule off in this thread, and all others on.
    pub fn switch(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}

#[cfg(feature = "mutants")]
pub use switch::{any, on, switch};

/// Whether the rule is switched off: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn on(_: Mutant) -> bool {
    false
}

/// Whether any rule is switched off: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn any() -> bool {
    false
}
