//! L2: load is back in the balance band. Workers that were lost many times are trusted with less for a while.

use streamkeeper_core::cluster::Availability;

use super::{Broken, broken};
use crate::world::World;

/// Weight of the heaviest stream: loads are not finer than that.
const HEAVIEST: f64 = 3.0;
/// Unevenness that the balancer bears, as a share of the mean.
const BAND: f64 = 0.1;

impl World {
    pub(super) fn check_balance(&self, leader: usize) -> Result<(), Broken> {
        let orchestrator = &self.orchestrators[leader];
        let workers = orchestrator.cluster().workers.values();
        let mut loads: Vec<(f64, f64)> = workers
            .filter(|worker| worker.availability == Availability::Alive)
            .map(|worker| (worker.load, orchestrator.trust(self.now, &worker.id)))
            .collect();
        loads.sort_by(|(load, trust), (other, others)| (load / trust).total_cmp(&(other / others)));
        let (Some((low, trust)), Some((high, others))) = (loads.first(), loads.last()) else {
            return Ok(());
        };
        let gap = high / others - low / trust;
        let sums = loads
            .iter()
            .fold((0.0, 0.0), |sums, (load, trust)| (sums.0 + load, sums.1 + trust));
        let borne = BAND * sums.0 / sums.1 + HEAVIEST / trust.min(*others);
        broken(gap <= borne, || {
            format!("L2: loads differ by more than one stream; each with the trust in its worker: {loads:?}")
        })
    }
}
