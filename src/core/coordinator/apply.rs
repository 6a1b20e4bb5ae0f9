//! Users' changes: what they would do is worked out when their transaction starts, on top of the changes before them in
//! the same transaction, and becomes visible when it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use streamkeeper_protocol::{Epoch, Ownership, StreamId, WorkerId};

use super::{Command, Config, Coordinator};
use crate::cluster::{MoveReason, Slot};
use crate::directive::DirectiveWrite;
use crate::forecast::Step;
use crate::record::StreamWrite;
use crate::request::{Applied, ApplyError, ApplyStreams, RequestId};
use crate::spec::StreamSpec;
use crate::time::Timestamp;

/// One change, worked out.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) request: RequestId,
    pub(super) applied: Applied,
    pub(super) writes: Vec<StreamWrite>,
    pub(super) directives: Vec<DirectiveWrite>,
    /// Why streams that are to move do so.
    pub(super) move_reason: MoveReason,
}

/// Specs as they will be after the changes before: none for a deleted stream.
type Overlay = BTreeMap<StreamId, Option<StreamSpec>>;

/// The specs that a change declares, and those of which it changes one thing alone.
fn specs_of<'a>(
    change: &ApplyStreams,
    present: &impl Fn(&StreamId) -> Option<&'a StreamSpec>,
) -> Result<Vec<StreamSpec>, ApplyError> {
    let mut specs = change.streams.clone();
    let known = |name: &StreamId| {
        let spec = present(name).cloned();
        spec.ok_or_else(|| ApplyError::Unknown(name.clone()))
    };
    for (name, enabled) in &change.enable {
        let mut spec = known(name)?;
        spec.enabled = *enabled;
        specs.push(spec);
    }
    for (name, pin) in &change.pin {
        let mut spec = known(name)?;
        spec.pin.clone_from(pin);
        specs.push(spec);
    }
    Ok(specs)
}

impl Coordinator {
    pub(super) fn apply(&mut self, request: RequestId, change: ApplyStreams, out: &mut Vec<Command>) {
        let waiting = self.writes.requests.len();
        if !self.leads() {
            out.push(Command::Reply {
                request,
                outcome: Err(ApplyError::NotLeading),
            });
        } else if self.doubtful {
            out.push(Command::Reply {
                request,
                outcome: Err(ApplyError::Store(
                    "it gave no answer and is being read again".into(),
                )),
            });
        } else if waiting >= self.config.max_waiting_requests {
            out.push(Command::Reply {
                request,
                outcome: Err(ApplyError::Busy(waiting)),
            });
        } else {
            self.writes.requests.push_back((request, change));
        }
    }

    /// Works out every waiting change. A dry run is answered at once, and so is what is refused.
    pub(super) fn plan_requests(&mut self, now: Timestamp, out: &mut Vec<Command>) -> Vec<Planned> {
        let mut overlay = Overlay::new();
        let mut all = Vec::new();
        for (request, change) in std::mem::take(&mut self.writes.requests) {
            match self.plan_request(now, request, &change, &overlay) {
                Ok(planned) if change.dry_run => out.push(Command::Reply {
                    request,
                    outcome: Ok(planned.applied),
                }),
                Ok(planned) => {
                    for write in &planned.writes {
                        let after = match write {
                            StreamWrite::Put(spec) => Some(spec.clone()),
                            StreamWrite::Delete(_) => None,
                        };
                        overlay.insert(write.stream().clone(), after);
                    }
                    all.push(planned);
                }
                Err(error) => out.push(Command::Reply {
                    request,
                    outcome: Err(error),
                }),
            }
        }
        all
    }

    fn plan_request(
        &self,
        now: Timestamp,
        request: RequestId,
        change: &ApplyStreams,
        overlay: &Overlay,
    ) -> Result<Planned, ApplyError> {
        let present = |name: &StreamId| match overlay.get(name) {
            Some(after) => after.as_ref(),
            None => self.spec_of(name),
        };
        let mut applied = Applied::default();
        let mut writes = Vec::new();
        let specs = specs_of(change, &present)?;
        for name in &change.restart {
            match present(name) {
                None => return Err(ApplyError::Unknown(name.clone())),
                Some(spec) if spec.enabled => applied.restarted.push(name.clone()),
                // What is switched off cannot be started.
                Some(_) => applied.unchanged.push(name.clone()),
            }
        }
        self.plan_release(change, &mut applied)?;
        for spec in &specs {
            self.check_lost_after(spec)?;
            let list = match present(&spec.name) {
                // OWNERSHIP rule 15, in its simplest form.
                Some(before)
                    if before.ownership == Ownership::Available && spec.ownership == Ownership::Exclusive =>
                {
                    return Err(ApplyError::NotExclusive(spec.name.clone()));
                }
                None => &mut applied.created,
                Some(before) if before == spec => &mut applied.unchanged,
                Some(_) => &mut applied.changed,
            };
            list.push(spec.name.clone());
            if present(&spec.name) != Some(spec) {
                writes.push(StreamWrite::Put(spec.clone()));
            }
        }
        let mut doomed: BTreeSet<StreamId> = change.delete.iter().cloned().collect();
        if change.prune {
            let wanted: BTreeSet<&StreamId> = change.streams.iter().map(|spec| &spec.name).collect();
            let names = self.cluster.streams.keys().chain(overlay.keys());
            doomed.extend(
                names
                    .filter(|name| !wanted.contains(name) && present(name).is_some())
                    .cloned(),
            );
        }
        for name in doomed {
            if present(&name).is_none() {
                return Err(ApplyError::Unknown(name));
            }
            applied.deleted.push(name.clone());
            writes.push(StreamWrite::Delete(name));
        }
        for list in [
            &mut applied.created,
            &mut applied.changed,
            &mut applied.restarted,
            &mut applied.released,
            &mut applied.unchanged,
        ] {
            list.sort();
        }
        let orders = self.plan_orders(now, &change.orders)?;
        applied.moves = orders.moves;
        let pins = change.pin.iter();
        applied
            .moves
            .extend(pins.filter_map(|(stream, pin)| self.move_to_pin(stream, pin.as_ref()?)));
        self.check_planned(applied.moves.len())?;
        Ok(Planned {
            request,
            applied,
            writes,
            directives: orders.writes,
            move_reason: orders.reason,
        })
    }

