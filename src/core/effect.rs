//! What the machines want done that only the shell can do.

use std::time::Duration;

use streamkeeper_protocol::{Assign, ControlKind, LeaderRecord, SessionId, Term, WorkerId};

use crate::cluster::ClusterState;
use crate::consistency_checker::{Checks, Finding, Part};
use crate::notice::Notice;
use crate::record::{Fence, WriteBatch};
use crate::recovery_manager::{OrderId, Status};
use crate::request::{ApplyOutcome, RequestId};
use crate::{alert_manager, election, heartbeat_tracker};

/// What only the shell can do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Look at the leader's key and report to the election.
    ReadLeaderKey {
        /// Names the look.
        attempt: u64,
    },
    /// Write the leader's key if it has the expected revision, and report to the election.
    WriteLeaderKey {
        /// Names the write.
        attempt: u64,
        /// What to write.
        record: LeaderRecord,
        /// The key's revision; 0: there must never have been one.
        expect: u64,
    },
    /// Remember a term durably and report to the election.
    RememberTerm(Term),
    /// Give readers the state of the election.
    PublishElection(election::Status),
    /// Count and tell that a term was heard that is not believed.
    ImplausibleTerm(Term),
    /// Raise the fence with exactly this term, read everything, and report to the coordinator.
    TakeOver {
        /// The term that was won.
        term: Term,
    },
    /// Write this and report with fence and ticket.
    Persist {
        /// Names the transaction.
        ticket: u64,
        /// The right to write.
        fence: Fence,
        /// What to write.
        batch: WriteBatch,
    },
    /// Tell a worker.
    Assign(Box<Assign>),
    /// Tell a user.
    Reply {
        /// Who waits.
        request: RequestId,
        /// The answer.
        outcome: ApplyOutcome,
    },
    /// Give readers this state.
    Publish(ClusterState),
    /// Give readers these findings.
    PublishFindings(Vec<Finding>),
    /// Give readers this about the checks.
    PublishChecks(Checks),
    /// Give readers this about the attempts on workers in trouble.
    PublishRecovery(Status),
    /// Read a part of the database and report to the consistency checker.
    ReadStored(Part),
    /// Order a worker something and report the answer to the recovery manager.
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
    /// Ask a worker for a sign of life and report to the failure detector what became of it.
    Ping {
        /// The worker.
        worker: WorkerId,
        /// The session that is meant.
        session: SessionId,
        /// What led to it.
        way: heartbeat_tracker::Way,
    },
    /// Tell whoever listens.
    Notice(Notice),
    /// Alerts begin, end, or are seen in another way.
    Alert(alert_manager::Command),
}

impl Effect {
    /// Whether only a leader may do this. The coordinator knows by itself whether it leads; the other machines do not
    /// (OWNERSHIP rule 11).
    #[must_use]
    pub const fn is_a_leaders(&self) -> bool {
        matches!(self, Self::Order { .. } | Self::Notice(_) | Self::Alert(_))
    }
}
