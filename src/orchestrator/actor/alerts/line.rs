//! Who of the sinks waits for which rows.

use super::book::{Book, Key};

impl Book {
    /// Has every sink that lacks something of a row wait for it, behind what it waits for already.
    pub(super) fn line_up(&mut self, key: &Key) {
        let Some(entry) = self.rows.get(key) else {
            return;
        };
        let mut dropped = Vec::new();
        for lane in &mut self.lanes {
            if !lane.lacks(&entry.alert) {
                lane.remove(key);
            } else if let Some(oldest) = lane.put(key.clone()) {
                tracing::error!(
                    alert = oldest.0,
                    sink = lane.name,
                    "too many changes of alerts wait for a sink; the oldest is dropped until another leadership begins"
                );
                dropped.push(oldest);
            }
        }
        // Nobody else may wait for it.
        dropped.iter().for_each(|key| self.retire(key));
    }

    /// A sink may have lost what it took, or is to be told again.
    pub(super) fn again(&mut self, lane: usize) {
        let Some(lane) = self.lanes.get_mut(lane).filter(|_| self.leads) else {
            return;
        };
        for (fingerprint, began) in &self.firing {
            let key = (fingerprint.clone(), *began);
            let silent = self
                .rows
                .get(&key)
                .is_none_or(|entry| entry.alert.suppressed_by.is_some());
            if !silent && !lane.waits(&key) {
                lane.put(key);
            }
        }
    }
}
