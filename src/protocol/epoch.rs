//! Fencing tokens: terms, epochs and generations.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Bits of a term that carry the orchestrator's own number, so that two orchestrators never take the same term.
pub const NUMBER_BITS: u32 = 4;
/// Most orchestrators of one fleet.
pub const MAX_ORCHESTRATORS: u32 = 1 << NUMBER_BITS;

/// Why a number is no term or epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// Terms stop below 2^31, so that an epoch stays positive.
    #[error("term {0} is not below 2^31")]
    TermTooLarge(u64),
    /// Epochs are never negative.
    #[error("epoch {0} is negative")]
    NegativeEpoch(i64),
}

/// Leadership number. Every leadership has a higher one than all before it; 0 means that none was known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Term(u32);

impl Term {
    /// No leadership known yet.
    pub const ZERO: Self = Self(0);
    /// The highest term there can be.
    pub const MAX: Self = Self(i32::MAX as u32);

    /// Checks that `number` is below 2^31.
    ///
    /// # Errors
    /// When it is not.
    pub fn new(number: u32) -> Result<Self, EpochError> {
        if number > Self::MAX.0 {
            Err(EpochError::TermTooLarge(u64::from(number)))
        } else {
            Ok(Self(number))
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether whoever took it knew of no term before it: there was no leader yet, or everything is lost.
    #[must_use]
    pub const fn is_first(self) -> bool {
        self.0 <= MAX_ORCHESTRATORS
    }

    /// The lowest term above `self` that belongs to the orchestrator with the given number (0 to 15), or none when
    /// the terms are used up. Only who knows of none gets a first one.
    #[must_use]
    pub fn next_for(self, number: u32) -> Option<Self> {
        let number = number % MAX_ORCHESTRATORS;
        let above = if self.0 == 0 {
            0
        } else {
            self.0.max(MAX_ORCHESTRATORS)
        };
        let base = (above >> NUMBER_BITS) << NUMBER_BITS;
        let candidate = base + number;
        let next = if candidate > above {
            candidate
        } else {
            candidate.checked_add(MAX_ORCHESTRATORS)?
        };
        Self::new(next).ok()
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Fencing token of one assignment: `term << 32 | counter`. Strictly increasing per stream, names one (stream,
/// session) for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Epoch(i64);

impl Epoch {
    /// Below every epoch that was ever granted.
    pub const ZERO: Self = Self(0);

    /// The epoch number `counter` of `term`.
    #[must_use]
    pub const fn new(term: Term, counter: u32) -> Self {
        Self(((term.0 as i64) << 32) | counter as i64)
    }

    /// Takes an epoch from outside (database, wire).
    ///
    /// # Errors
    /// When `number` is negative.
    pub const fn from_i64(number: i64) -> Result<Self, EpochError> {
        if number < 0 {
            Err(EpochError::NegativeEpoch(number))
        } else {
            Ok(Self(number))
        }
    }

    /// The number, as stored and sent.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The term in which this epoch was granted.
    #[must_use]
    pub const fn term(self) -> Term {
        Term((self.0 >> 32) as u32)
    }

    /// The number within its term.
    #[must_use]
    pub const fn counter(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_i64(i64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Version of one session's desired set, within a term.
pub type Generation = u64;

/// What a session has applied; always compared as the pair, because generations start again in every term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Version {
    /// The leadership that sent the desired set.
    pub term: Term,
    /// The version of the desired set within that term.
    pub generation: Generation,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: u32) -> Term {
        Term::new(number).unwrap()
    }

    #[test]
    fn terms_of_two_orchestrators_never_meet() {
        for highest in [0, 1, 15, 16, 17, 31, 1_000] {
            let mut seen = std::collections::BTreeSet::new();
            for number in 0..MAX_ORCHESTRATORS {
                let next = term(highest).next_for(number).unwrap();
                assert!(next > term(highest));
                assert_eq!(next.is_first(), highest == 0);
                assert_eq!(next.get() % MAX_ORCHESTRATORS, number);
                assert!(seen.insert(next));
            }
        }
    }

    #[test]
    fn terms_end_instead_of_wrapping() {
        assert_eq!(Term::MAX.next_for(3), None);
    }

    #[test]
    fn a_later_term_beats_every_counter() {
        assert!(Epoch::new(term(2), 0) > Epoch::new(term(1), u32::MAX));
        let epoch = Epoch::new(term(7), 9);
        assert_eq!((epoch.term(), epoch.counter()), (term(7), 9));
        assert!(Epoch::new(Term::MAX, u32::MAX).get() > 0);
    }
}
