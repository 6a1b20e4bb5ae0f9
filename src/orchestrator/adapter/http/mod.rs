//! The HTTP API: reads come from the watched view and wait for nobody, changes go through the gateway.

mod access_log;
mod alerts;
mod audit;
mod body;
mod changes;
mod cluster;
mod consistency;
mod event_stream;
mod events;
mod fields;
mod finish;
mod follow;
mod history;
mod incidents;
mod leader;
mod logs;
mod mask;
mod moves;
mod openapi;
mod orders;
mod paging;
mod pins;
mod probes;
mod problem;
mod query;
mod recovery;
mod refusal;
mod routes;
mod rules;
mod server;
mod starting;
mod streams;
mod views;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use streamkeeper_core::balancer;
use streamkeeper_core::cluster::ClusterState;
use streamkeeper_protocol::OrchestratorId;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use mask::mask;
pub use openapi::openapi_json;
pub use server::{BoundHttp, HttpError, HttpServer, StartingHttp, start};

use crate::port::{
    BreakerStatus, Bus, Clock, EventLog, Gateway, IncidentLog, Journal, SampleLog, Start, Store, View,
};

/// Where the API answers, and what it allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpSettings {
    /// Address of the API; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Address for probes and metrics alone, beside the API's.
    pub probe_bind: Option<SocketAddr>,
    /// Whether faults may be injected.
    pub fault_injection: bool,
    /// How long clients may take.
    pub time_limits: TimeLimits,
}

/// How long clients may take: whoever is slower holds a connection that others need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimits {
    /// For its head, 5 s by default.
    pub head: Duration,
    /// For its body, 30 s by default.
    pub body: Duration,
    /// To take events that it follows, 30 s by default.
    pub reader: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            body: Duration::from_secs(30),
            reader: Duration::from_secs(30),
        }
    }
}

/// What the API reads and whom it asks.
#[derive(Clone)]
pub struct HttpContext {
    /// The state, for readers.
    pub view: View,
    /// The way to the actors.
    pub gateway: Arc<dyn Gateway>,
    /// The database; only its health is asked.
    pub store: Arc<dyn Store>,
    /// What happened.
    pub events: Arc<dyn EventLog>,
    /// Where what is asked here is kept.
    pub journal: Journal,
    /// Incidents, and alerts that are over.
    pub incidents: Arc<dyn IncidentLog>,
    /// Measurements over time.
    pub samples: Arc<dyn SampleLog>,
    /// How long they are kept, at the coarsest level.
    pub keep_metrics: Duration,
    /// NATS; only its health is asked.
    pub bus: Arc<dyn Bus>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// How the balancer is set: plans that are only shown follow it as well.
    pub balancer: balancer::Config,
    /// Where circuit breakers stand.
    pub breakers: watch::Receiver<BTreeMap<&'static str, BreakerStatus>>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// How far the start is.
    pub start: watch::Receiver<Start>,
    /// Version of this program.
    pub version: &'static str,
    /// This orchestrator.
    pub id: OrchestratorId,
}

impl std::fmt::Debug for HttpContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpContext")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What every handler gets.
#[derive(Debug, Clone)]
struct Shared {
    context: HttpContext,
    fault_injection: bool,
    time_limits: TimeLimits,
    /// One seat for each reader that follows lines.
    followers: Arc<Semaphore>,
    /// One seat for each reader that follows events.
    event_readers: Arc<Semaphore>,
    /// Cancelled when the servers stop: answers without an end of their own end then.
    closing: CancellationToken,
}

impl Shared {
    /// The newest snapshot. Cloned at once, so that its writer is never held up.
    fn cluster(&self) -> ClusterState {
        self.context.view.cluster.borrow().clone()
    }
}
