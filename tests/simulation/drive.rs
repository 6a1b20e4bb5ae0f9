//! The orchestrators' processes: mailboxes, timers, and what becomes of the machines' wishes.

use std::sync::Arc;

use streamkeeper_core::alert_manager;
use streamkeeper_core::cluster::Role;
use streamkeeper_core::coordinator;
use streamkeeper_core::recovery_manager;
use streamkeeper_core::router::{self, Effect, Input, Route};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::Term;

use crate::key::KeyWish;
use crate::network::{Message, Order, Party};
use crate::orchestrator::{Kind, Process, Work};
use crate::world::{Happening, World};

/// One step of so many is the last one before a pause or the end, while there are faults.
const STUMBLES: u64 = 8_192;

/// Time between two beacons.
const BEACON_MS: u64 = 1_000;

impl World {
    pub(crate) fn start_orchestrator(&mut self, index: usize) {
        let orchestrator = &mut self.orchestrators[index];
        if orchestrator.process.is_some() {
            return;
        }
        let own = orchestrator.term_file;
        let reached = !self.database.away && orchestrator.no_database_until <= self.now;
        let stored = if reached { self.database.stored_term() } else { own };
        orchestrator.start(index, self.network.draw(), own.max(stored));
        let life = orchestrator.gate.life;
        self.trace(format_args!("o{index} starts, life {life}"));
        self.work(index, life, Work::Begin);
    }

    /// The process is gone, and with it what it was about to do.
    pub(crate) fn end_orchestrator(&mut self, index: usize) {
        self.trace(format_args!("o{index} ends"));
        let orchestrator = &mut self.orchestrators[index];
        orchestrator.process = None;
        orchestrator.gate.close();
        self.user.nobody_knows(index);
        self.forget_role(index);
    }

    pub(crate) fn pause_orchestrator(&mut self, index: usize, length: u64) {
        let orchestrator = &mut self.orchestrators[index];
        if orchestrator.process.is_none() || orchestrator.gate.is_paused() {
            return;
        }
        orchestrator.gate.pause();
        let life = orchestrator.gate.life;
        self.trace(format_args!("o{index} is paused for {length} ms"));
        self.after(length, Happening::Resume(Party::Orchestrator(index), life));
    }

    pub(crate) fn resume(&mut self, party: Party, life: u64) {
        match party {
            Party::Orchestrator(index) if self.orchestrators[index].gate.life == life => {
                self.trace(format_args!("o{index} goes on"));
                self.orchestrators[index].gate.go_on();
                while let Some(work) = self.orchestrators[index].gate.next() {
                    self.do_work(index, work);
                }
            }
            Party::Worker(index) if self.nodes[index].gate.life == life => self.resume_worker(index),
            Party::Orchestrator(_) | Party::Worker(_) => {}
        }
    }

    /// Something for an orchestrator's process.
    pub(crate) fn work(&mut self, index: usize, life: u64, work: Work) {
        if let Some(work) = self.orchestrators[index].gate.pass(life, work) {
            self.do_work(index, work);
        }
    }

    fn do_work(&mut self, index: usize, work: Work) {
        match work {
            Work::Begin => {
                for kind in Kind::ALL.into_iter().rev() {
                    self.revive(index, kind);
                }
                self.later(index, BEACON_MS, Work::Beacon);
            }
            Work::Beacon => {
                self.later(index, BEACON_MS, Work::Beacon);
                let leadership = self.orchestrators[index].cluster().leadership;
                if leadership.role != Role::Standby {
                    // What could not be stored when it was told.
                    self.store_alerts(index);
                    for other in (0..self.orchestrators.len()).filter(|other| *other != index) {
                        let (from, to) = (Party::Orchestrator(index), Party::Orchestrator(other));
                        self.send(from, to, Message::Beacon(leadership.term));
                    }
                }
            }
            Work::Crash => {
                self.end_orchestrator(index);
                self.after(10, Happening::Start(Party::Orchestrator(index)));
            }
            Work::Revive(kind) => self.revive(index, kind),
            Work::Heard(heartbeat) => {
                // One queue each, both fed in the order of arrival.
                for input in router::heartbeat((*heartbeat).clone()) {
                    self.post(index, input);
                }
            }
            Work::Arrive(input) => self.post(index, *input),
            Work::Mail(input) => self.mail(index, *input),
            Work::Timer(kind) => self.timer(index, kind),
            Work::Read(kind) => self.read(index, kind),
            Work::Do(route) => self.follow(index, vec![*route]),
        }
    }

