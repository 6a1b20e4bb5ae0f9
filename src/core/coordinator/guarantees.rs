//! What must hold of every change, whatever led to it: see [`Invariant`].

use streamkeeper_protocol::mutant;
use streamkeeper_protocol::{AssignKind, Epoch, StreamId};

use super::{Command, Coordinator};
use crate::cluster::{Slot, StreamRecord};
use crate::invariant::Invariant;
use crate::notice::Notice;
use crate::record::Assignment;
use crate::time::Timestamp;

impl Coordinator {
    /// A stream is about to go from the slot of `record` to another one.
    pub(super) fn check_slot(&mut self, now: Timestamp, record: &StreamRecord, slot: &Slot) {
        let (before, after) = match slot {
            Slot::Committing { next, last } => (last.as_ref(), Some(next)),
            Slot::Handing { from, to } => (Some(from), Some(to)),
            Slot::Vacant | Slot::Orphaned { .. } | Slot::Held(_) | Slot::Releasing { .. } => (None, None),
        };
        if let (Some(before), Some(after)) = (before, after)
            && before.epoch >= after.epoch
        {
            let words = format!("it had {} and is given {}", text(before), text(after));
            self.violated(Invariant::EpochMonotonic, record, after.epoch, &words);
        }
        if record.is_exclusive()
            && let Some(after) = after
        {
            let handed = matches!(slot, Slot::Handing { .. });
            let in_grace = now < self.cluster.leadership.grace_until;
            if handed || in_grace {
                let words = format!("{} is given it while another may hold it", text(after));
                self.violated(Invariant::SingleOwner, record, after.epoch, &words);
            }
        }
        let runs = record.wanted().next();
        let ended = matches!(slot, Slot::Releasing { .. });
        if let Some(runs) = runs.filter(|_| record.spec.enabled && !record.is_exclusive() && !ended)
            && slot.wanted(false).next().is_none()
        {
            let words = format!("{} runs it, and is to end it for nobody", text(runs));
            self.violated(Invariant::NoEmptyPlan, record, runs.epoch, &words);
        }
    }

    /// What is about to be done: only with a fence that stands, and in the own time.
    pub(super) fn check_acts(&self, now: Timestamp, out: &mut Vec<Command>) {
        if (self.fence.is_some() && now < self.until) || mutant::any() {
            return;
        }
        let acts = |command: &&Command| match command {
            Command::Persist { .. } => true,
            Command::Assign(assign) => assign.kind == AssignKind::Desired,
            _ => false,
        };
        let count = out.iter().filter(acts).count();
        if count > 0 {
            debug_assert!(false, "S4 fenced-leader: {count} acts without the right to them");
            out.push(Command::Notice(Notice::InvariantViolated {
                invariant: Invariant::FencedLeader,
                stream: None,
                epoch: None,
                detail: format!("{count} acts without the right to them"),
            }));
        }
    }

    fn violated(&mut self, invariant: Invariant, record: &StreamRecord, epoch: Epoch, words: &str) {
        // The simulation switches rules off to see whether its own invariants notice.
        if mutant::any() {
            return;
        }
        let stream: &StreamId = &record.spec.name;
        debug_assert!(false, "{}: {stream}: {words}", invariant.as_str());
        self.notices.push(Notice::InvariantViolated {
            invariant,
            stream: Some(stream.clone()),
            epoch: Some(epoch),
            detail: words.to_owned(),
        });
    }
}

fn text(assignment: &Assignment) -> String {
    let Assignment {
        worker,
        session,
        epoch,
    } = assignment;
    format!("{worker} (session {session}) under epoch {}", epoch.get())
}
