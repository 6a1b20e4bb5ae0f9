//! L3: database, the leader's memory and the workers agree.

use streamkeeper_core::cluster::Slot;

use super::{Broken, broken};
use crate::world::World;

impl World {
    pub(super) fn check_agreement(&self, leader: usize) -> Result<(), Broken> {
        self.check_durable();
        let cluster = self.orchestrators[leader].cluster();
        let (streams, rows) = (self.database.streams(), self.database.rows());
        broken(cluster.streams.len() == streams.len(), || {
            format!(
                "L3: {} streams in memory, {} stored",
                cluster.streams.len(),
                streams.len()
            )
        })?;
        for (stream, _) in streams.iter().filter(|(_, spec)| spec.enabled) {
            let row = rows
                .get(stream)
                .ok_or_else(|| format!("L3: {stream} has no row"))?;
            let slot = cluster.streams.get(stream).map(|record| &record.slot);
            broken(slot == Some(&Slot::Held(row.clone())), || {
                format!("L3: {stream} is stored as {row:?} and remembered as {slot:?}")
            })?;
            let runs = |node: &&crate::node::Node| {
                let child = node.children.get(stream);
                node.id == row.worker && child.is_some_and(|child| child.epoch == row.epoch)
            };
            broken(self.nodes.iter().filter(runs).count() == 1, || {
                format!("L3: {stream} does not run as {row:?}")
            })?;
        }
        let findings = self.orchestrators[leader].findings();
        broken(findings.is_empty(), || format!("L3: {findings:?}"))
    }
}
