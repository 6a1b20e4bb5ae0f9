//! Silences, and who has taken an alert on: stored when they are answered.

use std::time::Duration;

use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use chrono::DateTime;
use serde_json::Value;
use streamkeeper_core::alert_manager::{Acknowledged, Matcher, Silence};
use streamkeeper_protocol::limit::MAX_TEXT_BYTES;

use super::audit::note;
use super::fields::{Fields, wrong_type};
use super::openapi::{BadBody, BadQuery, NoAlert, Refused, Unfit};
use super::paging::Page;
use super::problem::{Kind, Problem};
use super::query::Query;
use super::views::alerts::{AlertView, EndedView, SilenceView, SilencesView};
use super::views::shape::{AcknowledgeShape, SilenceShape};
use super::{Shared, body};
use crate::port::AlertOrderError;

/// Longest time that a silence or an acknowledgement holds, and between two turns of one.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Lists silences, sorted by name; also those that begin later, and those that are over and not forgotten yet.
#[utoipa::path(
    get,
    path = "/api/v1/silences",
    operation_id = "list_silences",
    tag = "cluster",
    params(
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this key: `next` of the page before"),
    ),
    responses((status = 200, body = SilencesView), BadQuery),
)]
pub(super) async fn silences(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let page = Page::<String>::of(&mut query);
    query.finish()?;
    let silences = shared.context.view.silences.borrow().clone();
    let after = page.after.as_deref();
    let found = silences
        .iter()
        .filter(|silence| after.is_none_or(|after| silence.id.as_str() > after));
    let (found, next) = page.cut(found, |silence| silence.id.clone());
    let wall_ms = wall_ms(&shared);
    Ok(HttpResponse::Ok().json(SilencesView {
        silences: found
            .iter()
            .map(|silence| SilenceView::new(silence, wall_ms))
            .collect(),
        next,
    }))
}

/// Keeps sinks from hearing of the alerts that meet all conditions, from now on or later, once or again and again: then it is
/// a maintenance window. Who was told that an alert fires is told that it is over.
#[utoipa::path(
    post,
    path = "/api/v1/silences",
    operation_id = "add_silence",
    tag = "cluster",
    request_body = SilenceShape,
    responses((status = 201, body = SilenceView), BadBody, Unfit, Refused),
)]
pub(super) async fn add_silence(
    request: HttpRequest,
    shared: Data<Shared>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let mut errors = Vec::new();
    let mut silence = None;
    if let Some(mut fields) = Fields::of(body::json(&bytes)?, String::new(), &mut errors) {
        silence = Some(read_silence(&mut fields, wall_ms(&shared)));
        fields.finish();
    }
    body::refuse(errors)?;
    let Some(silence) = silence else {
        return Err(Problem::new(Kind::InvalidChange, "the body is no silence"));
    };
    note(&request, "silence", &silence.id);
    note(&request, "by", &silence.by);
    note(&request, "reason", &silence.reason);
    shared.context.gateway.silence(silence.clone()).await?;
    tracing::info!(
        id = silence.id,
        by = silence.by,
        reason = silence.reason,
        "a silence was ordered over the API"
    );
    Ok(HttpResponse::Created().json(SilenceView::new(&silence, wall_ms(&shared))))
}

/// Ends a silence: who was not told of an alert that still fires is told now.
#[utoipa::path(
    delete,
    path = "/api/v1/silences/{id}",
    operation_id = "end_silence",
    tag = "cluster",
    params(("id" = String, Path, description = "The silence")),
    responses((status = 200, body = EndedView), BadQuery, NoAlert, Refused),
)]
pub(super) async fn end_silence(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    shared.context.gateway.unsilence(&id).await?;
    tracing::info!(id = id.as_str(), "a silence was ended over the API");
    Ok(HttpResponse::Ok().json(EndedView { ended: &id }))
}

