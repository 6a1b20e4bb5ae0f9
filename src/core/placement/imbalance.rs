//! How even a fleet is: one figure for people, and one finding for alerts.

use super::score::relative;
use super::{DIMENSIONS, Index, Placement, Problem, Sums};

/// When unevenness is worth telling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Excess of the fullest worker over the mean, as a share of the mean.
    pub relative: f64,
    /// The same as an absolute relative load; both must be exceeded.
    pub absolute: f64,
}

/// A fleet that is uneven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Imbalance {
    /// The fullest worker.
    pub fullest: Index,
    /// Its relative load.
    pub highest: f64,
    /// The emptiest worker.
    pub emptiest: Index,
    /// Its relative load.
    pub lowest: f64,
    /// What every worker would have if load were even.
    pub mean: f64,
}

/// Relative load of the whole fleet in its tightest dimension, and its declared load. Only open workers count.
pub(super) fn mean(problem: &Problem, work: &Placement) -> (f64, f64) {
    let mut load: Sums = [0.0; DIMENSIONS];
    for worker in &problem.workers.order {
        let inverse = &problem.workers.inverse[*worker as usize];
        for ((sum, load), inverse) in load.iter_mut().zip(work.load(*worker)).zip(inverse) {
            *sum += if *inverse > 0.0 { load } else { 0.0 };
        }
    }
    let inverse = problem
        .workers
        .total
        .map(|total| if total > 0.0 { 1.0 / total } else { 0.0 });
    (relative(&load, &inverse), load[0])
}

/// Fullest and emptiest worker, and the mean between them.
#[must_use]
pub fn imbalance_of(problem: &Problem, placement: &Placement) -> Option<Imbalance> {
    let score = |worker: &Index| super::place::score(problem, placement, *worker);
    let rank = |worker: &Index| problem.workers.rank[*worker as usize];
    let by = |a: &&Index, b: &&Index| score(a).total_cmp(&score(b)).then(rank(b).cmp(&rank(a)));
    let workers = problem.workers.order.iter();
    let (fullest, emptiest) = (workers.clone().max_by(by)?, workers.min_by(by)?);
    Some(Imbalance {
        fullest: *fullest,
        highest: score(fullest),
        emptiest: *emptiest,
        lowest: score(emptiest),
        mean: mean(problem, placement).0,
    })
}

/// Whether the fullest worker is so far above the mean that it is worth telling.
#[must_use]
pub fn detect_imbalance(
    problem: &Problem,
    placement: &Placement,
    thresholds: Thresholds,
) -> Option<Imbalance> {
    let found = imbalance_of(problem, placement)?;
    let excess = found.highest - found.mean;
    (excess > thresholds.absolute && excess > thresholds.relative * found.mean).then_some(found)
}

/// 1 when load is even, towards 0 the fuller the fullest worker is against the mean.
#[must_use]
pub fn balance_score(problem: &Problem, placement: &Placement) -> f64 {
    imbalance_of(problem, placement)
        .filter(|found| found.highest > 0.0)
        .map_or(1.0, |found| (found.mean / found.highest).clamp(0.0, 1.0))
}
