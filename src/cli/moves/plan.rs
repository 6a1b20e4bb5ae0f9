//! `plan` and `migrations`: what moves, what would move, and what moved.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use super::{another_way, print_steps};
use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};

const SHOW_EXAMPLES: &str = "\
Examples:
  streamkeeper plan show
  streamkeeper plan show -o json";
const WHAT_IF_EXAMPLES: &str = "\
Examples:
  streamkeeper plan what-if --lose w-1
  streamkeeper plan what-if --add 2
  streamkeeper plan what-if --drain zone-a -o json";
const MIGRATIONS_EXAMPLES: &str = "\
Examples:
  streamkeeper migrations
  streamkeeper migrations --stream radio-1
  streamkeeper migrations --worker w-1 -o json";

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Shows what moves, and what the next round of evening out would move
    Show(ShowArgs),
    /// Shows what would move if workers were lost, drained or added; nothing is changed
    WhatIf(WhatIfArgs),
}

#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = WHAT_IF_EXAMPLES)]
pub(crate) struct WhatIfArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The worker that would be lost
    #[arg(long, value_name = "WORKER")]
    lose: Option<String>,
    /// How many workers like the largest one would join
    #[arg(long, value_name = "COUNT")]
    add: Option<u32>,
    /// The zone whose workers would be drained
    #[arg(long, value_name = "ZONE")]
    drain: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = MIGRATIONS_EXAMPLES)]
pub(crate) struct MigrationsArgs {
    /// Only moves of this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only moves from or to this worker
    #[arg(long)]
    worker: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a table shows of a move.
#[derive(Debug, Deserialize)]
struct Row {
    stream: String,
    from: String,
    to: String,
    reason: String,
    way: String,
    state: String,
    since: String,
    gap_ms: Option<u64>,
    overlap_ms: Option<u64>,
    detail: Option<String>,
}

pub(crate) async fn plan(command: &PlanCommand) -> Result<(), Failure> {
    match command {
        PlanCommand::Show(args) => show(args).await,
        PlanCommand::WhatIf(args) => what_if(args).await,
    }
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let raw: Value = args.server.api()?.get("/api/v1/plan").await?;
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    if let Some(paused) = raw.get("paused").filter(|paused| !paused.is_null()) {
        let text = |name| paused.get(name).and_then(Value::as_str).unwrap_or_default();
        screen::note(&format!(
            "evening out is paused until {}: {}",
            text("until"),
            text("reason")
        ));
    }
    print_migrations(&raw, "nothing moves")?;
    screen::line("")?;
    let next = raw.get("next").cloned().unwrap_or_default();
    print_steps(&next, "load is even enough: nothing would move next")
}

async fn what_if(args: &WhatIfArgs) -> Result<(), Failure> {
    let query = match (&args.what.lose, args.what.add, &args.what.drain) {
        (Some(worker), _, _) => format!("lose={}", encode(worker)),
        (None, Some(count), _) => format!("add={count}"),
        (None, None, zone) => format!("drain={}", encode(zone.as_deref().unwrap_or_default())),
    };
    let raw: Value = args
        .server
        .api()?
        .get(&format!("/api/v1/plan/what-if?{query}"))
        .await?;
    match args.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => print_steps(&raw, "nothing would move"),
    }
}

pub(crate) async fn migrations(args: &MigrationsArgs) -> Result<(), Failure> {
    let mut target = "/api/v1/migrations?limit=1000".to_owned();
    for (name, value) in [("stream", &args.stream), ("worker", &args.worker)] {
        if let Some(value) = value {
            target.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    let raw: Value = args.server.api()?.get(&target).await?;
    match args.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => print_migrations(&raw, "no stream has moved under this leader"),
    }
}

pub(super) fn print_migrations(raw: &Value, nothing: &str) -> Result<(), Failure> {
    let rows = raw.get("migrations").cloned().unwrap_or_default();
    let rows = Vec::<Row>::deserialize(rows).map_err(|error| another_way("a move", &error))?;
    if rows.is_empty() {
        return screen::line(nothing);
    }
    let mut table = screen::table(&[
        "STREAM", "FROM", "TO", "REASON", "WAY", "STATE", "SINCE", "GAP", "OVERLAP", "DETAIL",
    ]);
    for row in rows {
        let time = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        table.add_row(vec![
            row.stream,
            row.from,
            row.to,
            row.reason,
            row.way,
            row.state,
            row.since,
            time(row.gap_ms),
            time(row.overlap_ms),
            row.detail.unwrap_or_default(),
        ]);
    }
    screen::print_table(&table)
}
