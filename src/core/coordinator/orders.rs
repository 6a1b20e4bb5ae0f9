//! What operators order: checked when its transaction starts, and in force when it is stored.

use std::sync::Arc;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Coordinator, Proposal};
use crate::cluster::MoveReason;
use crate::directive::{DirectiveWrite, Directives, Key, Kind, MAX_DIRECTIVES};
use crate::forecast::{self, Step};
use crate::request::{ApplyError, Order};
use crate::time::Timestamp;

/// What orders mean.
#[derive(Debug)]
pub(super) struct PlannedOrders {
    /// Directives to store.
    pub(super) writes: Vec<DirectiveWrite>,
    /// Streams to move.
    pub(super) moves: Vec<Step>,
    /// Why they move.
    pub(super) reason: MoveReason,
}

impl Coordinator {
    /// Works out what orders mean: directives to store, and streams to move.
    pub(super) fn plan_orders(&self, now: Timestamp, orders: &[Order]) -> Result<PlannedOrders, ApplyError> {
        let mut planned = PlannedOrders {
            writes: Vec::new(),
            moves: Vec::new(),
            reason: MoveReason::Asked,
        };
        for order in orders {
            self.plan_order(now, order, &mut planned)?;
        }
        let writes = &planned.writes;
        let standing = self.cluster.directives.count();
        if !writes.is_empty() && standing + writes.len() > MAX_DIRECTIVES {
            return Err(ApplyError::TooManyDirectives(standing));
        }
        Ok(planned)
    }

    fn plan_order(
        &self,
        now: Timestamp,
        order: &Order,
        planned: &mut PlannedOrders,
    ) -> Result<(), ApplyError> {
        let PlannedOrders {
            writes,
            moves,
            reason: why,
        } = planned;
        let put = |key, reason: &String, lasts| DirectiveWrite::Put {
            key,
            reason: reason.clone(),
            lasts,
        };
        match order {
            Order::Cordon { worker, reason } => {
                self.known_worker(worker)?;
                writes.push(put(Key::cordon(worker), reason, None));
            }
            Order::Uncordon { worker } => {
                writes.push(DirectiveWrite::Delete(Key::drain(worker)));
                writes.push(DirectiveWrite::Delete(Key::cordon(worker)));
            }
            Order::Drain { worker, reason } => {
                self.known_worker(worker)?;
                if self.cluster.directives.get(now, &Key::drain(worker)).is_some() {
                    return Err(ApplyError::Drains(worker.clone()));
                }
                self.check_drain(worker)?;
                writes.push(put(Key::cordon(worker), reason, None));
                writes.push(put(Key::drain(worker), reason, None));
            }
            Order::Freeze { stream, reason } => {
                self.known_stream(stream)?;
                writes.push(put(Key::freeze(stream), reason, None));
            }
            Order::Unfreeze { stream } => writes.push(DirectiveWrite::Delete(Key::freeze(stream))),
            Order::Move { stream, to } => {
                self.known_stream(stream)?;
                self.known_worker(to)?;
                self.check_move(stream, to)?;
                let record = self.cluster.streams.get(stream);
                moves.push(Step {
                    stream: stream.clone(),
                    from: record.and_then(|record| record.slot.worker().cloned()),
                    to: to.clone(),
                });
            }
            Order::Pause { reason, lasts } => writes.push(put(Key::pause(), reason, Some(*lasts))),
            Order::Resume => writes.push(DirectiveWrite::Delete(Key::pause())),
            Order::Rebalance => {
                if let Some(pause) = self.cluster.directives.get(now, &Key::pause()) {
                    let detail = format!("evening out is paused ({}); resume it first", pause.reason);
                    return Err(ApplyError::Impossible(detail));
                }
                *why = MoveReason::Balance;
                moves.extend(forecast::even_out(now, self.config.balancer, &self.cluster, 0).steps);
            }
        }
        Ok(())
    }

    fn known_worker(&self, worker: &WorkerId) -> Result<(), ApplyError> {
        let known = self.cluster.workers.contains_key(worker);
        known
            .then_some(())
            .ok_or_else(|| ApplyError::UnknownWorker(worker.clone()))
    }

    fn known_stream(&self, stream: &StreamId) -> Result<(), ApplyError> {
        let known = self.cluster.streams.contains_key(stream) && !self.deleted.contains(stream);
        known
            .then_some(())
            .ok_or_else(|| ApplyError::Unknown(stream.clone()))
    }

    /// A drain without anybody who could take a stream moves nothing.
    pub(super) fn check_drain(&self, worker: &WorkerId) -> Result<(), ApplyError> {
        let carries = self
            .cluster
            .workers
            .get(worker)
            .is_some_and(|worker| !worker.assigned.is_empty());
        let mut others = self.cluster.workers.values().filter(|other| other.id != *worker);
        if carries && !others.any(|other| other.takes_streams()) {
            let detail = format!(
                "worker {worker} cannot be drained: no other worker takes streams; start one, or uncordon one"
            );
            return Err(ApplyError::Impossible(detail));
        }
        Ok(())
    }

    /// Whether operators want the stream to stay where it is.
    pub(super) fn is_kept(&self, now: Timestamp, proposal: &Proposal) -> bool {
        let directives = &self.cluster.directives;
        let kept = || {
            directives.get(now, &Key::pause()).is_some()
                || directives.get(now, &Key::freeze(&proposal.stream)).is_some()
        };
        proposal.reason == MoveReason::Balance && kept()
    }

    pub(super) fn is_cordoned(&self, worker: &WorkerId) -> bool {
        // Cordons have no end of their own.
        self.cluster
            .directives
            .get(Timestamp::ZERO, &Key::cordon(worker))
            .is_some()
    }

    /// What stands when a leader begins.
    pub(super) fn load_directives(&mut self, now: Timestamp, loaded: Vec<DirectiveWrite>) {
        let mut directives = Directives::default();
        for write in loaded {
            directives.apply(now, write);
        }
        self.cluster.directives = Arc::new(directives);
        self.begin_drains(now);
    }

    /// A directive is durable: it takes effect.
    pub(super) fn directive_stored(&mut self, now: Timestamp, write: DirectiveWrite) {
        let key = write.key().clone();
        let taken_back = matches!(write, DirectiveWrite::Delete(_));
        Arc::make_mut(&mut self.cluster.directives).apply(now, write);
        self.dirty = true;
        if let Ok(worker) = WorkerId::new(&key.subject) {
            match key.kind {
                Kind::Cordon => {
                    if taken_back {
                        self.blame.absolve(&worker);
                    }
                    self.update_worker(&worker, |record| record.cordoned = !taken_back);
                }
                Kind::Drain if taken_back => self.drain_ended(now, &worker),
                Kind::Drain => self.begin_drains(now),
                Kind::Freeze | Kind::Pause => {}
            }
        }
    }
}
