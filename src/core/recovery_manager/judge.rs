//! Whether an attempt can help, and whether it did: seen from the state and the findings.

use streamkeeper_protocol::WorkerId;

use super::status::{Level, Outcome};
use super::treat::{AGAIN, Stage, Wish};
use super::{Command, Measure, RecoveryManager};
use crate::cluster::{Availability, WorkerRecord};
use crate::directive::RECOVERING;
use crate::time::Timestamp;

/// Sweeps that confirm: one that was under way may have seen the past.
const SWEEPS: u64 = 2;

impl RecoveryManager {
    /// Why an attempt could not help.
    pub(super) fn precondition(
        &mut self,
        now: Timestamp,
        worker: &WorkerId,
        wish: &Wish,
    ) -> Result<(), String> {
        let Some(record) = self.cluster.workers.get(worker).cloned() else {
            return Err(format!("worker {worker} is not known any more"));
        };
        let heard =
            record.heard && matches!(record.availability, Availability::Alive | Availability::Warning);
        let mut others = self.cluster.workers.values().filter(|other| other.id != *worker);
        let taken = record.assigned.is_empty() || others.any(|other| other.takes_streams());
        match wish.level {
            Level::Soft | Level::Hard if !heard => {
                return Err("it is not heard, so nothing can be ordered; look at its machine".to_owned());
            }
            Level::Medium | Level::Emergency if !taken => {
                return Err("no other worker takes streams; start one".to_owned());
            }
            Level::Medium if record.assigned.is_empty() && !wish.asked => {
                return Err("it has no streams that could be moved".to_owned());
            }
            Level::Soft | Level::Medium | Level::Hard | Level::Emergency => {}
        }
        let restarts = self.restarts.within(now, self.config.hard_window);
        if wish.level == Level::Hard && !wish.asked && restarts >= self.config.hard_budget {
            return Err(format!(
                "{restarts} workers were restarted within {:?} already (recovery.hard_budget)",
                self.config.hard_window
            ));
        }
        Ok(())
    }

    /// How an attempt ends, if it does now.
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        worker: &WorkerId,
        out: &mut Vec<Command>,
    ) -> Option<(Outcome, String)> {
        let record = self.cluster.workers.get(worker).cloned();
        let left = record.as_ref().map_or(0, |record| record.assigned.len());
        let troubled = self.troubled.contains(worker);
        let treatment = self.treatments.get_mut(worker)?;
        let late = now >= treatment.until;
        let found = if troubled {
            "findings about it are left"
        } else {
            "nothing is found about it"
        };
        match (&treatment.stage, treatment.attempt.level) {
            (Stage::Acting, Level::Soft) => late.then(|| (Outcome::Failed, "it gave no answer".to_owned())),
            (Stage::Acting, Level::Hard) => {
                let before = treatment.session;
                let back = |record: &WorkerRecord| {
                    Some(record.session) != before
                        && record.heard
                        && record.availability == Availability::Alive
                };
                let back = record.is_some_and(|record| back(&record));
                let what = if back {
                    "it was restarted"
                } else {
                    "its process did not come back; whatever starts it has to start it again"
                };
                judged(back && !troubled, late, format!("{what}, {found}"))
            }
            (Stage::Acting, _) => {
                // Who only has findings is well without them; who was to be emptied is when nothing is left.
                let done = !troubled && (left == 0 || !treatment.attempt.asked);
                judged(done, late, format!("{left} streams are left on it, {found}"))
            }
            (Stage::Taking(_), _) if left == 0 => {
                treatment.stage = Stage::Verifying {
                    sweeps: self.checks.sweeps + SWEEPS,
                    passes: self.checks.passes + 1,
                };
                treatment.until = now + self.config.step_timeout;
                out.push(Command::Check);
                None
            }
            (Stage::Taking(again), _) => {
                let due = *again <= now;
                if due && !late {
                    treatment.stage = Stage::Taking(now + AGAIN);
                    out.push(Command::Measure(Measure::ForceRelease {
                        worker: worker.clone(),
                        reason: format!("{RECOVERING} {}", treatment.attempt.reason),
                    }));
                }
                judged(false, late, format!("{left} streams found no other worker"))
            }
            (Stage::Verifying { sweeps, passes }, _) => {
                let checked = self.checks.sweeps >= *sweeps && self.checks.passes >= *passes;
                let what = match checked {
                    true => format!("its streams run elsewhere, {found}"),
                    false => "its streams run elsewhere, and the check did not end".to_owned(),
                };
                judged(checked && !troubled, late, what)
            }
        }
    }
}

fn judged(done: bool, late: bool, detail: String) -> Option<(Outcome, String)> {
    match (done, late) {
        (true, _) => Some((Outcome::Succeeded, detail)),
        (false, true) => Some((Outcome::Failed, detail)),
        (false, false) => None,
    }
}