    /// A stream that is pinned while it runs elsewhere, and can go there.
    fn move_to_pin(&self, stream: &StreamId, to: &WorkerId) -> Option<Step> {
        let record = self.cluster.streams.get(stream)?;
        let from = record.slot.worker().filter(|from| *from != to)?;
        let worker = self.cluster.workers.contains_key(to);
        (worker && record.spec.enabled && self.check_move(stream, to).is_ok()).then(|| Step {
            stream: stream.clone(),
            from: Some(from.clone()),
            to: to.clone(),
        })
    }

    /// Streams that are to wait for their lost owners no longer.
    fn plan_release(&self, change: &ApplyStreams, applied: &mut Applied) -> Result<(), ApplyError> {
        for name in &change.release {
            let record = self.cluster.streams.get(name);
            let record = record.ok_or_else(|| ApplyError::Unknown(name.clone()))?;
            if record.awaits.is_none() {
                return Err(ApplyError::NotWaiting(name.clone()));
            }
            if record.is_exclusive() && !change.owner_is_dead {
                return Err(ApplyError::OwnerMayLive(name.clone()));
            }
            applied.released.push(name.clone());
        }
        Ok(())
    }

    /// An exclusive stream is never taken from an owner before its lease is over: a shorter wait would be an empty promise.
    fn check_lost_after(&self, spec: &StreamSpec) -> Result<(), ApplyError> {
        let Config { timeout, lease, .. } = self.config;
        let needed = self.longest(lease);
        match spec.lost_after {
            Some(lost_after) if spec.ownership == Ownership::Exclusive && timeout + lost_after < needed => {
                Err(ApplyError::LostTooSoon {
                    stream: spec.name.clone(),
                    lost_after,
                    timeout,
                    needed,
                })
            }
            _ => Ok(()),
        }
    }

    /// Stops streams where they run, to start them there again. Nothing of it is stored: who asked is there to ask again.
    pub(super) fn restart(&mut self, now: Timestamp, streams: &[StreamId]) {
        for name in streams {
            let slot = self.cluster.streams.get(name).map(|record| record.slot.clone());
            match slot {
                Some(Slot::Held(from)) => {
                    let to = Some(from.worker.clone());
                    self.set_slot(now, name, Slot::Releasing { from, to }, MoveReason::Restart);
                }
                Some(Slot::Handing { .. }) => {
                    self.migrations()
                        .update(name, |migration| migration.restart = true);
                }
                _ => {}
            }
        }
    }

    fn spec_of(&self, name: &StreamId) -> Option<&StreamSpec> {
        let record = self.cluster.streams.get(name)?;
        (!self.deleted.contains(name)).then_some(&*record.spec)
    }

    /// A stream's change is durable: it takes effect.
    pub(super) fn stream_stored(&mut self, now: Timestamp, write: StreamWrite) {
        match write {
            StreamWrite::Delete(name) => {
                self.deleted.insert(name.clone());
                self.switch(now, &name, |spec| spec.enabled = false);
            }
            StreamWrite::Put(spec) => {
                self.deleted.remove(&spec.name);
                let Some(before) = self
                    .cluster
                    .streams
                    .get(&spec.name)
                    .map(|record| record.spec.clone())
                else {
                    let floor = Epoch::new(self.cluster.leadership.term, self.counter);
                    let name = spec.name.clone();
                    self.insert_stream(now, spec, floor);
                    return self.look_for_ghost(now, &name);
                };
                let name = spec.name.clone();
                let restart = before.needs_restart(&spec) && spec.enabled;
                self.switch(now, &name, |present| *present = spec);
                let slot = self.cluster.streams.get(&name).map(|record| record.slot.clone());
                if let Some(Slot::Held(from)) = slot.filter(|_| restart) {
                    let to = Some(from.worker.clone());
                    self.set_slot(now, &name, Slot::Releasing { from, to }, MoveReason::Changed);
                }
            }
        }
    }

    /// Changes a spec and everything that is counted by it.
    fn switch(&mut self, now: Timestamp, name: &StreamId, change: impl FnOnce(&mut StreamSpec)) {
        let Some(record) = self.cluster.streams.get(name).cloned() else {
            return;
        };
        let mut spec = (*record.spec).clone();
        change(&mut spec);
        if let Some(worker) = record.slot.worker() {
            let difference = spec.weight - record.spec.weight;
            self.update_worker(worker, |worker| worker.load += difference);
        }
        let needs = spec.enabled && matches!(record.slot, Slot::Vacant | Slot::Orphaned { .. });
        if needs {
            self.cluster.needs_worker.insert(name.clone());
        } else {
            self.cluster.needs_worker.remove(name);
        }
        let after = record.slot.wanted(spec.ownership == Ownership::Exclusive);
        self.wants(name, record.wanted(), after);
        self.update_stream(name, |record| record.spec = Arc::new(spec));
        self.settle(now, name);
        // What waits for its owner may have to wait no longer.
        if let Some(owner) = record.slot.assignment().filter(|_| record.awaits.is_some()) {
            self.orphan_session(now, &owner.worker, owner.session);
        }
    }
}
