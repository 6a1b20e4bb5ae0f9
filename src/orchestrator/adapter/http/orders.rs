//! What operators order for workers, streams and the fleet: through the gateway, and answered when it is durable.

use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::directive::MAX_PAUSE;
use streamkeeper_core::request::{Applied, ApplyStreams, Order};
use streamkeeper_protocol::limit::MAX_TEXT_BYTES;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::audit::note;
use super::fields::Fields;
use super::openapi::{BadBody, BadQuery, NoStream, NoWorker, Refused, UnderWay, Unfit};
use super::problem::{ErrorItem, Kind, Problem};
use super::query::{Query, dry_run};
use super::streams::unknown;
use super::views::moves::{OrderedView, StepsView};
use super::views::shape::{MoveShape, PauseShape, ReasonShape};
use super::{Shared, body};

/// Keeps a worker from getting streams; those that it has stay.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/cordon",
    operation_id = "cordon_worker",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    request_body = Option<ReasonShape>,
    responses((status = 200, body = OrderedView), BadBody, NoWorker, Refused),
)]
pub(super) async fn cordon(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (worker, reason) = (worker(&id)?, reason(&request, &shared, payload).await?);
    send(&shared, "cordon", &id, Order::Cordon { worker, reason }).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("cordon", &id)))
}

/// Lets a worker get streams again; a drain of it ends.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/uncordon",
    operation_id = "uncordon_worker",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    responses((status = 200, body = OrderedView), BadQuery, NoWorker, Refused),
)]
pub(super) async fn uncordon(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let order = Order::Uncordon { worker: worker(&id)? };
    send(&shared, "uncordon", &id, order).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("uncordon", &id)))
}

/// Moves every stream of a worker elsewhere, a few at a time. It is under way when this answers; the worker stays cordoned.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/drain",
    operation_id = "drain_worker",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    request_body = Option<ReasonShape>,
    responses((status = 202, body = OrderedView), BadBody, NoWorker, UnderWay, Unfit, Refused),
)]
pub(super) async fn drain(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (worker, reason) = (worker(&id)?, reason(&request, &shared, payload).await?);
    send(&shared, "drain", &id, Order::Drain { worker, reason }).await?;
    Ok(HttpResponse::Accepted().json(OrderedView::new("drain", &id)))
}

/// Ends a drain: the worker may get streams again. Those that have moved stay where they are.
#[utoipa::path(
    delete,
    path = "/api/v1/workers/{id}/drain",
    operation_id = "cancel_drain",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    responses((status = 200, body = OrderedView), BadQuery, NoWorker, Refused),
)]
pub(super) async fn cancel_drain(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let order = Order::Uncordon { worker: worker(&id)? };
    send(&shared, "cancel drain", &id, order).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("cancel drain", &id)))
}

/// Lets a worker get streams again, and moves streams to it now, as far as evening out goes.
#[utoipa::path(
    post,
    path = "/api/v1/workers/{id}/fill",
    operation_id = "fill_worker",
    tag = "workers",
    params(("id" = String, Path, description = "The worker")),
    responses((status = 202, body = OrderedView), BadQuery, NoWorker, Refused),
)]
pub(super) async fn fill(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let order = Order::Uncordon { worker: worker(&id)? };
    send(&shared, "fill", &id, order).await?;
    Ok(HttpResponse::Accepted().json(OrderedView::new("fill", &id)))
}

/// Moves one stream to a worker, once. It is under way when this answers.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/move",
    operation_id = "move_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would move, and moves nothing"),
    ),
    request_body = MoveShape,
    responses((status = 202, body = StepsView), BadBody, NoStream, Unfit, Refused),
)]
pub(super) async fn move_stream(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let stream = stream(&name)?;
    let to = target(&request, &shared, payload).await?;
    let change = ApplyStreams {
        orders: vec![Order::Move { stream, to }],
        dry_run,
        ..ApplyStreams::default()
    };
    let applied = apply(&shared, "move", &name, change).await?;
    Ok(HttpResponse::Accepted().json(StepsView::new(&applied.moves, &[], dry_run)))
}

/// Keeps a stream from being moved for the sake of balance.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/freeze",
    operation_id = "freeze_stream",
    tag = "streams",
    params(("name" = String, Path, description = "The stream")),
    request_body = Option<ReasonShape>,
    responses((status = 200, body = OrderedView), BadBody, NoStream, Refused),
)]
pub(super) async fn freeze(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (stream, reason) = (stream(&name)?, reason(&request, &shared, payload).await?);
    send(&shared, "freeze", &name, Order::Freeze { stream, reason }).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("freeze", &name)))
}

/// Lets a stream be moved again.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/unfreeze",
    operation_id = "unfreeze_stream",
    tag = "streams",
    params(("name" = String, Path, description = "The stream")),
    responses((status = 200, body = OrderedView), BadQuery, NoStream, Refused),
)]
pub(super) async fn unfreeze(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let order = Order::Unfreeze {
        stream: stream(&name)?,
    };
    send(&shared, "unfreeze", &name, order).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("unfreeze", &name)))
}

/// Does one round of evening out now.
#[utoipa::path(
    post,
    path = "/api/v1/rebalance",
    operation_id = "rebalance",
    tag = "cluster",
    params(("dry_run" = Option<bool>, Query, description = "Says what would move, and moves nothing")),
    responses((status = 202, body = StepsView), BadQuery, Unfit, Refused),
)]
pub(super) async fn rebalance(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let change = ApplyStreams {
        orders: vec![Order::Rebalance],
        dry_run: dry_run(&request)?,
        ..ApplyStreams::default()
    };
    let dry_run = change.dry_run;
    let applied = apply(&shared, "rebalance", "fleet", change).await?;
    Ok(HttpResponse::Accepted().json(StepsView::new(&applied.moves, &[], dry_run)))
}

