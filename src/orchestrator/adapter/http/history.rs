//! Measurements over time.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, TimeDelta, Utc};

use super::Shared;
use super::events::unavailable;
use super::openapi::BadQuery;
use super::problem::{Problem, Shown};
use super::query::Query;
use super::views::history::HistoryView;
use crate::port::samples::{LEVELS, Level, SampleQuery, kept};
use crate::telemetry::KEPT;

/// The span where the caller does not say.
const DEFAULT_SPAN: TimeDelta = TimeDelta::hours(1);
/// Points of a series where the caller does not say how long a step is.
const DEFAULT_POINTS: u32 = 120;
/// Most points of a series.
const MAX_POINTS: u128 = 2_000;
/// Most points of an answer.
const MAX_ALL: usize = 50_000;
/// Every name begins so.
const PREFIX: &str = "streamkeeper_";

/// Shows one metric over time: of each series, the lowest, the mean and the highest value of each step.
#[utoipa::path(
    get,
    path = "/api/v1/metrics/history",
    operation_id = "get_metric_history",
    tag = "cluster",
    params(
        ("name" = String, Query, description = "The metric, as `/metrics` calls it; `streamkeeper_` may be left out. A \
            wrong name is answered with those that are kept"),
        ("from" = Option<String>, Query, description = "Begins at this time, RFC 3339; an hour before `to` where it is \
            not given"),
        ("to" = Option<String>, Query, description = "Ends before this time; now where it is not given"),
        ("step" = Option<String>, Query, description = "Time that a point stands for, such as `1m`: at least 10s, at \
            least a minute for what is older than 2 hours, a quarter of an hour for what is older than 2 days"),
    ),
    responses(
        (status = 200, body = HistoryView),
        BadQuery,
        (status = 503, body = Shown, content_type = "application/problem+json",
            description = "The database does not answer; ask again after Retry-After"),
    ),
)]
pub(super) async fn show(request: HttpRequest, shared: Data<Shared>) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&request)?;
    let name = name(&mut query);
    let now = shared.context.clock.wall(shared.context.clock.now());
    let to = query.parsed::<DateTime<Utc>>("to").unwrap_or(now);
    let from = query
        .parsed("from")
        .or_else(|| to.checked_sub_signed(DEFAULT_SPAN))
        .unwrap_or(to);
    let step = query.text("step");
    let step = step.and_then(|text| match humantime::parse_duration(&text) {
        Ok(step) => Some(step),
        Err(error) => {
            query.wrong("step", format!("{text:?}: {error}; write a time such as 1m"));
            None
        }
    });
    let span = (to - from).to_std().unwrap_or_default();
    if span.is_zero() {
        query.wrong("from", format!("{from} is not before {to}"));
    }
    let age = (now - from).to_std().unwrap_or_default();
    let (level, step) = step_of(
        step.unwrap_or(span / DEFAULT_POINTS),
        age,
        shared.context.keep_metrics,
    );
    let points = span.as_millis() / step.as_millis();
    if points > MAX_POINTS {
        let detail = format!("{points} steps of {step:?} from {from} to {to}; {MAX_POINTS} at most");
        query.wrong("step", format!("{detail}: write a longer step"));
    }
    query.finish()?;
    let wanted = SampleQuery {
        name,
        from,
        to,
        level,
        step,
        limit: MAX_ALL,
    };
    let found = shared.context.samples.samples(&wanted).await;
    let found = found.map_err(|error| unavailable(&error))?;
    Ok(HttpResponse::Ok().json(HistoryView::new(&wanted, found)))
}

fn name(query: &mut Query) -> String {
    let given = query.text("name").unwrap_or_default();
    let name = match given.starts_with(PREFIX) {
        true => given.clone(),
        false => format!("{PREFIX}{given}"),
    };
    if !KEPT.contains(&name.as_str()) {
        let names = KEPT.map(|name| name.trim_start_matches(PREFIX)).join(", ");
        query.wrong("name", format!("{given:?} is not kept; write one of {names}"));
    }
    name
}

/// The finest level that is kept for so long, and the step as a multiple of it. A coarser one would lack its newest span,
/// which is rolled up when it is over.
fn step_of(step: Duration, age: Duration, keep: Duration) -> (Level, Duration) {
    let coarsest = LEVELS[LEVELS.len() - 1];
    let found = LEVELS.into_iter().zip(kept(keep)).find(|(_, keep)| *keep >= age);
    let level = found.map_or(coarsest, |(level, _)| level);
    let count = step.as_millis().div_ceil(level.0.as_millis()).max(1);
    (level, level.0 * u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_as_fine_as_what_is_kept() {
        const DAY: u64 = 86_400;
        let at = |step, age| {
            let seconds = Duration::from_secs;
            let (level, step) = step_of(seconds(step), seconds(age), seconds(30 * DAY));
            (level.0.as_secs(), step.as_secs())
        };
        assert_eq!(at(0, 3_600), (10, 10));
        assert_eq!(at(25, 3_600), (10, 30));
        assert_eq!(at(85, 3_600), (10, 90));
        assert_eq!(
            at(10, 3 * 3_600),
            (60, 60),
            "older than what is kept at the finest level"
        );
        assert_eq!(at(10, 3 * DAY), (900, 900));
        assert_eq!(
            at(1_000, 99 * DAY),
            (900, 1_800),
            "nothing is kept, and that is shown"
        );
    }
}
