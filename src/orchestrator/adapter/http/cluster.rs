//! Status, workers, faults.

use std::ops::Bound;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use streamkeeper_core::cluster::Availability;
use streamkeeper_protocol::WorkerId;
use utoipa::ToSchema;

use super::Shared;
use super::openapi::BadQuery;
use super::paging::Page;
use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::views::Times;
use super::views::cluster::{LeadershipView, StatusView, StreamCounts, WorkerCounts};
use super::views::worker::{WorkerDetailView, WorkerView, WorkersView};

/// Shows how the whole is.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    operation_id = "get_status",
    tag = "cluster",
    responses(
        (status = 200, body = StatusView),
        BadQuery,
    ),
)]
pub(super) async fn status(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let context = &shared.context;
    let cluster = shared.cluster();
    let actors = context.gateway.actors();
    Ok(HttpResponse::Ok().json(StatusView {
        orchestrator: &context.id,
        version: context.version,
        started: context.start.borrow().through,
        leadership: LeadershipView::new(&cluster, &context.id, Times(&*context.clock)),
        streams: StreamCounts::new(&cluster),
        workers: WorkerCounts::new(&cluster),
        health: shared.system_health().into(),
        findings: context.view.findings.borrow().len(),
        alerts: context.view.alerts.borrow().len(),
        actors: actors.into_iter().map(Into::into).collect(),
    }))
}

/// Lists workers, sorted by id.
#[utoipa::path(
    get,
    path = "/api/v1/workers",
    operation_id = "list_workers",
    tag = "workers",
    params(
        ("availability" = Option<String>, Query, description = "`alive`, `warning`, `lost` or `dead`"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this key: `next` of the page before"),
    ),
    responses(
        (status = 200, body = WorkersView),
        BadQuery,
    ),
)]
pub(super) async fn workers(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let words = Availability::ALL.map(|value| (value.as_str(), value));
    let availability = query.choice("availability", &words);
    let page = Page::<WorkerId>::of(&mut query);
    query.finish()?;
    let cluster = shared.cluster();
    let start = page.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let found = cluster
        .workers
        .range::<_, WorkerId>((start, Bound::Unbounded))
        .map(|(_, worker)| worker)
        .filter(|worker| availability.is_none_or(|wanted| worker.availability == wanted));
    let (found, next) = page.cut(found, |worker| worker.id.to_string());
    let (now, times) = (shared.context.clock.now(), Times(&*shared.context.clock));
    let views = found.iter().map(|worker| WorkerView::new(worker, now, times));
    Ok(HttpResponse::Ok().json(WorkersView {
        workers: views.collect(),
        next,
    }))
}

/// Shows one worker and its streams, the first 1000 of each list.
#[utoipa::path(
    get,
    path = "/api/v1/workers/{id}",
    operation_id = "get_worker",
    tag = "workers",
    params(
        ("id" = String, Path, description = "The worker"),
    ),
    responses(
        (status = 200, body = WorkerDetailView),
        BadQuery,
        (status = 404, body = Shown, content_type = "application/problem+json", description = "There is no such worker"),
    ),
)]
pub(super) async fn worker(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let cluster = shared.cluster();
    let found = WorkerId::new(id.as_str()).ok();
    let worker = found.and_then(|id| cluster.workers.get(&id)).ok_or_else(|| {
        Problem::new(Kind::UnknownWorker, format!("worker {id} is not known"))
            .suggest("GET /api/v1/workers lists the workers")
    })?;
    let (now, times) = (shared.context.clock.now(), Times(&*shared.context.clock));
    Ok(HttpResponse::Ok().json(WorkerDetailView::new(worker, &cluster, now, times)))
}

/// Which actor was made to panic.
#[derive(Serialize, ToSchema)]
pub(super) struct Injected<'a> {
    actor: &'a str,
    fault: &'static str,
}

/// Makes an actor panic, to try recovery out.
#[utoipa::path(
    post,
    path = "/api/v1/faults/panic/{actor}",
    operation_id = "inject_panic",
    tag = "faults",
    params(
        ("actor" = String, Path, description = "The actor; `/api/v1/status` lists them"),
    ),
    responses(
        (status = 202, body = Injected),
        BadQuery,
        (status = 403, body = Shown, content_type = "application/problem+json", description = "`http.fault_injection` is false"),
        (status = 404, body = Shown, content_type = "application/problem+json", description = "There is no such actor"),
    ),
)]
pub(super) async fn panic(
    request: HttpRequest,
    shared: Data<Shared>,
    actor: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    if !shared.fault_injection {
        return Err(Problem::new(
            Kind::FaultInjectionOff,
            "http.fault_injection is false, so no fault can be injected",
        )
        .suggest(
            "set fault_injection = true under [http], or STREAMKEEPER__HTTP__FAULT_INJECTION=true, on a test \
             system and start anew",
        ));
    }
    let gateway = &shared.context.gateway;
    if !gateway.inject_panic(&actor) {
        let names: Vec<&str> = gateway.actors().iter().map(|actor| actor.name).collect();
        return Err(
            Problem::new(Kind::UnknownActor, format!("there is no actor {actor:?}"))
                .suggest(format!("write one of {}", names.join(", "))),
        );
    }
    tracing::warn!(actor = actor.as_str(), "a panic was injected over the API");
    Ok(HttpResponse::Accepted().json(Injected {
        actor: &actor,
        fault: "panic",
    }))
}
