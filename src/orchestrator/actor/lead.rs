//! How the election's wishes and the takeover are carried out.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::alert_manager::Inherited;
use streamkeeper_core::cluster::{ClusterState, Role};
use streamkeeper_core::coordinator::Event;
use streamkeeper_core::election;
use streamkeeper_core::record::Fence;
use streamkeeper_protocol::epoch::MAX_ORCHESTRATORS;
use streamkeeper_protocol::{Beacon, LeaderRecord, Term};
use tokio::sync::watch;

use super::alerts::AlertOutbox;
use super::mailbox::Mailbox;
use super::shell::{Ports, Shell};
use crate::port::{LeaderKey, LeaderSeen, StoreError};
use crate::telemetry::metrics as names;

impl Shell {
    pub(super) fn read_leader_key(&self, attempt: u64) {
        let (key, election) = (
            Arc::clone(&self.ports.leader_key),
            self.mailboxes.election.clone(),
        );
        self.io.spawn(async move {
            let found = key.read().await;
            election.deliver(election::Event::Read { attempt, found }).await;
        });
    }

    pub(super) fn write_leader_key(&self, attempt: u64, record: LeaderRecord, expect: u64) {
        let (key, election) = (
            Arc::clone(&self.ports.leader_key),
            self.mailboxes.election.clone(),
        );
        self.io.spawn(async move {
            let outcome = key.write(&record, expect).await;
            election
                .deliver(election::Event::Written { attempt, outcome })
                .await;
        });
    }

    /// Remembers a term beside the database. The election's own thread waits for the disk: it may do nothing meanwhile
    /// anyway.
    pub(super) fn remember_term(&self, term: Term) {
        let saved = self.ports.terms.save(term);
        if let Err(error) = &saved {
            tracing::error!(%term, %error, "a term cannot be remembered, so this orchestrator cannot lead under it");
        } else {
            self.remembered.send_modify(|known| *known = term.max(*known));
        }
        let durable = saved.is_ok();
        self.mailboxes
            .election
            .offer(election::Event::Remembered { term, durable });
    }

    pub(super) fn publish_election(&self, status: election::Status) {
        let before = self.election.send_replace(status.clone());
        let (from, to) = (before.stage.as_str(), status.stage.as_str());
        if before.stage != status.stage {
            tracing::info!(from, to, term = %status.term, "election");
        } else if before.leader != status.leader {
            let leader = status.leader.as_ref().map(ToString::to_string);
            tracing::info!(leader, term = %status.term, "another leader");
        }
    }

    /// Whether another may lead: then nothing is sent, whatever a machine still wants.
    pub(super) fn stands_by(&self) -> bool {
        self.cluster.borrow().leadership.role == Role::Standby
    }

    /// A beacon of another orchestrator.
    pub(super) fn heard_leader(&self, beacon: Beacon) {
        let seen = LeaderSeen {
            leader: beacon.leader,
            term: beacon.term,
            api_url: beacon.api_url,
            renew_only: beacon.renew_only,
            heard: self.clock.now(),
        };
        let number = self.settings.election.number;
        // Former lives of this one are dead: they had the same data folder, and its lock.
        if seen.term.get() % MAX_ORCHESTRATORS == number {
            tracing::error!(
                leader = %seen.leader,
                api_url = seen.api_url,
                number,
                "another orchestrator leads under our number; give each its own leadership.number"
            );
        }
        let term = seen.term;
        self.leader.send_if_modified(|known| {
            // A late beacon of a predecessor says nothing about now.
            let newer = known
                .as_ref()
                .is_none_or(|known| term >= known.term || !known.is_fresh(seen.heard));
            if newer {
                *known = Some(seen);
            }
            newer
        });
        if term > self.election.borrow().term {
            self.mailboxes.election.offer(election::Event::Heard(term));
        }
    }

    pub(super) fn publish_cluster(&self, cluster: ClusterState) {
        let role = cluster.leadership.role;
        let before = self.cluster.send_replace(cluster);
        if role == Role::Standby && before.leadership.role != Role::Standby {
            self.alerts.drop_waiting();
        }
    }

    pub(super) fn implausible_term(&self, term: Term) {
        metrics::counter!(names::IMPLAUSIBLE_TERMS).increment(1);
        let known = self.election.borrow().term;
        tracing::warn!(%term, %known, "a term was heard that is too far ahead to be believed");
    }

    pub(super) fn take_over(&self, term: Term) {
        let (ports, coordinator) = (self.ports.clone(), self.mailboxes.coordinator.clone());
        let lease = self.settings.coordinator.lease;
        let failure = self.takeover_failure.clone();
        let alerts = Arc::clone(&self.alerts);
        self.io.spawn(async move {
            coordinator
                .deliver(take_over(&ports, term, lease, &failure, &alerts).await)
                .await;
        });
    }
}

/// Raises the fence with the term that was won, and reads everything (OWNERSHIP rule 6).
async fn take_over(
    ports: &Ports,
    term: Term,
    lease: Duration,
    failure: &watch::Sender<String>,
    alerts: &AlertOutbox,
) -> Event {
    let fence = Fence {
        term,
        nonce: rand::random(),
    };
    let mut taken = match ports.store.take_over(fence, lease).await {
        Ok(taken) => taken,
        Err(StoreError::TermTaken(stored)) => {
            tracing::warn!(%term, %stored, "the database knows this term or a higher one; a higher one is taken");
            let stored = Some(stored);
            return Event::TakeOverFailed { term, stored };
        }
        Err(error) => {
            tracing::warn!(%term, %error, "takeover failed; it is tried again");
            failure.send_replace(error.to_string());
            return Event::TakeOverFailed { term, stored: None };
        }
    };
    for row in &taken.bad_rows {
        tracing::error!(
            row,
            "a row cannot be read and is left out; it stays in the database"
        );
    }
    tracing::info!(
        %term,
        streams = taken.loaded.streams.len(),
        assignments = taken.loaded.assignments.len(),
        alerts = taken.alerts.len(),
        "leading"
    );
    taken.loaded.inherited = Inherited {
        from: taken.before,
        alerts: alerts.found(fence, taken.alerts, taken.silences),
    };
    Event::TookOver {
        fence,
        longest_lease: taken.longest_lease,
        loaded: taken.loaded,
    }
}

/// Has the election look at its key whenever it may have changed.
pub(super) async fn watch_leader_key(key: Arc<dyn LeaderKey>, election: Mailbox<election::Event>) {
    loop {
        key.changed().await;
        election.deliver(election::Event::Changed).await;
    }
}
