//! What goes beyond asking: attempts that drain a worker, restart it, or take everything from it. Each has to be able to
//! help before it begins, is judged by what is seen and not by answers, and takes back what it ordered when it ends.

use std::collections::VecDeque;
use std::time::Duration;

use streamkeeper_protocol::{ControlKind, SessionId, WorkerId};

use super::status::{Attempt, Level, Outcome};
use super::{Asked, Command, Measure, OrderId, RecoveryManager};
use crate::cluster::Role;
use crate::directive::{Kind, RECOVERING};
use crate::time::Timestamp;

/// So often the streams that are left are taken from a worker once more.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// An attempt that goes on.
#[derive(Debug)]
pub(super) struct Treatment {
    pub(super) attempt: Attempt,
    /// The life of the worker when it began.
    pub(super) session: Option<SessionId>,
    /// The order that was given, if it was one.
    order: Option<OrderId>,
    pub(super) until: Timestamp,
    pub(super) stage: Stage,
    /// What gentler attempts said.
    tried: Vec<String>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// It was ordered, and is judged by what is seen.
    Acting,
    /// Streams are taken until none is left; next at this time.
    Taking(Timestamp),
    /// The whole is compared; it counts from these numbers of sweeps and passes on.
    Verifying { sweeps: u64, passes: u64 },
}

/// An attempt that waits for its turn.
#[derive(Debug)]
pub(super) struct Wish {
    id: u64,
    pub(super) level: Level,
    pub(super) asked: bool,
    reason: String,
    tried: Vec<String>,
}

/// The restarts of the present window.
#[derive(Debug, Default)]
pub(super) struct Restarts(VecDeque<Timestamp>);

