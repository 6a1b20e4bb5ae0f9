//! A database that keeps what it acknowledged, fences, fails, hangs, is restored from a backup, and sometimes says
//! nothing. A transaction happens at one moment, as under the locks of the real one.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_core::alert_manager::{ActiveAlert, Inherited};
use streamkeeper_core::record::{
    Assignment, AssignmentWrite, Fence, Loaded, Page, Persisted, StreamWrite, WriteBatch,
};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{Epoch, StreamId, Term};

use crate::invariant::Watch;
use crate::random::Random;
use crate::sometimes::Sometimes;

/// What an orchestrator's process sent to the database, and which life of it waits for the answer.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) orchestrator: usize,
    pub(crate) life: u64,
    /// Nobody waits for the answer any more.
    pub(crate) abandoned: bool,
    /// Grants in it that no worker had been told of when it was sent, where it hangs.
    pub(crate) untold: Vec<(StreamId, Epoch)>,
    /// The database's life in which it was sent.
    pub(crate) server: u64,
    pub(crate) wish: Wish,
}

#[derive(Debug, Clone)]
pub(crate) enum Wish {
    TakeOver {
        term: Term,
    },
    Persist {
        ticket: u64,
        fence: Fence,
        batch: WriteBatch,
    },
}

/// Everything that is stored.
#[derive(Debug, Clone, Default)]
struct Stored {
    streams: BTreeMap<StreamId, StreamSpec>,
    rows: BTreeMap<StreamId, Assignment>,
    fence: Option<Fence>,
    /// Transactions that wrote something under the fence.
    transactions: u64,
    longest_lease: Duration,
    /// What fires.
    alerts: Vec<ActiveAlert>,
    /// Moves and quarantines.
    kept: streamkeeper_core::kept::Kept,
}

/// What became of alerts that were to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They are stored.
    Stored,
    /// Another one leads.
    Fenced,
    /// The database is out of reach.
    Away,
}

/// Terms that a restore goes ahead.
const RESTORE_STEP: u32 = 1 << 12;

#[derive(Debug, Default)]
pub(crate) struct Database {
    stored: Stored,
    backup: Option<Stored>,
    /// Counts the times that it was restored: then every connection is broken, and what was on its way is lost.
    pub(crate) life: u64,
    pub(crate) away: bool,
    /// Transactions of a thousand that go wrong.
    pub(crate) trouble: u64,
    /// Transactions of a thousand that hang for seconds before they happen.
    pub(crate) hangs: u64,
}

impl Database {
    pub(crate) fn stored_term(&self) -> Term {
        self.stored.fence.map_or(Term::ZERO, |fence| fence.term)
    }

    pub(crate) const fn streams(&self) -> &BTreeMap<StreamId, StreamSpec> {
        &self.stored.streams
    }

    pub(crate) const fn rows(&self) -> &BTreeMap<StreamId, Assignment> {
        &self.stored.rows
    }

    /// Raises the fence and reads everything; nothing when it is away or knows a term that is not lower.
    pub(crate) fn take_over(&mut self, fence: Fence, lease: Duration) -> Option<(Duration, Loaded)> {
        if self.away || fence.term <= self.stored_term() {
            return None;
        }
        let before = self.stored.longest_lease;
        let from = self.stored_term();
        if !mutant::on(Mutant::LazyFence) {
            self.stored.fence = Some(fence);
        }
        self.stored.longest_lease = before.max(lease);
        self.stored.transactions = 0;
        let loaded = Loaded {
            streams: self.stored.streams.values().cloned().collect(),
            assignments: self.stored.rows.clone().into_iter().collect(),
            // The simulated user gives no orders that stand.
            directives: Vec::new(),
            kept: self.stored.kept.clone(),
            inherited: Inherited {
                from,
                alerts: self.stored.alerts.clone(),
            },
        };
        Some((before, loaded))
    }

    /// Stores what fires, if this term is the one that may write.
    pub(crate) fn keep_alerts(&mut self, term: Term, alerts: &[ActiveAlert]) -> Kept {
        if self.away {
            return Kept::Away;
        }
        if self.stored_term() != term {
            return Kept::Fenced;
        }
        self.stored.alerts = alerts.to_vec();
        Kept::Stored
    }

