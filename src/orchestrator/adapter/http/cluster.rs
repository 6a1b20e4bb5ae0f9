//! Status, workers, alerts, consistency, faults.

use std::ops::Bound;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use streamkeeper_core::cluster::Availability;
use streamkeeper_protocol::WorkerId;

use super::Shared;
use super::paging::{MAX_LIMIT, Page};
use super::problem::{Kind, Problem};
use super::query::Query;
use super::views::Times;
use super::views::cluster::{
    AlertView, AlertsView, ConsistencyView, LeadershipView, StatusView, StreamCounts, WorkerCounts,
};
use super::views::worker::{WorkerDetailView, WorkerView, WorkersView};

/// `GET /api/v1/status`.
pub(super) async fn status(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let context = &shared.context;
    let cluster = shared.cluster();
    let actors = context.gateway.actors();
    Ok(HttpResponse::Ok().json(StatusView {
        orchestrator: &context.id,
        version: context.version,
        started: *context.started.borrow(),
        leadership: LeadershipView::new(&cluster, &context.id, Times(&*context.clock)),
        streams: StreamCounts::new(&cluster),
        workers: WorkerCounts::new(&cluster),
        findings: context.view.findings.borrow().len(),
        alerts: context.view.alerts.borrow().len(),
        actors: actors.into_iter().map(Into::into).collect(),
    }))
}

/// `GET /api/v1/workers`.
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

/// `GET /api/v1/workers/{id}`.
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
    Ok(HttpResponse::Ok().json(WorkerDetailView::new(worker, now, times)))
}

/// `GET /api/v1/alerts`, sorted by fingerprint.
pub(super) async fn alerts(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let page = Page::<String>::of(&mut query);
    query.finish()?;
    let alerts = shared.context.view.alerts.borrow().clone();
    let after = page.after.as_deref();
    let found = alerts
        .iter()
        .filter(|alert| after.is_none_or(|after| alert.fingerprint.as_str() > after));
    let (found, next) = page.cut(found, |alert| alert.fingerprint.clone());
    let times = Times(&*shared.context.clock);
    Ok(HttpResponse::Ok().json(AlertsView {
        alerts: found.iter().map(|alert| AlertView::new(alert, times)).collect(),
        next,
    }))
}

/// `GET /api/v1/consistency`.
pub(super) async fn consistency(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let findings = shared.context.view.findings.borrow().clone();
    let streams = shared.context.view.cluster.borrow().streams.len();
    Ok(HttpResponse::Ok().json(ConsistencyView::new(&findings, streams, MAX_LIMIT)))
}

/// Which actor was made to panic.
#[derive(Serialize)]
struct Injected<'a> {
    actor: &'a str,
    fault: &'static str,
}

/// `POST /api/v1/faults/panic/{actor}`.
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