/// Pauses evening out for a time. Streams without a worker are placed, drains go on.
#[utoipa::path(
    post,
    path = "/api/v1/rebalance/pause",
    operation_id = "pause_rebalance",
    tag = "cluster",
    request_body = PauseShape,
    responses((status = 200, body = OrderedView), BadBody, Refused),
)]
pub(super) async fn pause(
    request: HttpRequest,
    shared: Data<Shared>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let mut errors = Vec::new();
    let (mut lasts, mut reason) = (None, String::new());
    if let Some(mut fields) = Fields::of(body::json(&bytes)?, String::new(), &mut errors) {
        for name in ["for", "reason"] {
            if !fields.has(name) {
                fields.wrong(
                    name,
                    "is missing: nobody remembers a pause without an end or a reason",
                );
            }
        }
        reason = fields.text("reason").unwrap_or_default();
        check_reason(&reason, &mut fields);
        if let Some(text) = fields.text("for") {
            match humantime_serde::re::humantime::parse_duration(&text) {
                Ok(time) if !time.is_zero() && time <= MAX_PAUSE => lasts = Some(time),
                Ok(_) => fields.wrong(
                    "for",
                    format!("is {text}, must be above 0s and at most {MAX_PAUSE:?}"),
                ),
                Err(error) => fields.wrong("for", format!("{text:?}: {error}; write a time such as \"1h\"")),
            }
        }
        fields.finish();
    }
    body::refuse(errors)?;
    let lasts: Duration = lasts.unwrap_or_default();
    note(&request, "reason", &reason);
    send(&shared, "pause", "fleet", Order::Pause { reason, lasts }).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("pause", "fleet")))
}

/// Ends a pause of evening out.
#[utoipa::path(
    post,
    path = "/api/v1/rebalance/resume",
    operation_id = "resume_rebalance",
    tag = "cluster",
    responses((status = 200, body = OrderedView), BadQuery, Refused),
)]
pub(super) async fn resume(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    send(&shared, "resume", "fleet", Order::Resume).await?;
    Ok(HttpResponse::Ok().json(OrderedView::new("resume", "fleet")))
}

/// The worker of an order: `{"to": …}`.
pub(super) async fn target(
    request: &HttpRequest,
    shared: &Shared,
    payload: Payload,
) -> Result<WorkerId, Problem> {
    let bytes = body::read(request, payload, shared.time_limits.body).await?;
    let mut errors = Vec::new();
    let mut to = None;
    if let Some(mut fields) = Fields::of(body::json(&bytes)?, String::new(), &mut errors) {
        match fields.text("to").map(WorkerId::new) {
            Some(Ok(worker)) => to = Some(worker),
            Some(Err(error)) => fields.wrong("to", error.to_string()),
            None if fields.has("to") => {}
            None => fields.wrong("to", "is missing; write the worker's id"),
        }
        fields.finish();
    }
    body::refuse(errors)?;
    to.ok_or_else(|| Problem::new(Kind::InvalidChange, "the body names no worker"))
}

pub(super) fn worker(id: &str) -> Result<WorkerId, Problem> {
    WorkerId::new(id).map_err(|error| {
        Problem::new(Kind::InvalidChange, "the path does not name a worker")
            .with_errors(vec![ErrorItem::parameter("id", error.to_string())])
    })
}

pub(super) fn stream(name: &str) -> Result<StreamId, Problem> {
    StreamId::new(name).map_err(|_| unknown(name))
}

/// The reason of an order, where one is given: `{"reason": …}`.
async fn reason(request: &HttpRequest, shared: &Shared, payload: Payload) -> Result<String, Problem> {
    Query::of(request)?.finish()?;
    let bytes = body::read(request, payload, shared.time_limits.body).await?;
    if bytes.is_empty() {
        return Ok(String::new());
    }
    let value = body::json(&bytes)?;
    if value.is_null() {
        return Ok(String::new());
    }
    let mut errors = Vec::new();
    let mut reason = String::new();
    if let Some(mut fields) = Fields::of(value, String::new(), &mut errors) {
        reason = fields.text("reason").unwrap_or_default();
        check_reason(&reason, &mut fields);
        fields.finish();
    }
    body::refuse(errors)?;
    note(request, "reason", &reason);
    Ok(reason)
}

fn check_reason(reason: &str, fields: &mut Fields<'_>) {
    if reason.len() > MAX_TEXT_BYTES {
        let detail = format!("has {} bytes, at most {MAX_TEXT_BYTES} are allowed", reason.len());
        fields.wrong("reason", detail);
    }
    if reason.contains(char::is_control) {
        fields.wrong("reason", "has a control character; remove it");
    }
}

async fn send(shared: &Shared, verb: &str, subject: &str, order: Order) -> Result<Applied, Problem> {
    let change = ApplyStreams {
        orders: vec![order],
        ..ApplyStreams::default()
    };
    apply(shared, verb, subject, change).await
}

pub(super) async fn apply(
    shared: &Shared,
    verb: &str,
    subject: &str,
    change: ApplyStreams,
) -> Result<Applied, Problem> {
    let dry_run = change.dry_run;
    let applied = shared.context.gateway.apply(change).await??;
    if !dry_run {
        tracing::info!(verb, subject, moves = applied.moves.len(), "ordered over the API");
    }
    Ok(applied)
}
