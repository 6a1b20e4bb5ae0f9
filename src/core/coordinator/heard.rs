//! What a heartbeat tells of its worker, taken into the worker's record.

use std::sync::Arc;

use imbl::OrdSet;
use streamkeeper_protocol::{Heartbeat, RunningStream, Version, WorkerId};

use super::Coordinator;
use crate::cluster::{Availability, WorkerRecord};
use crate::time::Timestamp;

impl Coordinator {
    /// A whole inventory, where it says something new. It shares the names of streams: there may be millions of entries.
    pub(super) fn news(&self, worker: &WorkerId, mut list: Vec<RunningStream>) -> Option<Vec<RunningStream>> {
        let known = self.cluster.workers.get(worker);
        if known.is_some_and(|record| record.heard && *record.inventory == list) {
            return None;
        }
        for running in &mut list {
            if let Some(record) = self.cluster.streams.get(&running.stream) {
                running.stream = record.spec.name.clone();
            }
        }
        list.shrink_to_fit();
        Some(list)
    }

    /// Takes the facts of a heartbeat into the worker's record. Readers get them with the next snapshot; what changes
    /// nothing that they act on makes none.
    pub(super) fn note(&mut self, now: Timestamp, heartbeat: &Heartbeat, whole: Option<Vec<RunningStream>>) {
        let known = self.cluster.workers.get(&heartbeat.worker);
        let same = known.is_some_and(|record| {
            record.heard
                && record.session == heartbeat.session
                && record.phase == heartbeat.phase
                && record.capacity == heartbeat.capacity
                && record.guarded == heartbeat.guarded
                && record.applied == heartbeat.applied
                && *record.labels == heartbeat.labels
        });
        let (assigned, load) = known.map_or((OrdSet::new(), 0.0), |record| {
            (record.assigned.clone(), record.load)
        });
        let since = known
            .filter(|record| record.session == heartbeat.session)
            .map_or(now, |record| record.since);
        let kept = known.map(|record| record.inventory.clone()).unwrap_or_default();
        // What stays the same is shared with the record before.
        let labels = known.map(|record| &record.labels);
        let labels = labels.filter(|labels| ***labels == heartbeat.labels).cloned();
        let version = known.map(|record| &record.version);
        let version = version
            .filter(|version| ***version == *heartbeat.version)
            .cloned();
        self.dirty |= !same || whole.is_some();
        self.stale_since.get_or_insert(now);
        let record = WorkerRecord {
            id: heartbeat.worker.clone(),
            session: heartbeat.session,
            availability: Availability::Alive,
            since,
            last_heard: now,
            heard: true,
            phase: heartbeat.phase,
            mode: heartbeat.mode,
            capacity: heartbeat.capacity,
            zone: heartbeat.zone.clone(),
            labels: labels.unwrap_or_else(|| Arc::new(heartbeat.labels.clone())),
            version: version.unwrap_or_else(|| heartbeat.version.as_str().into()),
            guarded: heartbeat.guarded,
            host: heartbeat.host,
            cordoned: self.is_cordoned(&heartbeat.worker),
            zlib: heartbeat.zlib,
            assigned,
            load,
            desired: Version {
                term: self.cluster.leadership.term,
                generation: self
                    .seats
                    .get(&heartbeat.worker)
                    .map_or(0, |seat| seat.generation),
            },
            applied: heartbeat.applied,
            declared: Some(heartbeat.inventory.count),
            inventory: whole.map_or(kept, Arc::new),
        };
        self.cluster
            .workers
            .insert(heartbeat.worker.clone(), Arc::new(record));
    }
}
