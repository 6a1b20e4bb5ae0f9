//! Alerts, and the incidents that they belong to.

use std::collections::BTreeSet;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, TimeDelta};
use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};

use super::Shared;
use super::alerts::wall_ms;
use super::events::unavailable;
use super::openapi::BadQuery;
use super::paging::Page;
use super::problem::{Kind, Problem, Shown};
use super::query::Query;
use super::views::alerts::{AlertView, AlertsView};
use super::views::incidents::{IncidentDetailView, IncidentView, IncidentsView};
use crate::port::incidents::{Ended, Incident, IncidentQuery};
use crate::port::{EventQuery, StoredEvent};

/// Labels that name what events are about as well.
const SUBJECTS: [&str; 2] = ["worker", "stream"];
/// Most subjects whose events are shown with an incident.
const MAX_SUBJECTS: usize = 10;
/// Most events of one subject.
const MAX_EVENTS: usize = 100;
/// What happened so long before the first alert, and after the last one was over, belongs to an incident.
const AROUND: TimeDelta = TimeDelta::seconds(60);

/// Lists the alerts that fire, sorted by fingerprint; or those that are over, the last one first.
#[utoipa::path(
    get,
    path = "/api/v1/alerts",
    operation_id = "list_alerts",
    tag = "cluster",
    params(
        ("status" = Option<String>, Query, description = "`firing`, which is meant where it is not given, or `resolved`"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this key: `next` of the page before"),
    ),
    responses(
        (status = 200, body = AlertsView),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json",
            description = "The database does not answer; ask again after Retry-After. What fires is always answered"),
    ),
)]
pub(super) async fn alerts(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let over = query.choice("status", &[("firing", false), ("resolved", true)]);
    if over == Some(true) {
        return alerts_over(query, &shared).await;
    }
    let page = Page::<String>::of(&mut query);
    query.finish()?;
    let alerts = shared.context.view.alerts.borrow().clone();
    let after = page.after.as_deref();
    let found = alerts
        .iter()
        .filter(|alert| after.is_none_or(|after| alert.fingerprint.as_str() > after));
    let (found, next) = page.cut(found, |alert| alert.fingerprint.clone());
    let wall_ms = wall_ms(&shared);
    Ok(HttpResponse::Ok().json(AlertsView {
        alerts: found.iter().map(|alert| AlertView::new(alert, wall_ms)).collect(),
        next,
    }))
}

async fn alerts_over(mut query: Query, shared: &Shared) -> Result<HttpResponse, Problem> {
    let page = Page::<Ended>::of(&mut query);
    query.finish()?;
    let log = &shared.context.incidents;
    let found = log.alerts_over(page.after.as_ref(), page.limit + 1).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let place = |alert: &StoredAlert| Ended {
        at_ms: alert.resolved_ms.unwrap_or(0),
        fingerprint: alert.fingerprint.clone(),
    };
    let (found, next) = page.cut(found.into_iter(), |alert| place(alert).to_string());
    let wall_ms = wall_ms(shared);
    Ok(HttpResponse::Ok().json(AlertsView {
        alerts: found.iter().map(|alert| AlertView::new(alert, wall_ms)).collect(),
        next,
    }))
}

/// Lists incidents, the newest first: alerts that have one cause are one of them.
#[utoipa::path(
    get,
    path = "/api/v1/incidents",
    operation_id = "list_incidents",
    tag = "cluster",
    params(
        ("status" = Option<String>, Query, description = "`open` or `ended`; all where it is not given"),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 where it is not given"),
        ("after" = Option<String>, Query, description = "Begins after this incident: `next` of the page before"),
    ),
    responses(
        (status = 200, body = IncidentsView),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json",
            description = "The database does not answer; ask again after Retry-After"),
    ),
)]
pub(super) async fn list(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let open = query.choice("status", &[("open", true), ("ended", false)]);
    let page = Page::<IncidentId>::of(&mut query);
    query.finish()?;
    let wanted = IncidentQuery {
        before: page.after,
        open,
        limit: page.limit + 1,
    };
    let found = shared.context.incidents.incidents(&wanted).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let (found, next) = page.cut(found.into_iter(), |incident| incident.id.to_string());
    Ok(HttpResponse::Ok().json(IncidentsView {
        incidents: found.iter().map(IncidentView::new).collect(),
        next,
    }))
}

/// Shows one incident: its alerts, the oldest first, and what happened meanwhile to the workers and streams that they name.
#[utoipa::path(
    get,
    path = "/api/v1/incidents/{id}",
    operation_id = "get_incident",
    tag = "cluster",
    params(("id" = String, Path, description = "The incident, such as `17-3`")),
    responses(
        (status = 200, body = IncidentDetailView),
        BadQuery,
        (status = 404, body = Shown, content_type = "application/problem+json",
            description = "There is no such incident, or it was over for longer than alerts are kept"),
        (status = 503, body = Shown, content_type = "application/problem+json",
            description = "The database does not answer; ask again after Retry-After"),
    ),
)]
pub(super) async fn show(
    request: HttpRequest,
    shared: Data<Shared>,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    Query::of(&request)?.finish()?;
    let unknown = |detail: String| {
        Problem::new(Kind::UnknownIncident, detail).suggest("GET /api/v1/incidents lists those that are kept")
    };
    let id: IncidentId = id.parse().map_err(unknown)?;
    let found = shared.context.incidents.incident(id).await;
    let found = found.map_err(|error| unavailable(&error))?;
    let (incident, alerts) = found.ok_or_else(|| unknown(format!("there is no incident {id}")))?;
    let events = events_around(&shared, &incident, &alerts).await?;
    Ok(HttpResponse::Ok().json(IncidentDetailView::new(
        &incident,
        &alerts,
        events,
        wall_ms(&shared),
    )))
}

/// What happened to the subjects of some alerts while their incident went on.
async fn events_around(
    shared: &Shared,
    incident: &Incident,
    alerts: &[StoredAlert],
) -> Result<Vec<StoredEvent>, Problem> {
    let moment = |ms: i64| DateTime::from_timestamp_millis(ms).unwrap_or_default();
    let since = moment(incident.opened_ms) - AROUND;
    let until = incident.ended_ms.map(|ms| moment(ms) + AROUND);
    let subjects = alerts
        .iter()
        .flat_map(|alert| SUBJECTS.iter().filter_map(|label| alert.labels.get(*label)));
    let subjects: BTreeSet<&String> = subjects.collect();
    let mut events = Vec::new();
    for subject in subjects.into_iter().take(MAX_SUBJECTS) {
        let query = EventQuery {
            since: Some(since),
            subject: Some(subject.clone()),
            limit: MAX_EVENTS,
            ..EventQuery::default()
        };
        let found = shared.context.events.events(&query).await;
        let found = found.map_err(|error| unavailable(&error))?.into_iter();
        events.extend(found.filter(|stored| until.is_none_or(|until| stored.event.at <= until)));
    }
    events.sort_by_key(|stored| stored.id);
    Ok(events)
}
