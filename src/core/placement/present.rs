//! What is: who has which stream, with everything that is counted by it.

use super::mutant::{self, Mutant};
use super::worker::to_index;
use super::{DIMENSIONS, Index, NONE, Problem, Sums};

/// Who has which stream.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// The worker of each stream.
    owner: Vec<Index>,
    /// Place of each stream in the list of its worker.
    at: Vec<Index>,
    /// The streams of each worker, in no order.
    pub(super) streams: Vec<Vec<Index>>,
    pub(super) load: Vec<Sums>,
    /// The workers of each spread group, one entry for each stream.
    pub(super) members: Vec<Vec<Index>>,
}

impl Placement {
    /// A placement of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The worker of a stream, or [`NONE`].
    #[must_use]
    pub fn owner(&self, stream: Index) -> Index {
        self.owner.get(stream as usize).copied().unwrap_or(NONE)
    }

    /// How many streams a worker has.
    #[must_use]
    pub fn count(&self, worker: Index) -> u32 {
        self.streams
            .get(worker as usize)
            .map_or(0, |streams| to_index(streams.len()))
    }

    /// The streams of a worker.
    #[must_use]
    pub fn streams_of(&self, worker: Index) -> &[Index] {
        self.streams.get(worker as usize).map_or(&[], Vec::as_slice)
    }

    /// What a worker carries.
    #[must_use]
    pub fn load(&self, worker: Index) -> Sums {
        self.load
            .get(worker as usize)
            .copied()
            .unwrap_or([0.0; DIMENSIONS])
    }

    /// Makes the arrays as long as those of the problem.
    pub(super) fn fit(&mut self, problem: &Problem) {
        let (streams, workers) = (problem.streams(), problem.workers());
        if self.owner.len() < streams {
            self.owner.resize(streams, NONE);
            self.at.resize(streams, NONE);
        }
        if self.streams.len() < workers {
            self.streams.resize_with(workers, Vec::new);
            self.load.resize(workers, [0.0; DIMENSIONS]);
        }
    }

    /// Gives a stream to a worker.
    pub fn place(&mut self, problem: &Problem, stream: Index, worker: Index) {
        self.fit(problem);
        self.remove(problem, stream);
        let (s, w) = (stream as usize, worker as usize);
        self.owner[s] = worker;
        self.at[s] = to_index(self.streams[w].len());
        self.streams[w].push(stream);
        for (load, size) in self.load[w].iter_mut().zip(problem.size[s]) {
            *load += f64::from(size);
        }
        let group = problem.group[s];
        if group != NONE {
            let group = group as usize;
            if self.members.len() <= group {
                self.members.resize_with(group + 1, Vec::new);
            }
            self.members[group].push(worker);
        }
    }

    /// Takes a stream from its worker, if it has one.
    pub fn remove(&mut self, problem: &Problem, stream: Index) {
        let owner = self.owner(stream);
        if owner == NONE {
            return;
        }
        let (s, w) = (stream as usize, owner as usize);
        self.owner[s] = NONE;
        let at = self.at[s] as usize;
        self.streams[w].swap_remove(at);
        if let Some(moved) = self.streams[w].get(at) {
            self.at[*moved as usize] = self.at[s];
        }
        let empty = self.streams[w].is_empty();
        for (load, size) in self.load[w].iter_mut().zip(problem.size[s]) {
            *load = if empty { 0.0 } else { *load - f64::from(size) };
        }
        let members = usize::try_from(problem.group[s]).ok();
        if let Some(members) = members.and_then(|group| self.members.get_mut(group))
            && let Some(at) = members.iter().position(|member| *member == owner)
        {
            members.swap_remove(at);
        }
    }

    /// Workers that have streams of this group.
    pub(super) fn members(&self, group: Index) -> &[Index] {
        if mutant::on(Mutant::SpreadIgnored) {
            return &[];
        }
        self.members.get(group as usize).map_or(&[], Vec::as_slice)
    }
}
