//! Alerts and silences as the API shows them.

use std::collections::BTreeMap;

use serde::Serialize;
use streamkeeper_core::alert_manager::{Silence, StoredAlert};
use streamkeeper_protocol::Severity;
use utoipa::ToSchema;

use super::super::mask::mask;
use super::moment;

/// One alert.
#[derive(Serialize, ToSchema)]
#[schema(as = Alert)]
pub(in super::super) struct AlertView<'a> {
    rule: &'a str,
    /// `info`, `warning` or `critical`.
    #[schema(value_type = String)]
    severity: Severity,
    /// `firing`, `explained` by another alert, `acknowledged`, `suppressed` or `resolved`.
    status: &'static str,
    labels: &'a BTreeMap<String, String>,
    #[schema(value_type = BTreeMap<String, String>)]
    annotations: BTreeMap<&'a str, String>,
    since: String,
    /// When it was over.
    #[schema(required)]
    resolved: Option<String>,
    fingerprint: &'a str,
    /// What it belongs to.
    #[schema(required)]
    incident: Option<String>,
    /// The alert that explains it: nobody is paged for it.
    #[schema(required)]
    explained_by: Option<&'a str>,
    /// Who has taken it on.
    #[schema(required)]
    acknowledged: Option<AcknowledgedView<'a>>,
    /// The silence that keeps it quiet.
    #[schema(required)]
    suppressed_by: Option<&'a str>,
    /// What each sink knows of it: `delivered`, or `waiting` for its newest change.
    delivery: BTreeMap<&'a str, &'static str>,
}

impl<'a> AlertView<'a> {
    pub(in super::super) fn new(alert: &'a StoredAlert, wall_ms: i64) -> Self {
        let annotations = alert.annotations.iter();
        let acknowledged = alert.acknowledged_at(wall_ms);
        Self {
            rule: &alert.rule,
            severity: alert.severity,
            status: match (acknowledged, &alert.suppressed_by, &alert.explained_by) {
                _ if alert.resolved_ms.is_some() => "resolved",
                (_, Some(_), _) => "suppressed",
                (Some(_), None, _) => "acknowledged",
                (None, None, Some(_)) => "explained",
                (None, None, None) => "firing",
            },
            labels: &alert.labels,
            annotations: annotations
                .map(|(key, text)| (key.as_str(), mask(text).into_owned()))
                .collect(),
            since: moment(alert.began_ms),
            resolved: alert.resolved_ms.map(moment),
            fingerprint: &alert.fingerprint,
            incident: alert.incident.map(|id| id.to_string()),
            explained_by: alert.explained_by.as_deref(),
            acknowledged: acknowledged.map(|acknowledged| AcknowledgedView {
                by: &acknowledged.by,
                at: moment(acknowledged.at_ms),
                until: acknowledged.until_ms.map(moment),
            }),
            suppressed_by: alert.suppressed_by.as_deref(),
            delivery: alert
                .delivered
                .iter()
                .map(|(sink, change)| {
                    (
                        sink.as_str(),
                        if *change == alert.change {
                            "delivered"
                        } else {
                            "waiting"
                        },
                    )
                })
                .collect(),
        }
    }
}

/// A page of alerts.
#[derive(Serialize, ToSchema)]
#[schema(as = Alerts)]
pub(in super::super) struct AlertsView<'a> {
    pub(in super::super) alerts: Vec<AlertView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// Who has taken an alert on.
#[derive(Serialize, ToSchema)]
#[schema(as = Acknowledged)]
struct AcknowledgedView<'a> {
    by: &'a str,
    at: String,
    /// Until when; as long as the alert fires where it is not set.
    #[schema(required)]
    until: Option<String>,
}

/// A silence.
#[derive(Serialize, ToSchema)]
#[schema(as = Silence)]
pub(in super::super) struct SilenceView<'a> {
    id: &'a str,
    /// Conditions that an alert has to meet, all of them.
    matchers: Vec<String>,
    /// Whether it holds now.
    holds: bool,
    /// When it begins, the first time.
    starts: String,
    /// When it ends, the first time.
    ends: String,
    /// After which time it begins again.
    #[schema(required)]
    every_ms: Option<i64>,
    /// When it begins or ends next.
    #[schema(required)]
    turns: Option<String>,
    by: &'a str,
    reason: &'a str,
}

impl<'a> SilenceView<'a> {
    pub(in super::super) fn new(silence: &'a Silence, wall_ms: i64) -> Self {
        Self {
            id: &silence.id,
            matchers: silence.matchers.iter().map(ToString::to_string).collect(),
            holds: silence.holds(wall_ms),
            starts: moment(silence.starts_ms),
            ends: moment(silence.ends_ms),
            every_ms: silence.every_ms,
            turns: silence.turns_at(wall_ms).map(moment),
            by: &silence.by,
            reason: &silence.reason,
        }
    }
}

/// A page of silences, sorted by name.
#[derive(Serialize, ToSchema)]
#[schema(as = Silences)]
pub(in super::super) struct SilencesView<'a> {
    pub(in super::super) silences: Vec<SilenceView<'a>>,
    /// Write it into `after` to get the next page.
    #[schema(required)]
    pub(in super::super) next: Option<String>,
}

/// A silence that has ended.
#[derive(Serialize, ToSchema)]
#[schema(as = EndedSilence)]
pub(in super::super) struct EndedView<'a> {
    pub(in super::super) ended: &'a str,
}
