//! Evening out: one stream at a time, from the fullest worker to the emptiest that may have it, until the fleet is well
//! inside the band.
//!
//! Every step lowers the sum of capacity × relative load², so that it ends; no step exchanges streams, and none leads
//! from a worker that was given something in the same plan.

use std::collections::BTreeSet;

use super::limits::{Limits, TARGET};
use super::mutant::{self, Mutant};
use super::score::{relative_with, relative_without};
use super::{DIMENSIONS, Index, Placement, Problem};

/// What evening out may do.
pub(super) struct Even<'a> {
    pub(super) limits: &'a Limits,
    pub(super) movable: &'a dyn Fn(Index) -> bool,
    pub(super) on_probation: &'a dyn Fn(Index) -> bool,
    /// Only the workers of these streams give; none: every worker may.
    pub(super) only: Option<&'a [Index]>,
}

/// How many streams of a worker are looked at closely before all of them are.
const FIRST_TRIED: usize = 8;
/// How many more are looked at where none of those may move.
const THEN_TRIED: usize = 64;
/// Most workers that a stream is tried on, emptiest first.
const MAX_RECEIVERS: usize = 64;
/// After so many workers in a row that have nothing to give, a plan is as good as it gets.
const MAX_VAIN: usize = 64;

/// Whether the fleet is outside its band, or still being mended: whether a plan could move anything.
#[must_use]
pub fn is_uneven(
    problem: &Problem,
    placement: &Placement,
    limits: &Limits,
    on_probation: &dyn Fn(Index) -> bool,
) -> bool {
    let score = |worker: &Index| super::place::score(problem, placement, *worker);
    let workers = problem.workers.order.iter();
    let high = workers.clone().map(score).fold(0.0, f64::max);
    let low = workers
        .filter(|worker| !on_probation(**worker))
        .map(score)
        .fold(f64::MAX, f64::min);
    let (mean, _) = super::imbalance::mean(problem, placement);
    high - low > limits.borne(mean)
}

/// Evens out, and gives the streams that it moved.
pub(super) fn even_out(problem: &Problem, work: &mut Placement, even: &Even<'_>) -> Vec<Index> {
    let Some(mut round) = Round::begin(problem, work, even) else {
        return Vec::new();
    };
    let mut moved = Vec::new();
    let mut budget = even.limits.max_share * round.total;
    while moved.len() < even.limits.max_moves || mutant::on(Mutant::BudgetIgnored) {
        let Some((donor, step)) = round.next(work, budget) else {
            break;
        };
        budget -= f64::from(problem.size[step.stream as usize][0]);
        round.perform(work, donor, &step);
        moved.push(step.stream);
    }
    moved
}

/// A worker in the order of scores.
type Standing = (Key, u32, Index);

/// A score that is ordered; scores are never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Key(f64);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One possible move.
struct Step {
    stream: Index,
    to: Index,
    gain: f64,
    /// Relative load that the donor loses and the receiver gets.
    given: f64,
    got: f64,
}

struct Round<'a> {
    problem: &'a Problem,
    even: &'a Even<'a>,
    standings: BTreeSet<Standing>,
    mean: f64,
    band: f64,
    /// Declared load of all open workers.
    total: f64,
    /// What each worker gave (below zero) or got so far.
    flow: Vec<f64>,
    exhausted: Vec<bool>,
    /// Only workers that are this low get something, and those that got something already.
    receivers: f64,
    /// The fullest that may get something has no higher score: nobody above is looked at.
    reach: f64,
}

