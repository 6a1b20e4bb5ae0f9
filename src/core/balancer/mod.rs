//! Where streams go: first placement, replacement after a loss, and gradual evening out.
//!
//! One score serves all three: the relative load (load / capacity) that a worker would have with the stream. The
//! lowest score wins, ties go to the lower worker id, so the same cluster always gives the same plan. Streams are
//! placed heaviest first ("longest processing time first", Graham 1969), higher priorities before lower ones.
//! Evening out moves one stream at a time from the fullest worker to the emptiest that fits, and stops inside a band,
//! so that noise moves nothing. What it does not do yet: zones, spread keys, pins, observed load, history.

#[cfg(test)]
mod tests;

use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::cluster::{ClusterState, MoveReason, Role, Slot, StreamRecord, UnplacedReason, WorkerRecord};
use crate::coordinator::Proposal;
use crate::machine::Machine;
use crate::time::Timestamp;

/// How much unevenness is borne, and how fast it is mended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Difference of relative load between fullest and emptiest worker that is borne, as a share of the mean.
    pub band_relative: f64,
    /// The same as an absolute relative load; both must be exceeded.
    pub band_absolute: f64,
    /// Time between two rounds of evening out.
    pub round_interval: Duration,
    /// Most moves of one round.
    pub max_moves_per_round: usize,
    /// Time for which a moved stream is left where it is.
    pub stream_cooldown: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            band_relative: 0.1,
            band_absolute: 0.01,
            round_interval: Duration::from_secs(1),
            max_moves_per_round: 5,
            stream_cooldown: Duration::from_secs(60),
        }
    }
}

/// What the balancer is told. It always plans from the whole present state.
#[derive(Debug, Clone)]
pub enum Event {
    /// The state changed: streams without a worker are placed at once, outside every budget.
    Snapshot(ClusterState),
    /// Time passed: one round of evening out, while nothing needs repair.
    Tick,
}

/// What the balancer wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// These moves, each on the epoch that it was planned on.
    Propose(Vec<Proposal>),
    /// These streams fit nowhere, or do again (none).
    Unplaced(Vec<(StreamId, Option<UnplacedReason>)>),
}

/// The machine.
#[derive(Debug)]
pub struct Balancer {
    config: Config,
    cluster: ClusterState,
    next_round: Option<Timestamp>,
}

impl Balancer {
    /// A balancer that knows nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cluster: ClusterState::default(),
            next_round: None,
        }
    }

    fn snapshot(&mut self, now: Timestamp, cluster: ClusterState) -> Vec<Command> {
        self.cluster = cluster;
        self.next_round.get_or_insert(now + self.config.round_interval);
        self.place()
    }

    fn round(&mut self, now: Timestamp) -> Vec<Command> {
        if self.next_round.is_some_and(|at| at > now) {
            return Vec::new();
        }
        self.next_round = Some(now + self.config.round_interval);
        let mut commands = self.place();
        let moves = self.even_out(now);
        if !moves.is_empty() {
            commands.push(Command::Propose(moves));
        }
        commands
    }

    fn place(&self) -> Vec<Command> {
        if self.cluster.leadership.role != Role::Leading || self.cluster.needs_worker.is_empty() {
            return Vec::new();
        }
        let mut bins = Bin::all(&self.cluster);
        let mut waiting: Vec<&StreamRecord> = self
            .cluster
            .needs_worker
            .iter()
            .filter_map(|name| self.cluster.streams.get(name))
            .map(|r| &**r)
            .collect();
        waiting.sort_by(|a, b| {
            let by_priority = b.spec.priority.cmp(&a.spec.priority);
            by_priority
                .then(b.spec.weight.total_cmp(&a.spec.weight))
                .then(a.spec.name.cmp(&b.spec.name))
        });
        let mut proposals = Vec::new();
        let mut unplaced = Vec::new();
        for record in waiting {
            let (found, reason) = match best(&bins, record) {
                Ok(index) => (Some(index), None),
                Err(reason) => (None, Some(reason)),
            };
            if record.unplaced != reason {
                unplaced.push((record.spec.name.clone(), reason));
            }
            if let Some(bin) = found.and_then(|index| bins.get_mut(index)) {
                bin.add(record.spec.weight);
                let why = if matches!(record.slot, Slot::Vacant) {
                    MoveReason::Declared
                } else {
                    record.reason
                };
                proposals.push(proposal(record, &bin.worker.id, why));
            }
        }
        let mut commands = Vec::new();
        if !unplaced.is_empty() {
            commands.push(Command::Unplaced(unplaced));
        }
        if !proposals.is_empty() {
            commands.push(Command::Propose(proposals));
        }
        commands
    }

    fn even_out(&mut self, now: Timestamp) -> Vec<Proposal> {
        let in_motion = |record: &StreamRecord| {
            matches!(
                record.slot,
                Slot::Committing { .. } | Slot::Releasing { .. } | Slot::Orphaned { .. }
            )
        };
        let leading = self.cluster.leadership.role == Role::Leading;
        if !leading || self.cluster.streams.values().any(|record| in_motion(record)) {
            return Vec::new();
        }
        let mut bins = Bin::all(&self.cluster);
        let mut moves: Vec<Proposal> = Vec::new();
        while moves.len() < self.config.max_moves_per_round {
            let Some((from, to, name)) = self.next_move(now, &bins, &moves) else {
                break;
            };
            let Some(record) = self.cluster.streams.get(&name) else {
                break;
            };
            let weight = record.spec.weight;
            if let Some(bin) = bins.get_mut(from) {
                bin.remove(weight);
            }
            if let Some(bin) = bins.get_mut(to) {
                bin.add(weight);
                moves.push(proposal(record, &bin.worker.id, MoveReason::Balance));
            }
        }
        moves
    }

    /// The move that helps most between the fullest worker and any other, if the fleet is outside the band.
    fn next_move(
        &self,
        now: Timestamp,
        bins: &[Bin<'_>],
        moves: &[Proposal],
    ) -> Option<(usize, usize, StreamId)> {
        let by_load =
            |a: &&(usize, &Bin<'_>), b: &&(usize, &Bin<'_>)| a.1.score(0.0).total_cmp(&b.1.score(0.0));
        let indexed: Vec<(usize, &Bin<'_>)> = bins.iter().enumerate().collect();
        let fullest = indexed.iter().max_by(by_load)?;
        let emptiest = indexed.iter().min_by(by_load)?;
        let load: f64 = bins.iter().map(|bin| bin.load).sum();
        let capacity: f64 = bins.iter().map(|bin| bin.worker.capacity.weight).sum();
        let mean = load / capacity.max(f64::MIN_POSITIVE);
        let gap = fullest.1.score(0.0) - emptiest.1.score(0.0);
        if gap <= self.config.band_absolute || gap <= mean * self.config.band_relative {
            return None;
        }
        let top = fullest.1.score(0.0);
        let mut best_move: Option<(f64, usize, StreamId)> = None;
        for name in &fullest.1.worker.assigned {
            let Some(record) = self.cluster.streams.get(name) else {
                continue;
            };
            let moved = moves.iter().any(|planned| planned.stream == *name);
            let rests =
                record.reason == MoveReason::Balance && now.since(record.since) < self.config.stream_cooldown;
            if moved || rests || !matches!(record.slot, Slot::Held(_)) {
                continue;
            }
            let Ok(to) = best(bins, record) else { continue };
            let Some(target) = bins.get(to) else { continue };
            // The higher of the two afterwards; it must be lower than the top now, or nothing is gained.
            let after = target
                .score(record.spec.weight)
                .max(fullest.1.score(-record.spec.weight));
            let better = best_move.as_ref().is_none_or(|(score, _, _)| after < *score);
            if to != fullest.0 && after < top - self.config.band_absolute / 2.0 && better {
                best_move = Some((after, to, name.clone()));
            }
        }
        best_move.map(|(_, to, name)| (fullest.0, to, name))
    }
}

impl Machine for Balancer {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        match event {
            Event::Snapshot(cluster) => self.snapshot(now, cluster),
            Event::Tick => self.round(now),
        }
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_round
    }

    fn tick() -> Event {
        Event::Tick
    }
}

