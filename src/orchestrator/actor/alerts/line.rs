//! Who of the sinks waits for which rows.

use super::book::{Book, Key};
use super::lane::MAX_WAITING;
use crate::telemetry::metrics::ALERT_DELIVERIES;

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
                metrics::counter!(ALERT_DELIVERIES, "sink" => lane.name, "outcome" => "dropped").increment(1);
                if !std::mem::replace(&mut lane.full, true) {
                    tracing::error!(
                        alert = oldest.0,
                        sink = lane.name,
                        "too many changes of alerts wait for a sink; the oldest are dropped until another leadership \
                         begins"
                    );
                }
                dropped.push(oldest);
            }
        }
        // Nobody else may wait for it.
        dropped.iter().for_each(|key| self.retire(key));
    }

    /// Forgets what is over and nobody waits for, though it is not stored: there are too many rows, because the database takes
    /// nothing, or not as fast as they come.
    pub(super) fn bound(&mut self) {
        if self.rows.len() <= MAX_WAITING * (self.lanes.len() + 2) {
            return;
        }
        let lanes = &self.lanes;
        let before = self.rows.len();
        self.rows.retain(|key, entry| {
            entry.alert.resolved_ms.is_none() || lanes.iter().any(|lane| lane.waits(key))
        });
        let rows = &self.rows;
        self.dirty.retain(|key| rows.contains_key(key));
        let forgotten = before - self.rows.len();
        tracing::error!(
            forgotten,
            "alerts that are over are not stored: too many wait for the database"
        );
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
                .is_none_or(|entry| lane.is_silent(&entry.alert));
            if !silent && !lane.waits(&key) {
                lane.put(key);
            }
        }
    }
}