impl<'a> Round<'a> {
    /// A round, if the fleet is outside its band.
    fn begin(problem: &'a Problem, work: &Placement, even: &'a Even<'a>) -> Option<Self> {
        let (mean, total) = super::imbalance::mean(problem, work);
        let band = even.limits.band(mean);
        let standing = |worker: &Index| {
            let score = super::place::score(problem, work, *worker);
            (Key(score), problem.workers.rank[*worker as usize], *worker)
        };
        let all = problem.workers.order.iter().map(standing);
        let high = all.clone().max()?;
        let low = all
            .clone()
            .filter(|(_, _, worker)| !(even.on_probation)(*worker))
            .min()?;
        if high.0.0 - low.0.0 <= even.limits.borne(mean) && !mutant::on(Mutant::BandIgnored) {
            return None;
        }
        let mut exhausted = vec![even.only.is_some(); problem.workers()];
        for stream in even.only.unwrap_or_default() {
            if let Some(gave_up) = exhausted.get_mut(work.owner(*stream) as usize) {
                *gave_up = false;
            }
        }
        // Whoever is far below the others is filled first, and alone: a newcomer is no reason to move anything else.
        let receivers = if low.0.0 < mean - band / 2.0 {
            mean - band / 2.0
        } else {
            f64::INFINITY
        };
        Some(Self {
            problem,
            even,
            standings: all.collect(),
            mean,
            band,
            total,
            flow: vec![0.0; problem.workers()],
            exhausted,
            receivers,
            reach: receivers,
        })
    }

    fn next(&mut self, work: &Placement, budget: f64) -> Option<(Index, Step)> {
        let target = self.band * TARGET;
        for _ in 0..MAX_VAIN {
            let low = self.standings.iter().find(|standing| self.gets(standing))?;
            let gives = |(_, _, worker): &&Standing| {
                self.flow[*worker as usize] <= 0.0 && !self.exhausted[*worker as usize]
            };
            let high = self.standings.iter().rev().find(gives)?;
            let outside = high.0.0 > self.mean + target || low.0.0 < self.mean - target;
            if !outside || high.0.0 - low.0.0 <= self.band * 2.0 * TARGET {
                return None;
            }
            let donor = high.2;
            match self.best_of(work, donor, high.0.0, low.0.0, budget) {
                Some(step) => return Some((donor, step)),
                None => self.exhausted[donor as usize] = true,
            };
        }
        None
    }

    /// Whether a worker may be given something.
    fn gets(&self, (score, _, worker): &Standing) -> bool {
        let flow = self.flow[*worker as usize];
        (flow >= 0.0 || mutant::on(Mutant::GiversGet))
            && (score.0 <= self.receivers || flow > 0.0)
            && !(self.even.on_probation)(*worker)
    }

    /// The move away from one worker that helps most. The streams whose size comes closest to what should move are tried
    /// first; all of them only if none of those may move.
    fn best_of(&self, work: &Placement, donor: Index, score: f64, low: f64, budget: f64) -> Option<Step> {
        let inverse = &self.problem.workers.inverse[donor as usize];
        let surplus = score - self.mean + self.band * TARGET;
        let too_full = score > self.mean + self.band * TARGET;
        let ideal = if too_full {
            (score - low) / 2.0
        } else {
            surplus.min((score - low) / 2.0)
        };
        // One stream may always be moved.
        let untouched = budget >= self.even.limits.max_share * self.total;
        let mut near: Vec<(Key, Index)> = Vec::with_capacity(work.streams_of(donor).len());
        for stream in work.streams_of(donor) {
            let size = &self.problem.size[*stream as usize];
            let part = relative_with(&[0.0; DIMENSIONS], size, inverse);
            if (f64::from(size[0]) <= budget || untouched)
                && part < score - low
                && (too_full || part <= surplus)
            {
                near.push((Key((part - ideal).abs()), *stream));
            }
        }
        let order = |a: &(Key, Index), b: &(Key, Index)| {
            a.0.cmp(&b.0).then_with(|| match self.problem.before(a.1, b.1) {
                true => std::cmp::Ordering::Less,
                false => std::cmp::Ordering::Greater,
            })
        };
        let rest = if near.len() > FIRST_TRIED {
            near.select_nth_unstable_by(FIRST_TRIED, order);
            let mut rest = near.split_off(FIRST_TRIED);
            if rest.len() > THEN_TRIED {
                rest.select_nth_unstable_by(THEN_TRIED, order);
                rest.truncate(THEN_TRIED);
            }
            rest
        } else {
            Vec::new()
        };
        self.best_among(work, donor, score, &near)
            .or_else(|| self.best_among(work, donor, score, &rest))
    }