    /// Something that this life of an orchestrator's process will do.
    pub(crate) fn later(&mut self, index: usize, delay: u64, work: Work) {
        let life = self.orchestrators[index].gate.life;
        self.after(delay, Happening::Orchestrator(index, life, work));
    }

    fn revive(&mut self, index: usize, kind: Kind) {
        if kind == Kind::Coordinator {
            self.user.nobody_knows(index);
        }
        if kind == Kind::Election {
            self.note_beginning(index);
        }
        self.step(index, kind, |process, now| process.revive(now, kind));
    }

    fn mail(&mut self, index: usize, input: Input) {
        self.note_look(index, &input);
        self.step(index, Kind::of(&input), |process, now| process.step(now, input));
    }

    fn timer(&mut self, index: usize, kind: Kind) {
        self.step(index, kind, |process, now| {
            let armed = &mut process.armed[kind as usize];
            // A newer timer replaced this one.
            if armed.take_if(|at| *at <= now).is_none() {
                return Vec::new();
            }
            process.tick(now, kind)
        });
    }

    fn read(&mut self, index: usize, kind: Kind) {
        self.step(index, kind, |process, now| {
            process.reading.retain(|reading| *reading != kind);
            process.read(now, kind)
        });
    }

    fn step(&mut self, index: usize, kind: Kind, step: impl FnOnce(&mut Process, Timestamp) -> Vec<Route>) {
        let now = self.orchestrators[index].time(self.now);
        let Some(process) = self.orchestrators[index].process.as_mut() else {
            return;
        };
        let routes = step(process, now);
        self.note_releases(index, &routes);
        if kind == Kind::Coordinator {
            self.check_acts(index, &routes);
        }
        self.arm(index, kind);
        self.follow(index, routes);
    }

    fn arm(&mut self, index: usize, kind: Kind) {
        let orchestrator = &mut self.orchestrators[index];
        let Some(process) = orchestrator.process.as_mut() else {
            return;
        };
        let deadline = process.deadline(kind);
        if process.armed[kind as usize] == deadline {
            return;
        }
        process.armed[kind as usize] = deadline;
        if let Some(at) = deadline.filter(|at| *at < Timestamp::MAX) {
            let at = orchestrator.clock.when(at.as_ms());
            let delay = at.saturating_sub(self.now).max(1);
            self.later(index, delay, Work::Timer(kind));
        }
    }

    /// Mailboxes are queues of unlike speed: each keeps its order.
    pub(crate) fn post(&mut self, index: usize, input: Input) {
        let soon = self.now + self.network.between(0, 3);
        let last = &mut self.orchestrators[index].mailboxes[Kind::of(&input) as usize];
        *last = soon.max(*last);
        let delay = *last - self.now;
        self.later(index, delay, Work::Mail(Box::new(input)));
    }

    fn follow(&mut self, index: usize, routes: Vec<Route>) {
        let mut routes = routes.into_iter();
        while let Some(route) = routes.next() {
            // Between the election and the coordinator a pause hurts most.
            let between = matches!(
                route,
                Route::To(Input::Coordinator(coordinator::Event::Resigned { .. }))
            );
            if self.stumbles(index, between) {
                let gate = &mut self.orchestrators[index].gate;
                if gate.is_paused() {
                    let rest: Vec<Work> = std::iter::once(route)
                        .chain(routes)
                        .map(|route| Work::Do(Box::new(route)))
                        .collect();
                    gate.put_back(rest.into_iter());
                }
                return;
            }
            match route {
                Route::To(input) => {
                    self.note_role(index, &input);
                    self.post(index, input);
                }
                Route::Do(effect) => self.perform(index, effect),
            }
        }
    }

