//! Small generated fleets, and what is true of them, told without the code under test.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::super::*;

#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) capacity: f64,
    pub(super) max_streams: u32,
    pub(super) zone: usize,
    pub(super) label: u8,
    pub(super) guarded: bool,
    pub(super) open: bool,
    pub(super) health: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) weight: f64,
    pub(super) cpu: f32,
    pub(super) priority: i32,
    pub(super) exclusive: bool,
    pub(super) requires: Option<u8>,
    pub(super) prefers: Option<u8>,
    pub(super) spread: Option<u8>,
    pub(super) pin: Option<usize>,
}

/// A fleet and what it is to run.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) workers: Vec<Worker>,
    pub(super) streams: Vec<Stream>,
    /// For whatever a property has to choose.
    pub(super) draw: u64,
}

fn worker() -> impl Strategy<Value = Worker> {
    let capacity = prop_oneof![Just(10.0), 4.0..30.0_f64];
    let health = prop_oneof![4 => Just(1.0), 1 => 0.3..1.0_f64];
    let max_streams = prop_oneof![3 => Just(1_000_u32), 1 => 0..12_u32];
    (
        capacity,
        max_streams,
        0..3_usize,
        0..3_u8,
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.9),
        health,
    )
        .prop_map(
            |(capacity, max_streams, zone, label, guarded, open, health)| Worker {
                capacity,
                max_streams,
                zone,
                label,
                guarded,
                open,
                health,
            },
        )
}

fn sometimes<T: Clone + std::fmt::Debug>(
    share: f64,
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(share, value)
}

fn stream() -> impl Strategy<Value = Stream> {
    let weight = prop_oneof![3 => Just(1.0), 3 => 0.1..3.0_f64, 1 => 3.0..12.0_f64];
    (
        weight,
        0.0..2.0_f32,
        0..3_i32,
        prop::bool::weighted(0.15),
        sometimes(0.1, 0..3_u8),
        sometimes(0.1, 0..3_u8),
        sometimes(0.15, 0..3_u8),
        sometimes(0.05, 0..9_usize),
    )
        .prop_map(
            |(weight, cpu, priority, exclusive, requires, prefers, spread, pin)| Stream {
                weight,
                cpu,
                priority,
                exclusive,
                requires,
                prefers,
                spread,
                pin,
            },
        )
}

/// Any fleet.
pub(super) fn constrained() -> impl Strategy<Value = World> {
    (
        prop::collection::vec(worker(), 0..7),
        prop::collection::vec(stream(), 0..40),
        proptest::num::u64::ANY,
    )
        .prop_map(|(workers, streams, draw)| World {
            workers,
            streams,
            draw,
        })
}

/// Streams and workers without constraints, all workers alike.
pub(super) fn plain() -> impl Strategy<Value = World> {
    constrained().prop_map(|mut world| {
        for worker in &mut world.workers {
            *worker = Worker {
                capacity: 1_000.0,
                max_streams: 1_000,
                open: true,
                guarded: true,
                health: 1.0,
                ..worker.clone()
            };
        }
        for stream in &mut world.streams {
            *stream = Stream {
                cpu: 0.0,
                exclusive: false,
                requires: None,
                prefers: None,
                spread: None,
                pin: None,
                priority: 0,
                ..stream.clone()
            };
        }
        world
    })
}

pub(super) fn worker_id(index: usize) -> WorkerId {
    WorkerId::new(format!("w{index}")).unwrap()
}

pub(super) fn stream_id(index: usize) -> StreamId {
    StreamId::new(format!("s{index:03}")).unwrap()
}

fn label(value: Option<u8>) -> BTreeMap<String, String> {
    value
        .map(|value| ("kind".to_owned(), value.to_string()))
        .into_iter()
        .collect()
}

impl World {
    pub(super) fn facts_of_worker(&self, index: usize) -> WorkerFacts {
        let worker = &self.workers[index];
        WorkerFacts {
            id: worker_id(index),
            open: worker.open,
            guarded: worker.guarded,
            zone: Some(format!("z{}", worker.zone)),
            labels: Arc::new(label(Some(worker.label))),
            max_streams: worker.max_streams,
            capacity: [worker.capacity, worker.capacity, f64::INFINITY, f64::INFINITY],
            health: worker.health,
        }
    }

    /// Calls `take` with the facts of a stream.
    pub(super) fn with_stream<T>(
        &self,
        index: usize,
        take: impl FnOnce(&StreamId, &StreamFacts<'_>) -> T,
    ) -> T {
        let stream = &self.streams[index];
        let (requires, prefers) = (label(stream.requires).into(), label(stream.prefers).into());
        let spread = stream.spread.map(|spread| format!("g{spread}"));
        let pin = stream.pin.map(worker_id);
        let facts = StreamFacts {
            size: [stream.weight as f32, stream.cpu, 0.0, 0.0],
            priority: stream.priority,
            exclusive: stream.exclusive,
            requires: &requires,
            prefers: &prefers,
            spread: spread.as_deref(),
            pin: pin.as_ref(),
            wanted: true,
        };
        take(&stream_id(index), &facts)
    }

    /// Whether the rules let a stream be on a worker, room and spread keys apart.
    pub(super) fn able(&self, stream: usize, worker: usize) -> bool {
        let (s, w) = (&self.streams[stream], &self.workers[worker]);
        w.open
            && w.max_streams > 0
            && s.requires.is_none_or(|label| label == w.label)
            && (w.guarded || !s.exclusive)
            && s.pin.is_none_or(|pin| pin == worker)
    }
}

/// A fleet in motion.
#[derive(Debug, Clone)]
pub(super) struct Fleet {
    pub(super) world: World,
    pub(super) problem: Problem,
    pub(super) placement: Placement,
}

pub(super) type Named = BTreeMap<usize, usize>;

impl Fleet {
    pub(super) fn new(world: &World) -> Self {
        let streams: Vec<usize> = (0..world.streams.len()).collect();
        let workers: Vec<usize> = (0..world.workers.len()).collect();
        Self::in_order(world, &streams, &workers)
    }

