//! Orders: one request each, answered when it is stored.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print_steps;
use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

const WORKER_EXAMPLES: &str = "\
Examples:
  streamkeeper workers cordon w-1 --reason 'kernel update'
  streamkeeper workers uncordon w-1
  streamkeeper workers fill w-1 -o json";
const STREAM_EXAMPLES: &str = "\
Examples:
  streamkeeper streams freeze radio-1 --reason 'live tonight'
  streamkeeper streams unfreeze radio-1";
const MOVE_EXAMPLES: &str = "\
An `available` stream runs on until it runs there; an `exclusive` one stops first.

Examples:
  streamkeeper streams move radio-1 --to w-2
  streamkeeper streams move radio-1 --to w-2 --dry-run";
const REBALANCE_EXAMPLES: &str = "\
Without a verb, one round of evening out is done now.

Examples:
  streamkeeper rebalance --dry-run
  streamkeeper rebalance pause --reason 'live tonight' --for 3h
  streamkeeper rebalance resume";

/// What is ordered without more than a name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verb {
    Cordon,
    Uncordon,
    Fill,
    Unfreeze,
}

impl Verb {
    /// The last part of the path, and what is said when it is done.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Cordon => (
                "cordon",
                "gets no more streams; `workers drain` moves those that it has",
            ),
            Self::Uncordon => ("uncordon", "may get streams again"),
            Self::Fill => ("fill", "may get streams again; evening out moves some there"),
            Self::Unfreeze => ("unfreeze", "may be moved again"),
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = WORKER_EXAMPLES)]
pub(crate) struct WorkerArgs {
    /// The worker's id
    id: String,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = STREAM_EXAMPLES)]
pub(crate) struct StreamArgs {
    /// The stream's name
    pub(super) name: String,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = STREAM_EXAMPLES)]
pub(crate) struct FreezeArgs {
    #[command(flatten)]
    stream: StreamArgs,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = MOVE_EXAMPLES)]
pub(crate) struct MoveArgs {
    #[command(flatten)]
    stream: StreamArgs,
    /// The worker that gets it
    #[arg(long)]
    to: String,
    /// Says what would move, and moves nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = REBALANCE_EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct RebalanceArgs {
    #[command(subcommand)]
    command: Option<RebalanceCommand>,
    /// Says what would move, and moves nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RebalanceCommand {
    /// Moves nothing for the sake of balance, for a time
    Pause(PauseArgs),
    /// Ends a pause
    Resume(ResumeArgs),
    /// Shows whether evening out is paused
    Show(ResumeArgs),
}

#[derive(Debug, Args)]
#[command(after_help = REBALANCE_EXAMPLES)]
pub(crate) struct PauseArgs {
    /// Why, for those who wonder
    #[arg(long)]
    reason: String,
    /// How long, such as 1h
    #[arg(long = "for", value_name = "TIME")]
    lasts: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = REBALANCE_EXAMPLES)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) async fn order_worker(verb: Verb, args: &WorkerArgs) -> Result<(), Failure> {
    let (word, done) = verb.words();
    let body = json!({ "reason": args.reason });
    let target = format!("/api/v1/workers/{}/{word}", encode(&args.id));
    let done = format!("{} {done}", args.id);
    send(
        &args.server,
        &args.output,
        &target,
        &body,
        (Kind::Worker, &args.id),
        &done,
    )
    .await
}

pub(crate) async fn order_stream(verb: Verb, args: &StreamArgs) -> Result<(), Failure> {
    let (word, done) = verb.words();
    let target = format!("/api/v1/streams/{}/{word}", encode(&args.name));
    let done = format!("{} {done}", args.name);
    send(
        &args.server,
        &args.output,
        &target,
        &Value::Null,
        (Kind::Stream, &args.name),
        &done,
    )
    .await
}

pub(crate) async fn freeze(args: &FreezeArgs) -> Result<(), Failure> {
    let StreamArgs { name, server, output } = &args.stream;
    let body = json!({ "reason": args.reason });
    let target = format!("/api/v1/streams/{}/freeze", encode(name));
    let done = format!("{name} is not moved for the sake of balance");
    send(server, output, &target, &body, (Kind::Stream, name), &done).await
}

pub(crate) async fn move_stream(args: &MoveArgs) -> Result<(), Failure> {
    let StreamArgs { name, server, output } = &args.stream;
    let api = server.api()?;
    let target = format!("/api/v1/streams/{}/move?dry_run={}", encode(name), args.dry_run);
    let raw = match api.post(&target, &json!({ "to": args.to })).await {
        Ok(raw) => raw,
        Err(error) => {
            return Err(suggest::failure(&api, Kind::Stream, std::slice::from_ref(name), error).await);
        }
    };
    match output.output {
        Format::Json => screen::json(&raw),
        Format::Table => print_steps(&raw, "nothing moves: it is there already"),
    }
}

pub(crate) async fn rebalance(args: &RebalanceArgs) -> Result<(), Failure> {
    match &args.command {
        None => {
            let target = format!("/api/v1/rebalance?dry_run={}", args.dry_run);
            let raw = args.server.api()?.post(&target, &Value::Null).await?;
            match args.output.output {
                Format::Json => screen::json(&raw),
                Format::Table => print_steps(&raw, "nothing moves: load is even enough"),
            }
        }
        Some(RebalanceCommand::Pause(pause)) => {
            let body = json!({ "reason": pause.reason, "for": pause.lasts });
            let raw = pause.server.api()?.post("/api/v1/rebalance/pause", &body).await?;
            let done = format!("nothing is moved for the sake of balance for {}", pause.lasts);
            told(&pause.output, &raw, &done)
        }
        Some(RebalanceCommand::Resume(args)) => {
            let raw = args
                .server
                .api()?
                .post("/api/v1/rebalance/resume", &Value::Null)
                .await?;
            told(&args.output, &raw, "evening out goes on")
        }
        Some(RebalanceCommand::Show(args)) => {
            let raw: Value = args.server.api()?.get("/api/v1/rebalance").await?;
            match (args.output.output, raw.get("paused")) {
                (Format::Json, _) => screen::json(&raw),
                (Format::Table, Some(paused)) if !paused.is_null() => screen::fields(paused),
                (Format::Table, _) => screen::line("evening out is not paused"),
            }
        }
    }
}

async fn send(
    server: &ServerArgs,
    output: &OutputArgs,
    target: &str,
    body: &Value,
    (kind, subject): (Kind, &String),
    done: &str,
) -> Result<(), Failure> {
    let api = server.api()?;
    match api.post(target, body).await {
        Ok(raw) => told(output, &raw, done),
        Err(error) => Err(suggest::failure(&api, kind, std::slice::from_ref(subject), error).await),
    }
}

fn told(output: &OutputArgs, raw: &Value, done: &str) -> Result<(), Failure> {
    match output.output {
        Format::Json => screen::json(raw),
        Format::Table => screen::line(done),
    }
}
