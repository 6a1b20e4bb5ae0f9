//! Probes, health and metrics.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use metrics::gauge;
use streamkeeper_core::cluster::Role;
use streamkeeper_resilience::BreakerState;

use super::Shared;
use super::mask::mask;
use super::problem::{ErrorItem, Kind, Place, Problem, Shown};
use super::starting::still_starts;
use super::views::health::{
    BreakerView, Dependency, HealthView, LongTransactionView, PhaseView, ProbeView, Status,
};
use crate::port::breakers::DATABASE_WRITES;
use crate::telemetry::metrics::DATABASE_UP;
use crate::telemetry::{record_findings, record_snapshot};

/// A dependency that does not answer within this time counts as failed.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const DATABASE: &str = "database";
const NATS: &str = "nats";
const LEADERSHIP: &str = "leadership";
const ACTORS: &str = "actors";

/// The process lives.
#[utoipa::path(
    get,
    path = "/livez",
    operation_id = "livez",
    tag = "probes",
    responses(
        (status = 200, body = ProbeView),
    ),
)]
pub(super) async fn livez() -> HttpResponse {
    ok()
}

/// The start is through, and what its phases found.
#[utoipa::path(
    get,
    path = "/startupz",
    operation_id = "startupz",
    tag = "probes",
    responses(
        (status = 200, body = ProbeView),
        (status = 503, body = Shown, content_type = "application/problem+json", description = "It still starts; the phase is named"),
    ),
)]
pub(super) async fn startupz(shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    let start = shared.context.start.borrow();
    if !start.through {
        return Err(still_starts(&start));
    }
    Ok(holds(ProbeView {
        phases: start.done.iter().map(PhaseView::of).collect(),
        ..probe()
    }))
}

/// Changes would be taken now: by this orchestrator, or by the leader to whom it sends them.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "probes",
    params(
        ("verbose" = Option<bool>, Query, description = "Shows the phases of the start, and what was asked; `verbose` alone suffices"),
    ),
    responses(
        (status = 200, body = ProbeView),
        (status = 503, body = Shown, content_type = "application/problem+json", description = "Changes would be refused; every reason is named"),
    ),
)]
pub(super) async fn readyz(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Problem> {
    if !shared.context.start.borrow().through {
        return Err(still_starts(&shared.context.start.borrow()));
    }
    let (database, nats) = futures::future::join(database(&shared), nats(&shared)).await;
    let asked = [
        (LEADERSHIP, leadership(&shared)),
        (DATABASE, database),
        (NATS, nats),
    ];
    let errors: Vec<ErrorItem> = asked
        .iter()
        .filter(|(_, dependency)| dependency.status != Status::Ok)
        .map(|(name, dependency)| ErrorItem {
            place: Place::Dependency(name),
            detail: dependency.error.clone().unwrap_or_default(),
        })
        .collect();
    if errors.is_empty() {
        let role = Some(shared.role().as_str());
        if !is_verbose(&request) {
            return Ok(holds(ProbeView { role, ..probe() }));
        }
        let start = shared.context.start.borrow();
        return Ok(holds(ProbeView {
            phases: start.done.iter().map(PhaseView::of).collect(),
            dependencies: asked.into(),
            role,
            ..probe()
        }));
    }
    let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
    Err(Problem::new(Kind::NotReady, details.join("; "))
        .suggest("GET /health says what to do about each")
        .with_errors(errors))
}

/// Other parameters are no mistake here: probes of other programs bring their own.
fn is_verbose(request: &HttpRequest) -> bool {
    let parameters = request.query_string().split('&');
    parameters
        .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "true")))
        .any(|(name, value)| name == "verbose" && value != "false")
}

/// How everything is that this orchestrator needs, and what to do about what is not well.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "probes",
    responses(
        (status = 200, body = HealthView),
        (status = 503, body = HealthView, description = "Something does not work"),
    ),
)]
pub(super) async fn health(shared: web::Data<Shared>) -> HttpResponse {
    let (database, nats) = futures::future::join(database(&shared), nats(&shared)).await;
    let dependencies = BTreeMap::from([
        (DATABASE, database),
        (NATS, nats),
        (LEADERSHIP, leadership(&shared)),
        (ACTORS, actors(&shared)),
    ]);
    let breakers = shared.context.breakers.borrow().clone();
    let breakers = breakers.iter();
    let breakers = breakers
        .map(|(dependency, status)| (*dependency, BreakerView::of(status)))
        .collect();
    let long = shared.context.store.long_transactions();
    let worst = dependencies.values().map(|dependency| dependency.status).max();
    let status = worst.unwrap_or(Status::Ok);
    let mut response = match status {
        Status::Ok | Status::Degraded => HttpResponse::Ok(),
        Status::Failed => HttpResponse::ServiceUnavailable(),
    };
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(HealthView {
            status,
            dependencies,
            breakers,
            long_transactions: long.iter().map(LongTransactionView::of).collect(),
        })
}

