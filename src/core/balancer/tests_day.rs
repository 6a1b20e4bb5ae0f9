//! A simulated day of a fleet whose loads are noisy and whose workers restart, and a simulated week of one that nothing
//! happens to. Virtual time, seeded. `SIMULATED_DAY=full` runs the whole day and the whole fleet instead of a part of it.

use std::sync::Arc;

use streamkeeper_protocol::{HostMetrics, Performance, SessionId, StreamId, WorkerId};

use super::tests::{Draw, cluster, declare, lose, perform, worker};
use super::*;
use crate::cluster::Availability;
use crate::spec::StreamSpec;

/// A stream's measured processors.
const CORES: f32 = 0.1;
/// Deviation of what is measured.
const NOISE: f32 = 0.05;
/// A worker that restarts is away for so long.
const AWAY_SECONDS: u64 = 60;

struct Fleet {
    cluster: ClusterState,
    balancer: Balancer,
    draw: Draw,
    now: u64,
    sessions: u128,
    band: f64,
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    lost: usize,
    balance_moves: usize,
    needless: usize,
    seconds: u64,
    outside: u64,
}

fn size() -> (u64, u64, u64) {
    // Streams, workers, hours.
    match std::env::var_os("SIMULATED_DAY").is_some_and(|form| form == "full") {
        true => (10_000, 100, 24),
        false => (1_500, 15, 8),
    }
}

impl Fleet {
    fn new(streams: u64, workers: u64) -> Self {
        let mut draw = Draw(7);
        let mut cluster = cluster(&mut draw, 0, 0);
        for index in 0..workers {
            let mut record = worker(index, 150.0);
            record.host = Some(HostMetrics {
                cpu_share: 0.5,
                memory_used_bytes: 1,
                memory_total_bytes: 64 << 30,
                load1: 1.0,
                cores: Some(16),
            });
            cluster.workers.insert(record.id.clone(), Arc::new(record));
        }
        for index in 0..streams {
            let name = StreamId::new(format!("s{index:05}")).unwrap();
            let mut spec = StreamSpec::new(name, "source");
            spec.weight = 0.5 + draw.below(100) as f64 / 100.0;
            declare(&mut cluster, spec);
        }
        let config = Config::default();
        let mut fleet = Self {
            cluster,
            balancer: Balancer::new(config),
            draw,
            now: 1_000,
            sessions: 1_000_000,
            band: config.band_relative,
        };
        fleet.snapshot();
        fleet.measure();
        fleet.snapshot();
        fleet
    }

    fn time(&self) -> Timestamp {
        Timestamp::from_ms(self.now * 1_000)
    }

    /// The leader's state goes to the balancer, until it has no more wishes.
    fn snapshot(&mut self) {
        for _ in 0..3 {
            let commands = self.balancer.snapshot(self.time(), self.cluster.clone());
            if perform(&mut self.cluster, &commands) == 0 {
                break;
            }
        }
    }

    /// Every stream is measured again.
    fn measure(&mut self) {
        let names: Vec<StreamId> = self.cluster.streams.keys().cloned().collect();
        for name in names {
            let record = Arc::make_mut(self.cluster.streams.get_mut(&name).unwrap());
            let noise = (self.draw.below(2_001) as f32 / 1_000.0 - 1.0) * NOISE * 1.7;
            record.performance = Some(Box::new(Performance {
                cpu_cores: Some(CORES * record.spec.weight as f32 * (1.0 + noise)),
                memory_bytes: Some(50 << 20),
                ..Performance::default()
            }));
        }
    }

