//! What is tried when a worker and the leader do not agree or do not hear each other: first it is asked, with attempts and
//! backoff; then it is drained, then restarted, and, where that is allowed or an operator orders it, everything is taken
//! from it. What does not help is handed to people.
//!
//! It trusts no answer: whether an order helped is seen from the findings alone. An answer only goes into the words for
//! people. So a lost answer, or a restart of whoever sends the orders, delays nothing.

mod case;
mod judge;
mod message;
mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_treat;
mod treat;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{ControlKind, SessionId, Term, WorkerId};
use streamkeeper_resilience::Backoff;

use crate::cluster::{Availability, ClusterState};
use crate::consistency_checker::{Checks, Finding, FindingKind, Repair};
use crate::heartbeat_tracker::SessionChange;
use crate::machine::Machine;
use crate::time::Timestamp;
pub use message::{Asked, Command, Config, Event, Measure, OrderId};
pub use status::{Attempt, Level, Outcome, REMEMBERED, Rate, Status};
use treat::{Restarts, Treatment, Wish};

/// Most orders of one [`WINDOW`]. When more workers are in trouble at once, whole inventories of all of them at the
/// same moment would only add to it: the rest follows in the next windows.
pub const MAX_ORDERS_PER_WINDOW: usize = 256;

/// The time in which orders are counted.
pub const WINDOW: Duration = Duration::from_millis(100);

/// The machine.
#[derive(Debug)]
pub struct RecoveryManager {
    config: Config,
    last_order: OrderId,
    /// Workers with findings.
    cases: BTreeMap<WorkerId, case::Case>,
    /// The lost session of each worker that has one.
    lost: BTreeMap<WorkerId, SessionId>,
    /// Workers that were lost, are heard again, and were not yet asked for their inventory.
    returning: BTreeMap<WorkerId, SessionId>,
    /// Workers that an operator wants to be asked.
    wished: BTreeSet<WorkerId>,
    /// The resync that each worker has not answered yet, and until when it may.
    resyncs: BTreeMap<WorkerId, (OrderId, Timestamp)>,
    /// The other direction: whose resync it is.
    orders: BTreeMap<OrderId, WorkerId>,
    /// When the present window began, and how many orders it has seen.
    window: (Timestamp, usize),
    cluster: ClusterState,
    checks: Checks,
    /// The leadership under which the attempts began.
    term: Option<Term>,
    /// Workers that any finding names.
    troubled: BTreeSet<WorkerId>,
    treatments: BTreeMap<WorkerId, Treatment>,
    wishes: BTreeMap<WorkerId, Wish>,
    restarts: Restarts,
    last_attempt: u64,
    status: Status,
    /// Whether readers do not have the newest status.
    changed: bool,
}

