//! Where streams go: `solve(problem, placement) -> solution`, a pure function over dense arrays.
//!
//! [`Problem`] is what has to be true (streams, workers, constraints), [`Placement`] is what is. Both are kept up to
//! date by small changes, so that a plan after an event costs what the event changed, and not the fleet. One score
//! serves first placement, replacement and evening out. The wanted properties, the heuristic and its sources are in
//! `README.md` beside this file.

mod candidates;
mod class;
mod evict;
mod explain;
mod group;
mod imbalance;
mod improve;
mod limits;
mod mutant;
mod place;
mod present;
mod problem;
mod score;
mod solve;
#[cfg(test)]
mod tests;
mod tree;
mod worker;

pub use explain::{Candidate, Exclusion, Explanation, explain};
pub use imbalance::{Imbalance, Thresholds, balance_score, detect_imbalance, imbalance_of};
pub use improve::is_uneven;
pub use limits::Limits;
pub use present::Placement;
pub use problem::{Problem, StreamFacts};
pub use solve::{Mode, Move, Solution, Why, solve};
pub use worker::WorkerFacts;

/// Position of a stream or a worker in the arrays of a [`Problem`]. It is given again after a removal.
pub type Index = u32;

/// No stream, no worker, no group, no zone.
pub const NONE: Index = Index::MAX;

/// How many kinds of load there are.
pub const DIMENSIONS: usize = 4;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// What the user declared. The only one with a hard limit: what is measured is noisy, and noise must not make a
    /// stream homeless.
    Weight,
    /// Measured processors.
    Cpu,
    /// Measured memory.
    Memory,
    /// Measured bytes per second.
    Bandwidth,
}

impl Dimension {
    /// All of them, in the order of the arrays.
    pub const ALL: [Self; DIMENSIONS] = [Self::Weight, Self::Cpu, Self::Memory, Self::Bandwidth];

    /// Name in documents and results.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Bandwidth => "bandwidth",
        }
    }
}

/// What one stream takes, by dimension.
pub type Size = [f32; DIMENSIONS];
/// Sums of sizes. Sums of `f32` in `f64` are exact in practice, so that they do not depend on the order of events.
pub type Sums = [f64; DIMENSIONS];
