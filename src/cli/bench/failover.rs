//! `bench failover`: how long streams are away when their worker dies, freezes or leaves; and how long nobody leads when
//! their leader dies or hands over.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use tempfile::TempDir;

use super::cluster::{Cluster, Plan, Shared};
use super::round::{self, Fault};
use super::tally::{Cost, quantile};
use super::{lead, machine};
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

With --fault leader and --fault step-down, two orchestrators share a nats-server and the PostgreSQL of --database, an \
empty database of its own; the same fleet serves all runs, and whoever was killed comes back. Then it is:
  first_ms           until the next leader acknowledged a change of a stream
  last_ms            until it had heard every agent too
  lost               streams whose reader ended or began
  needless_moves     moves of any stream

Examples:
  streamkeeper bench failover
  streamkeeper bench failover --workers 3 --streams 300 --runs 30 --json
  streamkeeper bench failover --fault crash --set heartbeat.advisories=false
  streamkeeper bench failover --fault freeze --set heartbeat.timeout=2s --set heartbeat.warning=1s
  streamkeeper bench failover --fault leader --database postgres://keeper@db/empty --json
  streamkeeper bench failover --fault step-down --database postgres://keeper@db/empty --runs 30";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FailoverArgs {
    /// How many agents run the streams
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=200))]
    workers: u32,
    /// How many streams there are
    #[arg(long, value_name = "COUNT", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    streams: u32,
    /// What is done to one agent, or to the leader
    #[arg(long, value_enum, value_name = "FAULT", default_value_t = Fault::Kill)]
    fault: Fault,
    /// Whether two readers of a stream may overlap
    #[arg(long, value_enum, value_name = "OWNERSHIP", default_value_t = Ownership::Available)]
    ownership: Ownership,
    /// How often it is done
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// How long nothing more may happen before a run is over [default: 3s; for faults of the leader 20s]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    calm: Option<Duration>,
    /// An empty PostgreSQL database, for faults of the leader
    #[arg(long, value_name = "URL")]
    database: Option<String>,
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
    let plan = plan(args).await?;
    let mut set = plan.set.clone();
    if plan.shared.is_some() {
        // Each has its own; without one the settings are refused.
        set.push(("leadership.number".to_owned(), "0".to_owned()));
    }
    let mut settings = machine::describe(&set).await?;
    if let Some(settings) = settings.as_object_mut() {
        settings.insert("workers".to_owned(), args.workers.into());
        settings.insert("streams".to_owned(), args.streams.into());
    }
    raise_file_limit();
    let costs = tokio::select! {
        costs = all_runs(args, &plan) => costs?,
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

/// What is started for these arguments.
async fn plan(args: &FailoverArgs) -> Result<Plan, Failure> {
    let mut set = args.set.clone();
    let shared = match (args.fault.is_of_leaders(), &args.database) {
        (false, None) => None,
        (true, Some(url)) if url.starts_with("postgres") => {
            let shared = Shared::new().await?;
            for (key, value) in [
                ("leadership.backend", "nats".to_owned()),
                ("nats.urls", format!("[\"{}\"]", shared.url())),
                ("database.url", url.clone()),
            ] {
                set.push((key.to_owned(), value));
            }
            Some(shared)
        }
        (true, _) => {
            return Err(Failure::usage(
                "bench failover: two orchestrators share a database; name an empty one with \
                 --database postgres://USER@HOST/DATABASE",
            ));
        }
        (false, Some(_)) => {
            return Err(Failure::usage(
                "bench failover: --database goes with --fault leader and --fault step-down; leave it out, or name another \
                 database with --set database.url=URL",
            ));
        }
    };
    Ok(Plan {
        workers: args.workers,
        streams: args.streams,
        ownership: match args.ownership {
            Ownership::Available => "available",
            Ownership::Exclusive => "exclusive",
        },
        set,
        shared,
    })
}

async fn all_runs(args: &FailoverArgs, plan: &Plan) -> Result<Vec<Cost>, Failure> {
    let mut costs = Vec::new();
    if plan.shared.is_some() {
        let folder = folder()?;
        let runs = async {
            let mut cluster = Cluster::start(plan, folder.path()).await?;
            let calm = args.calm.unwrap_or(lead::CALM);
            for number in 0..args.runs {
                let cost = lead::run(&mut cluster, args.fault, number, calm).await?;
                note(args, number, &cost);
                costs.push(cost);
            }
            cluster.end().await
        };
        let outcome = runs.await;
        return outcome
            .map(|()| costs)
            .map_err(|failure| with_logs(failure, folder));
    }
    let calm = args.calm.unwrap_or(round::CALM);
    for number in 0..args.runs {
        let folder = folder()?;
        let cost = match round::alone(plan, args.fault, number, calm, folder.path()).await {
            Ok(cost) => cost,
            Err(failure) => return Err(with_logs(failure, folder)),
        };
        note(args, number, &cost);
        costs.push(cost);
    }
    Ok(costs)
}

fn folder() -> Result<TempDir, Failure> {
    tempfile::Builder::new()
        .prefix("streamkeeper-bench-")
        .tempdir()
        .map_err(|error| Failure::failed(format!("bench: cannot make a temporary folder: {error}")))
}

/// The logs are needed now.
fn with_logs(failure: Failure, folder: TempDir) -> Failure {
    let logs = folder.keep().join("logs");
    let text = format!("{}\nall logs are in {}", failure.text, logs.display());
    Failure::new(failure.exit, text)
}

fn note(args: &FailoverArgs, number: u32, cost: &Cost) {
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
