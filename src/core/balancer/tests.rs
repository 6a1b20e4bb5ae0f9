//! Properties of plans, over many generated clusters.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdSet;
use streamkeeper_protocol::{Capacity, Epoch, Mode, Ownership, Phase, SessionId, Version, WorkerId};

use super::*;
use crate::cluster::{Availability, Leadership, Slot, StreamRecord, WorkerRecord};
use crate::record::Assignment;
use crate::spec::StreamSpec;

/// A small deterministic generator (SplitMix64, Steele et al. 2014): enough for test data.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

pub(super) fn worker(index: u64, capacity: f64) -> WorkerRecord {
    WorkerRecord {
        id: WorkerId::new(format!("w{index:03}")).unwrap(),
        session: SessionId::from_u128(u128::from(index)),
        availability: Availability::Alive,
        since: Timestamp::ZERO,
        last_heard: Timestamp::ZERO,
        heard: true,
        phase: Phase::Ready,
        mode: Mode::Connected,
        capacity: Capacity {
            max_streams: 10_000,
            weight: capacity,
        },
        zone: None,
        labels: Arc::new(BTreeMap::from([("parity".to_owned(), (index % 2).to_string())])),
        version: "test".into(),
        guarded: !index.is_multiple_of(3),
        host: None,
        cordoned: false,
        zlib: false,
        assigned: OrdSet::new(),
        load: 0.0,
        desired: Version::default(),
        applied: Version::default(),
        declared: None,
        inventory: Arc::default(),
    }
}

pub(super) fn cluster(draw: &mut Draw, workers: u64, streams: u64) -> ClusterState {
    let leadership = Leadership {
        role: Role::Leading,
        ..Leadership::default()
    };
    let mut cluster = ClusterState {
        leadership,
        ..ClusterState::default()
    };
    for index in 0..workers {
        let record = worker(index, 50.0 + draw.below(100) as f64);
        cluster.workers.insert(record.id.clone(), Arc::new(record));
    }
    for index in 0..streams {
        let mut spec = StreamSpec::new(StreamId::new(format!("s{index:04}")).unwrap(), "source");
        spec.weight = 0.1 + draw.below(30) as f64 / 10.0;
        spec.priority = i32::try_from(draw.below(3)).unwrap();
        if draw.below(10) == 0 {
            spec.requires.insert("parity".into(), draw.below(2).to_string());
        }
        if draw.below(10) == 0 {
            spec.ownership = Ownership::Exclusive;
        }
        declare(&mut cluster, spec);
    }
    cluster
}

pub(super) fn declare(cluster: &mut ClusterState, spec: StreamSpec) {
    let name = spec.name.clone();
    let record = StreamRecord {
        spec: Arc::new(spec),
        slot: Slot::Vacant,
        since: Timestamp::ZERO,
        reason: MoveReason::Declared,
        observed: None,
        performance: None,
        unplaced: None,
        lost_at: None,
        lost_from: None,
        floor: Epoch::ZERO,
        rerun: false,
        awaits: None,
        released: false,
        claimed: false,
    };
    cluster.needs_worker.insert(name.clone());
    cluster.streams.insert(name, Arc::new(record));
}

/// Does what the coordinator would, at once.
pub(super) fn perform(cluster: &mut ClusterState, commands: &[Command]) -> usize {
    let mut moves = 0;
    for command in commands {
        match command {
            Command::Propose(proposals) => {
                for proposal in proposals {
                    give(cluster, &proposal.stream, &proposal.to);
                    moves += 1;
                }
            }
            Command::Preempt(streams) => {
                for release in streams {
                    take(cluster, &release.stream);
                    moves += 1;
                }
            }
            Command::Unplaced(streams) => {
                for (stream, reason) in streams {
                    Arc::make_mut(cluster.streams.get_mut(stream).unwrap()).unplaced = *reason;
                }
            }
        }
    }
    moves
}

fn give(cluster: &mut ClusterState, stream: &StreamId, to: &WorkerId) {
    let record = Arc::make_mut(cluster.streams.get_mut(stream).unwrap());
    let weight = record.spec.weight;
    if let Some(from) = record.slot.worker() {
        let from = Arc::make_mut(cluster.workers.get_mut(from).unwrap());
        from.assigned.remove(stream);
        from.load -= weight;
    }
    let target = Arc::make_mut(cluster.workers.get_mut(to).unwrap());
    let epoch = Epoch::from_i64(1).unwrap();
    record.slot = Slot::Held(Assignment {
        worker: to.clone(),
        session: target.session,
        epoch,
    });
    record.unplaced = None;
    target.assigned.insert(stream.clone());
    target.load += weight;
    cluster.needs_worker.remove(stream);
}