/// A worker while a plan is made.
struct Bin<'a> {
    worker: &'a WorkerRecord,
    load: f64,
    count: usize,
}

impl<'a> Bin<'a> {
    /// Every worker that takes streams, by id.
    fn all(cluster: &'a ClusterState) -> Vec<Self> {
        let ready = cluster.workers.values().filter(|worker| worker.takes_streams());
        ready
            .map(|worker| Self {
                worker,
                load: worker.load,
                count: worker.assigned.len(),
            })
            .collect()
    }

    /// Relative load with `weight` more.
    fn score(&self, weight: f64) -> f64 {
        (self.load + weight) / self.worker.capacity.weight.max(f64::MIN_POSITIVE)
    }

    fn add(&mut self, weight: f64) {
        self.load += weight;
        self.count += 1;
    }

    fn remove(&mut self, weight: f64) {
        self.load -= weight;
        self.count -= 1;
    }

    fn has_room(&self, weight: f64) -> bool {
        // A rounding error of the sums is no lack of room.
        let fits = self.load + weight <= self.worker.capacity.weight * (1.0 + 1e-9);
        fits && self.count < self.worker.capacity.max_streams as usize
    }
}

/// The bin with the lowest score that fits, or why none does.
fn best(bins: &[Bin<'_>], record: &StreamRecord) -> Result<usize, UnplacedReason> {
    let mut reason = UnplacedReason::NoWorkers;
    let mut found: Option<(f64, usize)> = None;
    // An orphan whose copy still runs, because its worker is back, stays where it is.
    let home = match &record.slot {
        Slot::Orphaned { last } => Some(last),
        _ => None,
    };
    for (index, bin) in bins.iter().enumerate() {
        let labels = &bin.worker.labels;
        if record
            .spec
            .requires
            .iter()
            .any(|(key, value)| labels.get(key) != Some(value))
        {
            if reason == UnplacedReason::NoWorkers {
                reason = UnplacedReason::NoLabels;
            }
            continue;
        }
        if !bin.worker.may_run(record.is_exclusive()) {
            if reason != UnplacedReason::NoCapacity {
                reason = UnplacedReason::NoGuard;
            }
            continue;
        }
        if !bin.has_room(record.spec.weight) {
            reason = UnplacedReason::NoCapacity;
            continue;
        }
        if home.is_some_and(|last| last.worker == bin.worker.id && last.session == bin.worker.session) {
            return Ok(index);
        }
        let score = bin.score(record.spec.weight);
        if found.is_none_or(|(lowest, _)| score < lowest) {
            found = Some((score, index));
        }
    }
    found.map(|(_, index)| index).ok_or(reason)
}

fn proposal(record: &StreamRecord, to: &WorkerId, reason: MoveReason) -> Proposal {
    let planned_on = record.slot.assignment().map(|assignment| assignment.epoch);
    Proposal {
        stream: record.spec.name.clone(),
        planned_on,
        to: to.clone(),
        reason,
    }
}
