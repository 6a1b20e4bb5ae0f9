//! L2: load is back in the balance band.

use streamkeeper_core::cluster::Availability;

use super::{Broken, broken};
use crate::world::World;

impl World {
    pub(super) fn check_balance(&self, leader: usize) -> Result<(), Broken> {
        let workers = self.orchestrators[leader].cluster().workers.values();
        let mut loads: Vec<f64> = workers
            .filter(|worker| worker.availability == Availability::Alive)
            .map(|worker| worker.load)
            .collect();
        loads.sort_by(f64::total_cmp);
        let gap = loads.last().unwrap_or(&0.0) - loads.first().unwrap_or(&0.0);
        broken(gap <= 3.0, || {
            format!("L2: loads differ by more than one stream: {loads:?}")
        })
    }
}
