//! What would become of the streams if the fleet were another one: the balancer's own plan on a changed copy of the
//! state. Drains follow it, and operators may ask for it beforehand.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::balancer::{self, Balancer};
use crate::cluster::{Availability, ClusterState, Role, Slot, StreamRecord, UnplacedReason, WorkerRecord};
use crate::coordinator::Proposal;
use crate::machine::Machine;
use crate::placement::Candidate;
use crate::time::Timestamp;

/// One move that would be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The stream.
    pub stream: StreamId,
    /// Where it is.
    pub from: Option<WorkerId>,
    /// Where it would go.
    pub to: WorkerId,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forecast {
    /// Streams that would move.
    pub steps: Vec<Step>,
    /// Streams that would have no worker, and why.
    pub unplaced: Vec<(StreamId, UnplacedReason)>,
}

/// Where these streams would go if they had no worker and `without` took none.
#[must_use]
pub fn elsewhere(
    now: Timestamp,
    config: balancer::Config,
    cluster: &ClusterState,
    streams: &BTreeSet<StreamId>,
    without: &BTreeSet<WorkerId>,
) -> Forecast {
    let mut changed = cluster.clone();
    changed.leadership.role = Role::Leading;
    for worker in without {
        if let Some(record) = changed.workers.get_mut(worker) {
            Arc::make_mut(record).availability = Availability::Dead;
        }
    }
    for stream in streams {
        vacate(&mut changed, stream);
    }
    let mut forecast = run(now, config, changed, None);
    forecast.steps.retain(|step| streams.contains(&step.stream));
    forecast.unplaced.retain(|(stream, _)| streams.contains(stream));
    for step in &mut forecast.steps {
        let record = cluster.streams.get(&step.stream);
        step.from = record.and_then(|record| record.slot.worker().cloned());
    }
    forecast
}

/// What evening out would do next, with so many more workers like the one that carries most.
#[must_use]
pub fn even_out(now: Timestamp, config: balancer::Config, cluster: &ClusterState, more: usize) -> Forecast {
    let mut changed = cluster.clone();
    let model = cluster
        .workers
        .values()
        .filter(|worker| worker.takes_streams())
        .max_by(|a, b| {
            a.capacity
                .weight
                .total_cmp(&b.capacity.weight)
                .then(b.id.cmp(&a.id))
        });
    for number in 1..=more {
        if let Some(model) = model
            && let Ok(id) = WorkerId::new(format!("new-{number}"))
        {
            let record = WorkerRecord {
                id: id.clone(),
                assigned: imbl::OrdSet::new(),
                load: 0.0,
                inventory: Arc::default(),
                ..(**model).clone()
            };
            changed.workers.insert(id, Arc::new(record));
        }
    }
    changed.leadership.role = Role::Leading;
    let mut forecast = run(now, config, changed, Some(config.round_interval));
    for step in &mut forecast.steps {
        let record = cluster.streams.get(&step.stream);
        step.from = record.and_then(|record| record.slot.worker().cloned());
    }
    forecast
}

/// Takes a stream from its worker, in a copy.
fn vacate(cluster: &mut ClusterState, stream: &StreamId) {
    let Some(record) = cluster.streams.get(stream).cloned() else {
        return;
    };
    if let Some(worker) = record.slot.worker().and_then(|id| cluster.workers.get_mut(id)) {
        let worker = Arc::make_mut(worker);
        worker.assigned.remove(stream);
        worker.load = (worker.load - record.spec.weight).max(0.0);
    }
    let vacant = StreamRecord {
        slot: Slot::Vacant,
        unplaced: None,
        ..(*record).clone()
    };
    cluster.streams.insert(stream.clone(), Arc::new(vacant));
    cluster.needs_worker.insert(stream.clone());
}

/// What a balancer that begins now proposes: at once, or after a first round.
fn run(
    now: Timestamp,
    config: balancer::Config,
    cluster: ClusterState,
    round: Option<std::time::Duration>,
) -> Forecast {
    let mut balancer = Balancer::new(config);
    let mut commands = balancer.handle(now, balancer::Event::Snapshot(cluster));
    if let Some(after) = round {
        commands.extend(balancer.handle(now + after, balancer::Event::Tick));
    }
    let mut forecast = Forecast::default();
    for command in commands {
        match command {
            balancer::Command::Propose(proposals) => {
                let step = |proposal: Proposal| Step {
                    stream: proposal.stream,
                    from: None,
                    to: proposal.to,
                };
                forecast.steps.extend(proposals.into_iter().map(step));
            }
            balancer::Command::Unplaced(streams) => {
                let lacking = streams
                    .into_iter()
                    .filter_map(|(stream, reason)| Some((stream, reason?)));
                forecast.unplaced.extend(lacking);
            }
            // Who yields is known when the room is needed.
            balancer::Command::Preempt(_) => {}
        }
    }
    forecast
}

/// One worker, seen from a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The worker.
    pub worker: WorkerId,
    /// How well it would carry the stream.
    pub candidate: Candidate,
}

/// Every worker, seen from a stream: first those that may have it, best first, then the others. None when the stream is
/// not there.
#[must_use]
pub fn candidates(
    now: Timestamp,
    config: balancer::Config,
    cluster: &ClusterState,
    stream: &StreamId,
) -> Option<Vec<Seen>> {
    let mut balancer = Balancer::new(config);
    // What it wants done is of no interest here.
    let _ = balancer.handle(now, balancer::Event::Snapshot(cluster.clone()));
    let problem = balancer.problem();
    let explanation = balancer.explain(problem.stream(stream)?);
    let seen = explanation.candidates.into_iter().map(|candidate| Seen {
        worker: problem.id(candidate.worker).clone(),
        candidate,
    });
    Some(seen.collect())
}
