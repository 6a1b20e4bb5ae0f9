//! Changing streams: through the gateway, and answered when the change is durable.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path, Payload, block};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::contradiction::Contradiction;
use streamkeeper_core::request::{Applied, ApplyStreams};
use streamkeeper_protocol::StreamId;

use super::audit::note_names;
use super::openapi::{BadBody, BadQuery, NoStream, NotReleased, Refused};
use super::problem::{ErrorItem, Kind, Problem};
use super::query::dry_run;
use super::rules::{self, Written};
use super::streams::unknown;
use super::views::shape::{ActionShape, ChangeShape, SpecShape, SwitchShape};
use super::views::stream::AppliedView;
use super::{Shared, body};

/// Creates, changes and deletes streams: all of it or nothing.
#[utoipa::path(
    put,
    path = "/api/v1/streams",
    operation_id = "apply_streams",
    tag = "streams",
    params(
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    request_body = ChangeShape,
    responses(
        (status = 200, body = AppliedView),
        BadBody,
        NoStream,
        Refused,
    ),
)]
pub(super) async fn apply(
    request: HttpRequest,
    shared: Data<Shared>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let change = off_thread(move || body::change(&bytes)).await?;
    let change = ApplyStreams { dry_run, ..change };
    let (applied, warnings) = send(&request, &shared, change, Written::Many).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, &warnings, dry_run)))
}

/// Does one thing to many streams: switches them on or off, restarts, releases or deletes them. All of them or none.
#[utoipa::path(
    post,
    path = "/api/v1/streams",
    operation_id = "act_on_streams",
    tag = "streams",
    params(
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    request_body = ActionShape,
    responses(
        (status = 200, body = AppliedView),
        BadBody,
        NoStream,
        NotReleased,
        Refused,
    ),
)]
pub(super) async fn act(
    request: HttpRequest,
    shared: Data<Shared>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let change = off_thread(move || body::action(&bytes)).await?;
    let change = ApplyStreams { dry_run, ..change };
    let (applied, warnings) = send(&request, &shared, change, Written::Names).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, &warnings, dry_run)))
}

/// Creates or changes one stream.
#[utoipa::path(
    put,
    path = "/api/v1/streams/{name}",
    operation_id = "put_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    request_body = SpecShape,
    responses(
        (status = 200, body = AppliedView),
        (status = 201, body = AppliedView, description = "It is new"),
        BadBody,
        Refused,
    ),
)]
pub(super) async fn put(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|error| {
        Problem::new(Kind::InvalidChange, "the path does not name a stream")
            .with_errors(vec![ErrorItem::parameter("name", error.to_string())])
    })?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let spec = off_thread(move || body::one(&bytes, &id)).await?;
    let change = ApplyStreams {
        streams: vec![spec],
        dry_run,
        ..ApplyStreams::default()
    };
    let (applied, warnings) = send(&request, &shared, change, Written::One).await?;
    let mut response = HttpResponse::Ok();
    if !applied.created.is_empty() && !dry_run {
        response
            .status(StatusCode::CREATED)
            .insert_header((LOCATION, request.path()));
    }
    Ok(response.json(AppliedView::new(&applied, &warnings, dry_run)))
}

/// Deletes one stream; its worker stops it.
#[utoipa::path(
    delete,
    path = "/api/v1/streams/{name}",
    operation_id = "delete_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    responses(
        (status = 200, body = AppliedView),
        BadQuery,
        NoStream,
        Refused,
    ),
)]
pub(super) async fn delete(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|_| unknown(&name))?;
    let change = ApplyStreams {
        delete: vec![id],
        dry_run,
        ..ApplyStreams::default()
    };
    let (applied, warnings) = send(&request, &shared, change, Written::One).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, &warnings, dry_run)))
}

/// Switches one stream on or off.
#[utoipa::path(
    patch,
    path = "/api/v1/streams/{name}",
    operation_id = "switch_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    request_body = SwitchShape,
    responses(
        (status = 200, body = AppliedView),
        BadBody,
        NoStream,
        Refused,
    ),
)]
pub(super) async fn patch(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|_| unknown(&name))?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let change = ApplyStreams {
        enable: vec![(id, body::enabled(&bytes)?)],
        dry_run,
        ..ApplyStreams::default()
    };
    let (applied, warnings) = send(&request, &shared, change, Written::One).await?;
    Ok(HttpResponse::Ok().json(AppliedView::new(&applied, &warnings, dry_run)))
}

/// Stops one stream and starts it again on its worker, under a new epoch. It is under way when this answers.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/restart",
    operation_id = "restart_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would change, and changes nothing"),
    ),
    responses(
        (status = 202, body = AppliedView),
        BadQuery,
        NoStream,
        Refused,
    ),
)]
pub(super) async fn restart(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let dry_run = dry_run(&request)?;
    let id = StreamId::new(name.as_str()).map_err(|_| unknown(&name))?;
    let change = ApplyStreams {
        restart: vec![id],
        dry_run,
        ..ApplyStreams::default()
    };
    let (applied, warnings) = send(&request, &shared, change, Written::One).await?;
    Ok(HttpResponse::Accepted().json(AppliedView::new(&applied, &warnings, dry_run)))
}

async fn send(
    request: &HttpRequest,
    shared: &Shared,
    change: ApplyStreams,
    written: Written,
) -> Result<(Applied, Vec<Contradiction>), Problem> {
    let dry_run = change.dry_run;
    let (change, warnings) = rules::check(shared, change, written).await?;
    let applied = shared.context.gateway.apply(change).await??;
    for (what, names) in [
        ("created", &applied.created),
        ("changed", &applied.changed),
        ("deleted", &applied.deleted),
        ("restarted", &applied.restarted),
        ("released", &applied.released),
    ] {
        note_names(request, what, names.iter());
    }
    if !dry_run {
        tracing::info!(
            created = applied.created.len(),
            changed = applied.changed.len(),
            deleted = applied.deleted.len(),
            restarted = applied.restarted.len(),
            released = applied.released.len(),
            unchanged = applied.unchanged.len(),
            "streams were changed over the API"
        );
    }
    Ok((applied, warnings))
}

/// Reads a body where it holds up no other request: large ones take a while.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match block(work).await {
        Ok(result) => result,
        Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
    }
}
