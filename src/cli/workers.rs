//! `workers`: show workers, take them out of use, bring them in line.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{Api, ApiError, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::moves::{self, DrainArgs, Verb, WorkerArgs};
use crate::recovery::{self, EmergencyArgs, RecoverArgs, RecoveriesArgs};
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

/// Workers per page; the server's largest.
const PAGE: usize = 1_000;

const LIST_EXAMPLES: &str = "\
Examples:
  streamkeeper workers list
  streamkeeper workers list -o json";

const GET_EXAMPLES: &str = "\
Examples:
  streamkeeper workers get w-1
  streamkeeper workers get w-1 -o json";

const SYNCHRONIZE_EXAMPLES: &str = "\
Examples:
  streamkeeper workers synchronize w-1";

#[derive(Debug, Args)]
#[command(after_help = SYNCHRONIZE_EXAMPLES)]
pub(crate) struct SynchronizeArgs {
    /// The worker's id
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// Lists workers
    List(ListArgs),
    /// Shows one worker, and what it runs
    Get(GetArgs),
    /// Keeps a worker from getting streams; those that it has stay
    Cordon(WorkerArgs),
    /// Lets a worker get streams again; a drain of it ends
    Uncordon(WorkerArgs),
    /// Moves every stream of a worker elsewhere
    Drain(DrainArgs),
    /// Lets a worker get streams again, and evens out to it
    Fill(WorkerArgs),
    /// Has a worker and the leader exchange everything that they know of each other
    Synchronize(SynchronizeArgs),
    /// Has recovery of a worker tried: asks it for everything, drains it, or restarts it
    Recover(RecoverArgs),
    /// Takes every stream from a worker, whether it obeys or not, and lets it begin anew
    Emergency(EmergencyArgs),
    /// Shows what was tried on workers in trouble, and how often it helped
    Recoveries(RecoveriesArgs),
}

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    /// The worker's id
    id: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Deserialize)]
struct Page {
    workers: Vec<Value>,
    #[serde(default)]
    next: Option<String>,
}

/// What a table shows of a worker.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) availability: String,
    pub(crate) takes_streams: bool,
    phase: String,
    #[serde(default)]
    cordoned: bool,
    #[serde(default)]
    assigned_count: usize,
    #[serde(default)]
    running_count: usize,
    #[serde(default)]
    load_ratio: Option<f64>,
    #[serde(default)]
    last_heard_ms_ago: Option<u64>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    version: String,
}

pub(crate) fn run(command: WorkersCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            WorkersCommand::List(args) => list(&args).await,
            WorkersCommand::Get(args) => get(&args).await,
            WorkersCommand::Cordon(args) => moves::order_worker(Verb::Cordon, &args).await,
            WorkersCommand::Uncordon(args) => moves::order_worker(Verb::Uncordon, &args).await,
            WorkersCommand::Drain(args) => moves::drain(&args).await,
            WorkersCommand::Fill(args) => moves::order_worker(Verb::Fill, &args).await,
            WorkersCommand::Synchronize(args) => synchronize(&args).await,
            WorkersCommand::Recover(args) => recovery::recover(&args).await,
            WorkersCommand::Emergency(args) => recovery::emergency(&args).await,
            WorkersCommand::Recoveries(args) => recovery::list(&args).await,
        }
    })
}

async fn get(args: &GetArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let worker: Value = match api.get(&format!("/api/v1/workers/{}", encode(&args.id))).await {
        Ok(worker) => worker,
        Err(error) => {
            let typed = std::slice::from_ref(&args.id);
            return Err(suggest::failure(&api, Kind::Worker, typed, error).await);
        }
    };
    match args.output.output {
        Format::Json => screen::json(&worker),
        Format::Table => screen::fields(&worker),
    }
}

async fn synchronize(args: &SynchronizeArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let target = format!("/api/v1/workers/{}/synchronize", encode(&args.id));
    let answer = match api.post(&target, &Value::Null).await {
        Ok(answer) => answer,
        Err(error) => {
            let typed = std::slice::from_ref(&args.id);
            return Err(suggest::failure(&api, Kind::Worker, typed, error).await);
        }
    };
    match args.output.output {
        Format::Json => screen::json(&answer),
        Format::Table => screen::line(&format!("worker {} has sent all that it runs", args.id)),
    }
}

/// The ids of all workers.
pub(crate) async fn names(api: &Api) -> Result<Vec<String>, ApiError> {
    Ok(screen::texts(&all(api).await?, "id"))
}

/// Every worker, page by page.
async fn all(api: &Api) -> Result<Vec<Value>, ApiError> {
    let mut workers = Vec::new();
    let mut after = String::new();
    loop {
        let page: Page = api.get(&format!("/api/v1/workers?limit={PAGE}{after}")).await?;
        workers.extend(page.workers);
        match page.next {
            Some(next) => after = format!("&after={}", encode(&next)),
            None => return Ok(workers),
        }
    }
}

/// Every worker as a row of a table.
pub(crate) async fn rows(api: &Api) -> Result<Vec<Row>, Failure> {
    all(api).await?.iter().map(row).collect()
}

fn row(worker: &Value) -> Result<Row, Failure> {
    Row::deserialize(worker)
        .map_err(|error| Failure::failed(format!("the server describes a worker in another way: {error}")))
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let workers = all(&args.server.api()?).await?;
    if args.output.output == Format::Json {
        return screen::json(&json!({ "workers": workers }));
    }
    if workers.is_empty() {
        return screen::line("no workers; start one with `streamkeeper agent --exec 'COMMAND {source}'`");
    }
    let mut table = screen::table(&[
        "WORKER", "STATE", "PHASE", "ASSIGNED", "RUNNING", "LOAD", "HEARD", "ZONE", "VERSION",
    ]);
    for row in workers.iter().map(row) {
        let row = row?;
        table.add_row(vec![
            row.id.into(),
            screen::state(&row.availability),
            if row.cordoned {
                format!("{}, cordoned", row.phase)
            } else {
                row.phase
            }
            .into(),
            row.assigned_count.into(),
            row.running_count.into(),
            row.load_ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{:.1}%", ratio * 100.0))
                .into(),
            row.last_heard_ms_ago
                .map_or_else(|| "never".to_owned(), |ms| format!("{} ago", screen::ago(ms)))
                .into(),
            row.zone.unwrap_or_else(|| "-".to_owned()).into(),
            row.version.into(),
        ]);
    }
    screen::print_table(&table)
}
