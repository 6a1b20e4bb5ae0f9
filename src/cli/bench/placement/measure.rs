//! One measurement: the state before, what happens, the plan, what it is worth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use streamkeeper_core::Machine;
use streamkeeper_core::balancer::{Balancer, Command, Config, Event};
use streamkeeper_core::cluster::{Availability, ClusterState, StreamRecord, WorkerRecord};
use streamkeeper_core::coordinator::Proposal;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{Epoch, SessionId, WorkerId};

use super::fleet::{self, Draw};
use super::{PlacementArgs, Scenario, lpt};
use crate::failure::Failure;

/// One worker of so many dies in a storm.
const STORM: usize = 10;

/// What one run found.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub(super) cpu_ms: f64,
    pub(super) lpt_ms: f64,
    pub(super) moves: usize,
    pub(super) moves_excess: usize,
    pub(super) imbalance: f64,
    pub(super) imbalance_lower_bound: f64,
    /// By dimension: the highest load / capacity of a worker, and that of the whole fleet.
    pub(super) highest: [f64; 3],
    pub(super) mean: [f64; 3],
    pub(super) unplaced: usize,
}

/// Processor time of this thread.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The settings of `serve`, but for the budget: the plan is made whole, not in parts of a second each.
fn config() -> Config {
    Config {
        max_moves_per_round: usize::MAX,
        max_share_per_round: 1.0,
        max_placements: usize::MAX,
        damping: 1.0,
        stream_cooldown: Duration::ZERO,
        probation: Duration::ZERO,
        ..Config::default()
    }
}

pub(super) fn measure(args: &PlacementArgs) -> Result<Figures, Failure> {
    let mut cluster = fleet::new(args)?;
    let mut balancer = Balancer::new(config());
    let mut now = Timestamp::ZERO;
    let epoch = Epoch::from_i64(1).map_err(|error| Failure::failed(format!("bench: {error}")))?;
    let mut settle = |balancer: &mut Balancer, cluster: &mut ClusterState| {
        now = now + Duration::from_secs(3_600);
        let mut plan = proposals(balancer.handle(now, Event::Snapshot(cluster.clone())));
        plan.extend(proposals(balancer.handle(now, Event::Tick)));
        fleet::perform(cluster, &plan, epoch);
        balancer.handle(now, Event::Snapshot(cluster.clone()));
    };
    let first = cluster.workers.keys().nth(cluster.workers.len() / 2).cloned();
    let Some(worker) = first else {
        return Ok(Figures::default());
    };
    if args.scenario != Scenario::Scratch {
        settle(&mut balancer, &mut cluster);
    }
    match args.scenario {
        Scenario::Scratch | Scenario::Drain => {}
        Scenario::Death => fleet::kill(&mut cluster, &worker),
        Scenario::Storm => {
            let dead: Vec<WorkerId> = cluster.workers.keys().step_by(STORM).cloned().collect();
            for worker in dead {
                fleet::kill(&mut cluster, &worker);
            }
        }
        Scenario::Join => join(args, &mut cluster)?,
        Scenario::Return => {
            fleet::kill(&mut cluster, &worker);
            settle(&mut balancer, &mut cluster);
            come_back(&mut cluster, &worker);
        }
    }
    let state = cluster.clone();
    let begin = cpu_ms();
    let commands = match args.scenario {
        Scenario::Scratch | Scenario::Death | Scenario::Storm => balancer.handle(now, Event::Snapshot(state)),
        Scenario::Join | Scenario::Return => {
            let mut commands = balancer.handle(now, Event::Snapshot(state));
            commands.extend(balancer.handle(now + Duration::from_secs(3_600), Event::Tick));
            commands
        }
        Scenario::Drain => vec![Command::Propose(balancer.evacuate(&worker))],
    };
    let cpu_ms = cpu_ms() - begin;
    let plan = proposals(commands);
    let lpt_ms = bare(args, &cluster, &worker);
    let excess = excess(args, &cluster, &plan, &worker);
    fleet::perform(&mut cluster, &plan, epoch);
    let drained = (args.scenario == Scenario::Drain).then_some(&worker);
    Ok(Figures {
        cpu_ms,
        lpt_ms,
        moves: plan.len(),
        moves_excess: excess,
        unplaced: cluster.needs_worker.len(),
        ..imbalance(&cluster, drained)
    })
}

fn proposals(commands: Vec<Command>) -> Vec<Proposal> {
    let of = |command| match command {
        Command::Propose(proposals) => proposals,
        Command::Preempt(_) | Command::Unplaced(_) => Vec::new(),
    };
    commands.into_iter().flat_map(of).collect()
}

/// A worker more, of the same kind as the others.
fn join(args: &PlacementArgs, cluster: &mut ClusterState) -> Result<(), Failure> {
    let total: f64 = cluster
        .workers
        .values()
        .map(|worker| worker.capacity.weight)
        .sum();
    let scale = total / f64::from(args.workers);
    let record = fleet::worker(args.workers, &mut Draw(args.seed + 1), scale)?;
    cluster.workers.insert(record.id.clone(), Arc::new(record));
    Ok(())
}