    /// The same, told in another order.
    pub(super) fn in_order(world: &World, streams: &[usize], workers: &[usize]) -> Self {
        let mut fleet = Self {
            world: world.clone(),
            problem: Problem::new(),
            placement: Placement::new(),
        };
        for worker in workers {
            fleet.problem.put_worker(world.facts_of_worker(*worker));
        }
        for stream in streams {
            fleet.put(*stream);
        }
        fleet.problem.settle();
        fleet
    }

    pub(super) fn put(&mut self, stream: usize) {
        let (problem, placement) = (&mut self.problem, &mut self.placement);
        self.world
            .with_stream(stream, |name, facts| problem.put_stream(placement, name, facts));
    }

    pub(super) fn index(&self, stream: usize) -> Index {
        self.problem.stream(&stream_id(stream)).unwrap()
    }

    /// Streams without a worker.
    pub(super) fn waiting(&self) -> Vec<Index> {
        let all = (0..self.world.streams.len()).map(|stream| self.index(stream));
        all.filter(|stream| self.placement.owner(*stream) == NONE)
            .collect()
    }

    /// Who is where, by the numbers of the world.
    pub(super) fn named(&self) -> Named {
        let number = |id: &str| id[1..].parse().unwrap();
        let place = |stream: usize| {
            let owner = self.placement.owner(self.index(stream));
            (owner != NONE).then(|| (stream, number(self.problem.id(owner).as_str())))
        };
        (0..self.world.streams.len()).filter_map(place).collect()
    }

    /// Places what waits, and moves nothing else but for the sake of priorities.
    pub(super) fn place(&mut self) -> Solution {
        self.plan(&Limits::UNLIMITED, false, &BTreeMap::new())
    }

    /// Places what waits, and evens out.
    pub(super) fn balance(&mut self, limits: &Limits) -> Solution {
        self.plan(limits, true, &BTreeMap::new())
    }

    pub(super) fn plan(&mut self, limits: &Limits, even: bool, homes: &BTreeMap<Index, Index>) -> Solution {
        let movable = |_: Index| true;
        let mode = Mode {
            homes,
            evict: true,
            limits,
            movable: even.then_some(&movable),
            on_probation: &|_| false,
        };
        let solution = solve(&self.problem, &self.placement, &self.waiting(), &mode);
        for step in &solution.moves {
            assert_eq!(step.from, self.placement.owner(step.stream));
            match step.to {
                NONE => self.placement.remove(&self.problem, step.stream),
                to => self.placement.place(&self.problem, step.stream, to),
            }
        }
        solution
    }

    /// Plans again and again, until nothing is left to do; gives the number of plans that did something.
    pub(super) fn settle(&mut self) -> usize {
        for round in 0..200 {
            let placed = self.place().moves.len();
            if placed + self.balance(&Limits::UNLIMITED).moves.len() == 0 {
                return round;
            }
        }
        panic!("plans without end");
    }

    /// A worker goes, and its streams wait.
    pub(super) fn lose(&mut self, worker: usize) -> Vec<Index> {
        self.world.workers[worker].open = false;
        let index = self.problem.put_worker(self.world.facts_of_worker(worker));
        let lost = self.placement.streams_of(index).to_vec();
        for stream in &lost {
            self.placement.remove(&self.problem, *stream);
        }
        self.problem.settle();
        lost
    }

    /// A worker comes.
    pub(super) fn join(&mut self, worker: Worker) -> Index {
        self.world.workers.push(worker);
        let facts = self.world.facts_of_worker(self.world.workers.len() - 1);
        let index = self.problem.put_worker(facts);
        self.problem.settle();
        index
    }

    /// Relative load of a worker, worked out from the world.
    pub(super) fn relative(&self, named: &Named, worker: usize) -> f64 {
        let mine = named.iter().filter(|(_, owner)| **owner == worker);
        let (mut weight, mut cpu) = (0.0, 0.0);
        for (stream, _) in mine {
            weight += self.world.streams[*stream].weight;
            cpu += f64::from(self.world.streams[*stream].cpu);
        }
        let Worker { capacity, health, .. } = self.world.workers[worker];
        let trusted = capacity * health;
        let cpu = cpu / trusted;
        f64::max(weight / trusted, cpu.min(4.0 * (cpu - 0.5))).max(0.0)
    }
}
