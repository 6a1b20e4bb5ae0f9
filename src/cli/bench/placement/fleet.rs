//! A generated fleet, as the leader knows one.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdSet;
use streamkeeper_core::cluster::{
    Availability, ClusterState, Leadership, MoveReason, Role, Slot, StreamRecord, WorkerRecord,
};
use streamkeeper_core::coordinator::Proposal;
use streamkeeper_core::record::Assignment;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{
    Capacity, Epoch, HostMetrics, Mode, Performance, Phase, SessionId, StreamId, Version, WorkerId,
};

use super::{PlacementArgs, Weights};
use crate::failure::Failure;

/// Share of the fleet's capacity that all streams take together.
const FILLED: f64 = 0.7;
/// How many kinds of workers streams may ask for.
const KINDS: u64 = 5;
/// How many streams share a spread key.
const SPREAD: u32 = 3;
const MIB: f64 = 1_048_576.0;

/// SplitMix64 (Steele, Lea, Flood 2014): the same fleet for the same seed.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, deviation 1 (Box and Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.share().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error| Failure::failed(format!("bench: {text}: {error}")))
}

pub(super) fn worker_id(index: u32) -> Result<WorkerId, Failure> {
    name(&format!("worker-{index:05}"))
}

/// A worker; `scale` makes the fleet as large as its streams need.
pub(super) fn worker(index: u32, draw: &mut Draw, scale: f64) -> Result<WorkerRecord, Failure> {
    let size = 0.5 + draw.share();
    let weight = size * scale;
    let labels = BTreeMap::from([("kind".to_owned(), draw.below(KINDS).to_string())]);
    Ok(WorkerRecord {
        id: worker_id(index)?,
        session: SessionId::from_u128(u128::from(index)),
        availability: Availability::Alive,
        since: Timestamp::ZERO,
        last_heard: Timestamp::ZERO,
        heard: true,
        phase: Phase::Ready,
        declared: Default::default(),
        cordoned: false,
        mode: Mode::Connected,
        capacity: Capacity {
            max_streams: 100_000,
            weight,
        },
        zone: Some(format!("zone-{}", draw.below(3))),
        labels: Arc::new(labels),
        version: "bench".into(),
        guarded: true,
        host: Some(HostMetrics {
            cpu_share: 0.5,
            memory_used_bytes: 0,
            // Room for measured loads that are about as tight as the declared one, not quite.
            memory_total_bytes: (weight * 120.0 * MIB) as u64,
            load1: 1.0,
            cores: Some((weight * 0.6).ceil() as u32),
        }),
        zlib: true,
        assigned: OrdSet::new(),
        load: 0.0,
        desired: Version::default(),
        applied: Version::default(),
        inventory: Arc::default(),
    })
}

fn weights(args: &PlacementArgs, draw: &mut Draw) -> Vec<f64> {
    let draws = (0..args.streams).map(|index| match args.weights {
        Weights::Uniform => 0.5 + draw.share(),
        Weights::Lognormal => draw.normal().exp(),
        Weights::Zipf => 1_000.0 / f64::from(index + 1),
    });
    let mut weights: Vec<f64> = draws.collect();
    // Their order says nothing about their weight.
    for index in (1..weights.len()).rev() {
        let other = usize::try_from(draw.below(index as u64 + 1)).unwrap_or(0);
        weights.swap(index, other);
    }
    weights
}

/// A fleet whose streams have no worker yet.
pub(super) fn new(args: &PlacementArgs) -> Result<ClusterState, Failure> {
    let mut draw = Draw(args.seed);
    let weights = weights(args, &mut draw);
    let total: f64 = weights.iter().sum();
    let scale = total / FILLED / f64::from(args.workers);
    let mut cluster = ClusterState {
        leadership: Leadership {
            role: Role::Leading,
            ..Leadership::default()
        },
        ..ClusterState::default()
    };
    for index in 0..args.workers {
        let record = worker(index, &mut draw, scale)?;
        cluster.workers.insert(record.id.clone(), Arc::new(record));
    }
    for (index, weight) in (0..).zip(weights) {
        let stream: StreamId = name(&format!("stream-{index:07}"))?;
        let mut spec = StreamSpec::new(stream.clone(), format!("http://host/live/channel-{index}"));
        spec.weight = weight;
        spec.priority = i32::try_from(draw.below(3)).unwrap_or(0);
        match draw.below(100) {
            0..10 => {
                spec.requires
                    .insert("kind".to_owned(), draw.below(KINDS).to_string());
            }
            10..15 => {
                let group = draw.below(u64::from(args.streams / 20 / SPREAD + 1));
                spec.spread = Some(format!("group-{group}").into());
            }
            15 => {
                spec.pin = Some(worker_id(
                    u32::try_from(draw.below(u64::from(args.workers))).unwrap_or(0),
                )?)
            }
            _ => {}
        }
        let mut record = StreamRecord::new(Arc::new(spec), Timestamp::ZERO);
        record.performance = Some(Box::new(Performance {
            cpu_cores: Some((weight * 0.4 * (0.3 * draw.normal()).exp()) as f32),
            memory_bytes: Some((weight * 80.0 * MIB * (0.3 * draw.normal()).exp()) as u64),
            ..Performance::default()
        }));
        cluster.needs_worker.insert(stream.clone());
        cluster.streams.insert(stream, Arc::new(record));
    }
    Ok(cluster)
}

/// Does what the coordinator would, at once.
pub(super) fn perform(cluster: &mut ClusterState, proposals: &[Proposal], epoch: Epoch) {
    for proposal in proposals {
        let Some(record) = cluster.streams.get_mut(&proposal.stream) else {
            continue;
        };
        let record = Arc::make_mut(record);
        let weight = record.spec.weight;
        let owner = record.slot.worker().cloned();
        if let Some(from) = owner.and_then(|owner| cluster.workers.get_mut(&owner)) {
            let from = Arc::make_mut(from);
            from.assigned.remove(&proposal.stream);
            from.load -= weight;
        }
        let Some(target) = cluster.workers.get_mut(&proposal.to) else {
            continue;
        };
        let target = Arc::make_mut(target);
        target.assigned.insert(proposal.stream.clone());
        target.load += weight;
        record.slot = Slot::Held(Assignment {
            worker: proposal.to.clone(),
            session: target.session,
            epoch,
        });
        record.reason = proposal.reason;
        cluster.needs_worker.remove(&proposal.stream);
    }
}

/// A worker dies, and its streams need another.
pub(super) fn kill(cluster: &mut ClusterState, worker: &WorkerId) {
    let Some(record) = cluster.workers.get_mut(worker) else {
        return;
    };
    let record = Arc::make_mut(record);
    record.availability = Availability::Dead;
    record.load = 0.0;
    for stream in std::mem::take(&mut record.assigned) {
        let Some(record) = cluster.streams.get_mut(&stream) else {
            continue;
        };
        let record = Arc::make_mut(record);
        if let Slot::Held(last) = record.slot.clone() {
            record.slot = Slot::Orphaned { last };
            record.reason = MoveReason::WorkerLost;
        }
        cluster.needs_worker.insert(stream);
    }
}