fn take(cluster: &mut ClusterState, stream: &StreamId) {
    let record = Arc::make_mut(cluster.streams.get_mut(stream).unwrap());
    let from = Arc::make_mut(cluster.workers.get_mut(record.slot.worker().unwrap()).unwrap());
    from.assigned.remove(stream);
    from.load -= record.spec.weight;
    record.slot = Slot::Vacant;
    record.reason = MoveReason::Preempted;
    cluster.needs_worker.insert(stream.clone());
}

/// Loses a worker: its streams need another.
pub(super) fn lose(cluster: &mut ClusterState, worker: &WorkerId) -> usize {
    let record = Arc::make_mut(cluster.workers.get_mut(worker).unwrap());
    record.availability = Availability::Dead;
    let lost = std::mem::take(&mut record.assigned);
    record.load = 0.0;
    for stream in &lost {
        let record = Arc::make_mut(cluster.streams.get_mut(stream).unwrap());
        record.slot = Slot::Orphaned {
            last: record.slot.assignment().unwrap().clone(),
        };
        record.reason = MoveReason::WorkerLost;
        cluster.needs_worker.insert(stream.clone());
    }
    lost.len()
}

fn settle(balancer: &mut Balancer, cluster: &mut ClusterState, start: u64, rounds: u64) -> usize {
    let mut moves = 0;
    for round in start..start + rounds {
        let commands = balancer.snapshot(Timestamp::from_ms(round * 1_000), cluster.clone());
        moves += perform(cluster, &commands);
        balancer.snapshot(Timestamp::from_ms(round * 1_000), cluster.clone());
        let commands = balancer.round(Timestamp::from_ms(round * 1_000));
        moves += perform(cluster, &commands);
    }
    moves
}

fn gap(cluster: &ClusterState) -> f64 {
    let loads = cluster
        .workers
        .values()
        .filter(|w| w.takes_streams())
        .map(|w| w.relative_load());
    let (low, high) = loads.fold((f64::MAX, 0.0_f64), |(low, high), load| {
        (low.min(load), high.max(load))
    });
    high - low
}

#[test]
fn constraints_and_capacity_hold_and_a_fresh_placement_is_a_fixed_point() {
    for seed in 0..1_000 {
        let mut draw = Draw(seed);
        let (workers, streams) = (1 + draw.below(8), draw.below(150));
        let mut cluster = cluster(&mut draw, workers, streams);
        let mut balancer = Balancer::new(Config::default());
        let commands = balancer.snapshot(Timestamp::ZERO, cluster.clone());
        perform(&mut cluster, &commands);
        for record in cluster.streams.values() {
            let Some(owner) = record.slot.worker() else {
                assert!(
                    record.unplaced.is_some(),
                    "seed {seed}: unplaced without a reason"
                );
                continue;
            };
            let labels = &cluster.workers[owner].labels;
            assert!(
                cluster.workers[owner].guarded || !record.is_exclusive(),
                "seed {seed}: exclusive without a guard"
            );
            assert!(
                record
                    .spec
                    .requires
                    .iter()
                    .all(|(key, value)| labels.get(key).is_some_and(|has| has == value)),
                "seed {seed}"
            );
        }
        for worker in cluster.workers.values() {
            assert!(
                worker.load <= worker.capacity.weight * (1.0 + 1e-6),
                "seed {seed}: over capacity"
            );
        }
        let again = balancer.snapshot(Timestamp::ZERO, cluster.clone());
        assert!(
            again.is_empty(),
            "seed {seed}: planning twice changes something: {again:?}"
        );
    }
}

#[test]
fn a_death_moves_only_the_dead_workers_streams() {
    for seed in 0..200 {
        let mut draw = Draw(seed);
        let mut cluster = cluster(&mut draw, 6, 100);
        let mut balancer = Balancer::new(Config::default());
        settle(&mut balancer, &mut cluster, 1, 40);
        let lost = lose(&mut cluster, &WorkerId::new("w003").unwrap());
        let commands = balancer.snapshot(Timestamp::from_ms(50_000), cluster.clone());
        assert!(perform(&mut cluster, &commands) <= lost, "seed {seed}");
    }
}

