//! What happened: pages of it, or all of it as it comes (server-sent events).

use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, HeaderMap};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, Utc};

use super::Shared;
use super::event_stream;
use super::openapi::BadQuery;
use super::paging::Page;
use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::views::events::{EventView, EventsView};
use crate::port::{EventQuery, StoreError};

/// What a reader asks for, or says, where it wants them as they come.
pub(super) const SSE: &str = "text/event-stream";
/// Names the last event that a reader has seen, where it comes back.
const LAST_EVENT_ID: &str = "last-event-id";
/// Most kinds that are asked for at once.
const MAX_KINDS: usize = 20;
const SOON_SECONDS: u32 = 1;

/// Lists what happened: orchestrators' events and writes over the API. Without `after` and `since`: the newest ones.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "list_events",
    tag = "cluster",
    params(
        ("kind" = Option<String>, Query, description = "Kinds, with commas between them, such as `assigned,api_write`"),
        ("subject" = Option<String>, Query, description = "The stream or worker that it is about"),
        ("since" = Option<String>, Query, description = "Begins at this time, RFC 3339"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<u64>, Query, description = "Begins after this id: `next` of the page before"),
        ("follow" = Option<bool>, Query, description = "Goes on with new events until the reader leaves, as \
            `Accept: text/event-stream` does; without `after` and `since` it begins with the next one"),
        ("last-event-id" = Option<u64>, Header, description = "When it follows: begins after this id"),
    ),
    responses(
        (status = 200, content(
            (EventsView = "application/json"),
            (EventView = "text/event-stream"),
        )),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json",
            description = "The database does not answer, or too many follow; ask again after Retry-After"),
    ),
)]
pub(super) async fn list(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let kinds = kinds(&mut query);
    let subject = query.text("subject");
    let since = query.parsed::<DateTime<Utc>>("since");
    let page = Page::<u64>::of(&mut query);
    let follow = query.choice("follow", &[("true", true), ("false", false)]);
    let last = last_event_id(request.headers(), &mut query);
    query.finish()?;
    let mut wanted = EventQuery {
        after: page.after,
        since,
        kinds,
        subject,
        limit: page.limit,
    };
    let follow = follow.unwrap_or_else(|| accepts_sse(request.headers()));
    // Who asks for the head alone does not read.
    if follow && request.method() == Method::GET {
        wanted.after = last.or(wanted.after);
        return event_stream::start(shared, wanted).await;
    }
    let (limit, is_newest) = (page.limit, wanted.after.is_none() && since.is_none());
    let events = shared.context.events.events(&wanted).await;
    let events = events.map_err(|error| unavailable(&error))?;
    // Nothing comes after the newest ones.
    let next = (!is_newest && events.len() == limit).then(|| events.last().map(|event| event.id.to_string()));
    Ok(HttpResponse::Ok().json(EventsView {
        events: events.into_iter().map(EventView::from).collect(),
        next: next.flatten(),
    }))
}

pub(super) fn unavailable(error: &StoreError) -> Problem {
    Problem::new(Kind::HistoryUnavailable, error.to_string())
        .retry_after(SOON_SECONDS)
        .suggest("look at GET /health; what happens meanwhile is kept in memory and stored later")
}

fn kinds(query: &mut Query) -> Vec<String> {
    let kinds = query.text("kind").unwrap_or_default();
    let kinds: Vec<String> = kinds
        .split(',')
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned)
        .collect();
    if kinds.len() > MAX_KINDS {
        query.wrong(
            "kind",
            format!("names {} kinds; {MAX_KINDS} at most", kinds.len()),
        );
    }
    kinds
}

fn last_event_id(headers: &HeaderMap, query: &mut Query) -> Option<u64> {
    let value = headers.get(LAST_EVENT_ID)?.to_str().unwrap_or_default();
    let id = value.parse();
    if id.is_err() {
        query.wrong(LAST_EVENT_ID, format!("{value:?}: write the id of an event"));
    }
    id.ok()
}

fn accepts_sse(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains(SSE))
}
