//! `bench store`: how long changes of assignments take to be stored.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::config::Layers;

use super::machine;
use super::tally::quantile;
use crate::failure::Failure;
use crate::{screen, settings};

const EXAMPLES: &str = "\
Ten times as many streams as --rows are stored first. Then --rows of them get another worker, in one transaction, as \
often as --runs says: the same code as in `serve`. SQLite gets a file of its own in a temporary folder; PostgreSQL \
needs --database, which must name an empty database of its own.

Examples:
  streamkeeper bench store --backend sqlite --rows 10000 --json
  streamkeeper bench store --backend postgres --database postgres://keeper@db/empty";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StoreArgs {
    /// Which database
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Backend::Sqlite)]
    backend: Backend,
    /// How many assignments change in one transaction
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows: u32,
    /// How often
    #[arg(long, value_name = "COUNT", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// An empty PostgreSQL database
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Ends with one JSON object on the last line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Backend {
    /// A file
    Sqlite,
    /// A server
    Postgres,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Report {
    backend: Backend,
    rows: u32,
    stored: u32,
    runs: u32,
    ms_p50: f64,
    ms_min: f64,
    ms_max: f64,
    rows_per_second: f64,
    take_over_ms: f64,
    machine: Value,
}

pub(crate) fn run(args: &StoreArgs) -> Result<(), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("bench store: no temporary folder: {error}")))?;
    let url = match (args.backend, &args.database) {
        (Backend::Sqlite, None) => format!("sqlite://{}", folder.path().join("bench.db").display()),
        (Backend::Postgres, Some(url)) if url.starts_with("postgres") => url.clone(),
        (Backend::Sqlite, Some(_)) => {
            return Err(Failure::usage(
                "bench store: --database goes with --backend postgres; SQLite gets a file of its own",
            ));
        }
        (Backend::Postgres, _) => {
            return Err(Failure::usage(
                "bench store: name an empty database with --database postgres://USER@HOST/DATABASE",
            ));
        }
    };
    let config = streamkeeper_orchestrator::config::load(&Layers::default())
        .map_err(|errors| settings::refused(&errors))?;
    let options = app::store_options(&config);
    let (figures, machine) = crate::runtime()?.block_on(async {
        let machine = machine::describe(&[]).await?;
        let measured = app::bench::store(&url, &options, args.rows, args.runs).await;
        let figures = measured.map_err(|error| Failure::failed(format!("bench store: {error:#}")))?;
        Ok::<_, Failure>((figures, machine))
    })?;
    let times = || figures.changes.iter().copied().map(ms);
    let p50 = quantile(times(), 0.5);
    let report = Report {
        backend: args.backend,
        rows: args.rows,
        stored: figures.stored,
        runs: args.runs,
        ms_p50: p50,
        ms_min: quantile(times(), 0.0),
        ms_max: quantile(times(), 1.0),
        rows_per_second: (f64::from(args.rows) / (p50 / 1_000.0)).round(),
        take_over_ms: ms(figures.take_over),
        machine,
    };
    screen::line(&format!(
        "{} of {} assignments stored in {:.0} ms (median of {}; {:.0} to {:.0}): {:.0} a second; all read in {:.0} ms",
        report.rows,
        report.stored,
        report.ms_p50,
        report.runs,
        report.ms_min,
        report.ms_max,
        report.rows_per_second,
        report.take_over_ms
    ))?;
    if !args.json {
        return Ok(());
    }
    let report = serde_json::to_string(&report)
        .map_err(|error| Failure::failed(format!("bench store: the report is no JSON: {error}")))?;
    screen::line(&report)
}

/// With a tenth of a millisecond.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}
