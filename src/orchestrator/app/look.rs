//! A look at a message server that somebody else runs: whether it takes us as an orchestrator.

use std::sync::Arc;

use streamkeeper_protocol::{Beacon, Heartbeat, OrchestratorId, SessionId, WorkerId};

use super::{JETSTREAM_TIMEOUT, settings};
use crate::adapter::nats::NatsBus;
use crate::config::Config;
use crate::port::Inbox;

/// Nobody, who hears nothing.
struct Deaf;

impl Inbox for Deaf {
    fn heartbeats(&self, _batch: Vec<Heartbeat>) {}

    fn beacon(&self, _beacon: Beacon) {}

    fn connection(&self, _connected: bool) {}

    fn disconnected(&self, _worker: WorkerId, _session: SessionId) {}
}

/// Connects as an orchestrator does, with its subscriptions, and says whether alerts are kept there.
///
/// # Errors
/// When it does not take us, or does not say what it keeps; in words.
pub async fn message_server(config: &Config) -> Result<bool, String> {
    let id = OrchestratorId::new("doctor").map_err(|error| error.to_string())?;
    let settings = settings::nats(config, None, &id);
    let connected = Box::pin(NatsBus::connect(settings, Arc::new(Deaf), id)).await;
    let bus = connected.map_err(|error| error.to_string())?;
    let kept = bus.keeps_alerts(JETSTREAM_TIMEOUT).await;
    bus.close().await;
    kept
}
