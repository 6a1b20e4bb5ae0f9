//! What lies between the orchestrators and their database.

use streamkeeper_core::consistency_checker::{self, Part};
use streamkeeper_core::coordinator::{self, Event as CoordinatorEvent};
use streamkeeper_core::election;
use streamkeeper_core::record::{AssignmentWrite, Fence, Persisted, WriteBatch};
use streamkeeper_core::router::Input;
use streamkeeper_protocol::{Epoch, StreamId, Term};

use crate::database::{Transaction, Wish};
use crate::orchestrator::Work;
use crate::world::{Happening, World};

/// After this time an orchestrator gives a transaction up.
const OPERATION_TIMEOUT_MS: u64 = 5_000;
/// Longest time for which a transaction hangs.
const LONGEST_HANG_MS: u64 = 15_000;

impl World {
    pub(crate) fn take_over(&mut self, index: usize, term: Term) {
        self.transact(index, Wish::TakeOver { term });
    }

    /// A term is remembered on the own disk, which now and then is full.
    pub(crate) fn remember_term(&mut self, index: usize, term: Term) {
        let durable = !(self.stormy && self.network.per_mille(20));
        let orchestrator = &mut self.orchestrators[index];
        if durable {
            orchestrator.term_file = term.max(orchestrator.term_file);
            if let Some(process) = orchestrator.process.as_mut() {
                process.outliving.remembered = orchestrator.term_file;
            }
        }
        let life = orchestrator.gate.life;
        self.answer_election(index, life, 0, election::Event::Remembered { term, durable });
    }

    pub(crate) fn persist(&mut self, index: usize, ticket: u64, fence: Fence, batch: WriteBatch) {
        self.transact(index, Wish::Persist { ticket, fence, batch });
    }

    /// Sends a transaction on its way. It reaches the database also when its process has died since.
    fn transact(&mut self, index: usize, wish: Wish) {
        let life = self.orchestrators[index].gate.life;
        let hangs = self.network.per_mille(self.database.hangs);
        if self.database.away || self.orchestrators[index].no_database_until > self.now {
            self.sometimes.saw("database out of reach");
            let delay = if hangs { OPERATION_TIMEOUT_MS } else { 10 };
            let event = failure(&wish, "out of reach");
            return self.answer(index, life, delay, event);
        }
        let longest = if self.stormy { 200 } else { 20 };
        let delay = if hangs {
            self.sometimes.saw("transaction that hangs");
            self.network.between(500, LONGEST_HANG_MS)
        } else {
            self.network.between(1, longest)
        };
        let abandoned = delay > OPERATION_TIMEOUT_MS;
        if abandoned {
            let event = unknown(&wish);
            self.answer(index, life, OPERATION_TIMEOUT_MS, event);
        }
        let untold = if hangs { self.untold(&wish) } else { Vec::new() };
        let transaction = Transaction {
            orchestrator: index,
            life,
            abandoned,
            untold,
            server: self.database.life,
            wish,
        };
        self.after(delay, Happening::Store(Box::new(transaction)));
    }

    /// Its grants under epochs that nobody has seen.
    fn untold(&self, wish: &Wish) -> Vec<(StreamId, Epoch)> {
        let Wish::Persist { batch, .. } = wish else {
            return Vec::new();
        };
        let grants = batch.assignments.iter().filter_map(|write| match write {
            AssignmentWrite::Put { stream, assignment } => Some((stream.clone(), assignment.epoch)),
            AssignmentWrite::Restore { .. } | AssignmentWrite::Clear { .. } => None,
        });
        grants
            .filter(|(stream, epoch)| !self.is_known(stream, *epoch))
            .collect()
    }

