//! The workers of a problem, as arrays.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamkeeper_protocol::WorkerId;

use super::{DIMENSIONS, Index, NONE, Sums};

/// Worst health that counts: below it a worker would get nothing, and could never show that it is well again.
const LOWEST_HEALTH: f64 = 0.05;

/// One worker, as a problem takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerFacts {
    /// Its id.
    pub id: WorkerId,
    /// Whether it takes streams.
    pub open: bool,
    /// Whether it ends exclusive streams by itself.
    pub guarded: bool,
    /// Failure zone.
    pub zone: Option<String>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Most streams.
    pub max_streams: u32,
    /// What it can carry, by dimension; infinite where it is not known.
    pub capacity: Sums,
    /// Share of its capacity that it is trusted with, 0 to 1: lowered by failures, latency and probation.
    pub health: f64,
}

/// All workers.
#[derive(Debug, Clone, Default)]
pub(super) struct Workers {
    pub(super) ids: Vec<WorkerId>,
    pub(super) by_id: BTreeMap<WorkerId, Index>,
    pub(super) open: Vec<bool>,
    pub(super) guarded: Vec<bool>,
    pub(super) zone: Vec<Index>,
    pub(super) labels: Vec<Arc<BTreeMap<String, String>>>,
    pub(super) max_streams: Vec<u32>,
    pub(super) capacity: Vec<Sums>,
    /// One by trusted capacity; zero where a dimension does not count.
    pub(super) inverse: Vec<Sums>,
    /// Place in the order of ids, by which ties are decided.
    pub(super) rank: Vec<u32>,
    /// Open workers by capacity, then by id.
    pub(super) order: Vec<Index>,
    /// Sum of the trusted capacity of open workers.
    pub(super) total: Sums,
    zones: BTreeMap<String, Index>,
    free: Vec<Index>,
    settled: bool,
}

impl Workers {
    /// Takes in a worker. Says where it is, and whether constraints have to look at it again.
    pub(super) fn put(&mut self, facts: WorkerFacts) -> (Index, bool) {
        let (index, new) = match self.by_id.get(&facts.id) {
            Some(index) => (*index, false),
            None => (self.make_room(&facts.id), true),
        };
        let at = index as usize;
        let open = facts.open && facts.max_streams > 0 && facts.capacity[0] > 0.0;
        let zone = self.zone_of(facts.zone);
        let health = facts.health.clamp(LOWEST_HEALTH, 1.0);
        let inverse = facts.capacity.map(|capacity| match 1.0 / (capacity * health) {
            inverse if inverse.is_finite() => inverse,
            _ => 0.0,
        });
        let same_kind = self.open[at] == open
            && self.guarded[at] == facts.guarded
            && (Arc::ptr_eq(&self.labels[at], &facts.labels) || self.labels[at] == facts.labels);
        if self.open[at] != open || self.capacity[at] != facts.capacity || self.inverse[at] != inverse {
            self.settled = false;
        }
        self.open[at] = open;
        self.guarded[at] = facts.guarded;
        self.zone[at] = zone;
        self.labels[at] = facts.labels;
        self.max_streams[at] = facts.max_streams;
        self.capacity[at] = facts.capacity;
        self.inverse[at] = inverse;
        (index, new || !same_kind)
    }

    /// Takes a worker out of the choice.
    pub(super) fn close(&mut self, index: Index) {
        self.open[index as usize] = false;
        self.settled = false;
    }

    /// Forgets a worker.
    pub(super) fn remove(&mut self, index: Index) {
        let at = index as usize;
        self.by_id.remove(&self.ids[at]);
        self.open[at] = false;
        self.free.push(index);
        self.settled = false;
    }

    fn make_room(&mut self, id: &WorkerId) -> Index {
        self.settled = false;
        let index = self.free.pop().unwrap_or_else(|| {
            self.ids.push(id.clone());
            self.open.push(false);
            self.guarded.push(false);
            self.zone.push(NONE);
            self.labels.push(Arc::default());
            self.max_streams.push(0);
            self.capacity.push([0.0; DIMENSIONS]);
            self.inverse.push([0.0; DIMENSIONS]);
            self.rank.push(0);
            to_index(self.ids.len() - 1)
        });
        self.ids[index as usize] = id.clone();
        self.by_id.insert(id.clone(), index);
        index
    }

    fn zone_of(&mut self, zone: Option<String>) -> Index {
        let next = to_index(self.zones.len());
        zone.map_or(NONE, |name| *self.zones.entry(name).or_insert(next))
    }

    /// How many zones were ever named.
    pub(super) fn zones(&self) -> usize {
        self.zones.len()
    }

    /// Orders the workers anew, if anything changed that orders them.
    pub(super) fn settle(&mut self) {
        if self.settled {
            return;
        }
        self.settled = true;
        for (rank, index) in self.by_id.values().enumerate() {
            self.rank[*index as usize] = to_index(rank);
        }
        let mut order: Vec<Index> = self.by_id.values().copied().collect();
        order.retain(|index| self.open[*index as usize]);
        // Stable: workers of one capacity stay in the order of their ids.
        order.sort_by(|a, b| self.capacity[*a as usize][0].total_cmp(&self.capacity[*b as usize][0]));
        self.total = [0.0; DIMENSIONS];
        for index in &order {
            for (sum, inverse) in self.total.iter_mut().zip(self.inverse[*index as usize]) {
                *sum += if inverse > 0.0 { 1.0 / inverse } else { 0.0 };
            }
        }
        self.order = order;
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }
}

/// Positions fit: no fleet has four thousand million streams.
pub(super) fn to_index(position: usize) -> Index {
    Index::try_from(position).unwrap_or(NONE)
}