    fn best_among(
        &self,
        work: &Placement,
        donor: Index,
        score: f64,
        streams: &[(Key, Index)],
    ) -> Option<Step> {
        let mut best: Option<Step> = None;
        for (_, stream) in streams {
            if !(self.even.movable)(*stream) {
                continue;
            }
            let Some(step) = self.step(work, donor, score, *stream) else {
                continue;
            };
            let better = best.as_ref().is_none_or(|best| {
                step.gain > best.gain
                    || step.gain == best.gain && self.problem.before(step.stream, best.stream)
            });
            if better {
                best = Some(step);
            }
        }
        best
    }

    /// The move of one stream to the emptiest worker that may have it, if it is worth it.
    fn step(&self, work: &Placement, donor: Index, score: f64, stream: Index) -> Option<Step> {
        let problem = self.problem;
        let s = stream as usize;
        let size = &problem.size[s];
        let class = problem.classes.get(problem.class[s]);
        let members = work.members(problem.group[s]);
        let crowd = problem.crowd(members, donor).saturating_sub(1);
        let accepts = |worker: Index| {
            problem.fits(work, stream, worker)
                && problem.crowd(members, worker) <= crowd
                && !problem
                    .exception(stream)
                    .is_some_and(|exception| exception.avoids.contains(problem.id(worker)))
        };
        let last = self.reach.min(score);
        let below = self
            .standings
            .iter()
            .take_while(|(low, ..)| low.0 < score && low.0 <= last);
        let (Key(low), _, to) = *below
            .filter(|standing| self.gets(standing))
            .take(MAX_RECEIVERS)
            .find(|standing| accepts(standing.2))?;
        let (d, t) = (donor as usize, to as usize);
        let donor_after = relative_without(&work.load[d], size, &problem.workers.inverse[d]);
        let after = relative_with(&work.load[t], size, &problem.workers.inverse[t]);
        let (given, got) = (score - donor_after, after - low);
        let dislike = (class.cost(to) - class.cost(donor)).max(0.0);
        let target = self.band * TARGET;
        // Whoever is not too full gives only as much as leaves it in the middle, and nobody is filled beyond that by
        // somebody who is not.
        let too_full = score > self.mean + target;
        let overdone = !too_full && (donor_after < self.mean - target || after > self.mean + target);
        let worth = after + dislike < score - self.even.limits.min_gain * self.band;
        if overdone
            || !(worth || mutant::on(Mutant::GainIgnored))
            || !self.damped(d, given, score)
            || !self.damped(t, -got, low)
        {
            return None;
        }
        let capacity = |at: usize| problem.workers.capacity[at][0];
        let gain = capacity(d) * (score * score - donor_after * donor_after)
            - capacity(t) * (after * after - low * low);
        let step = Step {
            stream,
            to,
            gain,
            given,
            got,
        };
        (gain > 0.0 && given >= 0.0 || mutant::on(Mutant::GainIgnored)).then_some(step)
    }

    /// Whether a worker may give (or get, below zero) so much: no more than the damped part of what it has too much (or
    /// too little), but one stream always.
    fn damped(&self, worker: usize, part: f64, score: f64) -> bool {
        let before = self.flow[worker];
        if before == 0.0 {
            return true;
        }
        // As it was when the plan began.
        let excess = (score - before - self.mean).abs();
        before.abs() + part.abs() <= self.even.limits.damping * excess
    }

    fn perform(&mut self, work: &mut Placement, donor: Index, step: &Step) {
        for worker in [donor, step.to] {
            let standing = self.standing(work, worker);
            self.standings.remove(&standing);
        }
        work.place(self.problem, step.stream, step.to);
        for worker in [donor, step.to] {
            let standing = self.standing(work, worker);
            self.standings.insert(standing);
            if worker == step.to {
                self.reach = self.reach.max(standing.0.0);
            }
        }
        self.flow[donor as usize] -= step.given;
        self.flow[step.to as usize] += step.got;
    }

    fn standing(&self, work: &Placement, worker: Index) -> Standing {
        let score = super::place::score(self.problem, work, worker);
        (Key(score), self.problem.workers.rank[worker as usize], worker)
    }
}
