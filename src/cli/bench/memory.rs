//! `bench memory`: what streams and workers cost an orchestrator in memory and, while nothing happens, in time; and how long its
//! start takes.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::app::bench::Fleet;
use streamkeeper_orchestrator::config::{Layers, load};

use super::fleet::{Puppets, Serve};
use super::heartbeats::rounded;
use super::machine;
use crate::failure::Failure;
use crate::{screen, settings, shutdown};

const EXAMPLES: &str = "\
Needs nats-server on this machine. Three lives of a real orchestrator on one database: without anything; with --workers workers \
that have no streams; with --streams streams on them, each with a source of 120 bytes and three labels, all of them running. \
What the memory in use grows by from one life to the next is what workers and streams cost, the snapshot that readers have \
included. The workers speak every two seconds and run nothing. ready_ms is the start of the third life.

SQLite gets a file of its own in a temporary folder; with --database it is an empty PostgreSQL database.

Examples:
  streamkeeper bench memory --streams 100000 --workers 1000 --json
  streamkeeper bench memory --streams 1000000 --workers 10000 --database postgres://keeper@db/empty";

/// So many that a worker's inventory fits into one message.
const MAX_STREAMS_PER_WORKER: u32 = 5_000;
/// Time between two heartbeats of a worker.
const INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MemoryArgs {
    /// How many streams there are
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    streams: u32,
    /// How many workers there are
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: u32,
    /// For how long the fleet is left alone before anything is measured, and for how long its idle cost is measured then
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// An empty PostgreSQL database
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Any setting of the orchestrator, such as heartbeat.timeout=2s; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = settings::assignment)]
    set: Vec<(String, String)>,
    /// Ends with one JSON object on the last line
    #[arg(long)]
    json: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Report {
    streams: u32,
    workers: u32,
    bytes_per_stream: f64,
    bytes_per_worker: f64,
    ready_ms: f64,
    idle_cpu_share: f64,
    /// Memory in use with everything.
    resident_bytes: u64,
    /// How long the API takes for a page of 1,000 streams out of the middle, and for the status.
    page_ms: f64,
    status_ms: f64,
    machine: Value,
}

/// One life.
struct Life {
    resident_bytes: u64,
    ready: Duration,
    idle_cpu_share: f64,
    page: Duration,
    status: Duration,
}

pub(super) fn run(args: &MemoryArgs) -> Result<(), Failure> {
    if args.streams > args.workers.saturating_mul(MAX_STREAMS_PER_WORKER) {
        return Err(Failure::usage(format!(
            "bench memory: --streams {} on --workers {} are more than {MAX_STREAMS_PER_WORKER} for each; name more workers",
            args.streams, args.workers
        )));
    }
    crate::runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        let report = tokio::select! {
            report = measure(args) => report?,
            () = shutdown.cancelled() => return Err(Failure::failed("bench: ended before it had a figure")),
        };
        screen::line(&format!(
            "{:.0} bytes a stream, {:.0} a worker; ready after {} ms; idle {:.1} % of a core; page {} ms, status {} ms",
            report.bytes_per_stream,
            report.bytes_per_worker,
            report.ready_ms,
            report.idle_cpu_share * 100.0,
            report.page_ms,
            report.status_ms
        ))?;
        if !args.json {
            return Ok(());
        }
        let report = serde_json::to_string(&report)
            .map_err(|error| Failure::failed(format!("bench: the figures cannot be written: {error}")))?;
        screen::line(&report)
    })
}

async fn measure(args: &MemoryArgs) -> Result<Report, Failure> {
    let machine = machine::describe(&args.set).await?;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("bench: no temporary folder: {error}")))?;
    let url = args
        .database
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", folder.path().join("bench.db").display()));
    let config = load(&Layers::default()).map_err(|errors| settings::refused(&errors))?;
    let options = app::store_options(&config);
    let fill = async |streams: u32, workers: u32| {
        app::bench::fill(&url, &options, streams, workers)
            .await
            .map_err(|error| Failure::failed(format!("bench: {error:#}")))
    };
    let life = async |fleet: Fleet| life(args, folder.path(), &url, fleet).await;
    let alone = life(fill(0, 0).await?).await?;
    screen::note(&format!("alone: {} bytes", alone.resident_bytes));
    let workers = life(fill(0, args.workers).await?).await?;
    screen::note(&format!("with workers: {} bytes", workers.resident_bytes));
    let all = life(fill(args.streams, args.workers).await?).await?;
    let grown = |from: &Life, to: &Life, count: u32| {
        let grown = to.resident_bytes as f64 - from.resident_bytes as f64;
        rounded(grown / f64::from(count), 10.0)
    };
    Ok(Report {
        streams: args.streams,
        workers: args.workers,
        bytes_per_stream: grown(&workers, &all, args.streams),
        bytes_per_worker: grown(&alone, &workers, args.workers),
        ready_ms: ms(all.ready),
        idle_cpu_share: rounded(all.idle_cpu_share, 1_000.0),
        resident_bytes: all.resident_bytes,
        page_ms: ms(all.page),
        status_ms: ms(all.status),
        machine,
    })
}

async fn life(args: &MemoryArgs, folder: &std::path::Path, url: &str, fleet: Fleet) -> Result<Life, Failure> {
    let quiet = Duration::from_secs(args.seconds.into());
    let (serve, ready) = Serve::start(folder, url, &args.set).await?;
    let mut puppets = match fleet.workers {
        0 => None,
        _ => Some(Puppets::join(&serve, fleet, false).await?),
    };
    let rate = f64::from(fleet.workers) / INTERVAL.as_secs_f64();
    let mut wait = async || match &mut puppets {
        Some(puppets) => puppets.speak(rate, quiet).await.map(drop),
        None => {
            tokio::time::sleep(quiet).await;
            Ok(())
        }
    };
    wait().await?;
    let before = serve.cpu_seconds()?;
    wait().await?;
    let idle = (serve.cpu_seconds()? - before) / quiet.as_secs_f64();
    let start = std::time::Instant::now();
    let status: Value = serve.api().get("/api/v1/status").await?;
    let status_time = start.elapsed();
    let running = status["streams"]["by_state"]["running"].as_u64();
    if running != Some(fleet.streams.into()) {
        return Err(Failure::failed(format!(
            "bench: not all of {} streams run: {}",
            fleet.streams, status["streams"]
        )));
    }
    let middle = app::bench::stream_name(fleet.streams / 2);
    let start = std::time::Instant::now();
    serve
        .api()
        .get::<Value>(&format!("/api/v1/streams?limit=1000&after={middle}"))
        .await?;
    let page = start.elapsed();
    let life = Life {
        resident_bytes: serve.resident_bytes()?,
        ready,
        idle_cpu_share: idle,
        page,
        status: status_time,
    };
    serve.end().await;
    Ok(life)
}

/// With a tenth of a millisecond.
fn ms(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1_000.0, 10.0)
}
