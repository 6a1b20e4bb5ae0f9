//! Whether memory, database and the workers' inventories agree, all the time and on a busy system.
//!
//! A sweep compares memory with what the workers last reported, a part of the streams at a time; a pass reads the database
//! page by page, slowly. One comparison proves little, because orders, reports and transactions are always on their way:
//! a finding counts only when several in a row saw the same epochs, of the same session.

mod compare;
mod finding;
#[cfg(test)]
pub(crate) mod fixture;
mod found;
mod message;
mod repairs;
mod stored;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_stored;
#[cfg(test)]
mod tests_sweep;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{StreamId, Term, WorkerId};

use crate::cluster::{ClusterState, Role};
use crate::machine::Machine;
use crate::time::Timestamp;
pub use finding::{Finding, FindingKind, Policies, Policy, Repair, score};
use found::{Found, Key, Streaks};
pub use message::{Checks, Command, Config, Event, Part};
pub use repairs::Proposed;
use repairs::Repairs;
pub use stored::PAGE_ROWS;
use stored::Stored;

/// Most findings of one kind that are told; beyond this the number says nothing new.
pub const MAX_FINDINGS_PER_KIND: usize = 10_000;
/// Most findings of one sweep whose beginning or end is told one by one.
const MAX_NOTICES: usize = 100;
/// Streams that one step of a sweep looks at.
const SLICE: usize = 10_000;
/// Pause between two steps, so that others get their turn.
const SLICE_PAUSE: Duration = Duration::from_millis(10);
/// Pause between two sweeps that somebody waits for.
const HURRY: Duration = Duration::from_secs(1);

/// A sweep that is under way.
#[derive(Debug)]
struct Sweep {
    began: Timestamp,
    stage: Stage,
    found: Found,
}

#[derive(Debug)]
enum Stage {
    Streams(Option<StreamId>),
    Workers(Option<WorkerId>),
    Done,
}

/// The machine.
#[derive(Debug)]
pub struct ConsistencyChecker {
    config: Config,
    cluster: ClusterState,
    next_check: Option<Timestamp>,
    sweep: Option<Sweep>,
    /// Sweeps that somebody waits for.
    hurried: u32,
    streaks: Streaks,
    behind: workers::Behind,
    stored: Stored,
    repairs: Repairs,
    /// What the last sweeps agree on.
    swept: BTreeMap<Key, Finding>,
    /// The list that was told last; none before the first.
    told: Option<BTreeMap<Key, Finding>>,
    checks: Checks,
    /// Sweeps under this leadership.
    led: u32,
    term: Term,
}

