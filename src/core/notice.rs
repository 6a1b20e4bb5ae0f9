//! What happened, for whoever listens: `sk.v1.event.<kind>`, logs and metrics. No decision depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{Epoch, SessionId, StreamId, Term, WorkerId};

use crate::cluster::{Availability, MoveReason};
use crate::heartbeat_tracker::Way;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This orchestrator leads.
    Leading {
        /// Its term.
        term: Term,
    },
    /// The database was put back to an older copy under the leadership of this term, which begins anew with what is there.
    DatabaseRewound {
        /// The term that ended by it.
        term: Term,
    },
    /// A worker's session took its seat for the first time in this term.
    WorkerJoined {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
    },
    /// A worker's session is heard, late, lost or proven dead.
    WorkerAvailability {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// How it is now.
        availability: Availability,
    },
    /// A worker has been silent beyond the emergency threshold.
    WorkerEmergency {
        /// The worker.
        worker: WorkerId,
        /// Its silent life.
        session: SessionId,
    },
    /// A worker's session was found to be lost or dead.
    LossFound {
        /// The worker.
        worker: WorkerId,
        /// Its life.
        session: SessionId,
        /// How it was found.
        way: Way,
    },
    /// A stream was given to a worker, durably.
    Assigned {
        /// The stream.
        stream: StreamId,
        /// The worker.
        worker: WorkerId,
        /// The fencing token.
        epoch: Epoch,
        /// Why.
        reason: MoveReason,
    },
    /// A stream that had lost its worker runs again.
    FailedOver {
        /// The stream.
        stream: StreamId,
        /// Where it runs.
        worker: WorkerId,
        /// How long after the loss was known.
        after: Duration,
    },
}

impl Notice {
    /// The subject token.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Leading { .. } => "leading",
            Self::DatabaseRewound { .. } => "database_rewound",
            Self::WorkerJoined { .. } => "worker_joined",
            Self::WorkerAvailability { availability, .. } => match availability {
                Availability::Alive => "worker_alive",
                Availability::Warning => "worker_warning",
                Availability::Lost => "worker_lost",
                Availability::Dead => "worker_dead",
            },
            Self::WorkerEmergency { .. } => "worker_emergency",
            Self::LossFound { .. } => "loss_found",
            Self::Assigned { .. } => "assigned",
            Self::FailedOver { .. } => "failed_over",
        }
    }

    /// What it is about, by glossary name.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            Self::Leading { term } | Self::DatabaseRewound { term } => vec![("term", term.to_string())],
            Self::WorkerJoined { worker, session }
            | Self::WorkerAvailability { worker, session, .. }
            | Self::WorkerEmergency { worker, session } => {
                vec![("worker", worker.to_string()), ("session", session.to_string())]
            }
            Self::LossFound { worker, session, way } => vec![
                ("worker", worker.to_string()),
                ("session", session.to_string()),
                ("way", way.as_str().to_owned()),
            ],
            Self::Assigned {
                stream,
                worker,
                epoch,
                reason,
            } => vec![
                ("stream", stream.to_string()),
                ("worker", worker.to_string()),
                ("epoch", epoch.get().to_string()),
                ("reason", reason.as_str().to_owned()),
            ],
            Self::FailedOver {
                stream,
                worker,
                after,
            } => vec![
                ("stream", stream.to_string()),
                ("worker", worker.to_string()),
                ("after_ms", after.as_millis().to_string()),
            ],
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}