    /// A transaction reaches the database.
    pub(crate) fn store(&mut self, transaction: Transaction) {
        let Transaction {
            orchestrator: index,
            life,
            abandoned,
            untold,
            server,
            wish,
        } = transaction;
        if untold.iter().any(|(stream, epoch)| self.is_known(stream, *epoch)) {
            self.sometimes
                .saw("stream started before a silent database answered");
        }
        if server != self.database.life {
            if !abandoned {
                self.answer(index, life, 1, unknown(&wish));
            }
            return;
        }
        if abandoned {
            self.sometimes.saw("transaction after everybody gave it up");
        }
        let lost = self.orchestrators[index].no_database_until > self.now;
        let event = match wish {
            Wish::TakeOver { term } => self.raise(index, term, lost),
            Wish::Persist { ticket, fence, batch } => {
                self.trace(format_args!(
                    "o{index} stores {} and {} under {}",
                    batch.streams.len(),
                    batch.assignments.len(),
                    fence.term
                ));
                let outcome = self.database.persist(
                    fence,
                    batch,
                    &mut self.watch,
                    &mut self.network,
                    &mut self.sometimes,
                );
                self.check_durable();
                let outcome = if lost { ambiguous() } else { outcome };
                if matches!(outcome, Persisted::Ambiguous { .. }) && self.network.per_mille(200) {
                    // No answer at all: the coordinator's own time-out has to end the wait.
                    self.sometimes.saw("transaction without an answer");
                    return;
                }
                CoordinatorEvent::Persisted {
                    fence,
                    ticket,
                    outcome,
                }
            }
        };
        if !abandoned {
            let delay = self.network.between(1, 20);
            self.answer(index, life, delay, event);
        }
    }

    /// Raises the fence with this term and reads everything.
    fn raise(&mut self, index: usize, term: Term, lost: bool) -> CoordinatorEvent {
        let lease = coordinator::Config::default().lease;
        let nonce = self.network.draw();
        let fence = Fence { term, nonce };
        let stored = Some(self.database.stored_term()).filter(|_| !self.database.away && !lost);
        let taken = self.database.take_over(fence, lease);
        self.trace(format_args!(
            "o{index} takes over with {term}: {}",
            taken.is_some()
        ));
        match taken.filter(|_| !lost) {
            Some((longest_lease, loaded)) => CoordinatorEvent::TookOver {
                fence,
                longest_lease,
                loaded,
            },
            None => CoordinatorEvent::TakeOverFailed { term, stored },
        }
    }

    /// Reads a part of the database, which may have changed by the time the answer comes.
    pub(crate) fn read_stored(&mut self, index: usize, part: &Part) {
        let life = self.orchestrators[index].gate.life;
        let away = self.database.away || self.orchestrators[index].no_database_until > self.now;
        let outcome = match away {
            true => Err("out of reach".to_owned()),
            false => Ok(self.database.page(part.after.as_ref(), part.limit)),
        };
        let event = consistency_checker::Event::Stored {
            ticket: part.ticket,
            outcome,
        };
        let work = Work::Arrive(Box::new(Input::ConsistencyChecker(event)));
        let delay = self.network.between(1, 200);
        self.after(delay, Happening::Orchestrator(index, life, work));
    }

    fn answer(&mut self, index: usize, life: u64, delay: u64, event: CoordinatorEvent) {
        let work = Work::Arrive(Box::new(Input::Coordinator(event)));
        self.after(delay, Happening::Orchestrator(index, life, work));
    }
}

const fn ambiguous() -> Persisted {
    Persisted::Ambiguous {
        reason: String::new(),
    }
}

/// Nothing was done, surely.
fn failure(wish: &Wish, why: &str) -> CoordinatorEvent {
    match wish {
        Wish::TakeOver { term } => CoordinatorEvent::TakeOverFailed {
            term: *term,
            stored: None,
        },
        Wish::Persist { ticket, fence, .. } => CoordinatorEvent::Persisted {
            fence: *fence,
            ticket: *ticket,
            outcome: Persisted::Failed {
                reason: why.to_owned(),
            },
        },
    }
}

/// It may have been done, or be done later.
fn unknown(wish: &Wish) -> CoordinatorEvent {
    match wish {
        Wish::TakeOver { term } => CoordinatorEvent::TakeOverFailed {
            term: *term,
            stored: None,
        },
        Wish::Persist { ticket, fence, .. } => CoordinatorEvent::Persisted {
            fence: *fence,
            ticket: *ticket,
            outcome: ambiguous(),
        },
    }
}
