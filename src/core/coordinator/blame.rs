//! What is done about streams that do not keep running: they are tried elsewhere, left alone, or their worker is drained.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Coordinator, Proposal};
use crate::blame::Verdict;
use crate::cluster::{Availability, MoveReason, Observed, Slot};
use crate::directive::{DirectiveWrite, Key, SUSPECTED};
use crate::forecast;
use crate::time::Timestamp;

/// Most streams that are tried elsewhere after one look.
const MAX_TRIES: usize = 16;

impl Coordinator {
    pub(super) fn next_blame(&self) -> Option<Timestamp> {
        self.blame.next_check().filter(|_| self.leads() && !self.doubtful)
    }

    pub(super) fn blame_observes(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        worker: &WorkerId,
        observed: &Observed,
    ) {
        let config = self.config.blame;
        let seen = (observed.state, observed.restarts);
        self.blame.observe(now, &config, stream, worker, seen);
    }

    pub(super) fn judge(&mut self, now: Timestamp) {
        if !self.leads() || self.doubtful {
            return;
        }
        let config = self.config.blame;
        let mut tries = 0;
        for verdict in self.blame.check(now, &config) {
            match verdict {
                Verdict::Elsewhere { stream, tried } if tries < MAX_TRIES => {
                    tries += 1;
                    self.try_elsewhere(now, &stream, &tried);
                }
                Verdict::Elsewhere { .. } => {}
                Verdict::Suspect { worker, streams } => self.suspect(now, &worker, &streams),
            }
        }
        self.show_quarantined(now);
    }

    fn try_elsewhere(&mut self, now: Timestamp, stream: &StreamId, tried: &BTreeSet<WorkerId>) {
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return self.blame.forget(stream);
        };
        let Slot::Held(owner) = &record.slot else {
            if !record.spec.enabled {
                self.blame.forget(stream);
            }
            return;
        };
        let owned = self.cluster.workers.get(&owner.worker);
        let heard = owned.is_some_and(|worker| worker.availability == Availability::Alive);
        if !heard || self.cluster.directives.get(now, &Key::freeze(stream)).is_some() {
            return;
        }
        let streams = BTreeSet::from([stream.clone()]);
        let plan = forecast::elsewhere(now, self.config.balancer, &self.cluster, &streams, tried);
        match plan.steps.into_iter().next() {
            Some(step) => self.propose(
                now,
                &Proposal {
                    stream: step.stream,
                    planned_on: Some(owner.epoch),
                    to: step.to,
                    reason: MoveReason::Failing,
                },
            ),
            None => {
                let config = self.config.blame;
                self.blame.exhausted(now, &config, stream);
            }
        }
    }

    /// A suspected worker is drained, one at a time, where others can take what it has.
    fn suspect(&mut self, now: Timestamp, worker: &WorkerId, streams: &BTreeSet<StreamId>) {
        let directives = &self.cluster.directives;
        let drains = directives.of(crate::directive::Kind::Drain).next().is_some();
        if drains || self.is_cordoned(worker) || self.check_drain(worker).is_err() {
            return;
        }
        let names: Vec<&str> = streams.iter().take(5).map(StreamId::as_str).collect();
        let reason = format!(
            "{SUSPECTED} {} streams failed here and run elsewhere ({})",
            streams.len(),
            names.join(", ")
        );
        if directives.get(now, &Key::drain(worker)).is_none() {
            for key in [Key::cordon(worker), Key::drain(worker)] {
                let reason = reason.clone();
                self.writes.order_directive(DirectiveWrite::Put {
                    key,
                    reason,
                    lasts: None,
                });
            }
        }
    }

    fn show_quarantined(&mut self, now: Timestamp) {
        let enabled = |stream: &StreamId| {
            let record = self.cluster.streams.get(stream);
            record.is_some_and(|record| record.spec.enabled)
        };
        let gone: Vec<StreamId> = self
            .blame
            .quarantined()
            .keys()
            .filter(|stream| !enabled(stream))
            .cloned()
            .collect();
        for stream in gone {
            self.blame.forget(&stream);
        }
        if *self.cluster.quarantined != *self.blame.quarantined() {
            let known = self.blame.quarantined().clone();
            self.keep_quarantines(now, &known);
            self.cluster.quarantined = Arc::new(known);
            self.dirty = true;
        }
    }
}
