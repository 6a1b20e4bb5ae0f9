//! Why a stream is where it is: the score of every worker that may have it, and what excludes the others.

use std::fmt;

use super::score::{relative, relative_with};
use super::{Index, NONE, Placement, Problem};

/// What keeps a stream from a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exclusion {
    /// The worker takes no streams at present.
    Closed,
    /// It lacks this label.
    Label {
        /// Its key.
        key: String,
        /// The value that is required.
        value: String,
    },
    /// The stream is exclusive, and the worker does not guard such streams.
    Guard,
    /// The stream is pinned to another worker.
    Pin,
    /// Another stream with the same spread key is there.
    Spread,
    /// It has as many streams as it takes.
    Full,
    /// What is left of its capacity is less than the stream's weight.
    Weight,
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("takes no streams at present"),
            Self::Label { key, value } => write!(f, "lacks the label {key}={value}"),
            Self::Guard => f.write_str("does not guard exclusive streams"),
            Self::Pin => f.write_str("is not the worker that the stream is pinned to"),
            Self::Spread => f.write_str("has another stream with the same spread key"),
            Self::Full => f.write_str("has as many streams as it takes"),
            Self::Weight => f.write_str("has less capacity left than the stream's weight"),
        }
    }
}

/// One worker, seen from one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The worker.
    pub worker: Index,
    /// Relative load that it would have with the stream (has, where the stream is there), plus what it lacks of the
    /// preferred labels. The lowest is best.
    pub score: f64,
    /// The part of the score that comes from preferred labels.
    pub dislike: f64,
    /// Whether the stream failed there before.
    pub avoided: bool,
    /// How many streams with its spread key are in the worker's zone: zones with fewer come first, whatever the score.
    pub crowd: usize,
    /// What excludes it; the first that was found.
    pub excluded: Option<Exclusion>,
}

/// All workers, seen from one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Where it is, or [`NONE`].
    pub owner: Index,
    /// The worker that a plan would choose if the stream had none, or [`NONE`].
    pub best: Index,
    /// Every worker: first those that may have it, best first, then the excluded ones, by id.
    pub candidates: Vec<Candidate>,
}

/// Explains one stream.
#[must_use]
pub fn explain(problem: &Problem, placement: &Placement, stream: Index) -> Explanation {
    let owner = placement.owner(stream);
    // As if it had no worker: its own room and spread key do not stand in its way.
    let mut without = placement.clone();
    without.fit(problem);
    without.remove(problem, stream);
    let mut candidates: Vec<Candidate> = problem
        .workers
        .by_id
        .values()
        .map(|worker| candidate(problem, &without, stream, *worker))
        .collect();
    // Stable: what is equal stays in the order of ids.
    candidates.sort_by(|a, b| {
        let order = |one: &Candidate| {
            let excluded = one.excluded.is_some();
            (
                excluded,
                !excluded && one.avoided,
                if excluded || one.avoided { 0 } else { one.crowd },
            )
        };
        let by_score = if a.excluded.is_some() {
            std::cmp::Ordering::Equal
        } else {
            a.score.total_cmp(&b.score)
        };
        order(a).cmp(&order(b)).then(by_score)
    });
    let best = candidates.first().filter(|first| first.excluded.is_none());
    Explanation {
        owner,
        best: best.map_or(NONE, |first| first.worker),
        candidates,
    }
}

fn candidate(problem: &Problem, without: &Placement, stream: Index, worker: Index) -> Candidate {
    let (s, w) = (stream as usize, worker as usize);
    let class = problem.classes.get(problem.class[s]);
    let exception = problem.exception(stream);
    let dislike = class.cost(worker);
    let inverse = &problem.workers.inverse[w];
    let with = relative_with(&without.load(worker), &problem.size[s], inverse);
    Candidate {
        worker,
        score: with.max(relative(&without.load(worker), inverse)) + dislike,
        dislike,
        avoided: exception.is_some_and(|exception| exception.avoids.contains(problem.id(worker))),
        crowd: problem.crowd(without.members(problem.group[s]), worker),
        excluded: exclusion(problem, without, stream, worker),
    }
}

fn exclusion(problem: &Problem, without: &Placement, stream: Index, worker: Index) -> Option<Exclusion> {
    let (s, w) = (stream as usize, worker as usize);
    let class = problem.classes.get(problem.class[s]);
    if !problem.workers.open[w] {
        return Some(Exclusion::Closed);
    }
    let labels = &problem.workers.labels[w];
    let lacks = class
        .requires()
        .iter()
        .find(|(key, value)| labels.get(*key).is_none_or(|has| has != value));
    if let Some((key, value)) = lacks {
        return Some(Exclusion::Label {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }
    if class.is_exclusive() && !problem.workers.guarded[w] {
        return Some(Exclusion::Guard);
    }
    let pin = problem
        .exception(stream)
        .and_then(|exception| exception.pin.as_ref());
    if pin.is_some_and(|pin| pin != problem.id(worker)) {
        return Some(Exclusion::Pin);
    }
    if without.members(problem.group[s]).contains(&worker) {
        return Some(Exclusion::Spread);
    }
    if without.count(worker) >= problem.workers.max_streams[w] {
        return Some(Exclusion::Full);
    }
    (!problem.fits(without, stream, worker)).then_some(Exclusion::Weight)
}
