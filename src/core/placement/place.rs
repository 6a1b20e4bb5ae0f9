//! First placement and replacement: important streams first, then heavy ones, each to the worker with the lowest score
//! ("longest processing time first", Graham 1969).

use super::candidates::Candidates;
use super::mutant::{self, Mutant};
use super::score::relative;
use super::{Index, NONE, Placement, Problem};
use crate::cluster::UnplacedReason;

/// Sorts streams as they are placed: by priority, then by size, then by name.
pub(super) fn sort(problem: &Problem, streams: &mut [Index]) {
    // One number for both: high priorities and large shares come first. Shares are not negative, so that their bits
    // are in the order of their values.
    let key = |stream: Index| {
        let at = stream as usize;
        let important = if mutant::on(Mutant::PriorityIgnored) {
            0
        } else {
            problem.priority[at]
        };
        let priority = i64::from(i32::MAX) - i64::from(important);
        let share = problem.share(&problem.size[at]).to_bits();
        priority.cast_unsigned() << 32 | u64::from(u32::MAX - share)
    };
    let mut keyed: Vec<(u64, Index)> = streams.iter().map(|stream| (key(*stream), *stream)).collect();
    if problem.in_order {
        keyed.sort_unstable();
    } else {
        keyed.sort_unstable_by(|a, b| {
            let name = |stream: Index| &problem.names[stream as usize];
            a.0.cmp(&b.0).then_with(|| name(a.1).cmp(name(b.1)))
        });
    }
    for (stream, (_, sorted)) in streams.iter_mut().zip(keyed) {
        *stream = sorted;
    }
}

/// Places streams, which are sorted, and says which have no place, and why.
pub(super) fn place(
    problem: &Problem,
    work: &mut Placement,
    candidates: &mut Candidates,
    streams: &[Index],
    home: &dyn Fn(Index) -> Index,
) -> Vec<(Index, UnplacedReason)> {
    let mut unplaced = Vec::new();
    for stream in streams {
        // What still runs where it was stays there.
        let home = Some(home(*stream)).filter(|home| {
            *home != NONE && !mutant::on(Mutant::HomeIgnored) && problem.fits(work, *stream, *home)
        });
        match home.or_else(|| candidates.best(problem, work, *stream)) {
            Some(worker) => work.place(problem, *stream, worker),
            None => unplaced.push((*stream, reason(problem, work, *stream))),
        }
    }
    unplaced
}

/// Why no worker may have a stream: the rule that stands in the way of those that come closest.
pub(super) fn reason(problem: &Problem, work: &Placement, stream: Index) -> UnplacedReason {
    let s = stream as usize;
    let class = problem.classes.get(problem.class[s]);
    if problem.workers.order.is_empty() {
        return UnplacedReason::NoWorkers;
    }
    let pin = problem
        .exception(stream)
        .and_then(|exception| exception.pin.as_ref());
    if let Some(pin) = pin {
        let worker = problem.worker(pin).filter(|worker| class.is_able(*worker));
        return match worker {
            None => UnplacedReason::NoPin,
            Some(worker) if work.members(problem.group[s]).contains(&worker) => UnplacedReason::NoSpread,
            Some(_) => UnplacedReason::NoCapacity,
        };
    }
    if class.labelled() == 0 {
        return UnplacedReason::NoLabels;
    }
    if class.able_count() == 0 {
        return UnplacedReason::NoGuard;
    }
    let members = work.members(problem.group[s]);
    let mut able = problem
        .workers
        .order
        .iter()
        .filter(|worker| class.is_able(**worker));
    if !members.is_empty() && able.all(|worker| members.contains(worker)) {
        return UnplacedReason::NoSpread;
    }
    UnplacedReason::NoCapacity
}

/// Relative load of a worker.
pub(super) fn score(problem: &Problem, work: &Placement, worker: Index) -> f64 {
    relative(&work.load(worker), &problem.workers.inverse[worker as usize])
}
