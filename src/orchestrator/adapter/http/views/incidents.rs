//! Incidents as the API shows them.

use serde::Serialize;
use streamkeeper_core::alert_manager::StoredAlert;
use streamkeeper_protocol::Severity;
use utoipa::ToSchema;

use super::super::mask::mask;
use super::alerts::AlertView;
use super::events::EventView;
use super::moment;
use crate::port::StoredEvent;
use crate::port::incidents::Incident;

/// Alerts that have one cause.
#[derive(Serialize, ToSchema)]
#[schema(as = Incident)]
pub(in super::super) struct IncidentView<'a> {
    /// The term under which it began, and its number within that.
    id: String,
    /// `open` while an alert of it fires, or `ended`.
    status: &'static str,
    /// The most urgent of its alerts: `info`, `warning` or `critical`.
    #[schema(value_type = String)]
    severity: Severity,
    /// What it is, in the words of its cause.
    summary: String,
    /// The rule of its cause.
    rule: &'a str,
    /// The fingerprint of its cause.
    cause: &'a str,
    opened: String,
    #[schema(required)]
    ended: Option<String>,
    /// How many alerts it has had.
    alerts: u64,
    /// How many of them fire.
    firing: u64,
}

impl<'a> IncidentView<'a> {
    pub(in super::super) fn new(incident: &'a Incident) -> Self {
        let head = &incident.head;
        let summary = head.annotations.get("summary").map_or("", String::as_str);
        Self {
            id: incident.id.to_string(),
            status: if incident.ended_ms.is_some() {
                "ended"
            } else {
                "open"
            },
            severity: incident.severity,
            summary: mask(summary).into_owned(),
            rule: &head.rule,
            cause: &head.fingerprint,
            opened: moment(incident.opened_ms),
            ended: incident.ended_ms.map(moment),
            alerts: incident.alerts,
            firing: incident.firing,
        }
    }
}

/// A page of incidents, the newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Incidents)]
pub(in super::super) struct IncidentsView<'a> {
    pub(in super::super) incidents: Vec<IncidentView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// An incident with everything that belongs to it.
#[derive(Serialize, ToSchema)]
#[schema(as = IncidentDetail)]
pub(in super::super) struct IncidentDetailView<'a> {
    #[serde(flatten)]
    incident: IncidentView<'a>,
    /// Its alerts, the oldest first, at most 1000.
    members: Vec<AlertView<'a>>,
    /// What happened from a minute before to a minute after, to the first 10 workers and streams that its alerts name.
    events: Vec<EventView>,
}

impl<'a> IncidentDetailView<'a> {
    pub(in super::super) fn new(
        incident: &'a Incident,
        alerts: &'a [StoredAlert],
        events: Vec<StoredEvent>,
        wall_ms: i64,
    ) -> Self {
        Self {
            incident: IncidentView::new(incident),
            members: alerts
                .iter()
                .map(|alert| AlertView::new(alert, wall_ms))
                .collect(),
            events: events.into_iter().map(EventView::from).collect(),
        }
    }
}