impl RecoveryManager {
    /// A manager that tries nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            last_order: 0,
            cases: BTreeMap::new(),
            lost: BTreeMap::new(),
            returning: BTreeMap::new(),
            wished: BTreeSet::new(),
            resyncs: BTreeMap::new(),
            orders: BTreeMap::new(),
            window: (Timestamp::ZERO, 0),
            cluster: ClusterState::default(),
            checks: Checks::default(),
            term: None,
            troubled: BTreeSet::new(),
            treatments: BTreeMap::new(),
            wishes: BTreeMap::new(),
            restarts: Restarts::default(),
            last_attempt: 0,
            status: Status::default(),
            changed: false,
        }
    }

    fn findings(&mut self, now: Timestamp, findings: &[Finding], out: &mut Vec<Command>) {
        let named = findings.iter().filter_map(|finding| finding.worker.clone());
        self.troubled = named.collect();
        let mut troubled: BTreeMap<&WorkerId, BTreeMap<FindingKind, usize>> = BTreeMap::new();
        for finding in findings {
            if let Some(worker) = finding.worker.as_ref().filter(|_| helps(finding)) {
                *troubled
                    .entry(worker)
                    .or_default()
                    .entry(finding.kind)
                    .or_default() += 1;
            }
        }
        let over = self.cases.keys().filter(|worker| !troubled.contains_key(worker));
        for worker in over.cloned().collect::<Vec<_>>() {
            let over = "its findings are gone";
            self.resyncs_ended(now, &worker, Outcome::Succeeded, over, out);
            self.close(&worker, over, out);
        }
        for (worker, kinds) in troubled {
            self.cases
                .entry(worker.clone())
                .or_insert_with(|| case::Case::new(now))
                .kinds = kinds;
        }
    }

    fn availability(&mut self, now: Timestamp, changes: Vec<SessionChange>, out: &mut Vec<Command>) {
        for SessionChange {
            worker,
            session,
            availability,
        } in changes
        {
            match availability {
                // Too many silent workers at once are not repaired by asking each.
                Availability::Warning if self.may_order(now) => {
                    out.push(self.order(worker, Some(session), ControlKind::Ping));
                }
                Availability::Warning => {}
                Availability::Lost => {
                    self.returning.remove(&worker);
                    self.lost.insert(worker, session);
                }
                Availability::Alive => {
                    if self.lost.get(&worker) == Some(&session) {
                        self.lost.remove(&worker);
                        self.returning.insert(worker, session);
                    }
                }
                Availability::Dead => {
                    if self.lost.get(&worker) == Some(&session) {
                        self.lost.remove(&worker);
                    }
                    if self.returning.get(&worker) == Some(&session) {
                        self.returning.remove(&worker);
                    }
                    self.forget(now, &worker, out);
                }
            }
        }
    }

    /// Gives the orders that are due.
    fn pass(&mut self, now: Timestamp, out: &mut Vec<Command>) {
        for (worker, session) in self.returning.clone() {
            if !self.is_asked(now, &worker) && self.may_order(now) {
                self.returning.remove(&worker);
                out.push(self.resync(now, worker, Some(session)));
            }
        }
        for worker in self.wished.clone() {
            if !self.is_asked(now, &worker) && self.may_order(now) {
                self.wished.remove(&worker);
                out.push(self.resync(now, worker, None));
            }
        }
        let due = self.cases.iter();
        let due = due.filter(|(worker, case)| case.is_due(now) && !self.treatments.contains_key(*worker));
        for worker in due.map(|(worker, _)| worker.clone()).collect::<Vec<_>>() {
            self.attempt(now, &worker, out);
        }
    }

    fn attempt(&mut self, now: Timestamp, worker: &WorkerId, out: &mut Vec<Command>) {
        let Config {
            max_attempts,
            retry_delay,
            max_delay,
            ..
        } = self.config;
        let Some(attempts) = self.cases.get(worker).map(|case| case.attempts) else {
            return;
        };
        if attempts >= max_attempts {
            if let Some(detail) = self.cases.get(worker).map(|case| case.describe(now)) {
                self.resyncs_ended(now, worker, Outcome::Failed, &detail, out);
                self.stronger(worker, Level::Soft, vec![detail], out);
            }
            return;
        }
        if self.is_asked(now, worker) || !self.may_order(now) {
            return;
        }
        let order = self.resync(now, worker.clone(), None);
        out.push(order);
        if let Some(case) = self.cases.get_mut(worker) {
            let delay = Backoff::new(retry_delay, max_delay).window(attempts);
            case.attempts += 1;
            case.due = now + delay;
        }
    }

    /// Takes one order from what the present window may see.
    fn may_order(&mut self, now: Timestamp) -> bool {
        let (began, given) = &mut self.window;
        if now.since(*began) >= WINDOW {
            (*began, *given) = (now, 0);
        }
        let may = *given < MAX_ORDERS_PER_WINDOW;
        *given += usize::from(may);
        may
    }

    /// Whether the worker was asked for its inventory and may still answer.
    fn is_asked(&self, now: Timestamp, worker: &WorkerId) -> bool {
        self.resyncs.get(worker).is_some_and(|(_, until)| *until > now)
    }

    fn resync(&mut self, now: Timestamp, worker: WorkerId, session: Option<SessionId>) -> Command {
        let command = self.order(worker.clone(), session, ControlKind::Resync);
        let until = now + self.config.control_timeout;
        if let Some((before, _)) = self.resyncs.insert(worker.clone(), (self.last_order, until)) {
            self.orders.remove(&before);
        }
        self.orders.insert(self.last_order, worker);
        command
    }

    fn order(&mut self, worker: WorkerId, session: Option<SessionId>, kind: ControlKind) -> Command {
        self.last_order += 1;
        Command::Order {
            order: self.last_order,
            worker,
            session,
            kind,
            timeout: self.config.control_timeout,
        }
    }

    fn answered(&mut self, order: OrderId, outcome: Result<(), String>) {
        // Pings, and orders that a later one has replaced, are not kept.
        let Some(worker) = self.orders.remove(&order) else {
            return;
        };
        self.resyncs.remove(&worker);
        if let Some(case) = self.cases.get_mut(&worker) {
            case.last_answer = Some(outcome);
        }
    }

    /// Forgets orders that nobody will answer any more.
    fn expire(&mut self, now: Timestamp) {
        let orders = &mut self.orders;
        self.resyncs.retain(|_, (order, until)| {
            let waits = *until > now;
            if !waits {
                orders.remove(order);
            }
            waits
        });
    }

    /// Forgets what was tried with a session that is dead. The next list of findings normally names its worker no more;
    /// should it still, since another session of the worker is meant, everything begins anew.
    fn forget(&mut self, now: Timestamp, worker: &WorkerId, out: &mut Vec<Command>) {
        let Some(case) = self.cases.get(worker) else {
            return;
        };
        let kinds = case.kinds.clone();
        self.close(worker, "its session is dead", out);
        let mut case = case::Case::new(now + self.config.max_delay);
        case.kinds = kinds;
        self.cases.insert(worker.clone(), case);
    }

    fn close(&mut self, worker: &WorkerId, why: &str, out: &mut Vec<Command>) {
        if self.wishes.get(worker).is_some_and(|wish| !wish.asked) {
            self.wishes.remove(worker);
            self.changed = true;
        }
        if self.cases.remove(worker).is_some_and(|case| case.exhausted) {
            self.changed = true;
            out.push(Command::Exhausted {
                worker: worker.clone(),
                exhausted: false,
                detail: why.to_owned(),
            });
        }
    }
}

