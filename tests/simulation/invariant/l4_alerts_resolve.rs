//! L4: every alert is over.

use super::{Broken, broken};
use crate::world::World;

impl World {
    pub(super) fn check_alerts(&self, leader: usize) -> Result<(), Broken> {
        let alerts = self.orchestrators[leader].alerts();
        broken(alerts.is_empty(), || format!("L4: {alerts:?}"))
    }
}
