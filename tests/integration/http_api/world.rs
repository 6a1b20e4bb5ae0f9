//! A server on a free port, and what stands behind it.

mod outside;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeZone, Utc};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use streamkeeper_core::alert_manager::{Acknowledged, Silence, StoredAlert};
use streamkeeper_core::balancer;
use streamkeeper_core::cluster::ClusterState;
use streamkeeper_core::consistency_checker::{Checks, Finding};
use streamkeeper_core::election;
use streamkeeper_core::record::{Fence, Page, Persisted, WriteBatch};
use streamkeeper_core::recovery_manager::{self, Status};
use streamkeeper_core::request::{Applied, ApplyOutcome, ApplyStreams};
use streamkeeper_core::time::Timestamp;
use streamkeeper_orchestrator::adapter::http::{HttpContext, HttpServer, HttpSettings, TimeLimits, start};
use streamkeeper_orchestrator::port::samples::SampleQuery;
use streamkeeper_orchestrator::port::{
    ActorStatus, AlertOrderError, Breakers, Bus, BusError, Clock, Gateway, GatewayError, Journal, LeaderSeen,
    OrderError, Phase as StartPhase, Start, StepDownError, Store, StoreError, StoredEvent, TakenOver, View,
};
use streamkeeper_orchestrator::telemetry::install_metrics;
use streamkeeper_protocol::{
    Alert, Assign, Beacon, Control, ControlReply, Event, LogReply, LogRequest, OrchestratorId,
    PROTOCOL_VERSION, SessionId, Severity, StreamId, Term, WorkerId,
};
use tokio::sync::watch;

use super::samples::{cluster, stored_alert};

/// Not what a default would make of it, so that it shows who follows the settings.
pub(super) const MOVES_PER_ROUND: usize = 2;
/// The clock's present.
pub(super) const NOW: Timestamp = Timestamp::from_ms(3_600_000);

/// What stands behind the ports.
#[derive(Default)]
pub(super) struct Behind {
    pub(super) changes: Mutex<Vec<ApplyStreams>>,
    /// Answers to the next changes; where there is none, everything is created.
    pub(super) answers: Mutex<VecDeque<Result<ApplyOutcome, GatewayError>>>,
    pub(super) panics: Mutex<Vec<String>>,
    /// Requests for lines that came.
    pub(super) requests: Mutex<Vec<LogRequest>>,
    /// Workers' answers to the next ones.
    pub(super) lines: Mutex<VecDeque<Result<LogReply, BusError>>>,
    pub(super) database_down: AtomicBool,
    pub(super) nats_down: AtomicBool,
    pub(super) actor_restarting: AtomicBool,
    /// What is stored.
    pub(super) events: Mutex<Vec<StoredEvent>>,
    /// Alerts that are stored, the last one first.
    pub(super) stored_alerts: Mutex<Vec<StoredAlert>>,
    /// What was asked for over time.
    pub(super) sampled: Mutex<Vec<SampleQuery>>,
    /// What was asked of the consistency check and of workers.
    pub(super) wishes: Mutex<Vec<String>>,
    /// Whether the actors have too much to do for it.
    pub(super) busy: AtomicBool,
    /// Answer to the next order.
    pub(super) order: Mutex<Option<Result<(), OrderError>>>,
    /// Silences that were ordered.
    pub(super) silences: Mutex<Vec<Silence>>,
    /// Why the next order about alerts is refused.
    pub(super) alert_order: Mutex<Option<AlertOrderError>>,
    /// Answer to the next wish to step down.
    pub(super) step_down: Mutex<Option<Result<(), StepDownError>>>,
}

impl Behind {
    fn asked(&self, wish: &str) -> Result<(), GatewayError> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(GatewayError::Busy(7));
        }
        self.wishes.lock().unwrap().push(wish.to_owned());
        Ok(())
    }
}

#[async_trait]
impl Gateway for Behind {
    async fn apply(&self, change: ApplyStreams) -> Result<ApplyOutcome, GatewayError> {
        let created = change.streams.iter().map(|spec| spec.name.clone()).collect();
        let deleted = change.delete.clone();
        self.changes.lock().unwrap().push(change);
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Ok(Applied {
            created,
            deleted,
            ..Applied::default()
        })))
    }

    fn step_down(&self) -> Result<(), StepDownError> {
        self.step_down.lock().unwrap().take().unwrap_or(Ok(()))
    }

    fn check_consistency(&self) -> Result<(), GatewayError> {
        self.asked("check")
    }

    fn repair_consistency(&self) -> Result<(), GatewayError> {
        self.asked("repair")
    }

    async fn synchronize(&self, worker: &WorkerId) -> Result<(), OrderError> {
        let _ = self.asked(&format!("synchronize {worker}"));
        self.order.lock().unwrap().take().unwrap_or(Ok(()))
    }

    async fn silence(&self, silence: Silence) -> Result<(), AlertOrderError> {
        self.silences.lock().unwrap().push(silence);
        self.alert_order.lock().unwrap().take().map_or(Ok(()), Err)
    }

    async fn unsilence(&self, id: &str) -> Result<(), AlertOrderError> {
        let _ = self.asked(&format!("unsilence {id}"));
        self.alert_order.lock().unwrap().take().map_or(Ok(()), Err)
    }

    async fn acknowledge(
        &self,
        fingerprint: &str,
        acknowledged: Acknowledged,
    ) -> Result<Arc<StoredAlert>, AlertOrderError> {
        let refusal = self.alert_order.lock().unwrap().take();
        let mut alert = stored_alert(fingerprint, "it is away");
        alert.acknowledged = Some(acknowledged);
        refusal.map_or(Ok(Arc::new(alert)), Err)
    }

    fn recover(
        &self,
        worker: &WorkerId,
        level: recovery_manager::Level,
        reason: String,
    ) -> Result<u64, GatewayError> {
        self.asked(&format!("{} {worker}: {reason}", level.as_str()))?;
        Ok(77)
    }

    fn actors(&self) -> Vec<ActorStatus> {
        vec![ActorStatus {
            name: "coordinator",
            restarts: 3,
            restarting: self.actor_restarting.load(Ordering::SeqCst),
            waiting: 2,
        }]
    }

    fn inject_panic(&self, actor: &str) -> bool {
        self.panics.lock().unwrap().push(actor.to_owned());
        actor == "coordinator"
    }
}

