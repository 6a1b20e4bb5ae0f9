//! `leader`: who leads, and giving the lead up.

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};

const SHOW_EXAMPLES: &str = "\
Examples:
  streamkeeper leader show
  streamkeeper leader show --server http://orchestrator-2:8001 -o json";

const STEP_DOWN_EXAMPLES: &str = "\
Examples:
  streamkeeper leader step-down
  streamkeeper leader step-down --server http://orchestrator-2:8001 -o json";

#[derive(Debug, Subcommand)]
pub(crate) enum LeaderCommand {
    /// Shows who leads, as the orchestrator that is asked knows it
    Show(ShowArgs),
    /// Has the leader give the lead up, so that another orchestrator takes it; no stream moves
    StepDown(StepDownArgs),
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
#[command(after_help = STEP_DOWN_EXAMPLES)]
pub(crate) struct StepDownArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of `GET /api/v1/leader`.
#[derive(Debug, Deserialize)]
struct Leader {
    orchestrator: String,
    role: String,
    election: String,
    leader: Option<String>,
    api_url: Option<String>,
    term: u32,
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SteppingDown {
    orchestrator: String,
    term: u32,
}

pub(crate) fn run(command: LeaderCommand) -> Result<(), Failure> {
    match command {
        LeaderCommand::Show(args) => show(&args),
        LeaderCommand::StepDown(args) => step_down(&args),
    }
}

fn show(args: &ShowArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let raw: Value = crate::runtime()?.block_on(api.get("/api/v1/leader"))?;
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    let leader = Leader::deserialize(&raw).map_err(|error| another_way(&error))?;
    let mut table = screen::table(&["LEADER", "TERM", "API", "ASKED", "ROLE", "SINCE"]);
    table.add_row(vec![
        leader.leader.unwrap_or_else(|| "nobody".to_owned()).into(),
        leader.term.to_string().into(),
        leader.api_url.unwrap_or_default().into(),
        leader.orchestrator.into(),
        // What it does beyond waiting is worth a word.
        match leader.election.as_str() {
            stage @ ("leaving" | "resting") => format!("{}, {stage}", leader.role).into(),
            _ => screen::state(&leader.role),
        },
        leader.since.unwrap_or_default().into(),
    ]);
    screen::print_table(&table)
}

fn step_down(args: &StepDownArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let raw = crate::runtime()?.block_on(api.post("/api/v1/leader/step-down", &Value::Null))?;
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    let stepping = SteppingDown::deserialize(&raw).map_err(|error| another_way(&error))?;
    screen::line(&format!(
        "{} gives up term {}; `streamkeeper leader show` shows who follows",
        stepping.orchestrator, stepping.term
    ))
}

fn another_way(error: &serde_json::Error) -> Failure {
    Failure::failed(format!(
        "the server describes its leader in another way: {error}; try -o json"
    ))
}