/// Notes who has taken an alert on, for everybody to see.
#[utoipa::path(
    post,
    path = "/api/v1/alerts/{fingerprint}/acknowledge",
    operation_id = "acknowledge_alert",
    tag = "cluster",
    params(("fingerprint" = String, Path, description = "The alert")),
    request_body = AcknowledgeShape,
    responses((status = 200, body = AlertView), BadBody, NoAlert, Refused),
)]
pub(super) async fn acknowledge(
    request: HttpRequest,
    shared: Data<Shared>,
    fingerprint: Path<String>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let bytes = body::read(&request, payload, shared.time_limits.body).await?;
    let mut errors = Vec::new();
    let now = wall_ms(&shared);
    let mut acknowledged = Acknowledged {
        by: String::new(),
        at_ms: now,
        until_ms: None,
    };
    if let Some(mut fields) = Fields::of(body::json(&bytes)?, String::new(), &mut errors) {
        acknowledged.by = needed(&mut fields, "by");
        acknowledged.until_ms = time(&mut fields, "for").map(|time| now.saturating_add(time));
        fields.finish();
    }
    body::refuse(errors)?;
    note(&request, "by", &acknowledged.by);
    let alert = shared
        .context
        .gateway
        .acknowledge(&fingerprint, acknowledged)
        .await?;
    Ok(HttpResponse::Ok().json(AlertView::new(&alert, now)))
}

fn read_silence(fields: &mut Fields<'_>, now: i64) -> Silence {
    let mut matchers = Vec::new();
    for (index, value) in fields.list("matchers").unwrap_or_default().iter().enumerate() {
        let place = format!("matchers/{index}");
        match value {
            Value::String(text) => match Matcher::parse(text) {
                Ok(matcher) => matchers.push(matcher),
                Err(problem) => fields.wrong(&place, problem),
            },
            other => fields.wrong(&place, wrong_type("a text", other)),
        }
    }
    let starts_ms = fields.text("starts").and_then(|text| {
        let read = DateTime::parse_from_rfc3339(&text);
        read.map_err(|error| {
            let detail =
                format!("is {text:?}, no moment ({error}); write one as in \"2026-11-24T22:00:00Z\"");
            fields.wrong("starts", detail);
        })
        .ok()
    });
    let starts_ms = starts_ms.map_or(now, |moment| moment.timestamp_millis());
    if !fields.has("for") {
        fields.wrong("for", "is missing: nobody remembers a silence without an end");
    }
    let lasts = time(fields, "for");
    let silence = Silence {
        id: format!("{:016x}", rand::random::<u64>()),
        matchers,
        starts_ms,
        ends_ms: starts_ms.saturating_add(lasts.unwrap_or(1)),
        every_ms: time(fields, "every"),
        by: needed(fields, "by"),
        reason: needed(fields, "reason"),
    };
    for (field, problem) in silence.mistakes() {
        fields.wrong(field, problem);
    }
    if silence.is_over(now) {
        fields.wrong("starts", "is so long ago that the silence is over already");
    }
    silence
}

/// A text that has to be there.
fn needed(fields: &mut Fields<'_>, name: &'static str) -> String {
    let text = fields.text(name).unwrap_or_default();
    if text.trim().is_empty() {
        fields.wrong(name, "is missing: somebody will ask");
    } else if text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        fields.wrong(
            name,
            format!(
                "has {} bytes or a control character; at most {MAX_TEXT_BYTES} bytes of text are allowed",
                text.len()
            ),
        );
    }
    text
}

/// A time above zero, in milliseconds.
fn time(fields: &mut Fields<'_>, name: &'static str) -> Option<i64> {
    let time = fields.duration(name)?;
    if time < Duration::from_secs(1) || time > MAX_TIME {
        fields.wrong(name, format!("is {time:?}, must be from 1s to {MAX_TIME:?}"));
        return None;
    }
    i64::try_from(time.as_millis()).ok()
}

pub(super) fn wall_ms(shared: &Shared) -> i64 {
    let clock = &shared.context.clock;
    clock.wall(clock.now()).timestamp_millis()
}

impl From<AlertOrderError> for Problem {
    fn from(error: AlertOrderError) -> Self {
        let detail = error.to_string();
        match error {
            AlertOrderError::NotLeading => Self::new(Kind::NotLeading, detail).retry_after(1),
            AlertOrderError::Unknown(..) => Self::new(Kind::UnknownAlert, detail)
                .suggest("GET /api/v1/alerts lists the alerts that fire, GET /api/v1/silences the silences"),
            AlertOrderError::Full(_) => {
                Self::new(Kind::Impossible, detail).suggest("end some of GET /api/v1/silences first")
            }
            AlertOrderError::NotStored(_) => Self::new(Kind::OutcomeUnknown, detail)
                .suggest("look at GET /health; it may be stored, and asking again does no harm"),
        }
    }
}