/// A running server.
pub(super) struct World {
    pub(super) server: HttpServer,
    pub(super) behind: Arc<Behind>,
    pub(super) cluster: watch::Sender<ClusterState>,
    pub(super) leader: watch::Sender<Option<LeaderSeen>>,
    pub(super) alerts: watch::Sender<Vec<Arc<StoredAlert>>>,
    pub(super) silences: watch::Sender<Vec<Arc<Silence>>>,
    pub(super) findings: watch::Sender<Vec<Finding>>,
    pub(super) checks: watch::Sender<Checks>,
    pub(super) recovery: watch::Sender<Status>,
    pub(super) start: watch::Sender<Start>,
    pub(super) breakers: Breakers,
    pub(super) journal: Journal,
    context: HttpContext,
    client: reqwest::Client,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(false)
    }

    pub(super) fn with(fault_injection: bool) -> Self {
        Self::build(fault_injection, TimeLimits::default())
    }

    pub(super) fn with_limits(time_limits: TimeLimits) -> Self {
        Self::build(false, time_limits)
    }

    fn build(fault_injection: bool, time_limits: TimeLimits) -> Self {
        let behind = Arc::new(Behind::default());
        let (cluster, cluster_view) = watch::channel(cluster(Vec::new(), Vec::new()));
        let (leader, leader_view) = watch::channel(None);
        let (alerts, alerts_view) = watch::channel(Vec::new());
        let (silences, silences_view) = watch::channel(Vec::new());
        let (findings, findings_view) = watch::channel(Vec::new());
        let (checks, checks_view) = watch::channel(Checks::default());
        let (recovery, recovery_view) = watch::channel(Status::default());
        let through = Start {
            done: vec![StartPhase {
                name: "recovery of state",
                took: Duration::from_millis(7),
                detail: Some("2 streams, 1 assignments".to_owned()),
            }],
            current: None,
            through: true,
        };
        let (started, start_view) = watch::channel(through);
        let breakers = Breakers::default();
        let journal = Journal::new(7);
        let context = HttpContext {
            view: View {
                election: watch::channel(election::Status::default()).1,
                leader: leader_view,
                cluster: cluster_view,
                alerts: alerts_view,
                silences: silences_view,
                findings: findings_view,
                checks: checks_view,
                recovery: recovery_view,
            },
            gateway: behind.clone(),
            store: behind.clone(),
            events: behind.clone(),
            journal: journal.clone(),
            incidents: behind.clone(),
            samples: behind.clone(),
            keep_metrics: Duration::from_secs(90 * 86_400),
            bus: behind.clone(),
            clock: behind.clone(),
            balancer: balancer::Config {
                max_moves_per_round: MOVES_PER_ROUND,
                max_share_per_round: 1.0,
                ..balancer::Config::default()
            },
            breakers: breakers.watch(),
            metrics: install_metrics().unwrap(),
            start: start_view,
            version: "1.2.3",
            id: OrchestratorId::new("first").unwrap(),
        };
        let settings = HttpSettings {
            bind: "127.0.0.1:0".parse().unwrap(),
            probe_bind: Some("127.0.0.1:0".parse().unwrap()),
            fault_injection,
            time_limits,
        };
        Self {
            server: start(settings, context.clone()).unwrap(),
            context,
            behind,
            cluster,
            leader,
            alerts,
            silences,
            findings,
            checks,
            recovery,
            start: started,
            breakers,
            journal,
            client: streamkeeper_tests::http::client(),
        }
    }

    /// What the server got, for another one.
    pub(super) fn context(&self) -> HttpContext {
        self.context.clone()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.addr())
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &str) -> reqwest::Response {
        let request = self.client.request(method, self.url(path));
        request.body(body.to_owned()).send().await.unwrap()
    }

    /// The answer's status and JSON.
    pub(super) async fn ask(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        let json =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {status}, no JSON: {text}"));
        (status, json)
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> impl Future<Output = Value> {
        let asked = self.ask(Method::GET, path, "");
        let place = std::panic::Location::caller();
        async move {
            let (status, json) = asked.await;
            assert_eq!(status, StatusCode::OK, "{place}: {json}");
            json
        }
    }
}