impl ConsistencyChecker {
    /// A checker that has seen nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            cluster: ClusterState::default(),
            next_check: None,
            sweep: None,
            hurried: 0,
            streaks: Streaks::default(),
            behind: workers::Behind::default(),
            stored: Stored::default(),
            repairs: Repairs::default(),
            swept: BTreeMap::new(),
            told: None,
            checks: Checks::default(),
            led: 0,
            term: Term::ZERO,
        }
    }

    fn leads(&self) -> bool {
        self.cluster.leadership.role == Role::Leading
    }

    fn snapshot(&mut self, now: Timestamp, cluster: ClusterState) {
        self.cluster = cluster;
        self.next_check.get_or_insert(now + self.config.check_interval);
        // Another leadership has read everything anew: nothing that was seen before counts.
        if self.leads() && self.cluster.leadership.term != self.term {
            self.term = self.cluster.leadership.term;
            self.stored.reset();
            self.stored.hurry(now + self.config.check_interval);
            self.streaks = Streaks::default();
            self.behind.clear();
            self.sweep = None;
            self.led = 0;
        }
    }

    /// One step of the sweep.
    fn step(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let sweep = self.sweep.get_or_insert_with(|| Sweep {
            began: now,
            stage: Stage::Streams(None),
            found: Found::default(),
        });
        let rules = compare::Rules {
            now,
            patience: self.config.check_interval,
            stale_after: self.config.stale_after,
            policies: &self.config.policies,
        };
        if let Stage::Streams(after) = &sweep.stage {
            let end = compare::compare(&self.cluster, rules, after.as_ref(), SLICE, &mut sweep.found);
            sweep.stage = end.map_or(Stage::Workers(None), |end| Stage::Streams(Some(end)));
            // A small fleet is done in one step.
            if self.cluster.streams.len() >= SLICE {
                return;
            }
        }
        if let Stage::Workers(after) = &sweep.stage {
            let end = workers::judge(
                &self.cluster,
                rules,
                &mut self.behind,
                after.as_ref(),
                SLICE,
                &mut sweep.found,
            );
            sweep.stage = end.map_or(Stage::Done, |end| Stage::Workers(Some(end)));
        }
        if matches!(sweep.stage, Stage::Done)
            && let Some(sweep) = self.sweep.take()
        {
            self.finish(now, sweep, out);
        }
    }

    fn finish(&mut self, now: Timestamp, sweep: Sweep, out: &mut Vec<Command>) {
        self.led = self.led.saturating_add(1);
        self.behind.retain_known(&self.cluster);
        self.swept = self
            .streaks
            .count(sweep.found, |_| true, self.config.confirmations);
        self.checks.sweeps += 1;
        self.checks.swept_at = Some(now);
        self.checks.sweep_took = now.since(sweep.began);
        self.checks.streams = self.cluster.streams.len();
        self.hurried = self.hurried.saturating_sub(1);
        let pause = if self.hurried > 0 {
            HURRY
        } else {
            self.config.check_interval
        };
        self.next_check = Some(now + pause);
        self.tell(now, out);
        let repairs = self.due_repairs(now, false);
        self.propose(repairs, out);
        self.report(out);
    }

    /// Everything that is confirmed.
    fn confirmed(&self) -> BTreeMap<Key, Finding> {
        let mut all = self.stored.confirmed.clone();
        all.extend(
            self.swept
                .iter()
                .map(|(key, finding)| (key.clone(), finding.clone())),
        );
        all
    }

    /// Tells the list, when it is news.
    fn tell(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let mut confirmed = if self.leads() {
            self.confirmed()
        } else {
            BTreeMap::new()
        };
        let nothing = BTreeMap::new();
        let before = self.told.as_ref().unwrap_or(&nothing);
        let mut notices = 0;
        for (key, finding) in &mut confirmed {
            match before.get(key) {
                Some(before) => finding.since = before.since,
                None => {
                    finding.since = now;
                    notices += 1;
                    if notices <= MAX_NOTICES {
                        out.push(Command::Confirmed(finding.clone()));
                    }
                }
            }
        }
        let over = before.iter().filter(|(key, _)| !confirmed.contains_key(key));
        out.extend(
            over.take(MAX_NOTICES)
                .map(|(_, finding)| Command::Over(finding.clone())),
        );
        // A checker that has just been restarted says so too when all is well: a predecessor may have told findings,
        // which would stand for ever.
        let unsure = !self.leads() || self.led < self.config.confirmations;
        let news = match &self.told {
            Some(told) => *told != confirmed,
            None => !confirmed.is_empty() || !unsure,
        };
        if news {
            let mut list: Vec<Finding> = confirmed.values().cloned().collect();
            list.sort();
            out.push(Command::Findings(list));
            self.told = Some(confirmed);
        }
    }

    fn due_repairs(&mut self, now: Timestamp, asked: bool) -> Vec<Repair> {
        let confirmed = self.confirmed();
        self.repairs.due(now, &self.config, &confirmed, asked)
    }

    fn propose(&self, repairs: Vec<Repair>, out: &mut Vec<Command>) {
        let (resyncs, others): (Vec<Repair>, Vec<Repair>) = repairs
            .into_iter()
            .partition(|repair| matches!(repair, Repair::Resync { .. }));
        let workers: BTreeSet<WorkerId> = resyncs
            .iter()
            .filter_map(|repair| repair.worker().cloned())
            .collect();
        if self.leads() && !workers.is_empty() {
            out.push(Command::Synchronize(workers.into_iter().collect()));
        }
        if self.leads() && !others.is_empty() {
            out.push(Command::Repair(others));
        }
    }

    fn report(&mut self, out: &mut Vec<Command>) {
        let stored = &self.stored;
        self.checks.passes = stored.passes;
        self.checks.passed_at = stored.passed_at;
        self.checks.rows = stored.passed_rows;
        self.checks.unsure = stored.is_unsure();
        self.checks.database_error.clone_from(&stored.error);
        self.checks.repairs = self.repairs.recent.iter().cloned().collect();
        self.checks.waiting = self.repairs.waiting;
        out.push(Command::Checked(self.checks.clone()));
    }

    /// Nobody is led: nothing that was found counts any more.
    fn stand_by(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        self.sweep = None;
        self.hurried = 0;
        self.streaks = Streaks::default();
        self.swept.clear();
        self.stored.reset();
        self.term = Term::ZERO;
        self.next_check = Some(now + self.config.check_interval);
        if self.told.is_some() {
            self.tell(now, out);
        }
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        let due = self.sweep.is_some() || self.next_check.is_some_and(|at| at <= now);
        if !self.leads() {
            if due {
                self.stand_by(now, out);
            }
            return;
        }
        if due {
            self.step(now, out);
            if self.sweep.is_some() {
                self.next_check = Some(now + SLICE_PAUSE);
            }
        }
        if self.stored.deadline().is_some_and(|at| at <= now) {
            out.extend(self.stored.tick(now));
        }
    }
}

impl Machine for ConsistencyChecker {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        match event {
            Event::Snapshot(cluster) => self.snapshot(now, cluster),
            Event::Stored { ticket, outcome } if self.leads() => {
                let passes = self.stored.passes;
                self.stored
                    .read(now, &self.cluster, &self.config, ticket, outcome);
                if self.stored.passes != passes {
                    // Whoever waits for the pass is to see what it found.
                    self.tell(now, &mut out);
                    self.report(&mut out);
                }
            }
            Event::Stored { .. } => {}
            Event::Check if self.leads() => {
                self.hurried = self.config.confirmations;
                self.stored.hurry(now);
                if self.sweep.is_none() {
                    self.next_check = Some(now);
                }
            }
            Event::Repair if self.leads() => {
                let repairs = self.due_repairs(now, true);
                self.propose(repairs, &mut out);
                self.report(&mut out);
            }
            Event::Check | Event::Repair => {}
            Event::Tick => self.tick(now, &mut out),
        }
        out
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let stored = self.stored.deadline().filter(|_| self.leads());
        self.next_check.into_iter().chain(stored).min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}
