//! `consistency`: whether memory, database and workers agree, and repairs.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};

const CHECK_EXAMPLES: &str = "\
Examples:
  streamkeeper consistency check
  streamkeeper consistency check --no-wait -o json

It fails (exit code 1) while anything is found.";

const REPAIR_EXAMPLES: &str = "\
Examples:
  streamkeeper consistency repair --dry-run
  streamkeeper consistency repair";

/// Sweeps that confirm: what was found before the question may be on its way.
const SWEEPS: u64 = 2;
/// Looks at the database after which a difference that lasts is confirmed.
const ROUNDS: u32 = 3;
/// Time between two looks at the report.
const POLL: Duration = Duration::from_millis(250);

#[derive(Debug, Subcommand)]
pub(crate) enum ConsistencyCommand {
    /// Compares memory, database and workers now, and shows what differs
    Check(CheckArgs),
    /// Has everything repaired that was found, also what waits for an operator
    Repair(RepairArgs),
}

#[derive(Debug, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    /// Shows the last report instead of waiting for a new one
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the check
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = REPAIR_EXAMPLES)]
pub(crate) struct RepairArgs {
    /// Only shows what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of `GET /api/v1/consistency`.
#[derive(Debug, Deserialize)]
struct Report {
    score: f64,
    checked_streams: usize,
    count: usize,
    findings: Vec<Finding>,
    checks: Checks,
    #[serde(default)]
    waiting_repairs: usize,
}

#[derive(Debug, Deserialize)]
struct Finding {
    kind: String,
    stream: Option<String>,
    worker: Option<String>,
    detail: String,
    policy: String,
    repair: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Checks {
    sweeps: u64,
    passes: u64,
    unsure: bool,
    database_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Begun {
    sweeps: u64,
    passes: u64,
}

#[derive(Debug, Deserialize)]
struct Repairs {
    count: usize,
    unrepairable: usize,
    repairs: Vec<Repair>,
}

#[derive(Debug, Deserialize)]
struct Repair {
    kind: String,
    detail: String,
}

pub(crate) fn run(command: ConsistencyCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            ConsistencyCommand::Check(args) => check(&args).await,
            ConsistencyCommand::Repair(args) => repair(&args).await,
        }
    })
}

async fn check(args: &CheckArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let raw = if args.no_wait {
        api.get("/api/v1/consistency").await?
    } else {
        let checked = tokio::time::timeout(args.timeout, checked(&api)).await;
        checked.map_err(|_| {
            Failure::failed(format!(
                "the check did not end within {}; raise --timeout, or show the last report with --no-wait",
                humantime::format_duration(args.timeout)
            ))
        })??
    };
    let report = read::<Report>(&raw)?;
    match args.output.output {
        Format::Json => screen::json(&raw)?,
        Format::Table => show(&report)?,
    }
    if report.count > 0 {
        return Err(Failure::failed(format!(
            "{} found; `streamkeeper consistency repair --dry-run` shows what can be done",
            counted(report.count, "inconsistency is", "inconsistencies are")
        )));
    }
    match report.checks.database_error {
        Some(error) => Err(Failure::failed(format!(
            "the database was not compared: {error}; look at GET /health"
        ))),
        None => Ok(()),
    }
}

/// The report of a check that began now. On a busy system something is always on its way, so that differences never cease to
/// wait for confirmation: those that lasted are confirmed after some rounds, and those that are new belong to a later check.
async fn checked(api: &Api) -> Result<Value, Failure> {
    let mut rounds = 0;
    loop {
        let begun = api.post("/api/v1/consistency/check", &Value::Null).await?;
        let begun = read::<Begun>(&begun)?;
        rounds += 1;
        let (raw, unsure) = round(api, &begun).await?;
        if !unsure || rounds >= ROUNDS {
            return Ok(raw);
        }
    }
}

/// The report once everything was looked at since, and whether differences wait to be confirmed.
async fn round(api: &Api, begun: &Begun) -> Result<(Value, bool), Failure> {
    loop {
        let raw: Value = api.get("/api/v1/consistency").await?;
        let checks = read::<Report>(&raw)?.checks;
        let swept = checks.sweeps >= begun.sweeps + SWEEPS;
        let failed = checks.database_error.is_some();
        if swept && (checks.passes > begun.passes || failed) {
            return Ok((raw, checks.unsure && !failed));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn show(report: &Report) -> Result<(), Failure> {
    screen::line(&format!(
        "score {:.4}: {} of {} found{}",
        report.score,
        counted(report.count, "inconsistency", "inconsistencies"),
        counted(report.checked_streams, "stream", "streams"),
        match report.waiting_repairs {
            0 => String::new(),
            waiting => format!("; {waiting} repairs wait for the budget"),
        }
    ))?;
    if report.findings.is_empty() {
        return Ok(());
    }
    let mut table = screen::table(&["KIND", "STREAM", "WORKER", "POLICY", "DETAIL", "REPAIR"]);
    let dash = || "-".to_owned();
    for finding in &report.findings {
        table.add_row(vec![
            finding.kind.clone(),
            finding.stream.clone().unwrap_or_else(dash),
            finding.worker.clone().unwrap_or_else(dash),
            finding.policy.clone(),
            finding.detail.clone(),
            finding.repair.clone().unwrap_or_else(dash),
        ]);
    }
    screen::print_table(&table)
}

async fn repair(args: &RepairArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let query = if args.dry_run { "?dry_run=true" } else { "" };
    let raw = api
        .post(&format!("/api/v1/consistency/repair{query}"), &Value::Null)
        .await?;
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    let repairs = read::<Repairs>(&raw)?;
    screen::line(&format!(
        "{} {}{}",
        counted(repairs.count, "repair", "repairs"),
        if args.dry_run { "would be begun" } else { "begun" },
        match repairs.unrepairable {
            0 => String::new(),
            count => format!(
                "; {} only be brought in line by people",
                counted(count, "finding can", "findings can")
            ),
        }
    ))?;
    if repairs.repairs.is_empty() {
        return Ok(());
    }
    let mut table = screen::table(&["KIND", "REPAIR"]);
    for repair in repairs.repairs {
        table.add_row([repair.kind, repair.detail]);
    }
    screen::print_table(&table)
}

fn read<'a, T: Deserialize<'a>>(raw: &'a Value) -> Result<T, Failure> {
    T::deserialize(raw).map_err(|error| {
        Failure::failed(format!(
            "the server describes its consistency in another way: {error}; try -o json"
        ))
    })
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
