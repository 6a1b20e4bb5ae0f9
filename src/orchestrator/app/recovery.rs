//! The start's phase in which everything that is stored is read: it is through once this orchestrator leads. Where others
//! may lead, it takes part in the election instead, and reads when it is elected.

use std::time::Duration;

use streamkeeper_core::cluster::Role;
use streamkeeper_protocol::OrchestratorId;

use super::phase::Starting;
use crate::actor::{Actors, Fatal};

/// Why nothing was recovered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecoveryError {
    /// The database did not say what it holds.
    #[error(
        "the stored state was not read within {timeout:?} (database.start_timeout): {reason}; look at the database, or \
         raise database.start_timeout"
    )]
    GaveUp {
        /// What the last attempt said.
        reason: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The message server did not show the leader's key.
    #[error(
        "the leader's key was not read within {timeout:?} (nats.connect_timeout), and the log says why: give the message server \
         JetStream, and the user of nats.urls the right to it"
    )]
    NoKey {
        /// How long was waited.
        timeout: Duration,
    },
    /// An actor cannot be kept going.
    #[error("giving up, to be started anew: {0}")]
    Fatal(String),
}

/// What was read.
pub(super) struct Recovered {
    streams: usize,
    assignments: usize,
}

impl Recovered {
    pub(super) fn detail(&self) -> Option<String> {
        Some(format!(
            "{} streams, {} assignments",
            self.streams, self.assignments
        ))
    }
}

/// Waits for the first takeover. The coordinator tries by itself until it succeeds.
pub(super) async fn recovered(
    actors: &Actors,
    fatal: &Fatal,
    timeout: Duration,
    starting: &Starting,
) -> Result<Recovered, RecoveryError> {
    let mut cluster = actors.view().cluster;
    let mut failures = actors.takeover_failures();
    let leads = cluster.wait_for(|cluster| cluster.leadership.role == Role::Leading);
    let tells = async {
        while failures.changed().await.is_ok() {
            starting.waits_for(&*failures.borrow_and_update());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        Ok(cluster) = leads => {
            let assigned = cluster.streams.values().filter(|stream| stream.slot.assignment().is_some());
            Ok(Recovered { streams: cluster.streams.len(), assignments: assigned.count() })
        }
        () = tells => Err(RecoveryError::Fatal("nobody takes over".to_owned())),
        reason = fatal.wait() => Err(RecoveryError::Fatal(reason)),
        () = tokio::time::sleep(timeout) => Err(RecoveryError::GaveUp {
            reason: actors.takeover_failures().borrow().clone(),
            timeout,
        }),
    }
}

/// Who led when this orchestrator began to take part.
pub(super) struct Joined(Option<OrchestratorId>);

impl Joined {
    pub(super) fn detail(&self) -> Option<String> {
        Some(match &self.0 {
            Some(leader) => format!("{leader} holds the leader's key"),
            None => "nobody holds the leader's key".to_owned(),
        })
    }
}

/// Waits for the first answer to a look at the leader's key.
pub(super) async fn joined(
    actors: &Actors,
    fatal: &Fatal,
    timeout: Duration,
) -> Result<Joined, RecoveryError> {
    let mut election = actors.view().election;
    let answered = election.wait_for(|status| status.reachable);
    tokio::select! {
        Ok(status) = answered => Ok(Joined(status.leader.clone())),
        reason = fatal.wait() => Err(RecoveryError::Fatal(reason)),
        () = tokio::time::sleep(timeout) => Err(RecoveryError::NoKey { timeout }),
    }
}
