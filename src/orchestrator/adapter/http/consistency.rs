//! Whether memory, database and workers agree: the report, a check at once, repairs.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::consistency_checker::{Finding, Policy};
use streamkeeper_protocol::WorkerId;

use super::Shared;
use super::openapi::BadQuery;
use super::paging::MAX_LIMIT;
use super::problem::{Kind, Problem, Shown};
use super::query::{Query, dry_run};
use super::views::Times;
use super::views::consistency::{CheckingView, ConsistencyView, RepairView, RepairsView, SynchronizedView};
use crate::port::OrderError;

/// Shows where memory, database and workers do not agree, the first 1000 findings, and what was done about it.
#[utoipa::path(
    get,
    path = "/api/v1/consistency",
    operation_id = "get_consistency",
    tag = "consistency",
    responses(
        (status = 200, body = ConsistencyView),
        BadQuery,
    ),
)]
pub(super) async fn show(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let view = &shared.context.view;
    let findings = view.findings.borrow().clone();
    let checks = view.checks.borrow().clone();
    let streams = view.cluster.borrow().streams.len();
    let times = Times(&*shared.context.clock);
    let answer = ConsistencyView::new(&findings, &checks, streams, MAX_LIMIT, times);
    Ok(HttpResponse::Ok().json(answer))
}

/// Looks at everything now. The report tells when it is done: `sweeps` and `passes` are higher by then.
#[utoipa::path(
    post,
    path = "/api/v1/consistency/check",
    operation_id = "check_consistency",
    tag = "consistency",
    responses(
        (status = 202, body = CheckingView),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json", description = "Nobody leads, or too much waits"),
    ),
)]
pub(super) async fn check(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let answer = CheckingView::new(&shared.context.view.checks.borrow());
    shared.context.gateway.check_consistency()?;
    Ok(HttpResponse::Accepted().json(answer))
}

/// Has everything repaired that was found, also what waits for an operator; `dry_run=true` only shows it.
#[utoipa::path(
    post,
    path = "/api/v1/consistency/repair",
    operation_id = "repair_consistency",
    tag = "consistency",
    params(
        ("dry_run" = Option<bool>, Query, description = "Only shows what would be done"),
    ),
    responses(
        (status = 200, body = RepairsView, description = "What would be done"),
        (status = 202, body = RepairsView, description = "It is begun; the report tells what came of it"),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json", description = "Nobody leads, or too much waits"),
    ),
)]
pub(super) async fn repair(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let findings = shared.context.view.findings.borrow().clone();
    let repairable: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.repair.is_some())
        .collect();
    let repairs = repairable.iter().take(MAX_LIMIT);
    let answer = RepairsView {
        dry_run,
        count: repairable.len(),
        unrepairable: findings.len() - repairable.len(),
        repairs: repairs.filter_map(|finding| RepairView::of(finding)).collect(),
    };
    if dry_run {
        return Ok(HttpResponse::Ok().json(answer));
    }
    shared.context.gateway.repair_consistency()?;
    let waiting = repairable
        .iter()
        .filter(|finding| finding.policy != Policy::Repair);
    tracing::info!(
        count = repairable.len(),
        waiting = waiting.count(),
        "repairs were asked for over the API"
    );
    Ok(HttpResponse::Accepted().json(answer))
}

/// Has a worker exchange its whole inventory and its whole desired set with the leader, and waits for its answer.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/synchronize",
    operation_id = "synchronize_worker",
    tag = "consistency",
    params(
        ("id" = String, Path, description = "The worker"),
    ),
    responses(
        (status = 200, body = SynchronizedView),
        BadQuery,
        (status = 404, body = Shown, content_type = "application/problem+json", description = "There is no such worker"),
        (status = 409, body = Shown, content_type = "application/problem+json", description = "The worker refuses"),
        (status = 504, body = Shown, content_type = "application/problem+json", description = "The worker does not answer"),
    ),
)]
pub(super) async fn synchronize(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let worker = shared.known_worker(&id)?;
    shared.context.gateway.synchronize(&worker).await?;
    Ok(HttpResponse::Ok().json(SynchronizedView::new(&worker)))
}

impl Shared {
    /// A worker that the leader knows.
    pub(super) fn known_worker(&self, id: &str) -> Result<WorkerId, Problem> {
        let worker = WorkerId::new(id).ok();
        let known = worker.filter(|id| self.context.view.cluster.borrow().workers.contains_key(id));
        known.ok_or_else(|| {
            Problem::new(Kind::UnknownWorker, format!("worker {id} is not known"))
                .suggest("GET /api/v1/workers lists the workers")
        })
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::NoAnswer { .. } => Self::new(Kind::WorkerSilent, detail).suggest(
                "GET /api/v1/workers/ID shows when it was heard last; look at its machine and its log",
            ),
            OrderError::Refused { .. } => Self::new(Kind::OrderRefused, detail)
                .suggest("look at the worker's log; it names the leadership that it follows"),
        }
    }
}