    /// Whether fullest and emptiest worker are further apart than is borne. Who is back and on probation does not count yet.
    fn outside(&self) -> bool {
        let (problem, placement) = (self.balancer.problem(), self.balancer.placement());
        let probation = self
            .balancer
            .mirror
            .histories
            .on_probation(self.time(), Config::default().probation);
        let counts = |index: &&Index| !probation.contains(&problem.id(**index));
        let load = |index: &Index| placement.load(*index)[0] / 150.0;
        let loads: Vec<f64> = problem.open_workers().iter().filter(counts).map(load).collect();
        let (low, high) = loads.iter().fold((f64::MAX, 0.0_f64), |(low, high), load| {
            (low.min(*load), high.max(*load))
        });
        let mean = loads.iter().sum::<f64>() / loads.len() as f64;
        high - low > f64::max(self.band * mean, Config::default().band_absolute)
    }

    fn round(&mut self, counts: &mut Counts) -> usize {
        let (outside, mending) = (self.outside(), self.balancer.mending);
        let commands = self.balancer.round(self.time());
        let moves = perform(&mut self.cluster, &commands);
        // Measured load is a dimension as well; it is as even as the declared one here, give or take the noise.
        counts.needless += if outside || mending { 0 } else { moves };
        counts.balance_moves += moves;
        self.snapshot();
        moves
    }

    fn come_back(&mut self, id: &WorkerId) {
        self.sessions += 1;
        let record = Arc::make_mut(self.cluster.workers.get_mut(id).unwrap());
        record.availability = Availability::Alive;
        record.session = SessionId::from_u128(self.sessions);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are worth seeing")]
fn a_day_of_noise_and_restarts_costs_few_moves() {
    let (streams, workers, hours) = size();
    let mut fleet = Fleet::new(streams, workers);
    let mut counts = Counts::default();
    // One worker of a hundred restarts in an hour.
    let between = 3_600 * 100 / workers;
    let (mut next_restart, mut next_measure) = (fleet.now + between / 2, fleet.now + 300);
    let mut away: Option<(u64, WorkerId)> = None;
    let end = fleet.now + hours * 3_600;
    let mut busy_until = 0;
    while fleet.now < end {
        // Seconds matter while something happens.
        let step = if fleet.now < busy_until || away.is_some() {
            1
        } else {
            20
        };
        fleet.now += step;
        counts.seconds += step;
        if fleet.now >= next_restart {
            next_restart += between;
            let id = WorkerId::new(format!("w{:03}", fleet.draw.below(workers))).unwrap();
            counts.lost += lose(&mut fleet.cluster, &id);
            away = Some((fleet.now + AWAY_SECONDS, id));
            fleet.snapshot();
        }
        if let Some((_, id)) = away.take_if(|(at, _)| *at <= fleet.now) {
            fleet.come_back(&id);
            busy_until = fleet.now + 120;
            fleet.snapshot();
        }
        if fleet.now >= next_measure {
            next_measure += 300;
            fleet.measure();
            fleet.snapshot();
        }
        counts.outside += if fleet.outside() { step } else { 0 };
        if fleet.round(&mut counts) > 0 {
            busy_until = fleet.now + 20;
        }
    }
    println!("{streams} streams, {workers} workers, {hours} hours: {counts:?}");
    assert!(
        counts.lost > 0 && fleet.cluster.needs_worker.is_empty(),
        "{counts:?}"
    );
    // The refill of a worker takes as many moves as its loss.
    let beyond = counts.balance_moves.saturating_sub(counts.lost);
    let days = hours as f64 / 24.0;
    assert!(beyond as f64 <= 0.1 * streams as f64 * days, "{counts:?}");
    assert!(counts.outside * 100 <= counts.seconds, "{counts:?}");
    assert_eq!(counts.needless, 0, "{counts:?}");
}

#[test]
fn a_week_of_noise_alone_moves_nothing() {
    let (streams, workers, hours) = size();
    let (streams, workers) = if hours == 24 {
        (streams, workers)
    } else {
        (300, 10)
    };
    let mut fleet = Fleet::new(streams, workers);
    let mut counts = Counts::default();
    for step in 0..7 * 24 * 6 {
        fleet.now += 600;
        fleet.measure();
        fleet.snapshot();
        fleet.round(&mut counts);
        assert_eq!(counts.balance_moves, 0, "step {step}");
    }
}
