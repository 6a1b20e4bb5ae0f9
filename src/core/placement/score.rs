//! The one score: relative load in the tightest dimension, at the capacity that a worker is trusted with, plus what it
//! lacks of the preferred labels. Placement takes the lowest, evening out lowers the highest.

use super::mutant::{self, Mutant};
use super::{Index, Problem, Size, Sums};

/// A declared sum may exceed a capacity by rounding, but by nothing else.
pub(super) const ROUNDING: f64 = 1.0 + 1e-7;

/// Share of a host that measured use may take before it counts at all. Below it, what streams use says nothing about where
/// they should run, and is noisy: a fleet that is nearly idle would never come to rest.
const UNCOUNTED: f64 = 0.5;
/// From there it counts so many times as steeply, until it has caught up with what it is: at two thirds of a host. A busy
/// host then counts for as much as people see, and nowhere does a little noise make a large step.
const CATCHING_UP: f64 = 4.0;

/// The tightest dimension, of relative loads with the declared weight first. What is measured counts from
/// [`UNCOUNTED`] on, and in full from two thirds on.
fn tightest(loads: impl Iterator<Item = f64>) -> f64 {
    let mut highest = 0.0_f64;
    for (dimension, load) in loads.enumerate() {
        let counted = if dimension == 0 {
            load
        } else {
            load.min((load - UNCOUNTED) * CATCHING_UP)
        };
        highest = highest.max(counted);
    }
    highest
}

/// Relative load in the tightest dimension.
pub(super) fn relative(load: &Sums, inverse: &Sums) -> f64 {
    tightest(load.iter().zip(inverse).map(|(load, inverse)| load * inverse))
}

/// The same with one stream more.
pub(super) fn relative_with(load: &Sums, size: &Size, inverse: &Sums) -> f64 {
    let loads = load.iter().zip(size).zip(inverse);
    tightest(loads.map(|((load, size), inverse)| (load + f64::from(*size)) * inverse))
}

/// The same with one stream less.
pub(super) fn relative_without(load: &Sums, size: &Size, inverse: &Sums) -> f64 {
    let loads = load.iter().zip(size).zip(inverse);
    tightest(loads.map(|((load, size), inverse)| (load - f64::from(*size)) * inverse))
}

impl Problem {
    /// Share of the whole fleet that a size takes, in its tightest dimension: by it, large and small are told apart.
    pub(super) fn share(&self, size: &Size) -> f32 {
        let mut highest = 0.0_f32;
        for (size, total) in size.iter().zip(self.workers.total) {
            if total > 0.0 {
                highest = highest.max(size / total as f32);
            }
        }
        highest
    }

    /// What is left of a worker's declared capacity; below zero when it takes no stream more.
    pub(super) fn room(&self, worker: Index, load: &Sums, count: u32) -> f64 {
        let at = worker as usize;
        if count >= self.workers.max_streams[at] && !mutant::on(Mutant::CountIgnored) {
            return -1.0;
        }
        if mutant::on(Mutant::WeightIgnored) {
            return f64::MAX;
        }
        self.workers.capacity[at][0] * ROUNDING - load[0]
    }
}
