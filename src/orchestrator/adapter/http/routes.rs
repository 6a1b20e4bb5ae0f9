//! Which path is answered by whom. A path that is known refuses other methods by name, an unknown one says so.

use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route, guard};

use super::problem::{Kind, Problem};
use super::{
    alerts, changes, cluster, consistency, events, history, incidents, leader, logs, moves, openapi, orders,
    pins, probes as probe, recovery, streams,
};

const GET: &str = "GET, HEAD";
const GET_POST_PUT: &str = "GET, HEAD, POST, PUT";
const GET_PUT_PATCH_DELETE: &str = "GET, HEAD, PUT, PATCH, DELETE";
const GET_POST: &str = "GET, HEAD, POST";
const GET_POST_DELETE: &str = "GET, HEAD, POST, DELETE";
const POST: &str = "POST";
const DELETE: &str = "DELETE";

/// Everything.
pub(super) fn api(config: &mut ServiceConfig) {
    probes(config);
    moves_of_streams(config);
    alerting(config);
    recovery_of_workers(config);
    config
        .service(only_get("/api/v1/status", cluster::status))
        .service(
            resource("/api/v1/streams", GET_POST_PUT)
                .route(get(streams::list))
                .route(web::post().to(changes::act))
                .route(web::put().to(changes::apply)),
        )
        .service(
            resource("/api/v1/streams/{name}", GET_PUT_PATCH_DELETE)
                .route(get(streams::show))
                .route(web::put().to(changes::put))
                .route(web::patch().to(changes::patch))
                .route(web::delete().to(changes::delete)),
        )
        .service(resource("/api/v1/streams/{name}/restart", POST).route(web::post().to(changes::restart)))
        .service(only_get("/api/v1/streams/{name}/logs", logs::logs))
        .service(only_get("/api/v1/streams/{name}/explain", moves::explain))
        .service(resource("/api/v1/streams/{name}/move", POST).route(web::post().to(orders::move_stream)))
        .service(resource("/api/v1/streams/{name}/pin", POST).route(web::post().to(pins::pin)))
        .service(resource("/api/v1/streams/{name}/unpin", POST).route(web::post().to(pins::unpin)))
        .service(resource("/api/v1/streams/{name}/freeze", POST).route(web::post().to(orders::freeze)))
        .service(resource("/api/v1/streams/{name}/unfreeze", POST).route(web::post().to(orders::unfreeze)))
        .service(only_get("/api/v1/workers", cluster::workers))
        .service(only_get("/api/v1/workers/{id}", cluster::worker))
        .service(resource("/api/v1/workers/{id}/cordon", POST).route(web::post().to(orders::cordon)))
        .service(resource("/api/v1/workers/{id}/uncordon", POST).route(web::post().to(orders::uncordon)))
        .service(resource("/api/v1/workers/{id}/fill", POST).route(web::post().to(orders::fill)))
        .service(
            resource("/api/v1/workers/{id}/drain", GET_POST_DELETE)
                .route(get(moves::drain))
                .route(web::post().to(orders::drain))
                .route(web::delete().to(orders::cancel_drain)),
        )
        .service(only_get("/api/v1/assignments", streams::assignments))
        .service(only_get("/api/v1/events", events::list))
        .service(only_get("/api/v1/metrics/history", history::show))
        .service(only_get("/api/v1/consistency", consistency::show))
        .service(resource("/api/v1/consistency/check", POST).route(web::post().to(consistency::check)))
        .service(resource("/api/v1/consistency/repair", POST).route(web::post().to(consistency::repair)))
        .service(
            resource("/api/v1/workers/{id}/synchronize", POST)
                .route(web::post().to(consistency::synchronize)),
        )
        .service(only_get("/api/v1/leader", leader::show))
        .service(resource("/api/v1/leader/step-down", POST).route(web::post().to(leader::step_down)))
        .service(resource("/api/v1/faults/panic/{actor}", POST).route(web::post().to(cluster::panic)))
        .service(only_get("/openapi.json", openapi::json))
        .service(only_get("/docs", openapi::to_page))
        .service(only_get("/docs/{file:.*}", openapi::page));
}

