//! `history`: a metric over time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};

/// Columns of a sparkline.
const COLUMNS: u32 = 60;
/// The finest step that is kept.
const FINEST: Duration = Duration::from_secs(10);
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const EXAMPLES: &str = "\
Every 10 seconds are kept for 2 hours, minutes for 2 days, quarters of an hour for history.keep_metrics. A blank is a step
in which nobody led. Counters (…_total) are shown as they stood. Without a name, or with a wrong one, the names are listed.

Examples:
  streamkeeper history streams
  streamkeeper history worker_load_ratio --label worker=w-1 --last 1d
  streamkeeper history moves_total --last 7d --step 1h -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HistoryArgs {
    /// The metric, as /metrics calls it; streamkeeper_ may be left out
    #[arg(default_value = "")]
    name: String,
    /// The span that is shown; it ends now
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    last: Duration,
    /// Time that one point stands for; as it fits in a line where it is not given
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    step: Option<Duration>,
    /// Only series with this label
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct History {
    from: String,
    step_ms: u64,
    series: Vec<Series>,
}

#[derive(Debug, Deserialize)]
struct Series {
    labels: BTreeMap<String, String>,
    points: Vec<Point>,
}

#[derive(Debug, Deserialize)]
struct Point {
    at: String,
    low: f64,
    mean: f64,
    high: f64,
}

pub(crate) fn run(args: &HistoryArgs) -> Result<(), Failure> {
    crate::runtime()?.block_on(show(args))
}

async fn show(args: &HistoryArgs) -> Result<(), Failure> {
    let step = args.step.unwrap_or((args.last / COLUMNS).max(FINEST));
    let from = SystemTime::now()
        .checked_sub(args.last)
        .ok_or_else(|| Failure::usage("--last: is longer than time itself".to_owned()))?;
    let target = format!(
        "/api/v1/metrics/history?name={}&from={}&step={}ms",
        encode(&args.name),
        encode(&humantime::format_rfc3339_millis(from).to_string()),
        step.as_millis()
    );
    let mut answer: Value = args.server.api()?.get(&target).await?;
    if let Some(series) = answer["series"].as_array_mut() {
        series.retain(|series| args.wants(&series["labels"]));
    }
    if args.output.output == Format::Json {
        return screen::json(&answer);
    }
    let history = History::deserialize(&answer).map_err(|error| {
        let text = format!("the server describes history in another way: {error}; try -o json");
        Failure::failed(text)
    })?;
    if history.series.is_empty() {
        return screen::line("nothing was measured in this time");
    }
    let mut table = screen::table(&["LABELS", "LOW", "HIGH", "LAST", "OVER TIME"]);
    for series in &history.series {
        table.add_row(series.row(&history));
    }
    screen::print_table(&table)
}

impl HistoryArgs {
    fn wants(&self, labels: &Value) -> bool {
        self.label.iter().all(|wanted| {
            let (key, value) = wanted.split_once('=').unwrap_or((wanted, ""));
            labels[key] == value
        })
    }
}

impl Series {
    fn row(&self, history: &History) -> Vec<String> {
        let labels: Vec<String> = self
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let low = self.points.iter().map(|point| point.low);
        let high = self.points.iter().map(|point| point.high);
        vec![
            match labels.is_empty() {
                true => "-".to_owned(),
                false => labels.join(" "),
            },
            number(low.fold(f64::INFINITY, f64::min)),
            number(high.fold(f64::NEG_INFINITY, f64::max)),
            number(self.points.last().map_or(f64::NAN, |point| point.mean)),
            self.sparkline(history),
        ]
    }

    /// One character for each step, from the lowest mean to the highest; a blank where nothing was measured.
    fn sparkline(&self, history: &History) -> String {
        let means = || self.points.iter().map(|point| point.mean);
        let low = means().fold(f64::INFINITY, f64::min);
        let high = means().fold(f64::NEG_INFINITY, f64::max);
        let mut line = String::new();
        let mut next = millis(&history.from).map(|from| from / u128::from(history.step_ms.max(1)));
        for point in &self.points {
            let place = millis(&point.at).map(|at| at / u128::from(history.step_ms.max(1)));
            if let (Some(next), Some(place)) = (next, place) {
                let blanks = usize::try_from(place.saturating_sub(next)).unwrap_or(0);
                line.extend(std::iter::repeat_n(' ', blanks.min(COLUMNS as usize * 4)));
            }
            next = place.map(|place| place + 1);
            let share = if high > low {
                (point.mean - low) / (high - low)
            } else {
                0.0
            };
            let bar = (share * (BARS.len() - 1) as f64).round() as usize;
            line.push(BARS[bar.min(BARS.len() - 1)]);
        }
        line
    }
}

fn millis(text: &str) -> Option<u128> {
    let at = humantime::parse_rfc3339_weak(text).ok()?;
    Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis())
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_one_line_with_blanks_where_nothing_was_measured() {
        let history: History = serde_json::from_str(
            r#"{"from": "2026-01-01T00:00:05.000Z", "step_ms": 10000, "series": [{"labels": {"state": "running"}, "points": [
                {"at": "2026-01-01T00:00:00.000Z", "low": 0, "mean": 0, "high": 1},
                {"at": "2026-01-01T00:00:10.000Z", "low": 4, "mean": 3.5, "high": 5},
                {"at": "2026-01-01T00:00:40.000Z", "low": 6, "mean": 7, "high": 140.2}]}]}"#,
        )
        .unwrap();
        let row = history.series[0].row(&history);
        assert_eq!(row, ["state=running", "0", "140", "7", "▁▅  █"]);
    }
}
