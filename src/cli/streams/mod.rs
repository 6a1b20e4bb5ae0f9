//! `streams`: declare and show streams.

mod apply;
mod change;
mod diff;
mod file;
mod logs;
mod place;
mod switch;
mod tree;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use apply::ApplyArgs;
pub(crate) use logs::LogsArgs;
pub(crate) use switch::{DeleteArgs, DisableArgs, EnableArgs, ReleaseArgs, RestartArgs};

use crate::api::{Api, ApiError, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::moves::{self, ExplainArgs, FreezeArgs, MoveArgs, PinArgs, StreamArgs, UnpinArgs, Verb};
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
    /// Shows what a stream writes
    Logs(LogsArgs),
    /// Deletes streams, all of them or none
    Delete(DeleteArgs),
    /// Stops streams and starts them again where they are
    Restart(RestartArgs),
    /// Lets streams wait for their lost workers no longer
    Release(ReleaseArgs),
    /// Switches streams on
    Enable(EnableArgs),
    /// Switches streams off; they stay declared
    Disable(DisableArgs),
    /// Explains why a stream is where it is
    Explain(ExplainArgs),
    /// Moves a stream to a worker, once
    Move(MoveArgs),
    /// Lets one worker alone run a stream, and moves it there
    Pin(PinArgs),
    /// Lets any worker run a stream again
    Unpin(UnpinArgs),
    /// Keeps a stream from being moved for the sake of balance
    Freeze(FreezeArgs),
    /// Lets a stream be moved again
    Unfreeze(StreamArgs),
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
    /// What it waits for, where its worker is lost.
    #[serde(default)]
    pub(crate) awaits: Option<String>,
    #[serde(default)]
    performance: Option<Performance>,
}

/// What a stream uses and gives, as far as it is measured.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Performance {
    cpu_cores: Option<f64>,
    memory_bytes: Option<u64>,
    bytes_per_second: Option<u64>,
}

impl Performance {
    fn cells(self) -> [String; 3] {
        let cpu = self.cpu_cores.map(|cores| format!("{:.1}%", cores * 100.0));
        let memory = self.memory_bytes.map(screen::bytes);
        let rate = self
            .bytes_per_second
            .map(|bytes| format!("{}/s", screen::bytes(bytes)));
        [cpu, memory, rate].map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
    }
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
            StreamsCommand::Logs(args) => logs::run(&args).await,
            StreamsCommand::Delete(args) => switch::delete(&args).await,
            StreamsCommand::Restart(args) => switch::restart(&args).await,
            StreamsCommand::Release(args) => switch::release(&args).await,
            StreamsCommand::Enable(args) => switch::enable(&args).await,
            StreamsCommand::Disable(args) => switch::disable(&args).await,
            StreamsCommand::Explain(args) => moves::explain(&args).await,
            StreamsCommand::Move(args) => moves::move_stream(&args).await,
            StreamsCommand::Pin(args) => moves::pin(&args).await,
            StreamsCommand::Unpin(args) => moves::unpin(&args).await,
            StreamsCommand::Freeze(args) => moves::freeze(&args).await,
            StreamsCommand::Unfreeze(args) => moves::order_stream(Verb::Unfreeze, &args).await,
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
    screen::print_table(&table(rows(&streams)?))
}

/// A row per stream. What is measured of no stream has no columns.
fn table(rows: Vec<Row>) -> comfy_table::Table {
    let measured = rows.iter().any(|row| row.performance.is_some());
    let (first, last) = (["NAME", "STATE", "WORKER", "RESTARTS"], ["SOURCE", "NOTE"]);
    let between: &[&str] = if measured { &["CPU", "MEMORY", "RATE"] } else { &[] };
    let mut table = screen::table(&[&first, between, &last].concat());
    for row in rows {
        let awaits = row.awaits.map(|why| match why.as_str() {
            "lease" => "waits for the end of its worker's lease".to_owned(),
            "lost_after" => "waits for its lost worker".to_owned(),
            _ => "waits for its lost worker, or for `streams release`".to_owned(),
        });
        let note = awaits
            .or(row.failure)
            .or(row.unplaced.map(|unplaced| unplaced.detail));
        let mut cells = vec![
            row.name.into(),
            screen::state(&row.state),
            row.worker.unwrap_or_else(|| "-".to_owned()).into(),
            row.restarts.unwrap_or_default().into(),
        ];
        if measured {
            let performance = row.performance.unwrap_or_default();
            cells.extend(performance.cells().map(comfy_table::Cell::new));
        }
        cells.push(row.source.into());
        let note = note.unwrap_or_default();
        cells.push(comfy_table::Cell::new(note.lines().next().unwrap_or_default()));
        table.add_row(cells);
    }
    table
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(streams: &[Value]) -> Vec<String> {
        let table = table(rows(streams).unwrap());
        table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn what_is_measured_has_columns() {
        let stream = |performance: Value| {
            json!({"name": "a", "source": "x", "state": "running", "worker": "w", "restarts": 2,
                "performance": performance})
        };
        assert_eq!(
            lines(&[stream(Value::Null)]),
            ["NAME STATE WORKER RESTARTS SOURCE NOTE", "a running w 2 x"]
        );
        let command = json!({"cpu_cores": 0.0125, "memory_bytes": 45_000_000});
        let reader = json!({"bytes_per_second": 16_000, "stalls": 1});
        assert_eq!(
            lines(&[stream(command), stream(reader), stream(Value::Null)]),
            [
                "NAME STATE WORKER RESTARTS CPU MEMORY RATE SOURCE NOTE",
                "a running w 2 1.2% 42.9 MiB - x",
                "a running w 2 - - 15.6 KiB/s x",
                "a running w 2 - - - x",
            ]
        );
    }
}
