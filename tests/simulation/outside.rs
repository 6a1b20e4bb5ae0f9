//! What lies between the processes: the database's answers and the network's tricks.

use streamkeeper_core::coordinator::{self, Event as CoordinatorEvent};
use streamkeeper_core::election::{self, Found, WriteOutcome};
use streamkeeper_core::record::{Fence, Persisted, WriteBatch};
use streamkeeper_core::recovery_manager;
use streamkeeper_core::router::{self, Input};
use streamkeeper_protocol::{Heartbeat, LeaderRecord, Term};

use crate::world::{Happening, World};

impl World {
    pub(crate) fn read_leader_key(&mut self, attempt: u64) {
        let found = match &self.leader_key {
            Some((revision, record)) => Found::Record {
                revision: *revision,
                record: record.clone(),
            },
            None => Found::Absent { revision: 0 },
        };
        self.answer_election(election::Event::Read { attempt, found });
    }

    pub(crate) fn write_leader_key(&mut self, attempt: u64, record: LeaderRecord, expect: u64) {
        let present = self.leader_key.as_ref().map_or(0, |(revision, _)| *revision);
        let outcome = if present == expect {
            let revision = present + 1;
            self.leader_key = Some((revision, record));
            WriteOutcome::Stored { revision }
        } else {
            WriteOutcome::Conflict
        };
        self.answer_election(election::Event::Written { attempt, outcome });
    }

    pub(crate) fn remember_term(&mut self, term: Term) {
        self.term_file = term;
        if let Some(orchestrator) = self.orchestrator.as_mut() {
            orchestrator.outliving.remembered = term;
        }
        self.answer_election(election::Event::Remembered { term, durable: true });
    }

    fn answer_election(&mut self, event: election::Event) {
        let delay = self.network.between(0, 5);
        self.after(
            delay,
            Happening::Arrive(self.life, Box::new(Input::Election(event))),
        );
    }

    pub(crate) fn take_over(&mut self, term: Term) {
        let lease = coordinator::Config::default().lease;
        let fence = Fence {
            term,
            nonce: self.network.draw(),
        };
        let stored = Some(self.database.stored_term()).filter(|_| !self.database.away);
        let event = match self.database.take_over(fence, lease) {
            Some((longest_lease, loaded)) => CoordinatorEvent::TookOver {
                fence,
                longest_lease,
                loaded,
            },
            None => CoordinatorEvent::TakeOverFailed { term, stored },
        };
        self.trace(format_args!(
            "takeover of {term}: {}",
            matches!(event, CoordinatorEvent::TookOver { .. })
        ));
        let delay = self.network.between(1, 50);
        self.after(
            delay,
            Happening::Arrive(self.life, Box::new(Input::Coordinator(event))),
        );
    }

    /// A transaction reaches the database also when its process has died since.
    pub(crate) fn persist(&mut self, life: u64, ticket: u64, fence: Fence, batch: WriteBatch) {
        let outcome = self
            .database
            .persist(fence, batch, &mut self.network, &mut self.sometimes);
        self.check_durable();
        if matches!(outcome, Persisted::Ambiguous { .. }) && self.network.per_mille(200) {
            // No answer at all: the coordinator's own time-out has to end the wait.
            self.sometimes.saw("transaction without an answer");
            return;
        }
        let event = CoordinatorEvent::Persisted {
            fence,
            ticket,
            outcome,
        };
        let delay = self.network.between(1, 20);
        self.after(
            delay,
            Happening::Arrive(life, Box::new(Input::Coordinator(event))),
        );
    }

    /// Sends a message through a network that loses, doubles, delays and reorders.
    pub(crate) fn send(&mut self, message: Happening) {
        if !self.nats_up {
            return;
        }
        if self.stormy {
            if self.network.per_mille(20) {
                return;
            }
            if self.network.per_mille(20) {
                let late = self.network.between(0, 5_000);
                self.after(late, message.clone());
            }
        }
        let late = self.stormy && self.network.per_mille(20);
        let delay = self.network.between(0, if late { 3_000 } else { 3 });
        self.after(delay, message);
    }

    pub(crate) fn heartbeat(&mut self, heartbeat: Heartbeat) {
        if self.orchestrator.is_some() && self.nats_up {
            for input in router::heartbeat(heartbeat) {
                // One queue each, both fed in the order of arrival.
                self.post(input);
            }
        }
    }

    pub(crate) fn answer_order(&mut self, life: u64, order: u64, outcome: Result<(), String>) {
        let event = recovery_manager::Event::Ordered { order, outcome };
        let delay = self.network.between(0, 3);
        self.after(
            delay,
            Happening::Arrive(life, Box::new(Input::RecoveryManager(event))),
        );
    }
}