    pub(crate) fn persist(
        &mut self,
        fence: Fence,
        batch: WriteBatch,
        watch: &mut Watch,
        random: &mut Random,
        sometimes: &mut Sometimes,
    ) -> Persisted {
        let reason = String::new();
        if self.away {
            sometimes.saw("write while the database is away");
            return Persisted::Failed { reason };
        }
        if mutant::on(Mutant::LazyFence) && fence.term > self.stored_term() {
            self.stored.fence = Some(fence);
        }
        if Some(fence) != self.stored.fence && !mutant::on(Mutant::NoFence) {
            sometimes.saw("write under an old fence");
            return Persisted::Fenced {
                term: self.stored_term(),
            };
        }
        if batch
            .before
            .is_some_and(|before| before != self.stored.transactions)
            && !mutant::on(Mutant::NoFence)
            && !mutant::on(Mutant::LazyFence)
        {
            sometimes.saw("transactions that a restored database has forgotten");
            return Persisted::Rewound;
        }
        if !random.per_mille(self.trouble) {
            return Persisted::Committed {
                refused: self.write(fence, batch, watch),
            };
        }
        match random.between(0, 2) {
            0 => {
                sometimes.saw("serialization failure");
                Persisted::Failed { reason }
            }
            1 => {
                sometimes.saw("ambiguous commit that was not made");
                Persisted::Ambiguous { reason }
            }
            _ => {
                sometimes.saw("ambiguous commit that was made");
                self.write(fence, batch, watch);
                Persisted::Ambiguous { reason }
            }
        }
    }

    fn write(&mut self, fence: Fence, batch: WriteBatch, watch: &mut Watch) -> Vec<StreamId> {
        let mut refused = Vec::new();
        let stored = &mut self.stored;
        stored.transactions += u64::from(batch.before.is_some() && !batch.is_empty());
        stored.kept.apply(batch.kept);
        for write in batch.streams {
            let known = stored.streams.contains_key(write.stream());
            watch.stream_written(&write, fence.term, known);
            match write {
                StreamWrite::Put(spec) => stored.streams.insert(spec.name.clone(), spec),
                StreamWrite::Delete(name) => stored.streams.remove(&name),
            };
        }
        for write in batch.assignments {
            let restores = matches!(write, AssignmentWrite::Restore { .. });
            match write {
                AssignmentWrite::Put { stream, assignment }
                | AssignmentWrite::Restore { stream, assignment } => {
                    let before = stored.rows.get(&stream).map_or(Epoch::ZERO, |row| row.epoch);
                    let newer = before < assignment.epoch || (restores && before == assignment.epoch);
                    if !newer && !mutant::on(Mutant::RowsNotCompared) {
                        refused.push(stream);
                        continue;
                    }
                    watch.assigned(&stream, &assignment, fence.term, stored.streams.get(&stream));
                    stored.rows.insert(stream, assignment);
                }
                AssignmentWrite::Clear { stream, epoch } => {
                    watch.cleared(&stream, epoch, fence.term);
                    if stored.rows.get(&stream).is_some_and(|row| row.epoch <= epoch) {
                        stored.rows.remove(&stream);
                    }
                }
            }
        }
        refused
    }

    /// What is stored of the names after `after`.
    pub(crate) fn page(&self, after: Option<&StreamId>, limit: u32) -> Page {
        let is_later = |name: &StreamId| after.is_none_or(|after| name > after);
        let Stored { streams, rows, .. } = &self.stored;
        let names = streams.keys().filter(|name| is_later(name));
        let end = names.clone().nth(limit as usize - 1).cloned();
        let end = end.filter(|_| names.count() > limit as usize);
        let is_in = |name: &StreamId| is_later(name) && end.as_ref().is_none_or(|end| name <= end);
        let rows = rows.iter().filter(|(name, _)| is_in(name));
        Page {
            streams: streams
                .values()
                .filter(|spec| is_in(&spec.name))
                .cloned()
                .collect(),
            assignments: rows.map(|(name, row)| (name.clone(), row.clone())).collect(),
            bad_rows: Vec::new(),
            end,
        }
    }

    /// Keeps a copy of everything.
    pub(crate) fn back_up(&mut self) {
        self.backup = Some(self.stored.clone());
    }

    /// Goes back to the last copy, if there is one. The program that restores raises the term by a large step, so that no
    /// fence of before holds (OWNERSHIP rule 5); `raw`, somebody puts the files back by hand.
    pub(crate) fn restore(&mut self, nonce: u64, raw: bool, watch: &mut Watch) -> bool {
        let Some(backup) = self.backup.clone() else {
            return false;
        };
        let highest = self.stored_term();
        self.stored = backup;
        self.life += 1;
        if !raw {
            let term = Term::new(highest.get() + RESTORE_STEP).unwrap_or(Term::MAX);
            self.stored.fence = Some(Fence { term, nonce });
        }
        watch.restored(self.stored_term(), &self.stored.rows);
        true
    }
}
