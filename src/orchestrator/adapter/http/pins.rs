//! Pins: the one worker that may run a stream. A pin is a part of the declaration, so that the next declaration replaces it.

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use streamkeeper_core::request::ApplyStreams;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::Shared;
use super::openapi::{BadBody, BadQuery, NoStream, Refused};
use super::orders::{apply, stream, target};
use super::problem::Problem;
use super::query::dry_run;
use super::rules::{self, Written};
use super::views::moves::PinView;
use super::views::shape::MoveShape;

/// Lets one worker alone run a stream. If it runs elsewhere, it moves there; where that cannot be now, a warning says so.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/pin",
    operation_id = "pin_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would be done, and does nothing"),
    ),
    request_body = MoveShape,
    responses((status = 202, body = PinView), BadBody, NoStream, Refused),
)]
pub(super) async fn pin(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (dry_run, stream) = (dry_run(&request)?, stream(&name)?);
    let to = target(&request, &shared, payload).await?;
    let answer = change(&shared, "pin", stream, Some(to), dry_run).await?;
    Ok(HttpResponse::Accepted().json(answer))
}

/// Lets any worker run a stream again. It stays where it is.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{name}/unpin",
    operation_id = "unpin_stream",
    tag = "streams",
    params(
        ("name" = String, Path, description = "The stream"),
        ("dry_run" = Option<bool>, Query, description = "Says what would be done, and does nothing"),
    ),
    responses((status = 200, body = PinView), BadQuery, NoStream, Refused),
)]
pub(super) async fn unpin(
    request: HttpRequest,
    shared: Data<Shared>,
    name: Path<String>,
) -> Result<HttpResponse, Problem> {
    let (dry_run, stream) = (dry_run(&request)?, stream(&name)?);
    let answer = change(&shared, "unpin", stream, None, dry_run).await?;
    Ok(HttpResponse::Ok().json(answer))
}

async fn change(
    shared: &Shared,
    verb: &str,
    stream: StreamId,
    pin: Option<WorkerId>,
    dry_run: bool,
) -> Result<PinView, Problem> {
    let change = ApplyStreams {
        pin: vec![(stream.clone(), pin.clone())],
        dry_run,
        ..ApplyStreams::default()
    };
    let (change, warnings) = rules::check(shared, change, Written::Pin).await?;
    let applied = apply(shared, verb, stream.as_str(), change).await?;
    let record = shared.cluster().streams.get(&stream).cloned();
    let owner = record.and_then(|record| record.slot.worker().cloned());
    let view = PinView::new(stream, pin, &applied, dry_run);
    Ok(view.warned(&warnings).stays(owner.as_ref()))
}
