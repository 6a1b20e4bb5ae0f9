//! Recovery of workers and the health of the whole: under `/api/v1/`, and under the paths that classic deployments use.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::alert_manager::Rule;
use streamkeeper_core::recovery_manager::Level;
use streamkeeper_core::system_health::{self, Known, SystemHealth};
use streamkeeper_protocol::WorkerId;

use super::Shared;
use super::openapi::{BadQuery, NoWorker};
use super::paging::MAX_LIMIT;
use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::views::Times;
use super::views::cluster::{StreamCounts, WorkerCounts};
use super::views::recovery::{
    AttemptView, OrderedRecoveryView, RecoveryView, ResilienceHealthView, ResilienceStatusView,
};

/// Most characters of a reason.
const MAX_REASON: usize = 500;

/// Shows what is tried on workers in trouble, what was, and how often it helped.
#[utoipa::path(
    get,
    path = "/api/v1/recovery",
    operation_id = "get_recovery",
    tag = "recovery",
    responses((status = 200, body = RecoveryView), BadQuery),
)]
pub(super) async fn show(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let status = shared.context.view.recovery.borrow().clone();
    let times = Times(&*shared.context.clock);
    Ok(HttpResponse::Ok().json(RecoveryView::new(&status, times)))
}

/// Shows one attempt.
#[utoipa::path(
    get,
    path = "/api/v1/recovery/{attempt}",
    operation_id = "get_recovery_attempt",
    tag = "recovery",
    params(("attempt" = String, Path, description = "The attempt, as its order was answered")),
    responses(
        (status = 200, body = AttemptView),
        BadQuery,
        (status = 404, body = Shown, content_type = "application/problem+json", description = "It has not begun, or is forgotten"),
    ),
)]
pub(super) async fn attempt(
    request: HttpRequest,
    shared: Data<Shared>,
    attempt: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let status = shared.context.view.recovery.borrow().clone();
    let id: Option<u64> = attempt.parse().ok();
    let found = id.and_then(|id| status.attempt(id)).ok_or_else(|| {
        let detail = format!("there is no attempt {:?}", attempt.as_str());
        Problem::new(Kind::UnknownAttempt, detail)
            .suggest("one that was ordered begins in a moment; GET /api/v1/recovery lists the last ones")
    })?;
    Ok(HttpResponse::Ok().json(AttemptView::new(found, Times(&*shared.context.clock))))
}

/// Has recovery of a worker tried: it is asked for everything, drained, or restarted.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/recover",
    operation_id = "recover_worker",
    tag = "recovery",
    params(
        ("id" = String, Path, description = "The worker"),
        ("level" = Option<String>, Query, description = "`soft` (default), `medium`, `hard` or `emergency`"),
        ("reason" = Option<String>, Query, description = "Why, for the record; needed for `emergency`"),
    ),
    responses((status = 202, body = OrderedRecoveryView), BadQuery, NoWorker),
)]
pub(super) async fn recover(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    order(&request, &shared, &id, None)
}

/// Takes every stream from a worker, redistributes them, verifies that all agree, and lets the worker begin anew.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/emergency",
    operation_id = "emergency_worker",
    tag = "recovery",
    params(
        ("id" = String, Path, description = "The worker"),
        ("reason" = String, Query, description = "Why, for the record"),
    ),
    responses((status = 202, body = OrderedRecoveryView), BadQuery, NoWorker),
)]
pub(super) async fn emergency(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    order(&request, &shared, &id, Some(Level::Emergency))
}

/// The same under the path that classic deployments use.
#[utoipa::path(
    post,
    path = "/resilience/recovery/{worker_id}",
    operation_id = "resilience_recovery",
    tag = "resilience",
    params(
        ("worker_id" = String, Path, description = "The worker"),
        ("level" = Option<String>, Query, description = "`soft` (default), `medium`, `hard` or `emergency`"),
        ("reason" = Option<String>, Query, description = "Why, for the record; needed for `emergency`"),
    ),
    responses((status = 202, body = OrderedRecoveryView), BadQuery, NoWorker),
)]
pub(super) async fn classic_recovery(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    order(&request, &shared, &id, None)
}