impl Restarts {
    pub(super) fn within(&mut self, now: Timestamp, window: Duration) -> usize {
        while self.0.front().is_some_and(|at| now.since(*at) >= window) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

impl RecoveryManager {
    fn leads(&self) -> bool {
        self.cluster.leadership.role == Role::Leading
    }

    /// Another leader has begun, or this one has ended: what was under way is over, and what is left of it is taken back.
    pub(super) fn led_anew(&mut self, out: &mut Vec<Command>) {
        let term = self.cluster.leadership.term;
        if !self.leads() {
            self.changed |= !self.treatments.is_empty() || !self.wishes.is_empty();
            self.treatments.clear();
            self.wishes.clear();
            self.term = None;
        } else if self.term.replace(term) != Some(term) {
            self.treatments.clear();
            let cordons = self.cluster.directives.of(Kind::Cordon);
            let left = cordons.filter(|(_, standing)| standing.reason.starts_with(RECOVERING));
            let left = left.filter_map(|(worker, _)| WorkerId::new(worker).ok());
            out.extend(left.map(|worker| Command::Measure(Measure::Restore { worker })));
        }
    }

    /// An operator wants something tried. It comes before whatever gentler is under way.
    pub(super) fn asked(&mut self, now: Timestamp, asked: Asked, out: &mut Vec<Command>) {
        let Asked {
            id,
            worker,
            level,
            reason,
        } = asked;
        let running = self.treatments.get(&worker).map(|running| running.attempt.level);
        if running.is_some_and(|running| running < level) {
            let detail = format!("an operator ordered {}", level.as_str());
            self.end(now, &worker, Outcome::Failed, detail, out);
        }
        self.changed = true;
        self.wishes.insert(
            worker,
            Wish {
                id,
                level,
                asked: true,
                reason,
                tried: Vec::new(),
            },
        );
    }

    /// What was tried did not help: something stronger is next, or people are.
    pub(super) fn stronger(
        &mut self,
        worker: &WorkerId,
        after: Level,
        tried: Vec<String>,
        out: &mut Vec<Command>,
    ) {
        let Some(case) = self.cases.get_mut(worker) else {
            return;
        };
        self.changed = true;
        case.escalated = true;
        let next = after.next().filter(|level| *level <= self.config.highest);
        // Without attempts of the gentlest kind nothing is tried by itself at all.
        match next.filter(|_| self.config.max_attempts > 0) {
            Some(level) => {
                self.last_attempt += 1;
                let wish = Wish {
                    id: self.last_attempt,
                    level,
                    asked: false,
                    reason: case.found(),
                    tried,
                };
                self.wishes.entry(worker.clone()).or_insert(wish);
            }
            None => {
                case.exhausted = true;
                out.push(Command::Exhausted {
                    worker: worker.clone(),
                    exhausted: true,
                    detail: tried.join("; "),
                });
            }
        }
    }

    /// Whether one more attempt may begin that nobody asked for.
    pub(super) fn has_turn(&self) -> bool {
        let own = self.treatments.values().filter(|running| !running.attempt.asked);
        own.count() < self.config.max_parallel
    }

    /// Judges what goes on, and begins what is due.
    pub(super) fn treat(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        if !self.leads() {
            return;
        }
        for worker in self.treatments.keys().cloned().collect::<Vec<_>>() {
            if let Some((outcome, detail)) = self.judge(now, &worker, out) {
                self.end(now, &worker, outcome, detail, out);
            }
        }
        for worker in self.wishes.keys().cloned().collect::<Vec<_>>() {
            let asked = self.wishes.get(&worker).is_some_and(|wish| wish.asked);
            if !self.treatments.contains_key(&worker)
                && (asked || self.has_turn())
                && let Some(wish) = self.wishes.remove(&worker)
            {
                self.begin(now, worker, wish, out);
            }
        }
    }

    fn begin(&mut self, now: Timestamp, worker: WorkerId, wish: Wish, out: &mut Vec<Command>) {
        self.changed = true;
        let able = self.precondition(now, &worker, &wish);
        let mut attempt = Attempt {
            id: wish.id,
            worker: worker.clone(),
            level: wish.level,
            asked: wish.asked,
            reason: wish.reason,
            began: now,
            ended: None,
            outcome: Outcome::Running,
            detail: String::new(),
        };
        if let Err(why) = able {
            attempt.ended = Some(now);
            attempt.outcome = Outcome::Refused;
            attempt.detail = why;
            return self.ended(attempt, wish.tried, out);
        }
        let reason = format!("{RECOVERING} {}", attempt.reason);
        let mut treatment = Treatment {
            session: self.cluster.workers.get(&worker).map(|record| record.session),
            order: None,
            until: now + self.config.step_timeout,
            stage: Stage::Acting,
            tried: wish.tried,
            attempt,
        };
        out.push(Command::Tried(treatment.attempt.clone()));
        match treatment.attempt.level {
            Level::Soft => {
                out.push(self.resync(now, worker.clone(), treatment.session));
                treatment.order = Some(self.last_order);
            }
            Level::Medium => out.push(Command::Measure(Measure::Drain {
                worker: worker.clone(),
                reason,
            })),
            Level::Hard => {
                self.restarts.0.push_back(now);
                out.push(self.order(worker.clone(), treatment.session, ControlKind::Restart));
                treatment.order = Some(self.last_order);
            }
            Level::Emergency => {
                treatment.stage = Stage::Taking(now + AGAIN);
                out.push(Command::Measure(Measure::ForceRelease {
                    worker: worker.clone(),
                    reason,
                }));
            }
        }
        self.treatments.insert(worker, treatment);
    }

    /// The worker answered what an attempt ordered.
    pub(super) fn obeyed(
        &mut self,
        now: Timestamp,
        order: OrderId,
        outcome: &Result<(), String>,
        out: &mut Vec<Command>,
    ) {
        let mut ordered = self.treatments.iter();
        let found = ordered.find(|(_, treatment)| treatment.order == Some(order));
        let Some((worker, level)) =
            found.map(|(worker, treatment)| (worker.clone(), treatment.attempt.level))
        else {
            return;
        };
        match outcome {
            Ok(()) if level == Level::Soft => {
                let detail = "everything was exchanged".to_owned();
                self.end(now, &worker, Outcome::Succeeded, detail, out);
            }
            Ok(()) => {}
            // A restarted process may have no time to answer; that is seen from its new life.
            Err(_) if level == Level::Hard => {}
            Err(reason) => self.end(now, &worker, Outcome::Failed, reason.clone(), out),
        }
    }

    fn end(
        &mut self,
        now: Timestamp,
        worker: &WorkerId,
        outcome: Outcome,
        detail: String,
        out: &mut Vec<Command>,
    ) {
        let Some(treatment) = self.treatments.remove(worker) else {
            return;
        };
        let mut attempt = treatment.attempt;
        attempt.ended = Some(now);
        attempt.outcome = outcome;
        attempt.detail = detail;
        let worker = worker.clone();
        if attempt.level == Level::Emergency && outcome == Outcome::Succeeded {
            let worker = worker.clone();
            out.push(Command::Measure(Measure::Reset { worker }));
        }
        if matches!(attempt.level, Level::Medium | Level::Emergency) {
            out.push(Command::Measure(Measure::Restore { worker }));
        }
        self.ended(attempt, treatment.tried, out);
    }

    fn ended(&mut self, attempt: Attempt, mut tried: Vec<String>, out: &mut Vec<Command>) {
        self.changed = true;
        out.push(Command::Tried(attempt.clone()));
        self.status.remember(attempt.clone());
        if !attempt.asked && matches!(attempt.outcome, Outcome::Failed | Outcome::Refused) {
            let how = attempt.outcome.as_str();
            tried.push(format!(
                "{} recovery {how}: {}",
                attempt.level.as_str(),
                attempt.detail
            ));
            self.stronger(&attempt.worker, attempt.level, tried, out);
        }
    }

    /// The gentlest attempts ended, one way or another.
    pub(super) fn resyncs_ended(
        &mut self,
        now: Timestamp,
        worker: &WorkerId,
        outcome: Outcome,
        detail: &str,
        out: &mut Vec<Command>,
    ) {
        let Some(case) = self
            .cases
            .get(worker)
            .filter(|case| case.attempts > 0 && !case.escalated)
        else {
            return;
        };
        self.last_attempt += 1;
        let attempt = Attempt {
            id: self.last_attempt,
            worker: worker.clone(),
            level: Level::Soft,
            asked: false,
            reason: case.found(),
            began: case.began,
            ended: Some(now),
            outcome,
            detail: detail.to_owned(),
        };
        self.changed = true;
        out.push(Command::Tried(attempt.clone()));
        self.status.remember(attempt);
    }

    /// When an attempt has to be looked at, or may begin.
    pub(super) fn next_treatment(&self) -> Option<Timestamp> {
        if !self.leads() {
            return None;
        }
        let running = self.treatments.values().map(|treatment| match treatment.stage {
            Stage::Taking(again) => treatment.until.min(again),
            Stage::Acting | Stage::Verifying { .. } => treatment.until,
        });
        let waits = self
            .wishes
            .iter()
            .any(|(worker, wish)| !self.treatments.contains_key(worker) && (wish.asked || self.has_turn()));
        running.chain(waits.then_some(Timestamp::ZERO)).min()
    }

    /// Tells what changed since it was told last.
    pub(super) fn publish(&mut self, out: &mut Vec<Command>) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let running = self.treatments.values();
        self.status.running = running.map(|treatment| treatment.attempt.clone()).collect();
        let waiting = self.wishes.iter();
        self.status.waiting = waiting
            .map(|(worker, wish)| (worker.clone(), wish.level))
            .collect();
        let exhausted = self.cases.iter().filter(|(_, case)| case.exhausted);
        self.status.exhausted = exhausted.map(|(worker, _)| worker.clone()).collect();
        out.push(Command::Publish(self.status.clone()));
    }
}
