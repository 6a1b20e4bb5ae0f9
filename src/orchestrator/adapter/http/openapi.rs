//! The description of the API (OpenAPI 3.1), made from the handlers and views themselves, and a page to browse it.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::{IntoResponses, OpenApi};
use utoipa_swagger_ui::{Config, serve};

use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::{
    alerts, changes, cluster, consistency, events, history, incidents, leader, logs, moves, orders, pins,
    probes, recovery, streams,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "streamkeeper",
        description = "Keeps every declared stream running on exactly one healthy worker. Reads never wait; changes \
                       are answered when they are durable. Every refusal is a problem (RFC 9457). Every answer has \
                       the header `x-request-id`, which the log names too. Where several orchestrators elect a leader, the \
                       others answer everything below `/api/v1/`, but `GET /api/v1/leader`, with a redirect (307) to \
                       the leader, or with 503 while none is known.",
    ),
    paths(
        probes::livez,
        probes::readyz,
        probes::startupz,
        probes::health,
        probes::metrics,
        cluster::status,
        streams::list,
        changes::apply,
        streams::show,
        changes::put,
        changes::patch,
        changes::delete,
        changes::restart,
        changes::act,
        logs::logs,
        cluster::workers,
        cluster::worker,
        streams::assignments,
        incidents::alerts,
        incidents::list,
        incidents::show,
        events::list,
        history::show,
        alerts::acknowledge,
        alerts::silences,
        alerts::add_silence,
        alerts::end_silence,
        consistency::show,
        consistency::check,
        consistency::repair,
        consistency::synchronize,
        recovery::show,
        recovery::attempt,
        recovery::recover,
        recovery::emergency,
        recovery::classic_status,
        recovery::classic_health,
        recovery::classic_recovery,
        recovery::classic_emergency,
        leader::show,
        leader::step_down,
        cluster::panic,
        orders::cordon,
        orders::uncordon,
        orders::drain,
        orders::cancel_drain,
        orders::fill,
        orders::move_stream,
        pins::pin,
        pins::unpin,
        orders::freeze,
        orders::unfreeze,
        orders::rebalance,
        orders::pause,
        orders::resume,
        moves::drain,
        moves::explain,
        moves::rebalance,
        moves::migrations,
        moves::plan,
        moves::what_if,
    )
)]
struct Description;

/// Refusals that many paths share.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum BadQuery {
    /// A parameter is unknown or wrong
    #[response(status = 400, content_type = "application/problem+json")]
    BadQuery(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum BadBody {
    /// Body or query cannot be read
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(Shown<'static>),
    /// The body came too slowly
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(Shown<'static>),
    /// The body is too large
    #[response(status = 413, content_type = "application/problem+json")]
    Large(Shown<'static>),
    /// Something in it is wrong; every place is named
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum NoStream {
    /// A stream that is named does not exist
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum NoWorker {
    /// A worker that is named is not known
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum NoAlert {
    /// The alert that is named does not fire, or there is no such silence
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum UnderWay {
    /// The same is under way already
    #[response(status = 409, content_type = "application/problem+json")]
    UnderWay(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Unfit {
    /// It cannot be done as things are
    #[response(status = 412, content_type = "application/problem+json")]
    Impossible(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Refused {
    /// It does not lead, too much waits, or the database is away; ask again after Retry-After
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Shown<'static>),
    /// The change may be stored or not
    #[response(status = 504, content_type = "application/problem+json")]
    Unknown(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum NotReleased {
    /// A stream that is to be released waits for nobody, or is exclusive and its owner may live
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(Shown<'static>),
}

#[derive(IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum NoLogs {
    /// The stream has no worker
    #[response(status = 409, content_type = "application/problem+json")]
    NotPlaced(Shown<'static>),
    /// Its worker is too old to show lines, or answers something else
    #[response(status = 502, content_type = "application/problem+json")]
    NoLines(Shown<'static>),
    /// Too many read, or the message server is away; ask again after Retry-After
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Shown<'static>),
    /// Its worker does not answer
    #[response(status = 504, content_type = "application/problem+json")]
    Silent(Shown<'static>),
}

static TEXT: LazyLock<String> =
    LazyLock::new(|| Description::openapi().to_pretty_json().unwrap_or_default() + "\n");

/// The description as JSON.
#[must_use]
pub fn openapi_json() -> &'static str {
    &TEXT
}

/// `GET /openapi.json`.
pub(super) async fn json(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .body(openapi_json()))
}

/// `GET /docs`: the page's own links are relative, so it needs the slash.
pub(super) async fn to_page() -> HttpResponse {
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "/docs/"))
        .finish()
}

/// `GET /docs/`: the page and its files. Everything is part of the program, so that it works without the internet.
pub(super) async fn page(file: Path<String>) -> Result<HttpResponse, Problem> {
    let found = serve(&file, Arc::new(Config::from("/openapi.json")))
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let file = found.ok_or_else(|| {
        Problem::new(Kind::UnknownPath, format!("the page has no file {file:?}"))
            .suggest("the page itself is at /docs/")
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, file.content_type))
        .body(file.bytes.into_owned()))
}
