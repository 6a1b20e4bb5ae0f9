//! What is remembered of workers: how often each was lost of late, and since when it is back. Who was lost again and again is
//! trusted with less, and who is back is filled only once it has shown that it stays.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::WorkerId;

use crate::cluster::{Availability, WorkerRecord};
use crate::time::Timestamp;

/// A loss counts half after this time.
const HALF_LIFE: Duration = Duration::from_secs(3_600);
/// From so many losses of late on, a worker is trusted with a part of its capacity only: the third within a quarter of an
/// hour. Two are what a restart that fails once looks like.
const MANY_LOSSES: f64 = 2.5;
/// That part. It has to be below 1 / (1 + band), 0.91 by default, or evening out would not see it: the worker would keep
/// what it has. And each loss moves what the worker carries, so that a quarter less is a quarter fewer needless moves. It is
/// one step and no curve, because every change of it moves streams again: down once, and up once. Nothing is homeless for
/// it: hard limits know no trust.
const DISTRUSTED: f64 = 0.75;
/// Probation grows with the losses up to those from which on trust is lowered: it is then that the worker carries less, and
/// longer waiting would only keep the rest of the fleet outside its band.
const LONGEST_PROBATION: f64 = MANY_LOSSES;

#[derive(Debug, Clone, Copy)]
struct History {
    /// Losses, each weighted by its age, as of `at`.
    losses: f64,
    at: Timestamp,
    back: Option<Timestamp>,
}

impl History {
    fn losses(&self, now: Timestamp) -> f64 {
        let age = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        self.losses * (-age).exp2()
    }
}

/// Workers that were ever lost.
#[derive(Debug, Clone, Default)]
pub(super) struct Histories(BTreeMap<WorkerId, History>);

impl Histories {
    /// Takes in how a worker is now, and says whether it is trusted more or less than before.
    pub(super) fn note(
        &mut self,
        now: Timestamp,
        before: Option<&WorkerRecord>,
        record: &WorkerRecord,
        trusted: f64,
    ) -> bool {
        let gone =
            |record: &WorkerRecord| matches!(record.availability, Availability::Lost | Availability::Dead);
        if let Some(before) = before.filter(|before| before.heard) {
            let restarted = before.session != record.session;
            if !gone(before) && (gone(record) || restarted) {
                let losses = self.0.get(&record.id).map_or(0.0, |history| history.losses(now));
                let history = History {
                    losses: losses + 1.0,
                    at: now,
                    back: None,
                };
                self.0.insert(record.id.clone(), history);
            }
            if !gone(record)
                && (gone(before) || restarted)
                && let Some(history) = self.0.get_mut(&record.id)
            {
                history.back = Some(now);
            }
        }
        (self.health(now, &record.id) - trusted).abs() > f64::EPSILON
    }

    /// Share of its capacity that a worker is trusted with.
    pub(super) fn health(&self, now: Timestamp, id: &WorkerId) -> f64 {
        let many = self
            .0
            .get(id)
            .is_some_and(|history| history.losses(now) >= MANY_LOSSES);
        if many { DISTRUSTED } else { 1.0 }
    }

    /// Workers that are back, but not for long enough: the more losses, the longer.
    pub(super) fn on_probation(&self, now: Timestamp, probation: Duration) -> Vec<&WorkerId> {
        let young = |history: &History| {
            let times = history.losses(now).clamp(1.0, LONGEST_PROBATION);
            history
                .back
                .is_some_and(|back| now.since(back) < probation.mul_f64(times))
        };
        let histories = self.0.iter().filter(|(_, history)| young(history));
        histories.map(|(id, _)| id).collect()
    }

    /// Forgets losses of a worker that nobody knows any more.
    pub(super) fn forget(&mut self, id: &WorkerId) {
        self.0.remove(id);
    }
}