fn come_back(cluster: &mut ClusterState, worker: &WorkerId) {
    if let Some(record) = cluster.workers.get_mut(worker) {
        let record = Arc::make_mut(record);
        record.availability = Availability::Alive;
        record.session = SessionId::from_u128(u128::MAX);
    }
}

/// Moves of streams that had a worker that stays (death, storm), or of streams that go to others than the one that came.
fn excess(args: &PlacementArgs, cluster: &ClusterState, plan: &[Proposal], worker: &WorkerId) -> usize {
    let newcomer = cluster.workers.keys().next_back();
    let is_excess = |proposal: &&Proposal| {
        let record = cluster.streams.get(&proposal.stream);
        let owner = record.and_then(|record| record.slot.worker());
        match args.scenario {
            Scenario::Scratch | Scenario::Death | Scenario::Storm => owner.is_some(),
            Scenario::Join => Some(&proposal.to) != newcomer,
            Scenario::Return => proposal.to != *worker,
            Scenario::Drain => owner != Some(worker),
        }
    };
    plan.iter().filter(is_excess).count()
}

/// Processor time of the bare heuristic, for as many streams as the plan has to place.
fn bare(args: &PlacementArgs, cluster: &ClusterState, worker: &WorkerId) -> f64 {
    let open = |record: &&Arc<WorkerRecord>| record.takes_streams();
    let workers: Vec<&Arc<WorkerRecord>> = cluster.workers.values().filter(open).collect();
    let capacities: Vec<f64> = workers.iter().map(|worker| worker.capacity.weight).collect();
    let mut loads: Vec<f64> = workers.iter().map(|worker| worker.load).collect();
    let weight = |record: &Arc<StreamRecord>| record.spec.weight;
    let of_one = || {
        let assigned = cluster
            .workers
            .get(worker)
            .map(|worker| worker.assigned.clone())
            .unwrap_or_default();
        assigned
            .iter()
            .filter_map(|stream| cluster.streams.get(stream))
            .map(weight)
            .collect()
    };
    let weights: Vec<f64> = match args.scenario {
        Scenario::Scratch | Scenario::Death | Scenario::Storm => {
            let waiting = cluster.needs_worker.iter();
            waiting
                .filter_map(|stream| cluster.streams.get(stream))
                .map(weight)
                .collect()
        }
        Scenario::Drain => of_one(),
        // As many as one worker of the mean has, to where there is room.
        Scenario::Join | Scenario::Return => {
            let count = cluster.streams.len() / cluster.workers.len().max(1);
            cluster.streams.values().take(count).map(weight).collect()
        }
    };
    let begin = cpu_ms();
    let owners = lpt::place(&weights, &mut loads, &capacities);
    let spent = cpu_ms() - begin;
    std::hint::black_box(owners);
    spent
}

/// Highest load / capacity of a worker and dimension by the highest of the fleet, and the least that it can be: what the
/// largest stream makes of the largest worker.
fn imbalance(cluster: &ClusterState, but: Option<&WorkerId>) -> Figures {
    let sizes = |record: &StreamRecord| {
        let told = record.performance.as_deref().copied().unwrap_or_default();
        let cpu = f64::from(told.cpu_cores.unwrap_or(0.0));
        [record.spec.weight, cpu, told.memory_bytes.unwrap_or(0) as f64]
    };
    let capacity = |worker: &WorkerRecord| {
        let host = worker.host.as_ref();
        let cores = host.and_then(|host| host.cores).map_or(0.0, f64::from);
        [
            worker.capacity.weight,
            cores,
            host.map_or(0.0, |host| host.memory_total_bytes as f64),
        ]
    };
    let mut loads: BTreeMap<&WorkerId, [f64; 3]> = BTreeMap::new();
    let (mut total, mut largest) = ([0.0; 3], [0.0_f64; 3]);
    for record in cluster.streams.values() {
        let Some(worker) = record.slot.worker() else {
            continue;
        };
        let load = loads.entry(worker).or_default();
        for (at, size) in sizes(record).into_iter().enumerate() {
            load[at] += size;
            total[at] += size;
            largest[at] = largest[at].max(size);
        }
    }
    let (mut capacities, mut highest, mut widest) = ([0.0; 3], [0.0_f64; 3], [0.0_f64; 3]);
    let open = cluster
        .workers
        .values()
        .filter(|worker| worker.takes_streams() && Some(&worker.id) != but);
    for worker in open {
        let load = loads.get(&worker.id).copied().unwrap_or_default();
        for (at, capacity) in capacity(worker).into_iter().enumerate() {
            capacities[at] += capacity;
            widest[at] = widest[at].max(capacity);
            highest[at] = highest[at].max(load[at] / capacity);
        }
    }
    let mean = [0, 1, 2].map(|at| total[at] / capacities[at]);
    let tightest = |shares: [f64; 3]| shares.into_iter().fold(0.0, f64::max);
    let single = tightest([0, 1, 2].map(|at| largest[at] / widest[at]));
    Figures {
        imbalance: tightest(highest) / tightest(mean),
        imbalance_lower_bound: (single / tightest(mean)).max(1.0),
        highest,
        mean,
        ..Figures::default()
    }
}
