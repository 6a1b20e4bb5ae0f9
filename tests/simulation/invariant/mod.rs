//! What must hold: one file per guarantee. The safety ones are checked at every step, the liveness ones once all is calm.

mod l1_placed;
mod l2_balanced;
mod l3_agreement;
mod l4_alerts_resolve;
mod s1_single_owner;
mod s2_epoch_monotonic;
mod s3_nothing_lost;
mod s4_fenced_leader;
mod s5_no_needless_move;
mod s6_no_empty_plan;

use std::collections::BTreeMap;

use streamkeeper_core::record::{Assignment, StreamWrite};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, Ownership, SessionId, StreamId, Term};

use crate::world::World;

/// A guarantee that is broken, in words that begin with its id.
pub(crate) type Broken = String;

/// What the invariants remember of the past.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    copies: s1_single_owner::Copies,
    epochs: s2_epoch_monotonic::Epochs,
    writers: s4_fenced_leader::Writers,
    holders: s4_fenced_leader::Holders,
    ends: s6_no_empty_plan::Ends,
    told: l4_alerts_resolve::Told,
}

impl Watch {
    /// A stream's spec is written. What runs of one that is not `known` belongs to a stream of its name that was deleted,
    /// also where a leader that did not hear of it has granted it since. One that is disabled ends wherever it runs, also
    /// where the database goes back to a time before that, as long as its leader has not noticed.
    pub(crate) fn stream_written(&mut self, write: &StreamWrite, term: Term, known: bool) {
        self.writers.wrote(write.stream(), term);
        let goes_on = matches!(write, StreamWrite::Put(spec) if spec.enabled);
        if !known || !goes_on {
            self.ends.ended_everywhere(write.stream());
        }
    }

    /// An assignment is written.
    pub(crate) fn assigned(
        &mut self,
        stream: &StreamId,
        assignment: &Assignment,
        term: Term,
        spec: Option<&StreamSpec>,
    ) {
        let exclusive = spec.is_some_and(|spec| spec.ownership == Ownership::Exclusive);
        self.writers.wrote(stream, term);
        self.epochs.stored(stream, assignment, exclusive);
        self.ends.replaced(stream, assignment.epoch);
    }

    /// The session that an epoch of a stream was granted to.
    fn named(&self, stream: &StreamId, epoch: Epoch) -> Option<SessionId> {
        self.epochs.named(stream, epoch)
    }

    /// A leader has given the stream to somebody else.
    fn replaced(&mut self, stream: &StreamId, epoch: Epoch) {
        self.ends.replaced(stream, epoch);
    }

    /// An assignment up to this epoch is removed.
    pub(crate) fn cleared(&mut self, stream: &StreamId, epoch: Epoch, term: Term) {
        self.writers.wrote(stream, term);
        self.epochs.cleared(stream);
        self.ends.ended(stream, epoch);
    }

    /// The database is what it was once.
    pub(crate) fn restored(&mut self, term: Term, rows: &BTreeMap<StreamId, Assignment>) {
        self.epochs.restored(rows);
        self.writers.restored(term);
        self.told.restored();
    }
}

impl World {
    /// A child starts to run.
    pub(crate) fn started(&mut self, index: usize, stream: &StreamId, epoch: Epoch, exclusive: bool) {
        let worker = &self.nodes[index].id;
        let kind = if exclusive { "exclusive " } else { "" };
        let text = format!(
            "{worker} starts {kind}{stream} at {}.{}",
            epoch.term(),
            epoch.counter()
        );
        self.trace(format_args!("{text}"));
        self.last_change = self.now;
        self.check_start(index, stream, epoch, exclusive);
        self.check_single(index, stream, epoch, exclusive);
    }

    /// A child is gone.
    pub(crate) fn ran(&mut self, index: usize, stream: &StreamId, epoch: Epoch) {
        let text = format!(
            "{stream} at {}.{} is gone from {}",
            epoch.term(),
            epoch.counter(),
            self.nodes[index].id
        );
        self.trace(format_args!("{text}"));
        self.last_change = self.now;
        self.watch.copies.gone(stream, index);
    }

    /// Everything that must be true once all is calm.
    pub(crate) fn settled(&self) -> Result<(), Broken> {
        let leader = self.leader()?;
        self.check_placed(leader)?;
        self.check_agreement(leader)?;
        self.check_alerts(leader)?;
        self.check_balance(leader)
    }

    /// The one orchestrator that leads.
    fn leader(&self) -> Result<usize, Broken> {
        let leads = |index: &usize| self.orchestrators[*index].leads();
        let leaders: Vec<usize> = (0..self.orchestrators.len()).filter(leads).collect();
        match leaders[..] {
            [leader] => Ok(leader),
            _ => Err(format!("L1: orchestrators {leaders:?} lead")),
        }
    }
}

fn broken(holds: bool, what: impl FnOnce() -> Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(what()) }
}
