//! Where capacity lacks, streams of lower priority yield to those of higher ones: as few and as light as possible.

use super::candidates::Candidates;
use super::mutant::{self, Mutant};
use super::{Index, NONE, Placement, Problem};
use crate::cluster::UnplacedReason;

/// Most streams that are made room for in one plan: each looks through the fleet. The next plan goes on.
const MAX_PER_PLAN: usize = 64;

/// Makes room for what is unplaced, most important first. Gives the streams that lose their worker; they are placed
/// elsewhere where there is room.
pub(super) fn evict(
    problem: &Problem,
    work: &mut Placement,
    candidates: &mut Candidates,
    unplaced: &mut Vec<(Index, UnplacedReason)>,
    before: &Placement,
) -> Vec<Index> {
    let placed = problem
        .workers
        .order
        .iter()
        .flat_map(|worker| before.streams_of(*worker));
    let Some(lowest) = placed.map(|stream| problem.priority[*stream as usize]).min() else {
        return Vec::new();
    };
    let may = |(stream, reason): &(Index, UnplacedReason)| {
        let equal = mutant::on(Mutant::EqualsYield);
        *reason == UnplacedReason::NoCapacity && (problem.priority[*stream as usize] > lowest || equal)
    };
    let served: Vec<Index> = unplaced
        .iter()
        .filter(|entry| may(entry))
        .map(|(stream, _)| *stream)
        .take(MAX_PER_PLAN)
        .collect();
    let mut evicted = Vec::new();
    for stream in served {
        let Some((worker, victims)) = cheapest(problem, work, before, stream) else {
            continue;
        };
        for victim in &victims {
            work.remove(problem, *victim);
        }
        work.place(problem, stream, worker);
        candidates.refresh(problem, work);
        evicted.extend(victims);
    }
    // Those that lost their worker, most important first, so that they find room elsewhere.
    super::place::sort(problem, &mut evicted);
    for victim in &evicted {
        if let Some(worker) = candidates.best(problem, work, *victim) {
            work.place(problem, *victim, worker);
        }
    }
    unplaced.retain(|(stream, _)| work.owner(*stream) == NONE);
    evicted
}

/// The worker where room costs least: the least important victims, then the lightest.
fn cheapest(
    problem: &Problem,
    work: &Placement,
    before: &Placement,
    stream: Index,
) -> Option<(Index, Vec<Index>)> {
    let mut best: Option<(i32, f64, u32, Index, Vec<Index>)> = None;
    for worker in &problem.workers.order {
        if !problem.allows(work, stream, *worker) {
            continue;
        }
        let Some(victims) = victims(problem, work, before, stream, *worker) else {
            continue;
        };
        let priority = victims
            .iter()
            .map(|victim| problem.priority[*victim as usize])
            .max();
        let weight: f64 = victims
            .iter()
            .map(|victim| f64::from(problem.size[*victim as usize][0]))
            .sum();
        let rank = problem.workers.rank[*worker as usize];
        let cost = (priority.unwrap_or(i32::MIN), weight, rank);
        if best
            .as_ref()
            .is_none_or(|(priority, weight, rank, ..)| cost < (*priority, *weight, *rank))
        {
            best = Some((cost.0, cost.1, cost.2, *worker, victims));
        }
    }
    best.map(|(.., worker, victims)| (worker, victims))
}

/// Streams of lower priority that make room on one worker; none when they are not enough. Only what had its worker before
/// this plan: what was placed a moment ago was placed because it matters as much.
fn victims(
    problem: &Problem,
    work: &Placement,
    before: &Placement,
    stream: Index,
    worker: Index,
) -> Option<Vec<Index>> {
    let s = stream as usize;
    let need = f64::from(problem.size[s][0]);
    let mut load = work.load(worker);
    let mut count = work.count(worker);
    let lower = |other: &&Index| {
        let (lower, higher) = (problem.priority[**other as usize], problem.priority[s]);
        (lower < higher || lower == higher && mutant::on(Mutant::EqualsYield))
            && before.owner(**other) == worker
    };
    let mut others: Vec<Index> = work.streams_of(worker).iter().filter(lower).copied().collect();
    // Least important first; of those the heaviest, so that few are enough; the name decides the rest.
    others.sort_by(|a, b| {
        let at = |stream: &Index| {
            (
                problem.priority[*stream as usize],
                problem.size[*stream as usize][0],
            )
        };
        let ((pa, wa), (pb, wb)) = (at(a), at(b));
        pa.cmp(&pb)
            .then(wb.total_cmp(&wa))
            .then_with(|| problem.name(*a).cmp(problem.name(*b)))
    });
    let mut victims = Vec::new();
    for other in others {
        if problem.room(worker, &load, count) >= need {
            break;
        }
        load[0] -= f64::from(problem.size[other as usize][0]);
        count -= 1;
        victims.push(other);
    }
    if problem.room(worker, &load, count) < need {
        return None;
    }
    // What was taken early may turn out not to be needed.
    let mut spared = 0;
    while let Some(victim) = victims.get(spared).copied() {
        let back = f64::from(problem.size[victim as usize][0]);
        let with = [load[0] + back, 0.0, 0.0, 0.0];
        if victims.len() > 1 && problem.room(worker, &with, count + 1) >= need {
            load[0] += back;
            count += 1;
            victims.remove(spared);
        } else {
            spared += 1;
        }
    }
    Some(victims)
}
