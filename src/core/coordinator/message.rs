//! What the coordinator is told, and what it wants done.

use std::time::Duration;

use streamkeeper_protocol::{
    Assign, DEFAULT_KILL_MARGIN_MS, DEFAULT_STOP_BUDGET_MS, Epoch, Heartbeat, SessionId, StreamId, Term,
    WorkerId,
};

use crate::cluster::{ClusterState, MoveReason, UnplacedReason};
use crate::consistency_checker::Repair;
use crate::election::Lead;
use crate::heartbeat_tracker::SessionChange;
use crate::notice::Notice;
use crate::record::{Fence, Loaded, Persisted, WriteBatch};
use crate::recovery_manager::Measure;
use crate::request::{ApplyOutcome, ApplyStreams, RequestId};

/// How the coordinator behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Silence after which a session is lost, as the failure detector counts it.
    pub timeout: Duration,
    /// Lease of every session.
    pub lease: Duration,
    /// So long before its lease ends, a worker orders its exclusive streams to end.
    pub stop_budget: Duration,
    /// So long before its lease ends, a worker kills what is left of them.
    pub kill_margin: Duration,
    /// Highest difference of clock rates, as a share.
    pub drift: f64,
    /// Added to every wait for a lease to end.
    pub margin: Duration,
    /// After this time without an answer to a transaction, available streams fail over from memory.
    pub silent_after: Duration,
    /// After this time a transaction without an answer counts as ambiguous.
    pub persist_timeout: Duration,
    /// Pause after a failed transaction or takeover.
    pub retry_delay: Duration,
    /// No stream is moved for the sake of balance for so long after a failed transaction.
    pub calm_after_failure: Duration,
    /// A worker that is gone and owns nothing is forgotten after this time.
    pub forget_after: Duration,
    /// Most changes that wait for the database.
    pub max_waiting_requests: usize,
    /// Moves of streams that run.
    pub migration: crate::migration::Config,
    /// When a source or a worker is at fault for a stream that does not keep running.
    pub blame: crate::blame::Config,
    /// How the balancer plans: drains follow it.
    pub balancer: crate::balancer::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            lease: Duration::from_secs(15),
            stop_budget: Duration::from_millis(DEFAULT_STOP_BUDGET_MS),
            kill_margin: Duration::from_millis(DEFAULT_KILL_MARGIN_MS),
            drift: 0.01,
            margin: Duration::from_millis(500),
            silent_after: Duration::from_millis(1_500),
            persist_timeout: Duration::from_secs(10),
            retry_delay: Duration::from_secs(1),
            calm_after_failure: Duration::from_secs(60),
            forget_after: Duration::from_secs(600),
            max_waiting_requests: 1_024,
            migration: crate::migration::Config::default(),
            blame: crate::blame::Config::default(),
            balancer: crate::balancer::Config::default(),
        }
    }
}

/// One wanted move. It is refused when the stream changed since it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The stream.
    pub stream: StreamId,
    /// Epoch of the slot's assignment when the move was planned; none for a vacant slot.
    pub planned_on: Option<Epoch>,
    /// The worker that gets it.
    pub to: WorkerId,
    /// Why.
    pub reason: MoveReason,
}

/// One stream that is to yield. It is refused when the stream changed since it was planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The stream.
    pub stream: StreamId,
    /// Epoch of the assignment that is to end.
    pub planned_on: Option<Epoch>,
}

/// What the coordinator is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It begins, without a term: whatever it led under before is of no use.
    Begin {
        /// The highest term of its former life.
        above: Term,
    },
    /// This orchestrator may lead. Said again with every renewal.
    Elected(Lead),
    /// The leadership is over, whatever else was said (OWNERSHIP rule 11).
    Resigned {
        /// The leadership that is over.
        term: Term,
    },
    /// The fence stands and everything was read.
    TookOver {
        /// The new right to write.
        fence: Fence,
        /// The longest lease that any predecessor used; zero when there was none.
        longest_lease: Duration,
        /// What is stored.
        loaded: Loaded,
    },
    /// The takeover did not succeed. It is tried again: under the same term, or under a higher one where the stored term
    /// is not lower.
    TakeOverFailed {
        /// The term that was to be taken.
        term: Term,
        /// The stored term, where the database said so.
        stored: Option<Term>,
    },
    /// A worker reports.
    Heartbeat(Box<Heartbeat>),
    /// The failure detector's findings of one pass.
    Availability(Vec<SessionChange>),
    /// The balancer's wishes.
    Propose(Vec<Proposal>),
    /// Streams that yield to more important ones, because capacity lacks.
    Preempt(Vec<Release>),
    /// Streams that the balancer cannot place, with the reason, or can again.
    Unplaced(Vec<(StreamId, Option<UnplacedReason>)>),
    /// The consistency checker's proposals.
    Repair(Vec<Repair>),
    /// What the recovery manager wants done to a worker.
    Measure(Measure),
    /// A user's change.
    Apply {
        /// Who waits for the answer.
        request: RequestId,
        /// What to change.
        change: ApplyStreams,
    },
    /// A transaction ended.
    Persisted {
        /// The right under which it was written.
        fence: Fence,
        /// Which one.
        ticket: u64,
        /// How.
        outcome: Persisted,
    },
    /// Time passed.
    Tick,
}

/// What the coordinator wants done.
#[derive(Debug, Clone)]
pub enum Command {
    /// Raise the fence with exactly this term, and read everything.
    TakeOver {
        /// The term that was won.
        term: Term,
    },
    /// Win a term above this one: the present one, if there is one, is of no use any more.
    NewTerm {
        /// The highest term that is known.
        above: Term,
    },
    /// Somebody speaks of this term; this orchestrator does not lead.
    HeardTerm(Term),
    /// Nothing is done under this term any more.
    Vacated {
        /// The term.
        term: Term,
    },
    /// Write this and report with the ticket.
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
    /// These sessions own streams: their silence counts from now.
    Expect(Vec<(WorkerId, SessionId)>),
    /// A second live process uses a worker's id and was refused.
    Rival {
        /// The id.
        worker: WorkerId,
        /// Who holds the seat.
        holder: SessionId,
        /// Who was refused.
        refused: SessionId,
    },
    /// Something happened that others may want to know.
    Notice(Notice),
    /// The state changed; readers get this snapshot.
    Snapshot(ClusterState),
}
