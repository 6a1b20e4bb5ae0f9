//! Streams whose owner is lost: how long they wait for it (its lease, `lost_after`, `on_owner_lost = hold`), and how they
//! go home to it when it comes back as another life.
//!
//! Waiting changes no slot: the assignment holds, and an owner that is heard again goes on as if nothing had been. Proof of
//! death ends every wait. What the operator releases waits for the lease alone: that one is never given up for a word.

use std::collections::{BTreeMap, BTreeSet};

use streamkeeper_protocol::{StreamId, WorkerId};

use super::Coordinator;
use crate::cluster::{Availability, Awaited, Slot, StreamRecord};
use crate::graveyard::Key;
use crate::notice::Notice;
use crate::spec::OnOwnerLost;
use crate::time::Timestamp;

/// Streams that go to the new life of their owner, by worker.
pub(super) type Homing = BTreeMap<WorkerId, BTreeSet<StreamId>>;

impl Coordinator {
    /// What a stream waits for before its lost owner loses it, and until when; none when it waits no longer.
    pub(super) fn awaited(
        &self,
        now: Timestamp,
        record: &StreamRecord,
        owner: &Key,
    ) -> Option<(Awaited, Timestamp)> {
        if self.dead.contains(owner) {
            return None;
        }
        let spec = &record.spec;
        let lease = (record.is_exclusive() && self.may_hold(now, owner))
            .then(|| (Awaited::Lease, self.leased_until(owner)));
        // Whoever ends by the user's wish goes nowhere else, and an owner that is back needs no waiting for.
        let goes_on = matches!(record.slot, Slot::Held(_) | Slot::Releasing { to: Some(_), .. });
        let patient = goes_on && !record.released && !self.is_back(owner);
        let own = match (spec.on_owner_lost, spec.lost_after) {
            _ if !patient => None,
            (OnOwnerLost::Hold, _) => Some((Awaited::Hold, Timestamp::MAX)),
            (OnOwnerLost::Replace, Some(after)) => {
                let since = self.lost.get(owner).copied().unwrap_or(now);
                Some((Awaited::LostAfter, since + after))
            }
            (OnOwnerLost::Replace, None) => None,
        };
        [lease, own]
            .into_iter()
            .flatten()
            .filter(|(_, until)| now < *until)
            .max_by_key(|(_, until)| *until)
    }

    /// Another life of the worker has its seat.
    fn is_back(&self, owner: &Key) -> bool {
        let seat = self.seats.get(&owner.0);
        seat.is_some_and(|seat| seat.session != owner.1)
    }

    /// The stream is left with its lost owner, and looked at again later.
    pub(super) fn wait_for_owner(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        owner: &Key,
        (why, until): (Awaited, Timestamp),
    ) {
        if until != Timestamp::MAX {
            self.leases.wait(owner.clone(), until);
        }
        let lost = self.lost.contains_key(owner);
        let told = self.cluster.streams.get(stream).and_then(|record| record.awaits);
        if !lost || told.is_some_and(|(told, _)| told == why) {
            return;
        }
        self.update_stream(stream, |record| record.awaits = Some((why, now)));
        self.notices.push(Notice::OwnerAwaited {
            stream: stream.clone(),
            worker: owner.0.clone(),
            session: owner.1,
            why,
        });
    }

    /// A session is heard: nothing of it is waited for any more. True when it was lost, or its seat is new: whoever had the
    /// seat in between made it forgotten that this one was lost.
    pub(super) fn found_again(&mut self, key: &Key, new: bool) -> bool {
        self.leases.returned(key);
        if self.lost.remove(key).is_none() && !new {
            return false;
        }
        let streams = self.cluster.workers.get(&key.0);
        for stream in streams.map(|record| record.assigned.clone()).unwrap_or_default() {
            let record = self.cluster.streams.get(&stream);
            let waited = record.is_some_and(|record| {
                let owner = record.slot.assignment().map(|owner| owner.session);
                (record.awaits.is_some() || record.released) && owner == Some(key.1)
            });
            if waited {
                self.update_stream(&stream, |record| {
                    record.awaits = None;
                    record.released = false;
                });
            }
        }
        true
    }

