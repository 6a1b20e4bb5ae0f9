//! S1 single-owner: an `exclusive` stream never runs on two workers at the same real time.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Epoch, StreamId};

use crate::world::World;

/// One running child.
#[derive(Debug, Clone, Copy)]
struct Copy {
    node: usize,
    epoch: Epoch,
    exclusive: bool,
    /// Its machine stands still.
    frozen: bool,
}

/// What really runs.
#[derive(Debug, Default)]
pub(super) struct Copies(BTreeMap<StreamId, Vec<Copy>>);

impl Copies {
    /// Whether a copy above this epoch runs.
    pub(super) fn newer_runs(&self, stream: &StreamId, epoch: Epoch) -> bool {
        let mut copies = self.0.get(stream).into_iter().flatten();
        copies.any(|copy| copy.epoch > epoch)
    }

    pub(super) fn gone(&mut self, stream: &StreamId, node: usize) {
        if let Some(copies) = self.0.get_mut(stream) {
            copies.retain(|copy| copy.node != node);
        }
    }
}

impl World {
    pub(super) fn check_single(&mut self, index: usize, stream: &StreamId, epoch: Epoch, exclusive: bool) {
        let copies = self.watch.copies.0.entry(stream.clone()).or_default();
        copies.push(Copy {
            node: index,
            epoch,
            exclusive,
            frozen: false,
        });
        if copies.len() > 1 {
            self.check_copies(stream);
        }
    }

    fn check_copies(&self, stream: &StreamId) {
        let copies = self.watch.copies.0.get(stream).map_or(&[][..], Vec::as_slice);
        let running = copies.iter().filter(|copy| !copy.frozen);
        let alone = running.clone().count() <= 1 || !running.clone().any(|copy| copy.exclusive);
        assert!(
            alone,
            "S1 single-owner: {stream} runs {}",
            running
                .map(|copy| format!(
                    "on {} (machine {}) at {}.{}",
                    self.nodes[copy.node].id,
                    copy.node,
                    copy.epoch.term(),
                    copy.epoch.counter()
                ))
                .collect::<Vec<_>>()
                .join(" and ")
        );
    }

    /// A machine stands still, or goes on.
    pub(crate) fn freeze(&mut self, index: usize, frozen: bool) {
        let streams: Vec<StreamId> = self.nodes[index].children.keys().cloned().collect();
        for stream in streams {
            for copy in self.watch.copies.0.entry(stream.clone()).or_default() {
                if copy.node == index {
                    copy.frozen = frozen;
                }
            }
            self.check_copies(&stream);
        }
    }
}