/// Whether a resync of the named worker is to bring it in line.
const fn helps(finding: &Finding) -> bool {
    finding.is_repaired() && matches!(finding.repair, Some(Repair::Resync { .. }))
}

impl Machine for RecoveryManager {
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, now: Timestamp, event: Event) -> Vec<Command> {
        let mut out = Vec::new();
        match event {
            Event::Snapshot(cluster) => {
                self.cluster = cluster;
                self.led_anew(&mut out);
            }
            Event::Checked(checks) => self.checks = checks,
            Event::Recover(asked) => self.asked(now, asked, &mut out),
            Event::Findings(findings) => self.findings(now, &findings, &mut out),
            Event::Availability(changes) => self.availability(now, changes, &mut out),
            Event::Synchronize(workers) => self.wished.extend(workers),
            Event::Ordered { order, outcome } => {
                self.obeyed(now, order, &outcome, &mut out);
                self.answered(order, outcome);
            }
            Event::Tick => self.expire(now),
        }
        self.pass(now, &mut out);
        self.treat(now, &mut out);
        self.publish(&mut out);
        out
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let asked_until = |worker: &WorkerId| self.resyncs.get(worker).map(|(_, until)| *until);
        let open = |worker: &WorkerId, case: &case::Case| {
            !case.exhausted && !case.escalated && !self.treatments.contains_key(worker)
        };
        let cases = self.cases.iter().filter(|(worker, case)| open(worker, case));
        let cases = cases.map(|(worker, case)| {
            let gives_up = case.attempts >= self.config.max_attempts;
            case.due
                .max(asked_until(worker).filter(|_| !gives_up).unwrap_or_default())
        });
        let waiting = self.returning.keys().chain(&self.wished);
        let next = waiting
            .map(|worker| asked_until(worker).unwrap_or_default())
            .chain(cases)
            .min();
        let (began, given) = self.window;
        let full = given >= MAX_ORDERS_PER_WINDOW;
        let next = next.map(|next| if full { next.max(began + WINDOW) } else { next });
        next.into_iter().chain(self.next_treatment()).min()
    }

    fn tick() -> Event {
        Event::Tick
    }
}