/// Metrics as Prometheus text.
///
/// The cluster's gauges are set now, so that they agree with each other and with this moment.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "probes",
    responses(
        (status = 200, body = String, content_type = "text/plain"),
    ),
)]
pub(super) async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    record_snapshot(&shared.cluster());
    let streams = shared.context.view.cluster.borrow().streams.len();
    record_findings(&shared.context.view.findings.borrow(), streams);
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(shared.context.metrics.render())
}

const fn probe() -> ProbeView {
    ProbeView {
        status: Status::Ok,
        role: None,
        phases: Vec::new(),
        dependencies: BTreeMap::new(),
    }
}

fn ok() -> HttpResponse {
    holds(probe())
}

fn holds(view: ProbeView) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(view)
}

/// Asks the database for a sign of life and notes the answer in the metrics.
pub(super) async fn database(shared: &Shared) -> Dependency {
    let database = ping(
        DATABASE,
        shared.context.store.ping(),
        "check that the database named by database.url runs and is reachable; until then streams run on and changes \
         are refused",
    )
    .await;
    let is_up = database.status == Status::Ok;
    gauge!(DATABASE_UP).set(if is_up { 1.0 } else { 0.0 });
    match refused_writes(shared) {
        Some(reason) if is_up => failed(
            format!(
                "{DATABASE}: it answers, and does not take what is to be stored: {}",
                mask(&reason)
            ),
            "do what the database says; until then streams run on and changes are refused",
        ),
        _ => database,
    }
}

/// Why the database takes nothing although it may answer.
fn refused_writes(shared: &Shared) -> Option<String> {
    let breakers = shared.context.breakers.borrow();
    let writes = breakers.get(DATABASE_WRITES)?;
    (writes.state != BreakerState::Closed).then(|| writes.reason.clone().unwrap_or_default())
}

async fn nats(shared: &Shared) -> Dependency {
    let suggestion = "check that the NATS server runs and is reachable (nats.urls; empty for the managed one); until \
                      then streams run on and nothing is moved";
    if !shared.context.bus.connected() {
        return failed("nats: there is no connection".to_owned(), suggestion);
    }
    ping(NATS, shared.context.bus.ping(), suggestion).await
}

async fn ping<E: Display>(
    name: &str,
    ping: impl Future<Output = Result<Duration, E>>,
    suggestion: &str,
) -> Dependency {
    match tokio::time::timeout(PING_TIMEOUT, ping).await {
        Ok(Ok(took)) => Dependency {
            status: Status::Ok,
            latency_ms: Some(took.as_secs_f64() * 1_000.0),
            error: None,
            suggestion: None,
        },
        Ok(Err(error)) => failed(format!("{name}: {}", mask(&error.to_string())), suggestion),
        Err(_) => failed(format!("{name}: no answer within {PING_TIMEOUT:?}"), suggestion),
    }
}

fn failed(error: String, suggestion: &str) -> Dependency {
    troubled(Status::Failed, error, suggestion)
}

fn troubled(status: Status, error: String, suggestion: &str) -> Dependency {
    Dependency {
        status,
        latency_ms: None,
        error: Some(error),
        suggestion: Some(suggestion.to_owned()),
    }
}

const fn fine() -> Dependency {
    Dependency {
        status: Status::Ok,
        latency_ms: None,
        error: None,
        suggestion: None,
    }
}

fn leadership(shared: &Shared) -> Dependency {
    match shared.role() {
        Role::Leading => fine(),
        Role::TakingOver => troubled(
            Status::Degraded,
            "leadership: it is being taken over".to_owned(),
            "wait a moment; where it lasts, look at the database",
        ),
        Role::Standby if shared.other_leader().is_some() => fine(),
        Role::Standby => troubled(
            Status::Degraded,
            "leadership: this orchestrator does not lead, and no leader is known".to_owned(),
            "wait a moment; where it lasts, look at the message server, and at the log of every orchestrator",
        ),
    }
}

fn actors(shared: &Shared) -> Dependency {
    let actors = shared.context.gateway.actors();
    let down: Vec<&str> = actors
        .iter()
        .filter(|actor| actor.restarting)
        .map(|actor| actor.name)
        .collect();
    if down.is_empty() {
        return fine();
    }
    troubled(
        Status::Degraded,
        format!(
            "actors: after a panic, these are being restarted: {}",
            down.join(", ")
        ),
        "they restart by themselves; the log says why they panicked",
    )
}
