//! What happened, for whoever listens: `sk.v1.event.<kind>`, logs and metrics. No decision depends on it.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{Epoch, SessionId, StreamId, Term, WorkerId};

use crate::cluster::{Availability, Awaited, MoveReason};
use crate::consistency_checker::{Finding, Repair};
use crate::heartbeat_tracker::Way;
use crate::invariant::Invariant;
use crate::migration::{self, Migration};
use crate::recovery_manager::{Attempt, Outcome};

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
    /// A guarantee is broken: never, or there is a bug.
    InvariantViolated {
        /// Which one.
        invariant: Invariant,
        /// The stream, if it is one's.
        stream: Option<StreamId>,
        /// Its epoch.
        epoch: Option<Epoch>,
        /// What was seen, in words.
        detail: String,
    },
    /// A circuit breaker of this orchestrator changed its state.
    BreakerChanged {
        /// What it protects.
        dependency: &'static str,
        /// Its new state: `closed`, `open` or `half_open`.
        state: &'static str,
        /// What failed; empty where nothing does any more.
        reason: String,
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
    /// A stream's owner is lost, and the stream waits for it.
    OwnerAwaited {
        /// The stream.
        stream: StreamId,
        /// Its owner.
        worker: WorkerId,
        /// The life of it that is lost.
        session: SessionId,
        /// What it waits for.
        why: Awaited,
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
    /// A planned move of a stream that ran has ended, one way or another.
    Migrated {
        /// The stream.
        stream: StreamId,
        /// Where it came from.
        from: WorkerId,
        /// Where it was to go.
        to: WorkerId,
        /// Why.
        reason: MoveReason,
        /// How.
        way: migration::Way,
        /// How it ended.
        outcome: migration::State,
        /// How long nobody ran it.
        gap: Option<Duration>,
        /// How long both ran it.
        overlap: Option<Duration>,
    },
    /// An inconsistency was confirmed.
    FindingConfirmed(Finding),
    /// A confirmed inconsistency is gone.
    FindingOver(Finding),
    /// A repair was begun.
    Repaired(Repair),
    /// Recovery of a worker was tried: it began, or ended.
    RecoveryTried(Attempt),
}

impl Notice {
    /// A move has ended.
    pub(crate) fn migrated(migration: &Migration) -> Self {
        Self::Migrated {
            stream: migration.stream.clone(),
            from: migration.from.clone(),
            to: migration.to.clone(),
            reason: migration.reason,
            way: migration.way,
            outcome: migration.state,
            gap: migration.gap,
            overlap: migration.overlap,
        }
    }

    /// The subject token.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Leading { .. } => "leading",
            Self::DatabaseRewound { .. } => "database_rewound",
            Self::InvariantViolated { .. } => "invariant_violated",
            Self::BreakerChanged { .. } => "breaker_changed",
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
            Self::OwnerAwaited { .. } => "owner_awaited",
            Self::FailedOver { .. } => "failed_over",
            Self::Migrated { .. } => "migrated",
            Self::FindingConfirmed(_) => "finding_confirmed",
            Self::FindingOver(_) => "finding_over",
            Self::Repaired(_) => "repaired",
            Self::RecoveryTried(attempt) => match attempt.outcome {
                Outcome::Running => "recovery_begun",
                Outcome::Succeeded | Outcome::Failed | Outcome::Refused => "recovery_ended",
            },
        }
    }

    /// What it is about, by glossary name.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<String, String> {
        let pairs: Vec<(&str, String)> = match self {
            Self::Leading { term } | Self::DatabaseRewound { term } => vec![("term", term.to_string())],
            Self::InvariantViolated {
                invariant,
                stream,
                epoch,
                detail,
            } => {
                let stream = stream.as_ref().map(|stream| ("stream", stream.to_string()));
                let epoch = epoch.map(|epoch| ("epoch", epoch.get().to_string()));
                [
                    ("invariant", invariant.as_str().to_owned()),
                    ("detail", detail.clone()),
                ]
                .into_iter()
                .chain(stream)
                .chain(epoch)
                .collect()
            }
            Self::BreakerChanged {
                dependency,
                state,
                reason,
            } => vec![
                ("dependency", (*dependency).to_owned()),
                ("state", (*state).to_owned()),
                ("reason", reason.clone()),
            ],
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
            Self::OwnerAwaited {
                stream,
                worker,
                session,
                why,
            } => vec![
                ("stream", stream.to_string()),
                ("worker", worker.to_string()),
                ("session", session.to_string()),
                ("why", why.as_str().to_owned()),
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
            Self::Migrated {
                stream,
                from,
                to,
                reason,
                way,
                outcome,
                gap,
                overlap,
            } => {
                let times = [("gap_ms", gap), ("overlap_ms", overlap)];
                let times = times.into_iter().filter_map(|(name, time)| {
                    let time = time.as_ref()?;
                    Some((name, time.as_millis().to_string()))
                });
                [
                    ("stream", stream.to_string()),
                    ("from", from.to_string()),
                    ("to", to.to_string()),
                    ("reason", reason.as_str().to_owned()),
                    ("way", way.as_str().to_owned()),
                    ("outcome", outcome.as_str().to_owned()),
                ]
                .into_iter()
                .chain(times)
                .collect()
            }
            Self::FindingConfirmed(finding) | Self::FindingOver(finding) => {
                let mut pairs = vec![
                    ("kind", finding.kind.as_str().to_owned()),
                    ("detail", finding.detail.clone()),
                    ("policy", finding.policy.as_str().to_owned()),
                ];
                pairs.extend(named(finding.stream.as_ref(), finding.worker.as_ref()));
                pairs.extend(finding.repair.iter().map(|repair| ("repair", repair.to_string())));
                pairs
            }
            Self::Repaired(repair) => {
                let mut pairs = vec![
                    ("repair", repair.as_str().to_owned()),
                    ("detail", repair.to_string()),
                ];
                pairs.extend(named(repair.stream(), repair.worker()));
                pairs
            }
            Self::RecoveryTried(attempt) => vec![
                ("attempt", attempt.id.to_string()),
                ("worker", attempt.worker.to_string()),
                ("level", attempt.level.as_str().to_owned()),
                ("outcome", attempt.outcome.as_str().to_owned()),
                ("reason", attempt.reason.clone()),
                ("detail", attempt.detail.clone()),
            ],
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

fn named<'a>(
    stream: Option<&StreamId>,
    worker: Option<&WorkerId>,
) -> impl Iterator<Item = (&'a str, String)> {
    let stream = stream.map(|stream| ("stream", stream.to_string()));
    let worker = worker.map(|worker| ("worker", worker.to_string()));
    stream.into_iter().chain(worker)
}
