//! `bench failover`: how long streams are away when their worker dies, freezes or leaves.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::cluster::Plan;
use super::machine;
use super::round::{self, Fault};
use super::tally::{Cost, quantile};
use crate::failure::Failure;
use crate::{screen, settings, shutdown};

const EXAMPLES: &str = "\
Needs nats-server on this machine. Each run begins with nothing: an orchestrator with its own nats-server and SQLite, \
agents, and one reader per stream, all of them real processes; all of them end with it.

A judge that knows nothing of streamkeeper is read by the streams. The time runs from just before the signal to the \
first byte that a new reader of the stream has read; starting that reader (two times fork and exec) is a part of it.
  first_ms, last_ms  until the first, the last of the lost streams was read elsewhere
  overlap_ms_max     longest time for which a stream had two readers
  needless_moves     moves of streams whose worker was well throughout
p99 is a value that was measured: it needs at least 30 runs to say something.

Examples:
  streamkeeper bench failover
  streamkeeper bench failover --workers 3 --streams 300 --runs 30 --json
  streamkeeper bench failover --fault crash --set heartbeat.advisories=false
  streamkeeper bench failover --fault freeze --set heartbeat.timeout=2s --set heartbeat.warning=1s";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FailoverArgs {
    /// How many agents run the streams
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=200))]
    workers: u32,
    /// How many streams there are
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    streams: u32,
    /// What is done to one agent
    #[arg(long, value_enum, value_name = "FAULT", default_value_t = Fault::Kill)]
    fault: Fault,
    /// Whether two readers of a stream may overlap
    #[arg(long, value_enum, value_name = "OWNERSHIP", default_value_t = Ownership::Available)]
    ownership: Ownership,
    /// How often it is done
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Any setting of the orchestrator, such as heartbeat.timeout=2s; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = settings::assignment)]
    set: Vec<(String, String)>,
    /// Ends with one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// Of all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Ownership {
    /// At least one reader
    Available,
    /// At most one reader
    Exclusive,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Report {
    fault: Fault,
    ownership: Ownership,
    runs: usize,
    /// Streams lost in one run, the median.
    lost: f64,
    first_ms_p50: f64,
    last_ms_p50: f64,
    last_ms_p99: f64,
    last_ms_min: f64,
    last_ms_max: f64,
    overlap_ms_max: f64,
    needless_moves: usize,
    settings: Value,
}

pub(crate) fn run(args: &FailoverArgs) -> Result<(), Failure> {
    crate::runtime()?.block_on(perform(args))
}

async fn perform(args: &FailoverArgs) -> Result<(), Failure> {
    let shutdown = shutdown::on_signal()?;
    let mut settings = machine::describe(&args.set).await?;
    if let Some(settings) = settings.as_object_mut() {
        settings.insert("workers".to_owned(), args.workers.into());
        settings.insert("streams".to_owned(), args.streams.into());
    }
    raise_file_limit();
    let costs = tokio::select! {
        costs = all_runs(args) => costs?,
        () = shutdown.cancelled() => return Err(Failure::failed("bench: ended before its last run")),
    };
    let report = report(args, &costs, settings);
    if args.json {
        let report = serde_json::to_string(&report)
            .map_err(|error| Failure::failed(format!("bench: the figures cannot be written: {error}")))?;
        return screen::line(&report);
    }
    let mut table = screen::table(&[
        "FAULT",
        "OWNERSHIP",
        "RUNS",
        "LOST",
        "FIRST p50",
        "LAST p50",
        "LAST p99",
        "OVERLAP max",
        "NEEDLESS",
    ]);
    table.add_row(vec![
        word(&args.fault),
        word(&args.ownership),
        report.runs.to_string(),
        report.lost.to_string(),
        format!("{} ms", report.first_ms_p50),
        format!("{} ms", report.last_ms_p50),
        format!("{} ms", report.last_ms_p99),
        format!("{} ms", report.overlap_ms_max),
        report.needless_moves.to_string(),
    ]);
    screen::print_table(&table)
}

async fn all_runs(args: &FailoverArgs) -> Result<Vec<Cost>, Failure> {
    let plan = Plan {
        workers: args.workers,
        streams: args.streams,
        ownership: match args.ownership {
            Ownership::Available => "available",
            Ownership::Exclusive => "exclusive",
        },
        set: args.set.clone(),
    };
    let mut costs = Vec::new();
    for number in 0..args.runs {
        let folder = tempfile::Builder::new()
            .prefix("streamkeeper-bench-")
            .tempdir()
            .map_err(|error| Failure::failed(format!("bench: cannot make a temporary folder: {error}")))?;
        let cost = match round::alone(&plan, args.fault, number, folder.path()).await {
            Ok(cost) => cost,
            Err(failure) => {
                // The logs are needed now.
                let logs = folder.keep().join("logs");
                let text = format!("{}\nall logs are in {}", failure.text, logs.display());
                return Err(Failure::new(failure.exit, text));
            }
        };
        screen::note(&format!(
            "run {} of {}: {} lost, first after {} ms, last after {} ms, overlap {} ms, {} needless moves",
            number + 1,
            args.runs,
            cost.lost,
            cost.first_ms,
            cost.last_ms,
            cost.overlap_ms,
            cost.needless_moves
        ));
        costs.push(cost);
    }
    Ok(costs)
}

fn report(args: &FailoverArgs, costs: &[Cost], settings: Value) -> Report {
    let of = |share, pick: fn(&Cost) -> f64| quantile(costs.iter().map(pick), share);
    Report {
        fault: args.fault,
        ownership: args.ownership,
        runs: costs.len(),
        lost: of(0.5, |cost| cost.lost as f64),
        first_ms_p50: of(0.5, |cost| cost.first_ms),
        last_ms_p50: of(0.5, |cost| cost.last_ms),
        last_ms_p99: of(0.99, |cost| cost.last_ms),
        last_ms_min: of(0.0, |cost| cost.last_ms),
        last_ms_max: of(1.0, |cost| cost.last_ms),
        overlap_ms_max: of(1.0, |cost| cost.overlap_ms),
        needless_moves: costs.iter().map(|cost| cost.needless_moves).sum(),
        settings,
    }
}

fn word(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// One connection per stream.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it may not be raised, a start that goes beyond it fails and says so.
    let _ = setrlimit(Resource::Nofile, limit);
}
