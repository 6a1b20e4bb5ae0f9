//! What is tried when a worker and the leader do not agree or do not hear each other: soft recovery (resync) with
//! attempts and backoff; what does not help is handed to people.
//!
//! It trusts no answer: whether an order helped is seen from the findings alone. An answer only goes into the words for
//! people. So a lost answer, or a restart of whoever sends the orders, delays nothing.

mod case;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{ControlKind, SessionId, WorkerId};
use streamkeeper_resilience::Backoff;

use crate::cluster::Availability;
use crate::consistency_checker::{Finding, FindingKind, Repair};
use crate::heartbeat_tracker::SessionChange;
use crate::machine::Machine;
use crate::time::Timestamp;

/// How often it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Attempts per worker before people are asked.
    pub max_attempts: u32,
    /// Delay before the second attempt; doubles with each.
    pub retry_delay: Duration,
    /// The delay never grows above this.
    pub max_delay: Duration,
    /// How long a worker may take to answer one order.
    pub control_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            retry_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(60),
            control_timeout: Duration::from_secs(2),
        }
    }
}

/// Names one order.
pub type OrderId = u64;

/// What the manager is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The confirmed findings; the list replaces the one before.
    Findings(Vec<Finding>),
    /// The failure detector's changes.
    Availability(Vec<SessionChange>),
    /// An operator wants everything exchanged with these workers.
    Synchronize(Vec<WorkerId>),
    /// An order was answered (`Ok`: done) or was not (why, in words).
    Ordered {
        /// Which order.
        order: OrderId,
        /// How it went.
        outcome: Result<(), String>,
    },
    /// Time passed.
    Tick,
}

/// What the manager wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Order a worker something over `control`, wait at most `timeout`, and report as [`Event::Ordered`].
    Order {
        /// Names the order.
        order: OrderId,
        /// The worker.
        worker: WorkerId,
        /// The session that is meant, if one is.
        session: Option<SessionId>,
        /// What to do.
        kind: ControlKind,
        /// How long to wait for the answer.
        timeout: Duration,
    },
    /// All attempts on this worker were used up (true), or its trouble is over (false).
    Exhausted {
        /// The worker.
        worker: WorkerId,
        /// Whether people are needed.
        exhausted: bool,
        /// What was tried and how it went, in words.
        detail: String,
    },
}

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
}

impl RecoveryManager {
    /// A manager that tries nothing.
    #[must_use]
    pub const fn new(config: Config) -> Self {
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
        }
    }

    fn findings(&mut self, now: Timestamp, findings: &[Finding], out: &mut Vec<Command>) {
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
            self.close(&worker, "its findings are gone", out);
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
        let due = self.cases.iter().filter(|(_, case)| case.is_due(now));
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
            if let Some(case) = self.cases.get_mut(worker) {
                case.exhausted = true;
                out.push(Command::Exhausted {
                    worker: worker.clone(),
                    exhausted: true,
                    detail: case.describe(now),
                });
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
        if self.cases.remove(worker).is_some_and(|case| case.exhausted) {
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
            Event::Findings(findings) => self.findings(now, &findings, &mut out),
            Event::Availability(changes) => self.availability(now, changes, &mut out),
            Event::Synchronize(workers) => self.wished.extend(workers),
            Event::Ordered { order, outcome } => self.answered(order, outcome),
            Event::Tick => self.expire(now),
        }
        self.pass(now, &mut out);
        out
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let asked_until = |worker: &WorkerId| self.resyncs.get(worker).map(|(_, until)| *until);
        let cases = self.cases.iter().filter(|(_, case)| !case.exhausted);
        let cases = cases.map(|(worker, case)| {
            let gives_up = case.attempts >= self.config.max_attempts;
            case.due
                .max(asked_until(worker).filter(|_| !gives_up).unwrap_or_default())
        });
        let waiting = self.returning.keys().chain(&self.wished);
        let next = waiting
            .map(|worker| asked_until(worker).unwrap_or_default())
            .chain(cases)
            .min()?;
        let (began, given) = self.window;
        let full = given >= MAX_ORDERS_PER_WINDOW;
        Some(if full { next.max(began + WINDOW) } else { next })
    }

    fn tick() -> Event {
        Event::Tick
    }
}
