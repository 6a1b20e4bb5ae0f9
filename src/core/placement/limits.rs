//! How much unevenness is borne, and how fast it is mended.

use super::mutant::{self, Mutant};

/// Share of the band, to either side of the mean, in which the fleet is left.
pub(super) const TARGET: f64 = 0.25;
/// Share of the band that is borne among streams that do not run yet.
const FRESH_BAND: f64 = 0.1;

/// How unevenness is borne and mended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Difference of relative load between fullest and emptiest worker that is borne, as a share of the mean.
    pub band_relative: f64,
    /// The same as an absolute relative load; both must be exceeded.
    pub band_absolute: f64,
    /// Least difference that a move has to make, as a share of the band.
    pub min_gain: f64,
    /// Share of its excess that a worker gives, and of what it lacks that one gets, in one plan.
    pub damping: f64,
    /// Most moves of one plan.
    pub max_moves: usize,
    /// Most load that one plan moves, as a share of all load.
    pub max_share: f64,
    /// Whether mending has begun: it goes on until the fleet is well inside the band.
    pub mending: bool,
}

impl Limits {
    /// The band without any budget: everything that is worth it is moved at once.
    pub const UNLIMITED: Self = Self {
        band_relative: 0.1,
        band_absolute: 0.01,
        min_gain: 0.05,
        damping: 1.0,
        max_moves: usize::MAX,
        max_share: 1.0,
        mending: false,
    };
}

impl Limits {
    pub(super) fn band(&self, mean: f64) -> f64 {
        (self.band_relative * mean).max(self.band_absolute)
    }

    /// Difference between fullest and emptiest worker at which nothing is done.
    pub(super) fn borne(&self, mean: f64) -> f64 {
        let share = if self.mending { 2.0 * TARGET } else { 1.0 };
        self.band(mean) * share
    }

    /// For streams that do not run yet. Moving them costs nothing, so that no budget holds, the first place is the last, and
    /// little unevenness is borne.
    pub(super) fn of_fresh(&self) -> Self {
        let share = if mutant::on(Mutant::FreshUneven) {
            1.0
        } else {
            FRESH_BAND
        };
        Self {
            band_relative: self.band_relative * share,
            band_absolute: self.band_absolute * share,
            ..self.without_budget()
        }
    }

    /// The same band, mended at once.
    pub(super) fn without_budget(&self) -> Self {
        Self {
            damping: 1.0,
            max_moves: usize::MAX,
            max_share: 1.0,
            ..*self
        }
    }
}
