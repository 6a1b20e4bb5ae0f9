//! What a heartbeat tells of its worker, taken into the worker's record.

use std::sync::Arc;

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
        let worker = &heartbeat.worker;
        let cordoned = self.is_cordoned(worker);
        let desired = Version {
            term: self.cluster.leadership.term,
            generation: self.seats.get(worker).map_or(0, |seat| seat.generation),
        };
        self.stale_since.get_or_insert(now);
        if self.cluster.workers.get(worker).is_none() {
            let unheard = WorkerRecord::unheard(now, worker.clone(), heartbeat.session);
            self.cluster.workers.insert(worker.clone(), Arc::new(unheard));
        }
        let Some(record) = self.cluster.workers.get_mut(worker) else {
            return;
        };
        // In place, unless readers have it: most heartbeats say that nothing has changed.
        let record = Arc::make_mut(record);
        let same = record.heard
            && record.session == heartbeat.session
            && record.phase == heartbeat.phase
            && record.capacity == heartbeat.capacity
            && record.guarded == heartbeat.guarded
            && record.applied == heartbeat.applied
            && *record.labels == heartbeat.labels;
        self.dirty |= !same || whole.is_some();
        if record.session != heartbeat.session {
            record.since = now;
        }
        record.session = heartbeat.session;
        record.availability = Availability::Alive;
        record.last_heard = now;
        record.heard = true;
        record.phase = heartbeat.phase;
        record.mode = heartbeat.mode;
        record.capacity = heartbeat.capacity;
        record.guarded = heartbeat.guarded;
        record.host = heartbeat.host;
        record.cordoned = cordoned;
        record.zlib = heartbeat.zlib;
        record.desired = desired;
        record.applied = heartbeat.applied;
        record.declared = Some(heartbeat.inventory.count);
        if record.zone != heartbeat.zone {
            record.zone.clone_from(&heartbeat.zone);
        }
        if *record.labels != heartbeat.labels {
            record.labels = Arc::new(heartbeat.labels.clone());
        }
        if *record.version != *heartbeat.version {
            record.version = heartbeat.version.as_str().into();
        }
        if let Some(list) = whole {
            record.inventory = Arc::new(list);
        }
    }
}