    /// The operator says that these streams are to wait no longer.
    pub(super) fn release(&mut self, now: Timestamp, streams: &[StreamId]) {
        for stream in streams {
            let owner = self.cluster.streams.get(stream).and_then(|record| {
                let owner = record.slot.assignment()?;
                record.awaits.map(|_| (owner.worker.clone(), owner.session))
            });
            if let Some((worker, session)) = owner {
                self.update_stream(stream, |record| record.released = true);
                self.orphan_session(now, &worker, session);
            }
        }
    }

    /// Another life of the worker took its seat: streams that were to wait for it go to it, and to nobody else.
    pub(super) fn call_home(&mut self, worker: &WorkerId) {
        let orphans = self.cluster.needs_worker.iter().filter(|stream| {
            let record = self.cluster.streams.get(*stream);
            record.is_some_and(|record| {
                record.spec.on_owner_lost == OnOwnerLost::Hold
                    && matches!(&record.slot, Slot::Orphaned { last } if last.worker == *worker)
            })
        });
        let orphans: BTreeSet<StreamId> = orphans.cloned().collect();
        for stream in &orphans {
            self.cluster.needs_worker.remove(stream);
        }
        if !orphans.is_empty() {
            self.homing.entry(worker.clone()).or_default().extend(orphans);
            self.dirty = true;
        }
    }

    /// Whether the stream goes home to this worker's new life.
    pub(super) fn goes_home(&self, record: &StreamRecord) -> bool {
        let Slot::Orphaned { last } = &record.slot else {
            return false;
        };
        let homing = self.homing.get(&last.worker);
        homing.is_some_and(|streams| streams.contains(&record.spec.name))
    }

    /// Gives a worker that came back the streams that waited for it, as soon as it takes any.
    pub(super) fn come_home(&mut self, now: Timestamp, worker: &WorkerId) {
        let Some(streams) = self.homing.remove(worker) else {
            return;
        };
        for stream in streams {
            let Some(record) = self.cluster.streams.get(&stream).cloned() else {
                continue;
            };
            if !matches!(&record.slot, Slot::Orphaned { last } if last.worker == *worker) {
                continue;
            }
            let exclusive = record.is_exclusive();
            let held_back = self.retry_at.is_some()
                || (exclusive && (self.doubtful || now < self.cluster.leadership.grace_until));
            match self.home_of(&record, worker) {
                Home::Ready if !held_back && record.spec.enabled => {
                    self.grant(now, &stream, worker, record.reason);
                }
                Home::Ready | Home::Soon if record.spec.enabled => {
                    self.homing.entry(worker.clone()).or_default().insert(stream);
                }
                Home::Ready | Home::Soon | Home::None => {
                    self.homeless(&stream);
                }
            }
        }
    }

    /// The worker is gone again, or leaves: its streams go wherever there is room.
    pub(super) fn give_up_home(&mut self, worker: &WorkerId) {
        for stream in self.homing.remove(worker).unwrap_or_default() {
            self.homeless(&stream);
        }
    }

    fn homeless(&mut self, stream: &StreamId) {
        let record = self.cluster.streams.get(stream);
        let needs = record.is_some_and(|record| {
            record.spec.enabled && matches!(record.slot, Slot::Vacant | Slot::Orphaned { .. })
        });
        if needs {
            self.cluster.needs_worker.insert(stream.clone());
            self.dirty = true;
        }
    }

    fn home_of(&self, record: &StreamRecord, worker: &WorkerId) -> Home {
        use streamkeeper_protocol::Phase;
        let known = self.seats.get(worker).is_some_and(|seat| seat.generation > 0);
        let Some(home) = self.cluster.workers.get(worker) else {
            return Home::None;
        };
        let starts = matches!(home.phase, Phase::Starting | Phase::Ready);
        let heard = matches!(home.availability, Availability::Alive | Availability::Warning);
        if !starts || !heard {
            return Home::None;
        }
        if !home.takes_streams() || !known {
            return Home::Soon;
        }
        let labelled = |(key, value): (&str, &str)| home.labels.get(key).is_some_and(|has| has == value);
        let room = home.load + record.spec.weight <= home.capacity.weight
            && home.assigned.len() < home.capacity.max_streams as usize;
        if room && home.may_run(record.is_exclusive()) && record.spec.requires.iter().all(labelled) {
            Home::Ready
        } else {
            Home::None
        }
    }
}

/// Whether a worker that came back takes a stream that waited for it.
enum Home {
    Ready,
    /// It has only just begun.
    Soon,
    /// It is not the worker any more that it was.
    None,
}