    /// Whether the process is paused, or ends, before its next step.
    fn stumbles(&mut self, index: usize, often: bool) -> bool {
        let every = if often { 8 } else { STUMBLES };
        if !self.stormy || !self.fate.draw().is_multiple_of(every) {
            return false;
        }
        self.touched = self.now;
        if self.fate.per_mille(500) {
            self.sometimes.saw("orchestrator killed between two steps");
            self.end_orchestrator(index);
            let away = self.fate.between(10, 8_000);
            self.after(away, Happening::Start(Party::Orchestrator(index)));
        } else {
            self.sometimes.saw("orchestrator paused between two steps");
            let length = self.fate.between(50, 20_000);
            self.touched = self.now + length;
            self.pause_orchestrator(index, length);
        }
        true
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::ReadLeaderKey { attempt } => self.ask_key(index, attempt, KeyWish::Read),
            Effect::WriteLeaderKey {
                attempt,
                record,
                expect,
            } => self.ask_key(index, attempt, KeyWish::Write(record, expect)),
            Effect::RememberTerm(term) => self.remember_term(index, term),
            Effect::PublishElection(status) => {
                self.trace(format_args!("o{index} {} {}", status.stage.as_str(), status.term));
                self.sometimes.saw(status.stage.as_str());
            }
            Effect::ImplausibleTerm(_) => self.sometimes.saw("implausible term"),
            Effect::TakeOver { term } => self.take_over(index, term),
            Effect::Persist { ticket, fence, batch } => self.persist(index, ticket, fence, batch),
            Effect::Assign(assign) => {
                let worker = assign.worker.clone();
                self.tell(format_args!("o{index} {:?}", assign));
                self.send_to_worker(index, &worker, &Message::Assign(Arc::from(assign)));
            }
            Effect::Reply { request, outcome } => self.replied(request, outcome),
            Effect::Publish(cluster) => self.publish(index, cluster),
            Effect::PublishFindings(findings) => {
                if let Some(process) = self.orchestrators[index].process.as_mut() {
                    process.outliving.findings = findings;
                }
            }
            Effect::PublishChecks(_) | Effect::PublishRecovery(_) => {}
            Effect::ReadStored(part) => self.read_stored(index, &part),
            Effect::Order {
                order,
                worker,
                session,
                kind,
                timeout,
            } => {
                let term = self.term(index);
                let life = self.orchestrators[index].gate.life;
                let message = Message::Order(Order {
                    life,
                    order,
                    session,
                    kind,
                    term,
                });
                self.send_to_worker(index, &worker, &message);
                let delay = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                self.ordered(index, life, delay, order, Err("no answer in time".to_owned()));
            }
            Effect::Ping { worker, session, way } => self.ping(index, worker, session, way),
            Effect::Notice(notice) => self.noticed(index, &notice),
            Effect::Alert(command) => self.alert(index, command),
        }
    }

    fn alert(&mut self, index: usize, command: alert_manager::Command) {
        use alert_manager::Command::{Adopt, Explain, Fire, Resolve};
        match command {
            Adopt(adopted) => {
                let rules: Vec<&str> = adopted.alerts.iter().map(|alert| alert.rule).collect();
                let term = adopted.term;
                self.trace(format_args!(
                    "o{index} goes on with alerts under {term}: {rules:?}"
                ));
                self.adopt_alerts(index, adopted);
            }
            Fire(alert) => {
                let (rule, labels, incident) = (alert.rule, &alert.labels, alert.incident);
                self.trace(format_args!(
                    "o{index} alert {rule} {labels:?} fires in {incident:?}"
                ));
                self.sometimes.saw(alert.rule);
                if let Some(process) = self.orchestrators[index].process.as_mut() {
                    let outliving = &mut process.outliving;
                    outliving.alerts.push(alert.clone());
                    outliving.newest_incident = outliving.newest_incident.max(incident);
                }
                self.tell_alert(index, alert, true);
            }
            Resolve(alert) => {
                self.trace(format_args!(
                    "o{index} alert {} {:?} is over",
                    alert.rule, alert.labels
                ));
                if let Some(process) = self.orchestrators[index].process.as_mut() {
                    let alerts = &mut process.outliving.alerts;
                    alerts.retain(|other| other.fingerprint != alert.fingerprint);
                }
                self.tell_alert(index, alert, false);
            }
            Explain(alert) => {
                self.sometimes.saw("alert whose explanation changed");
                if let Some(process) = self.orchestrators[index].process.as_mut() {
                    let outliving = &mut process.outliving;
                    outliving.newest_incident = outliving.newest_incident.max(alert.incident);
                    let mut alerts = outliving.alerts.iter_mut();
                    if let Some(known) = alerts.find(|other| other.fingerprint == alert.fingerprint) {
                        *known = alert;
                    }
                }
                self.store_alerts(index);
            }
        }
    }

    /// The term that readers of an orchestrator's state see.
    fn term(&self, index: usize) -> Term {
        let process = self.orchestrators[index].process.as_ref();
        process.map_or(Term::ZERO, |process| process.outliving.cluster.leadership.term)
    }

    /// How an order went.
    pub(crate) fn ordered(
        &mut self,
        index: usize,
        life: u64,
        delay: u64,
        order: u64,
        outcome: Result<(), String>,
    ) {
        let event = recovery_manager::Event::Ordered { order, outcome };
        let work = Work::Arrive(Box::new(Input::RecoveryManager(event)));
        self.after(delay, Happening::Orchestrator(index, life, work));
    }
}
