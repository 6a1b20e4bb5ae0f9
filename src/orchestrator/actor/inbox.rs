//! What comes from the message server, on its way to the machines.

use std::sync::Arc;

use streamkeeper_core::router::{self, Input};
use streamkeeper_core::{election, heartbeat_tracker};
use streamkeeper_protocol::{Beacon, Heartbeat, SessionId, WorkerId};
use streamkeeper_resilience::BreakerState;

use super::shell::Shell;
use crate::port::Inbox;
use crate::port::breakers::NATS;
use crate::telemetry::metrics as names;

/// The inbox of the actors. It is given to the bus before the actors exist, and is filled then.
#[derive(Default)]
pub struct ActorInbox {
    shell: std::sync::OnceLock<Arc<Shell>>,
}

impl ActorInbox {
    /// From now on messages reach the actors; what came before is lost, and repeated by the workers.
    pub fn open(&self, shell: &Arc<Shell>) {
        // Opened once; a second time changes nothing.
        let _ = self.shell.set(Arc::clone(shell));
    }
}

impl Inbox for ActorInbox {
    fn heartbeats(&self, batch: Vec<Heartbeat>) {
        metrics::counter!(names::HEARTBEATS).increment(batch.len() as u64);
        let Some(shell) = self.shell.get() else { return };
        for heartbeat in batch {
            for input in router::heartbeat(heartbeat) {
                // A full queue drops it, counted; the next heartbeat says the same.
                shell.offer(input);
            }
        }
    }

    fn beacon(&self, beacon: Beacon) {
        let Some(shell) = self.shell.get() else { return };
        if shell.settings.election.observe {
            shell.heard_leader(beacon);
        } else {
            tracing::error!(
                leader = %beacon.leader,
                term = %beacon.term,
                api_url = beacon.api_url,
                "another orchestrator leads under the same subject prefix; give each fleet its own nats.prefix, or let both \
                 elect a leader with leadership.backend = \"nats\""
            );
        }
    }

    fn connection(&self, connected: bool) {
        let Some(shell) = self.shell.get() else { return };
        let (state, reason) = match connected {
            true => (BreakerState::Closed, None),
            false => (BreakerState::Open, Some("there is no connection")),
        };
        shell.ports.breakers.set(NATS, state, reason, shell.clock.now());
        shell.offer(Input::HeartbeatTracker(heartbeat_tracker::Event::Connection));
        shell.offer(Input::Election(election::Event::Connection));
        if connected && !shell.stands_by() {
            shell.alerts.flush();
        }
    }

    fn disconnected(&self, worker: WorkerId, session: SessionId) {
        if let Some(shell) = self.shell.get() {
            let event = heartbeat_tracker::Event::Disconnected { worker, session };
            // A full queue drops it, counted; silence shows the same, later.
            shell.offer(Input::HeartbeatTracker(event));
        }
    }
}
