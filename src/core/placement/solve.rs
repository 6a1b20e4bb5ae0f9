//! The whole: place what waits, make room for what matters more, even out.

use std::collections::{BTreeMap, BTreeSet};

use super::candidates::Candidates;
use super::evict::evict;
use super::improve::{Even, even_out};
use super::limits::Limits;
use super::mutant::{self, Mutant};
use super::place::{place, sort};
use super::{Index, NONE, Placement, Problem};
use crate::cluster::UnplacedReason;

/// Most passes over streams that do not run yet. Each lowers what is uneven, so that the last ones change next to nothing.
const MAX_PASSES: usize = 16;

/// What a plan is to do.
#[derive(Clone, Copy)]
pub struct Mode<'a> {
    /// Where waiting streams still run: there they stay, if nothing speaks against it.
    pub homes: &'a BTreeMap<Index, Index>,
    /// Whether streams of lower priority may lose their worker to those of a higher one.
    pub evict: bool,
    /// How unevenness is borne and mended.
    pub limits: &'a Limits,
    /// Which streams may move for the sake of balance, besides those that wait. None: no other.
    pub movable: Option<&'a dyn Fn(Index) -> bool>,
    /// Workers that get nothing for the sake of balance.
    pub on_probation: &'a dyn Fn(Index) -> bool,
}

/// Why a plan moves a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It had no worker, or was to leave it.
    Placed,
    /// Load was uneven.
    Balance,
    /// A stream of higher priority needs its room.
    Preempted,
}

/// One step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The stream.
    pub stream: Index,
    /// Where it was, or [`NONE`].
    pub from: Index,
    /// Where it goes, or [`NONE`].
    pub to: Index,
    /// Why.
    pub why: Why,
}

/// A plan. A stream that is in neither list stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Solution {
    /// Each stream at most once.
    pub moves: Vec<Move>,
    /// Waiting streams without a place.
    pub unplaced: Vec<(Index, UnplacedReason)>,
}

/// Finds a worker for each waiting stream, and evens out as far as `mode` says. Streams that are not named stay, unless
/// `mode` lets them move.
#[must_use]
pub fn solve(problem: &Problem, placement: &Placement, waiting: &[Index], mode: &Mode<'_>) -> Solution {
    debug_assert!(problem.workers.is_settled(), "settle() comes before solve()");
    let mut work = placement.clone();
    work.fit(problem);
    let mut order = waiting.to_vec();
    sort(problem, &mut order);
    let mut candidates = Candidates::new(problem);
    let home = |stream| mode.homes.get(&stream).copied().unwrap_or(NONE);
    let mut unplaced = place(problem, &mut work, &mut candidates, &order, &home);
    let mut touched: Vec<(Index, Why)> = Vec::new();
    if mode.evict && !unplaced.is_empty() && !mutant::on(Mutant::NobodyYields) {
        let evicted = evict(problem, &mut work, &mut candidates, &mut unplaced, placement);
        touched.extend(evicted.into_iter().map(|stream| (stream, Why::Preempted)));
    }
    let movable = |stream: Index| match mode.movable {
        Some(movable) => placement.owner(stream) == NONE || movable(stream),
        None if mutant::on(Mutant::EveryoneMoves) => true,
        None => placement.owner(stream) == NONE && home(stream) == NONE,
    };
    let fresh_only = mode.movable.is_none() && !mutant::on(Mutant::EveryoneMoves);
    let (narrow, wide) = if fresh_only {
        (mode.limits.of_fresh(), mode.limits.without_budget())
    } else {
        (*mode.limits, *mode.limits)
    };
    let even = |limits| Even {
        limits,
        movable: &movable,
        on_probation: mode.on_probation,
        only: fresh_only.then_some(&order[..]),
    };
    for _ in 0..if fresh_only { MAX_PASSES } else { 1 } {
        let mut moved = even_out(problem, &mut work, &even(&narrow));
        if moved.is_empty() && fresh_only {
            // A wider band sees other receivers: what it would move later is better placed there at once.
            moved = even_out(problem, &mut work, &even(&wide));
        }
        if moved.is_empty() {
            break;
        }
        touched.extend(moved.into_iter().map(|stream| (stream, Why::Balance)));
        if !unplaced.is_empty() {
            // Where something left, there is room now.
            candidates.refresh(problem, &work);
            let waiting: Vec<Index> = unplaced.iter().map(|(stream, _)| *stream).collect();
            unplaced = place(problem, &mut work, &mut candidates, &waiting, &home);
        }
    }
    Solution {
        moves: moves(placement, &work, &order, &touched),
        unplaced,
    }
}

/// The difference between two placements.
fn moves(before: &Placement, after: &Placement, waiting: &[Index], touched: &[(Index, Why)]) -> Vec<Move> {
    let mut moves = Vec::with_capacity(waiting.len() + touched.len());
    let mut push = |stream, why| {
        let (from, to) = (before.owner(stream), after.owner(stream));
        if from != to {
            moves.push(Move {
                stream,
                from,
                to,
                why,
            });
        }
    };
    for stream in waiting {
        push(*stream, Why::Placed);
    }
    let mut seen = BTreeSet::new();
    for (stream, why) in touched {
        // A waiting stream without a worker was told above already, wherever it ended.
        if before.owner(*stream) != NONE && seen.insert(*stream) {
            push(*stream, *why);
        }
    }
    moves
}
