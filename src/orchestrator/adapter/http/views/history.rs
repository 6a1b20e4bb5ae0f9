//! Measurements over time.

use std::collections::BTreeMap;

use chrono::SecondsFormat;
use serde::Serialize;
use utoipa::ToSchema;

use crate::port::samples::{Point, SampleQuery, Series};

/// One metric over time.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricHistory)]
pub(in super::super) struct HistoryView {
    /// The metric.
    name: String,
    /// From this moment on.
    from: String,
    /// Before this moment.
    to: String,
    /// Time that a point stands for, in milliseconds.
    step_ms: u64,
    /// One for each set of labels.
    series: Vec<SeriesView>,
}

/// One series.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricSeries)]
struct SeriesView {
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Steps in which something was measured.
    points: Vec<PointView>,
}

/// What a series was within one step. Counters stand where they stood.
#[derive(Serialize, ToSchema)]
#[schema(as = MetricPoint)]
struct PointView {
    /// Where the step begins.
    at: String,
    /// The lowest value.
    low: f64,
    /// The mean.
    mean: f64,
    /// The highest value.
    high: f64,
}

impl HistoryView {
    pub(in super::super) fn new(query: &SampleQuery, found: Series) -> Self {
        let shown = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let point = |point: Point| PointView {
            at: shown(point.at),
            low: point.low,
            mean: point.mean,
            high: point.high,
        };
        let series = found.into_iter().map(|(labels, points)| SeriesView {
            labels: serde_json::from_str(&labels).unwrap_or_default(),
            points: points.into_iter().map(point).collect(),
        });
        Self {
            name: query.name.clone(),
            from: shown(query.from),
            to: shown(query.to),
            step_ms: u64::try_from(query.step.as_millis()).unwrap_or(u64::MAX),
            series: series.collect(),
        }
    }
}