#[test]
fn a_newcomer_is_filled_gradually_and_then_nothing_moves_any_more() {
    let mut draw = Draw(7);
    let mut cluster = cluster(&mut draw, 3, 60);
    let mut balancer = Balancer::new(Config::default());
    settle(&mut balancer, &mut cluster, 1, 40);
    let newcomer = worker(9, 100.0);
    let id = newcomer.id.clone();
    cluster.workers.insert(id.clone(), Arc::new(newcomer));
    assert!(settle(&mut balancer, &mut cluster, 100, 1) <= Config::default().max_moves_per_round);
    settle(&mut balancer, &mut cluster, 101, 60);
    assert!(cluster.workers[&id].load > 0.0);
    assert!(gap(&cluster) < 0.1, "gap {}", gap(&cluster));
    assert_eq!(
        settle(&mut balancer, &mut cluster, 300, 3_600),
        0,
        "an unchanged fleet makes no move"
    );
}

#[test]
fn whoever_fits_nowhere_is_told_why_and_lower_priorities_yield() {
    let mut draw = Draw(1);
    let mut cluster = cluster(&mut draw, 0, 0);
    declare(&mut cluster, StreamSpec::new(StreamId::new("a").unwrap(), "x"));
    let mut balancer = Balancer::new(Config::default());
    let name = StreamId::new("a").unwrap();
    let expected = Command::Unplaced(vec![(name.clone(), Some(UnplacedReason::NoWorkers))]);
    assert_eq!(balancer.snapshot(Timestamp::ZERO, cluster.clone()), [expected]);

    let small = worker(0, 1.0);
    cluster.workers.insert(small.id.clone(), Arc::new(small));
    let mut important = StreamSpec::new(StreamId::new("b").unwrap(), "x");
    important.priority = 9;
    declare(&mut cluster, important);
    let commands = balancer.snapshot(Timestamp::ZERO, cluster.clone());
    perform(&mut cluster, &commands);
    assert_eq!(cluster.streams[&name].unplaced, Some(UnplacedReason::NoCapacity));
    assert!(
        cluster.streams[&StreamId::new("b").unwrap()]
            .slot
            .worker()
            .is_some()
    );
}

#[test]
fn an_exclusive_stream_waits_for_a_worker_that_guards_it() {
    let mut cluster = cluster(&mut Draw(1), 1, 0);
    let mut spec = StreamSpec::new(StreamId::new("a").unwrap(), "x");
    spec.ownership = Ownership::Exclusive;
    let name = spec.name.clone();
    declare(&mut cluster, spec);
    let mut balancer = Balancer::new(Config::default());
    let expected = Command::Unplaced(vec![(name.clone(), Some(UnplacedReason::NoGuard))]);
    assert_eq!(balancer.snapshot(Timestamp::ZERO, cluster.clone()), [expected]);
    let guarded = worker(1, 100.0);
    cluster.workers.insert(guarded.id.clone(), Arc::new(guarded));
    let commands = balancer.snapshot(Timestamp::ZERO, cluster.clone());
    perform(&mut cluster, &commands);
    assert_eq!(cluster.streams[&name].slot.worker().unwrap().as_str(), "w001");
}

#[test]
fn unevenness_inside_the_band_is_borne() {
    let mut draw = Draw(1);
    let mut cluster = cluster(&mut draw, 0, 0);
    for (index, streams) in [(0, 50), (1, 53)] {
        let record = worker(index, 100.0);
        let id = record.id.clone();
        cluster.workers.insert(id.clone(), Arc::new(record));
        for number in 0..streams {
            let name = StreamId::new(format!("{index}-{number}")).unwrap();
            declare(&mut cluster, StreamSpec::new(name.clone(), "x"));
            give(&mut cluster, &name, &id);
        }
    }
    let mut balancer = Balancer::new(Config::default());
    assert_eq!(settle(&mut balancer, &mut cluster, 1, 10), 0);
    let mut strict = Balancer::new(Config {
        band_relative: 0.01,
        ..Config::default()
    });
    assert_eq!(
        settle(&mut strict, &mut cluster, 1, 10),
        1,
        "outside a narrower band it is mended"
    );
}
