//! `streams`: declare and show streams.

mod apply;
mod change;
mod diff;
mod file;
mod place;
mod switch;
mod tree;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use apply::ApplyArgs;
pub(crate) use switch::{DeleteArgs, DisableArgs, EnableArgs, RestartArgs};

use crate::api::{Api, ApiError, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

/// Streams per page; the server's largest.
const PAGE: usize = 1_000;

const LIST_EXAMPLES: &str = "\
Examples:
  streamkeeper streams list
  streamkeeper streams list --state failing
  streamkeeper streams list --worker w-1 --prefix radio- -o json";
const GET_EXAMPLES: &str = "\
Examples:
  streamkeeper streams get radio-1
  streamkeeper streams get radio-1 -o json";

#[derive(Debug, Subcommand)]
pub(crate) enum StreamsCommand {
    /// Makes the streams be as a file says
    Apply(ApplyArgs),
    /// Lists streams
    List(ListArgs),
    /// Shows one stream, and why it is where it is
    Get(GetArgs),
    /// Deletes streams, all of them or none
    Delete(DeleteArgs),
    /// Stops streams and starts them again where they are
    Restart(RestartArgs),
    /// Switches streams on
    Enable(EnableArgs),
    /// Switches streams off; they stay declared
    Disable(DisableArgs),
}

#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only streams in this state
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Only streams on this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<String>,
    /// Only streams whose names begin so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct GetArgs {
    /// The stream's name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// One page of `GET /api/v1/streams`. The entries stay as they are, so that `-o json` shows all that the server says.
#[derive(Deserialize)]
struct Page {
    streams: Vec<Value>,
    next: Option<String>,
}

/// What a table shows of a stream.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) state: String,
    pub(crate) worker: Option<String>,
    #[serde(default)]
    pub(crate) restarts: Option<u32>,
    #[serde(default)]
    pub(crate) failure: Option<String>,
    #[serde(default)]
    pub(crate) unplaced: Option<Unplaced>,
}

/// Why a stream has no worker.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Unplaced {
    pub(crate) detail: String,
}

pub(crate) fn run(command: StreamsCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            StreamsCommand::Apply(args) => apply::run(&args).await,
            StreamsCommand::List(args) => list(&args).await,
            StreamsCommand::Get(args) => get(&args).await,
            StreamsCommand::Delete(args) => switch::delete(&args).await,
            StreamsCommand::Restart(args) => switch::restart(&args).await,
            StreamsCommand::Enable(args) => switch::enable(&args).await,
            StreamsCommand::Disable(args) => switch::disable(&args).await,
        }
    })
}

/// Every stream that fits `filter` (query parameters), page by page.
pub(crate) async fn all(api: &Api, filter: &str) -> Result<Vec<Value>, ApiError> {
    let mut streams = Vec::new();
    let mut after = String::new();
    loop {
        let page: Page = api
            .get(&format!("/api/v1/streams?limit={PAGE}{filter}{after}"))
            .await?;
        streams.extend(page.streams);
        match page.next {
            Some(next) => after = format!("&after={}", encode(&next)),
            None => return Ok(streams),
        }
    }
}

/// The names of all streams.
pub(crate) async fn names(api: &Api) -> Result<Vec<String>, ApiError> {
    Ok(screen::texts(&all(api, "").await?, "name"))
}

/// Entries of the API as rows of a table.
pub(crate) fn rows(streams: &[Value]) -> Result<Vec<Row>, Failure> {
    streams
        .iter()
        .map(Row::deserialize)
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::failed(format!("the server describes a stream in another way: {error}")))
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let mut filter = String::new();
    for (name, value) in [
        ("state", &args.state),
        ("worker", &args.worker),
        ("prefix", &args.prefix),
    ] {
        if let Some(value) = value {
            filter.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    let streams = all(&args.server.api()?, &filter).await?;
    if args.output.output == Format::Json {
        return screen::json(&json!({ "streams": streams }));
    }
    if streams.is_empty() {
        return screen::line(if filter.is_empty() {
            "no streams; declare some with `streamkeeper streams apply -f FILE`"
        } else {
            "no stream fits"
        });
    }
    let mut table = screen::table(&["NAME", "STATE", "WORKER", "RESTARTS", "SOURCE", "NOTE"]);
    for row in rows(&streams)? {
        let note = row.failure.or(row.unplaced.map(|unplaced| unplaced.detail));
        table.add_row(vec![
            row.name.into(),
            screen::state(&row.state),
            row.worker.unwrap_or_else(|| "-".to_owned()).into(),
            row.restarts.unwrap_or_default().into(),
            row.source.into(),
            comfy_table::Cell::new(note.unwrap_or_default().lines().next().unwrap_or_default()),
        ]);
    }
    screen::print_table(&table)
}

async fn get(args: &GetArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let target = format!("/api/v1/streams/{}", encode(&args.name));
    let stream: Value = match api.get(&target).await {
        Ok(stream) => stream,
        Err(error) => {
            let typed = std::slice::from_ref(&args.name);
            return Err(suggest::failure(&api, Kind::Stream, typed, error).await);
        }
    };
    match args.output.output {
        Format::Json => screen::json(&stream),
        Format::Table => screen::fields(&stream),
    }
}
