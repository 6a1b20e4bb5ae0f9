//! `bench heartbeats`: how many heartbeats an orchestrator handles, and how soon it answers.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::config::{Layers, load};

use super::fleet::{Puppets, Serve};
use super::machine;
use super::tally::quantile;
use crate::failure::Failure;
use crate::{screen, settings, shutdown};

const EXAMPLES: &str = "\
Needs nats-server on this machine. A real orchestrator with its own nats-server and SQLite; one connection sends the \
heartbeats of all workers, each of which says that it runs --statuses streams. Handled is what was validated, taken in and \
acknowledged to its sender; lost is what got no answer within 5 seconds. Beyond what the machine can do, the figures say little: \
raise --rate until something is lost.

Examples:
  streamkeeper bench heartbeats --workers 1000 --statuses 10 --rate 20000 --seconds 10 --json
  streamkeeper bench heartbeats --workers 1000 --statuses 10 --digest --rate 50000";

/// So many that a heartbeat fits into one message.
const MAX_STATUSES: i64 = 5_000;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct HeartbeatsArgs {
    /// How many workers speak
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    workers: u32,
    /// How many streams each of them runs, and tells of in every heartbeat
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=MAX_STATUSES))]
    statuses: u32,
    /// Heartbeats say only that nothing has changed, as those of a quiet fleet
    #[arg(long)]
    digest: bool,
    /// Heartbeats per second, of all workers together
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: u32,
    /// For how long
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
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
    workers: u32,
    statuses: u32,
    digest: bool,
    offered_per_second: f64,
    handled_per_second: f64,
    orchestrator_cpu_share: f64,
    /// Handled in one second of the orchestrator's processor time.
    handled_per_cpu_second: f64,
    ack_ms_p50: f64,
    ack_ms_p99: f64,
    lost: u64,
    machine: Value,
}

pub(super) fn run(args: &HeartbeatsArgs) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        let shutdown = shutdown::on_signal()?;
        let report = tokio::select! {
            report = measure(args) => report?,
            () = shutdown.cancelled() => return Err(Failure::failed("bench: ended before it had a figure")),
        };
        screen::line(&format!(
            "{:.0} of {:.0} heartbeats a second answered, {} lost; p50 {} ms, p99 {} ms; {:.0} per second of processor time",
            report.handled_per_second,
            report.offered_per_second,
            report.lost,
            report.ack_ms_p50,
            report.ack_ms_p99,
            report.handled_per_cpu_second,
        ))?;
        if !args.json {
            return Ok(());
        }
        let report = serde_json::to_string(&report)
            .map_err(|error| Failure::failed(format!("bench: the figures cannot be written: {error}")))?;
        screen::line(&report)
    })
}

async fn measure(args: &HeartbeatsArgs) -> Result<Report, Failure> {
    let machine = machine::describe(&args.set).await?;
    let folder = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("bench: no temporary folder: {error}")))?;
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let config = load(&Layers::default()).map_err(|errors| settings::refused(&errors))?;
    let streams = args.workers.saturating_mul(args.statuses);
    let fleet = app::bench::fill(&url, &app::store_options(&config), streams, args.workers)
        .await
        .map_err(|error| Failure::failed(format!("bench: {error:#}")))?;
    let (serve, _) = Serve::start(folder.path(), &url, &args.set).await?;
    let mut puppets = Puppets::join(&serve, fleet, !args.digest).await?;
    let time = Duration::from_secs(args.seconds.into());
    let before = serve.cpu_seconds()?;
    let answers = puppets.speak(args.rate.into(), time).await?;
    let used = serve.cpu_seconds()? - before;
    serve.end().await;
    let times = || answers.times_us.iter().map(|us| f64::from(*us) / 1_000.0);
    let seconds = time.as_secs_f64();
    Ok(Report {
        workers: args.workers,
        statuses: args.statuses,
        digest: args.digest,
        offered_per_second: answers.sent as f64 / seconds,
        handled_per_second: answers.answered as f64 / seconds,
        orchestrator_cpu_share: rounded(used / seconds, 1_000.0),
        handled_per_cpu_second: rounded(answers.answered as f64 / used.max(0.01), 1.0),
        ack_ms_p50: rounded(quantile(times(), 0.5), 100.0),
        ack_ms_p99: rounded(quantile(times(), 0.99), 100.0),
        lost: answers.sent - answers.answered,
        machine,
    })
}

/// To so many parts of one.
pub(super) fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}
