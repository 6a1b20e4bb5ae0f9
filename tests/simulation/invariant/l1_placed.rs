//! L1: every enabled stream runs, once, and nothing else does.

use std::collections::BTreeMap;

use streamkeeper_protocol::StreamId;

use super::{Broken, broken};
use crate::world::World;

impl World {
    pub(super) fn check_placed(&self, leader: usize) -> Result<(), Broken> {
        let cluster = self.orchestrators[leader].cluster();
        let mut running: BTreeMap<&StreamId, Vec<&str>> = BTreeMap::new();
        for node in &self.nodes {
            for stream in node.children.keys() {
                running.entry(stream).or_default().push(node.id.as_str());
            }
        }
        for (stream, spec) in self.database.streams() {
            let copies = running.remove(stream).unwrap_or_default();
            let record = cluster.streams.get(stream);
            broken(copies.len() == usize::from(spec.enabled), || {
                let slot = record.map(|record| &record.slot);
                let worker = slot
                    .and_then(|slot| slot.worker())
                    .and_then(|id| cluster.workers.get(id));
                format!("L1: {stream} runs on {copies:?}: {slot:?} {worker:?}")
            })?;
            broken(
                !spec.enabled || record.is_some_and(|record| record.state().as_str() == "running"),
                || format!("L1: {record:?} does not run"),
            )?;
        }
        broken(running.is_empty(), || format!("L1: ghosts {running:?}"))
    }
}