/// Moves, and what decides on them.
fn moves_of_streams(config: &mut ServiceConfig) {
    config
        .service(only_get("/api/v1/migrations", moves::migrations))
        .service(only_get("/api/v1/plan", moves::plan))
        .service(only_get("/api/v1/plan/what-if", moves::what_if))
        .service(
            resource("/api/v1/rebalance", GET_POST)
                .route(get(moves::rebalance))
                .route(web::post().to(orders::rebalance)),
        )
        .service(resource("/api/v1/rebalance/pause", POST).route(web::post().to(orders::pause)))
        .service(resource("/api/v1/rebalance/resume", POST).route(web::post().to(orders::resume)));
}

/// Alerts, and what people want to hear of them.
fn alerting(config: &mut ServiceConfig) {
    config
        .service(only_get("/api/v1/alerts", incidents::alerts))
        .service(only_get("/api/v1/incidents", incidents::list))
        .service(only_get("/api/v1/incidents/{id}", incidents::show))
        .service(
            resource("/api/v1/alerts/{fingerprint}/acknowledge", POST)
                .route(web::post().to(alerts::acknowledge)),
        )
        .service(
            resource("/api/v1/silences", GET_POST)
                .route(get(alerts::silences))
                .route(web::post().to(alerts::add_silence)),
        )
        .service(resource("/api/v1/silences/{id}", DELETE).route(web::delete().to(alerts::end_silence)));
}

/// What is tried on workers in trouble, and how the whole is.
fn recovery_of_workers(config: &mut ServiceConfig) {
    let orders = |path: &str| resource(path, POST);
    config
        .service(only_get("/api/v1/recovery", recovery::show))
        .service(only_get("/api/v1/recovery/{attempt}", recovery::attempt))
        .service(orders("/api/v1/workers/{id}/recover").route(web::post().to(recovery::recover)))
        .service(orders("/api/v1/workers/{id}/emergency").route(web::post().to(recovery::emergency)))
        .service(only_get("/resilience/status", recovery::classic_status))
        .service(only_get("/resilience/health", recovery::classic_health))
        .service(orders("/resilience/recovery/{worker_id}").route(web::post().to(recovery::classic_recovery)))
        .service(
            orders("/resilience/emergency/{worker_id}").route(web::post().to(recovery::classic_emergency)),
        );
}

/// Probes and metrics alone.
pub(super) fn probes(config: &mut ServiceConfig) {
    config
        .default_service(web::to(not_here))
        .service(only_get("/livez", probe::livez))
        .service(only_get("/readyz", probe::readyz))
        .service(only_get("/startupz", probe::startupz))
        .service(only_get("/health", probe::health))
        .service(only_get("/metrics", probe::metrics));
}

/// Whatever is asked at any other path.
pub(super) async fn not_here(request: HttpRequest) -> HttpResponse {
    let detail = format!("nothing answers {} {}", request.method(), request.path());
    let problem = Problem::new(Kind::UnknownPath, detail).suggest(
        "the paths are /livez, /readyz, /startupz, /health, /metrics and, on the API's address, /docs, /openapi.json, \
         /api/v1/status, /api/v1/streams, /api/v1/workers, /api/v1/assignments, /api/v1/alerts, /api/v1/incidents, /api/v1/silences, /api/v1/events, \
         /api/v1/metrics/history, /api/v1/consistency, /api/v1/leader, \
         /api/v1/migrations, /api/v1/plan, /api/v1/rebalance, /api/v1/recovery, /resilience/status; they end \
         without a slash",
    );
    HttpResponse::from_error(problem)
}

fn only_get<F, A>(path: &str, handler: F) -> Resource
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path, GET).route(get(handler))
}

fn resource(path: &str, methods: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move |request: HttpRequest| async move {
        let detail = format!("{} {} is not possible", request.method(), request.path());
        let problem = Problem::new(Kind::MethodNotAllowed, detail)
            .suggest(format!("use one of {methods}"))
            .allow(methods);
        HttpResponse::from_error(problem)
    }))
}

/// GET, and HEAD for those who only want to know the status.
fn get<F, A>(handler: F) -> Route
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::route()
        .guard(guard::Any(guard::Get()).or(guard::Head()))
        .to(handler)
}