/// The same under the path that classic deployments use.
#[utoipa::path(
    post,
    path = "/resilience/emergency/{worker_id}",
    operation_id = "resilience_emergency",
    tag = "resilience",
    params(
        ("worker_id" = String, Path, description = "The worker"),
        ("reason" = String, Query, description = "Why, for the record"),
    ),
    responses((status = 202, body = OrderedRecoveryView), BadQuery, NoWorker),
)]
pub(super) async fn classic_emergency(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    order(&request, &shared, &id, Some(Level::Emergency))
}

/// Shows everything about resilience at a glance.
#[utoipa::path(
    get,
    path = "/resilience/status",
    operation_id = "resilience_status",
    tag = "resilience",
    responses((status = 200, body = ResilienceStatusView), BadQuery),
)]
pub(super) async fn classic_status(
    request: HttpRequest,
    shared: Data<Shared>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let context = &shared.context;
    let times = Times(&*context.clock);
    let cluster = shared.cluster();
    let recovery = context.view.recovery.borrow().clone();
    Ok(HttpResponse::Ok().json(ResilienceStatusView {
        timestamp: times.show(context.clock.now()),
        health: shared.system_health().into(),
        workers: WorkerCounts::new(&cluster),
        streams: StreamCounts::new(&cluster),
        inconsistencies: context.view.findings.borrow().len(),
        alerts: context.view.alerts.borrow().len(),
        mass_failure: shared.holds_losses(),
        recovery: RecoveryView::new(&recovery, times),
    }))
}

/// Shows how the whole and each worker is, with scores and reasons.
#[utoipa::path(
    get,
    path = "/resilience/health",
    operation_id = "resilience_health",
    tag = "resilience",
    responses((status = 200, body = ResilienceHealthView), BadQuery),
)]
pub(super) async fn classic_health(
    request: HttpRequest,
    shared: Data<Shared>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let context = &shared.context;
    let cluster = shared.cluster();
    let findings = context.view.findings.borrow().clone();
    let timestamp = Times(&*context.clock).show(context.clock.now());
    let system = shared.system_health();
    let answer = ResilienceHealthView::new(timestamp, system, &cluster, &findings, MAX_LIMIT);
    Ok(HttpResponse::Ok().json(answer))
}

/// Orders an attempt, and answers its name.
fn order(
    request: &HttpRequest,
    shared: &Shared,
    id: &str,
    level: Option<Level>,
) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(request)?;
    let words = Level::ALL.map(|level| (level.as_str(), level));
    let level = match level {
        Some(level) => level,
        None => query.choice("level", &words).unwrap_or(Level::Soft),
    };
    let reason = query.text("reason").unwrap_or_default();
    if level == Level::Emergency && reason.trim().is_empty() {
        query.wrong(
            "reason",
            "is needed: write why all streams are taken from the worker".to_owned(),
        );
    }
    if reason.chars().count() > MAX_REASON {
        query.wrong("reason", format!("is longer than {MAX_REASON} characters"));
    }
    query.finish()?;
    let worker: WorkerId = shared.known_worker(id)?;
    let reason = if reason.trim().is_empty() {
        "an operator asked for it".to_owned()
    } else {
        reason
    };
    tracing::warn!(%worker, level = level.as_str(), reason, "recovery was asked for over the API");
    let attempt = shared.context.gateway.recover(&worker, level, reason)?;
    Ok(HttpResponse::Accepted().json(OrderedRecoveryView {
        attempt,
        worker: &worker,
        level: level.as_str(),
    }))
}

impl Shared {
    /// Whether losses are held back: it has an alert of its own for as long.
    fn holds_losses(&self) -> bool {
        let alerts = self.context.view.alerts.borrow();
        alerts
            .iter()
            .any(|alert| alert.rule == Rule::MassFailure.as_str())
    }

    /// How the whole is.
    pub(super) fn system_health(&self) -> SystemHealth {
        let view = &self.context.view;
        system_health::assess(
            &view.cluster.borrow(),
            Known {
                findings: &view.findings.borrow(),
                exhausted: &view.recovery.borrow().exhausted,
                held: self.holds_losses(),
            },
        )
    }
}
