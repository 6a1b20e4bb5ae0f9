//! The bare heuristic that plans are compared with: heaviest first, each to the worker with the lowest relative load. No
//! constraints, one dimension, arrays that are ready.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[derive(PartialEq)]
struct Load(f64);

impl Eq for Load {}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Load {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Places `weights` on workers that carry `loads` already; gives the worker of each stream.
pub(super) fn place(weights: &[f64], loads: &mut [f64], capacities: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(weights.len()).unwrap_or(u32::MAX)).collect();
    order.sort_by(|a, b| weights[*b as usize].total_cmp(&weights[*a as usize]));
    let mut heap: BinaryHeap<Reverse<(Load, u32)>> = (0..)
        .zip(loads.iter().zip(capacities))
        .map(|(worker, (load, capacity))| Reverse((Load(load / capacity), worker)))
        .collect();
    let mut owners = vec![0; weights.len()];
    for stream in order {
        let Some(mut top) = heap.peek_mut() else { break };
        let worker = top.0.1;
        loads[worker as usize] += weights[stream as usize];
        top.0.0 = Load(loads[worker as usize] / capacities[worker as usize]);
        owners[stream as usize] = worker;
    }
    owners
}
