//! Which worker is best for a stream, among those that may have it.

use super::mutant::{self, Mutant};
use super::score::{relative, relative_with};
use super::tree::Tree;
use super::{Index, NONE, Placement, Problem};

/// Placements of few streams look at every worker; it is for many that a tree is worth its making.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    trees: Vec<Option<Tree>>,
}

impl Candidates {
    pub(super) fn new(problem: &Problem) -> Self {
        let mut trees = Vec::new();
        trees.resize_with(problem.classes.len(), || None);
        Self { trees }
    }

    /// The best worker for a stream, if any may have it.
    pub(super) fn best(&mut self, problem: &Problem, work: &Placement, stream: Index) -> Option<Index> {
        let exception = problem.exception(stream);
        if let Some(pin) = exception.and_then(|exception| exception.pin.as_ref()) {
            let worker = problem.worker(pin)?;
            return problem.fits(work, stream, worker).then_some(worker);
        }
        let class = problem.class[stream as usize];
        let members = work.members(problem.group[stream as usize]);
        let avoids = exception.map_or(&[][..], |exception| &exception.avoids);
        if members.is_empty() && avoids.is_empty() {
            return self.search(problem, work, stream, class, &|_| false);
        }
        let taken = |worker: Index| members.contains(&worker);
        // What it failed on is better than nothing, and so is a zone that has one of its group.
        let avoided = |worker: Index| avoids.contains(problem.id(worker));
        for tier in problem.zone_tiers(members) {
            let skip =
                |worker: Index| taken(worker) || avoided(worker) || problem.crowd(members, worker) > tier;
            let found = self.search(problem, work, stream, class, &skip);
            if found.is_some() {
                return found;
            }
        }
        if avoids.is_empty() {
            return None;
        }
        self.search(problem, work, stream, class, &taken)
    }

    fn search(
        &mut self,
        problem: &Problem,
        work: &Placement,
        stream: Index,
        class: Index,
        skip: &impl Fn(Index) -> bool,
    ) -> Option<Index> {
        let look = |worker: Index| problem.look(work, class, worker);
        let tree = self.trees[class as usize].get_or_insert_with(|| {
            let able = problem.classes.get(class);
            let workers = problem.workers.order.iter().copied();
            Tree::new(workers.filter(|worker| able.is_able(*worker)).collect(), look)
        });
        let size = &problem.size[stream as usize];
        let weight = f64::from(size[0]);
        if tree.is_full(weight) {
            return None;
        }
        let mut best: Option<(f64, u32, Index)> = None;
        for root in tree.roots() {
            if let Some(worker) = tree.find(root, weight, &look, skip) {
                let at = worker as usize;
                let score = relative_with(&work.load[at], size, &problem.workers.inverse[at])
                    + problem.classes.get(class).cost(worker);
                let rank = problem.workers.rank[at];
                let first_fit = mutant::on(Mutant::FirstFit) && best.is_some();
                if !first_fit && best.is_none_or(|(lowest, first, _)| (score, rank) < (lowest, first)) {
                    best = Some((score, rank, worker));
                }
            }
        }
        best.map(|(_, _, worker)| worker)
    }

    /// Loads have fallen.
    pub(super) fn refresh(&mut self, problem: &Problem, work: &Placement) {
        for (class, tree) in self.trees.iter_mut().enumerate() {
            if let Some(tree) = tree {
                tree.refresh_all(|worker| problem.look(work, super::worker::to_index(class), worker));
            }
        }
    }
}

impl Problem {
    /// Score and room of a worker, for a class.
    fn look(&self, work: &Placement, class: Index, worker: Index) -> (f64, f64) {
        let at = worker as usize;
        let load = &work.load[at];
        let score = relative(load, &self.workers.inverse[at]) + self.classes.get(class).cost(worker);
        (score, self.room(worker, load, work.count(worker)))
    }

    /// Whether every rule lets a stream be on a worker, whatever room it has.
    pub(super) fn allows(&self, work: &Placement, stream: Index, worker: Index) -> bool {
        let s = stream as usize;
        let pin = self
            .exception(stream)
            .and_then(|exception| exception.pin.as_ref());
        self.classes.get(self.class[s]).is_able(worker)
            && pin.is_none_or(|pin| pin == self.id(worker))
            && !work.members(self.group[s]).contains(&worker)
    }

    /// Whether a stream may be given to a worker as it is.
    pub(super) fn fits(&self, work: &Placement, stream: Index, worker: Index) -> bool {
        let room = self.room(worker, &work.load(worker), work.count(worker));
        room >= f64::from(self.size[stream as usize][0]) && self.allows(work, stream, worker)
    }

    /// How many of a group are in the zone of a worker.
    pub(super) fn crowd(&self, members: &[Index], worker: Index) -> usize {
        let zone = self.workers.zone[worker as usize];
        if zone == NONE {
            return 0;
        }
        let same = |member: &&Index| self.workers.zone[**member as usize] == zone;
        members.iter().filter(same).count()
    }

    /// How many of its group a stream may find in its zone: none at first, then more and more.
    fn zone_tiers(&self, members: &[Index]) -> impl Iterator<Item = usize> + use<> {
        let last = if self.workers.zones() > 1 {
            members.len()
        } else {
            usize::MAX
        };
        (0..=members.len())
            .filter(move |tier| last != usize::MAX || *tier == 0)
            .chain([usize::MAX])
    }
}
