//! Rules of placement that the tests switch off, one at a time, to see that a property notices. Without the feature
//! `mutants`, which only those tests turn on, every switch is a constant.

/// A rule that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Declared capacity is no limit.
    WeightIgnored,
    /// `max_streams` is no limit.
    CountIgnored,
    /// Required labels do not matter.
    LabelsIgnored,
    /// Exclusive streams go to workers without a guard.
    GuardIgnored,
    /// Streams with the same spread key share workers.
    SpreadIgnored,
    /// Pins do not matter.
    PinIgnored,
    /// Important streams are not placed first.
    PriorityIgnored,
    /// Nobody yields to a stream of higher priority.
    NobodyYields,
    /// Streams yield to others of their own priority.
    EqualsYield,
    /// The first worker that fits is taken, not the least loaded.
    FirstFit,
    /// Ties are decided by position, which depends on history.
    TiesByPosition,
    /// Unevenness inside the band is mended as well.
    BandIgnored,
    /// A plan moves more than it may.
    BudgetIgnored,
    /// Moves that gain nothing are made.
    GainIgnored,
    /// Whoever gave a stream away is given others in the same plan.
    GiversGet,
    /// A fresh placement is left as uneven as the band bears.
    FreshUneven,
    /// A stream leaves the worker on which it still runs.
    HomeIgnored,
    /// A death is an occasion to move others too.
    EveryoneMoves,
    /// Loads that changed are not brought into the tournament.
    StaleTree,
}

#[cfg(all(test, feature = "mutants"))]
impl Mutant {
    /// All of them.
    pub(super) const ALL: [Self; 19] = [
        Self::WeightIgnored,
        Self::CountIgnored,
        Self::LabelsIgnored,
        Self::GuardIgnored,
        Self::SpreadIgnored,
        Self::PinIgnored,
        Self::PriorityIgnored,
        Self::NobodyYields,
        Self::EqualsYield,
        Self::FirstFit,
        Self::TiesByPosition,
        Self::BandIgnored,
        Self::BudgetIgnored,
        Self::GainIgnored,
        Self::GiversGet,
        Self::FreshUneven,
        Self::HomeIgnored,
        Self::EveryoneMoves,
        Self::StaleTree,
    ];
}

#[cfg(all(test, feature = "mutants"))]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    std::thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether the rule is switched off in this thread.
    pub(in super::super) fn on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// Switches one rule off in this thread, and all others on.
    pub(in super::super) fn switch(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}

#[cfg(all(test, feature = "mutants"))]
pub(super) use switch::{on, switch};

/// Whether the rule is switched off: never.
#[cfg(not(all(test, feature = "mutants")))]
pub(super) const fn on(_: Mutant) -> bool {
    false
}
