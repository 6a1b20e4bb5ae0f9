//! S5 no-needless-move: who is healthy loses a stream only to the balancer or the user.

use streamkeeper_core::cluster::MoveReason;
use streamkeeper_core::migration::{State, Way};
use streamkeeper_core::notice::Notice;
use streamkeeper_protocol::{Epoch, StreamId, WorkerId};

use crate::node::Child;
use crate::world::World;

/// A worker that no fault touched for so long must not lose a stream.
const HEALTHY_MS: u64 = 35_000;

impl World {
    /// An orchestrator tells what happened.
    pub(crate) fn noticed(&mut self, index: usize, notice: &Notice) {
        self.trace(format_args!("o{index} {} {:?}", notice.kind(), notice.fields()));
        self.sometimes.saw(notice.kind());
        assert!(
            !matches!(notice, Notice::InvariantViolated { .. }),
            "o{index} sees a guarantee broken: {:?}",
            notice.fields()
        );
        if let Notice::Migrated { way, outcome, .. } = notice {
            self.sometimes.saw(match (way, outcome) {
                (Way::MakeBeforeBreak, State::Done) => "make_before_break done",
                (Way::MakeBeforeBreak, State::RolledBack) => "make_before_break rolled_back",
                (Way::MakeBeforeBreak, _) => "make_before_break cancelled",
                (_, State::Done) => "break_before_make done",
                _ => "break_before_make not done",
            });
        }
        let Notice::Assigned {
            stream,
            worker,
            epoch,
            reason,
        } = notice
        else {
            return;
        };
        self.sometimes.saw(reason.as_str());
        match reason {
            MoveReason::Balance
            | MoveReason::Changed
            | MoveReason::Drain
            | MoveReason::Restart
            | MoveReason::Asked
            | MoveReason::RolledBack
            | MoveReason::Failing
            | MoveReason::Preempted
            | MoveReason::Released
            | MoveReason::Recovery => {}
            MoveReason::Declared | MoveReason::WorkerLost | MoveReason::Adopted | MoveReason::Missing => {
                self.check_needed(index, stream, worker, *epoch, *reason);
            }
        }
    }

    fn check_needed(
        &self,
        index: usize,
        stream: &StreamId,
        worker: &WorkerId,
        epoch: Epoch,
        reason: MoveReason,
    ) {
        if self.stormy || self.now <= self.touched + HEALTHY_MS {
            return;
        }
        let seats = &self.orchestrators[index].cluster().workers;
        for node in &self.nodes {
            let child = node.children.get(stream);
            // A copy that was started from the saved set names its worker's former session: it needs a fresh epoch.
            let saved = |child: &&Child| {
                let named = self.watch.named(stream, child.epoch);
                node.id == *worker && named.is_some_and(|session| session != node.session_id)
            };
            let runs = child
                .filter(|child| !saved(child))
                .is_some_and(|child| child.epoch < epoch && !child.stopping);
            // Who was refused, because another process had its id, has nothing to lose.
            let seated = seats
                .get(&node.id)
                .is_some_and(|seat| seat.session == node.session_id);
            let healthy = seated && node.session.is_some() && self.now > node.touched + HEALTHY_MS;
            assert!(
                !(runs && healthy),
                "S5 no-needless-move: {} is healthy, runs {stream}, and it is given to {worker} ({})",
                node.id,
                reason.as_str()
            );
        }
    }
}
