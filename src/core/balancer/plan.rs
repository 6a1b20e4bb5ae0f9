//! From solutions to wishes.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::placement::{Mode, is_uneven, solve};

impl Balancer {
    fn leads(&self) -> bool {
        self.mirror.cluster.leadership.role == Role::Leading
    }

    /// Places what waits.
    pub(super) fn place(&mut self) -> Vec<Command> {
        self.proposed = false;
        if !self.leads() || self.mirror.waiting.is_empty() {
            return Vec::new();
        }
        let waiting: Vec<Index> = self.mirror.waiting.iter().copied().collect();
        let solution = self.plan(&waiting, &self.limits(), None, &BTreeSet::new());
        self.wishes(&solution)
    }

    /// What a plan would be that places what waits and, with `movable`, evens out.
    fn plan(
        &self,
        waiting: &[Index],
        limits: &Limits,
        movable: Option<&dyn Fn(Index) -> bool>,
        probation: &BTreeSet<Index>,
    ) -> Solution {
        let homes = self.mirror.homes();
        let mode = Mode {
            homes: &homes,
            // While slots change or workers are in doubt, room may come back by itself.
            evict: self.mirror.in_motion.is_empty() && self.mirror.doubtful.is_empty(),
            limits,
            movable,
            on_probation: &|worker| probation.contains(&worker),
        };
        solve(&self.mirror.problem, &self.mirror.placement, waiting, &mode)
    }

    fn wishes(&mut self, solution: &Solution) -> Vec<Command> {
        let mut preempted = Vec::new();
        let mut yielding = BTreeSet::new();
        for step in solution.moves.iter().filter(|step| step.why == Why::Preempted) {
            yielding.insert(step.from);
            preempted.push(Release {
                stream: self.mirror.problem.name(step.stream).clone(),
                planned_on: self.mirror.known(step.stream).planned_on,
            });
        }
        let mut proposals = Vec::with_capacity(solution.moves.len().min(self.config.max_placements));
        // Where somebody has to yield first, there is no room yet.
        let now = |step: &&Move| step.why == Why::Placed && !yielding.contains(&step.to);
        for step in solution.moves.iter().filter(now).take(self.config.max_placements) {
            let reason = self.mirror.known(step.stream).reason;
            proposals.push(self.proposal(step, reason));
        }
        self.proposed = !proposals.is_empty() || !preempted.is_empty();
        let mut unplaced = Vec::new();
        for (stream, reason) in &solution.unplaced {
            if self.mirror.known(*stream).unplaced != Some(*reason) {
                unplaced.push((self.mirror.problem.name(*stream).clone(), Some(*reason)));
            }
        }
        for step in solution.moves.iter().filter(|step| step.why == Why::Placed) {
            if self.mirror.known(step.stream).unplaced.is_some() {
                unplaced.push((self.mirror.problem.name(step.stream).clone(), None));
            }
        }
        let mut commands = Vec::new();
        if !unplaced.is_empty() {
            commands.push(Command::Unplaced(unplaced));
        }
        if !preempted.is_empty() {
            commands.push(Command::Preempt(preempted));
        }
        if !proposals.is_empty() {
            commands.push(Command::Propose(proposals));
        }
        commands
    }

    fn proposal(&self, step: &Move, reason: MoveReason) -> Proposal {
        Proposal {
            stream: self.mirror.problem.name(step.stream).clone(),
            planned_on: self.mirror.known(step.stream).planned_on,
            to: self.mirror.problem.id(step.to).clone(),
            reason,
        }
    }

    /// One round of evening out, while nothing needs repair.
    pub(super) fn even_out(&mut self, now: Timestamp) -> Vec<Proposal> {
        let mirror = &self.mirror;
        let repairs = self.proposed
            || mirror.has_orphans()
            || !mirror.in_motion.is_empty()
            || !mirror.doubtful.is_empty();
        if !self.leads() || repairs {
            return Vec::new();
        }
        let rests = |stream: Index| {
            let moved = mirror.moved.get(&stream);
            moved.is_some_and(|since| now.since(*since) < self.config.stream_cooldown)
        };
        let movable = |stream: Index| mirror.known(stream).held && !rests(stream);
        let probation = mirror.histories.on_probation(now, self.config.probation);
        let probation: BTreeSet<Index> = probation
            .into_iter()
            .filter_map(|id| mirror.problem.worker(id))
            .collect();
        let limits = self.limits();
        let uneven = is_uneven(&mirror.problem, &mirror.placement, &limits, &|worker| {
            probation.contains(&worker)
        });
        if !uneven {
            self.mending = false;
            return Vec::new();
        }
        let solution = self.plan(&[], &limits, Some(&movable), &probation);
        let moves: Vec<Proposal> = solution
            .moves
            .iter()
            .map(|step| self.proposal(step, MoveReason::Balance))
            .collect();
        self.mending = !moves.is_empty();
        moves
    }

    /// What would empty a worker: a place for each of its streams that may be moved, if there is one.
    #[must_use]
    pub fn evacuate(&self, worker: &streamkeeper_protocol::WorkerId) -> Vec<Proposal> {
        let mirror = &self.mirror;
        let Some(index) = mirror.problem.worker(worker) else {
            return Vec::new();
        };
        let held = mirror.placement.streams_of(index).iter().copied();
        let streams: Vec<Index> = held.filter(|stream| mirror.known(*stream).held).collect();
        let mut problem = mirror.problem.clone();
        problem.close(index);
        problem.settle();
        let mode = Mode {
            homes: &BTreeMap::new(),
            evict: false,
            limits: &self.limits(),
            movable: None,
            on_probation: &|_| false,
        };
        let solution = solve(&problem, &mirror.placement, &streams, &mode);
        let moves = solution.moves.iter();
        moves.map(|step| self.proposal(step, MoveReason::Drain)).collect()
    }

    fn limits(&self) -> Limits {
        Limits {
            band_relative: self.config.band_relative,
            band_absolute: self.config.band_absolute,
            min_gain: self.config.min_gain,
            damping: self.config.damping,
            max_moves: self.config.max_moves_per_round,
            max_share: self.config.max_share_per_round,
            mending: self.mending,
        }
    }
}
