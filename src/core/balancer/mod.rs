//! When streams are placed and moved; where they go is decided by [`crate::placement`].
//!
//! Streams without a worker are placed at once, outside every budget. Evening out waits until nothing needs repair, begins
//! when the fleet is outside its band, goes on until it is well inside, and moves little at a time: by count, by share of all
//! load, and by what a worker has too much. Who has just been moved rests; who is back after a loss is filled only after a
//! probation.

mod history;
mod mirror;
mod observed;
mod plan;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_day;

use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::cluster::{ClusterState, MoveReason, Role, UnplacedReason};
use crate::coordinator::{Proposal, Release};
use crate::machine::Machine;
use crate::placement::{
    Explanation, Imbalance, Index, Limits, Move, Placement, Problem, Solution, Thresholds, Why,
    balance_score, detect_imbalance, explain,
};
use crate::time::Timestamp;
use mirror::Mirror;

/// How much unevenness is borne, and how fast it is mended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Difference of relative load between fullest and emptiest worker that is borne, as a share of the mean.
    pub band_relative: f64,
    /// The same as an absolute relative load; both must be exceeded.
    pub band_absolute: f64,
    /// Least difference that a move has to make, as a share of the band.
    pub min_gain: f64,
    /// Share of its excess that a worker gives, and of what it lacks that one gets, in one round.
    pub damping: f64,
    /// Time between two rounds of evening out.
    pub round_interval: Duration,
    /// Most moves of one round.
    pub max_moves_per_round: usize,
    /// Most load that one round moves, as a share of all load; one stream may always be moved.
    pub max_share_per_round: f64,
    /// Most streams that are placed at a time.
    pub max_placements: usize,
    /// Time for which a moved stream is left where it is.
    pub stream_cooldown: Duration,
    /// Time for which a worker that is back gets nothing for the sake of balance.
    pub probation: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            band_relative: 0.1,
            band_absolute: 0.01,
            min_gain: 0.05,
            damping: 0.6,
            round_interval: Duration::from_secs(1),
            max_moves_per_round: 5,
            max_share_per_round: 0.02,
            max_placements: 100_000,
            stream_cooldown: Duration::from_secs(60),
            probation: Duration::from_secs(30),
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
    /// These streams yield to more important ones.
    Preempt(Vec<Release>),
    /// These moves, each on the epoch that it was planned on.
    Propose(Vec<Proposal>),
    /// These streams fit nowhere, or do again (none).
    Unplaced(Vec<(StreamId, Option<UnplacedReason>)>),
}

/// The machine.
#[derive(Debug)]
pub struct Balancer {
    config: Config,
    mirror: Mirror,
    next_round: Option<Timestamp>,
    /// Evening out has begun and is not finished.
    mending: bool,
    /// The last plan gave somebody a worker: it is made again until that is so.
    proposed: bool,
}

impl Balancer {
    /// Share of its capacity that a worker is trusted with: less than 1 after many losses.
    #[must_use]
    pub fn trust(&self, now: Timestamp, worker: &WorkerId) -> f64 {
        self.mirror.histories.health(now, worker)
    }

    /// A balancer that knows nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            mirror: Mirror::new(),
            next_round: None,
            mending: false,
            proposed: false,
        }
    }

    /// What has to be true of the fleet, as it was told last.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.mirror.problem
    }

    /// Who has which stream, as it was told last.
    #[must_use]
    pub const fn placement(&self) -> &Placement {
        &self.mirror.placement
    }

    /// Why a stream is where it is.
    #[must_use]
    pub fn explain(&self, stream: Index) -> Explanation {
        explain(&self.mirror.problem, &self.mirror.placement, stream)
    }

    /// Whether load is so uneven that it is worth telling.
    #[must_use]
    pub fn detect_imbalance(&self, thresholds: Thresholds) -> Option<Imbalance> {
        detect_imbalance(&self.mirror.problem, &self.mirror.placement, thresholds)
    }

    /// 1 when load is even, less the fuller the fullest worker is.
    #[must_use]
    pub fn balance_score(&self) -> f64 {
        balance_score(&self.mirror.problem, &self.mirror.placement)
    }

    fn snapshot(&mut self, now: Timestamp, cluster: ClusterState) -> Vec<Command> {
        self.mirror.update(now, cluster);
        self.next_round.get_or_insert(now + self.config.round_interval);
        // A plan that gave nobody anything gives nobody anything as long as nothing changes.
        if self.proposed || std::mem::take(&mut self.mirror.dirty) {
            return self.place();
        }
        Vec::new()
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
