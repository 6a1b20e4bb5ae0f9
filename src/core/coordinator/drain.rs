//! Drains: the streams of a worker move elsewhere, a few at a time, to where the balancer would place them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Coordinator, Proposal};
use crate::cluster::{Drain, DrainState, MAX_LEFT, MoveReason, Slot};
use crate::directive::{Key, Kind};
use crate::forecast;
use crate::time::Timestamp;

/// So often it is looked which streams may move next.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

impl Coordinator {
    pub(super) fn next_look_at_moves(&self) -> Option<Timestamp> {
        self.moves_at.filter(|_| self.leads())
    }

    /// Something waits to move: it is looked soon whether it can.
    pub(super) fn look_at_moves(&mut self, now: Timestamp) {
        self.moves_at = Some(now + LOOK_INTERVAL);
    }

    fn draining(&self) -> Vec<WorkerId> {
        let drains = self.cluster.directives.of(Kind::Drain);
        drains
            .filter_map(|(worker, _)| WorkerId::new(worker).ok())
            .collect()
    }

    /// Drains that are ordered begin, or go on under a new leader.
    pub(super) fn begin_drains(&mut self, now: Timestamp) {
        for worker in self.draining() {
            let running = |drain: &Drain| drain.state == DrainState::Running;
            if !self.cluster.drains.get(&worker).is_some_and(running) {
                let total = self
                    .cluster
                    .workers
                    .get(&worker)
                    .map_or(0, |worker| worker.assigned.len());
                let drain = Drain {
                    state: DrainState::Running,
                    began: now,
                    ended: None,
                    total,
                    left: Vec::new(),
                };
                self.drains().insert(worker, drain);
            }
            self.look_at_moves(now);
        }
    }

    fn drains(&mut self) -> &mut BTreeMap<WorkerId, Drain> {
        self.dirty = true;
        Arc::make_mut(&mut self.cluster.drains)
    }

    /// A drain is taken back, or its end is stored.
    pub(super) fn drain_ended(&mut self, now: Timestamp, worker: &WorkerId) {
        if let Some(drain) = self.drains().get_mut(worker)
            && drain.state == DrainState::Running
        {
            drain.state = DrainState::Cancelled;
            drain.ended = Some(now);
        }
    }

    /// What was asked for comes before drains, which take the room that is left.
    pub(super) fn go_on_moving(&mut self, now: Timestamp) {
        if self.moves_at.is_none_or(|at| at > now) {
            return;
        }
        self.moves_at = None;
        self.begin_planned(now);
        let draining = self.draining();
        if !draining.is_empty() {
            self.look_at_moves(now);
        }
        for worker in draining {
            self.drain(now, &worker);
        }
    }

    fn drain(&mut self, now: Timestamp, worker: &WorkerId) {
        let assigned = self
            .cluster
            .workers
            .get(worker)
            .map(|record| record.assigned.clone());
        let assigned = assigned.unwrap_or_default();
        let known = self.cluster.drains.get(worker).map_or(0, |drain| drain.total);
        // A new leader knows what the worker has when it has heard it.
        if assigned.len() > known
            && let Some(drain) = self.drains().get_mut(worker)
        {
            drain.total = assigned.len();
        }
        if assigned.is_empty() && self.handed_by(worker).is_empty() {
            if let Some(drain) = self.drains().get_mut(worker) {
                drain.state = DrainState::Done;
                drain.ended = Some(now);
                drain.left.clear();
            }
            self.writes.end_directive(Key::drain(worker));
            return;
        }
        let room = self.config.migration.max_per_source;
        let held = |stream: &&StreamId| {
            let record = self.cluster.streams.get(*stream);
            record.is_some_and(|record| matches!(record.slot, Slot::Held(_)))
        };
        let left: BTreeSet<&StreamId> = self
            .cluster
            .drains
            .get(worker)
            .map(|drain| drain.left.iter().map(|(stream, _)| stream).collect())
            .unwrap_or_default();
        let next = assigned.iter().filter(held);
        // Those that fitted nowhere come last, so that they do not stand in the way of the others.
        let (tried, fresh): (Vec<_>, Vec<_>) = next.partition(|stream| left.contains(stream));
        let streams: BTreeSet<StreamId> = fresh
            .into_iter()
            .chain(tried)
            .take(room.max(1) * 4)
            .cloned()
            .collect();
        let without = BTreeSet::from([worker.clone()]);
        let plan = forecast::elsewhere(now, self.config.balancer, &self.cluster, &streams, &without);
        if let Some(drain) = self.drains().get_mut(worker) {
            drain
                .left
                .retain(|(stream, _)| assigned.contains(stream) && !streams.contains(stream));
            drain.left.extend(plan.unplaced);
            drain.left.truncate(MAX_LEFT);
        }
        for step in plan.steps {
            let record = self.cluster.streams.get(&step.stream);
            let owner = record.and_then(|record| record.slot.assignment());
            let proposal = Proposal {
                planned_on: owner.map(|owner| owner.epoch),
                stream: step.stream,
                to: step.to,
                reason: MoveReason::Drain,
            };
            self.propose(now, &proposal);
        }
    }
}
