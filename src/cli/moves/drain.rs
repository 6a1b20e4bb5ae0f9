//! `workers drain`: every stream of a worker moves elsewhere; how far it is can be watched.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Lacking, another_way};
use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Width of the bar.
const CELLS: usize = 30;

const EXAMPLES: &str = "\
Streams move a few at a time: `available` ones without a gap, `exclusive` ones stop first. The worker stays cordoned until
`workers uncordon` or `workers fill`. Exit code 1: some streams are left, because nobody else can take them.

Examples:
  streamkeeper workers drain w-1 --reason 'kernel update'
  streamkeeper workers drain w-1 --no-wait
  streamkeeper workers drain w-1 --status
  streamkeeper workers drain w-1 --cancel";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DrainArgs {
    /// The worker's id
    id: String,
    /// Why, for those who look later
    #[arg(long)]
    reason: Option<String>,
    /// Ends when the drain is under way
    #[arg(long, conflicts_with_all = ["status", "cancel"])]
    no_wait: bool,
    /// Shows how far the drain is, and begins none
    #[arg(long, conflicts_with = "cancel")]
    status: bool,
    /// Ends the drain: the worker may get streams again
    #[arg(long)]
    cancel: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct Drain {
    state: String,
    total: usize,
    remaining: usize,
    left: Vec<Lacking>,
}

pub(crate) async fn drain(args: &DrainArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let path = format!("/api/v1/workers/{}/drain", encode(&args.id));
    if args.status {
        let raw: Value = api.get(&path).await?;
        return match args.output.output {
            Format::Json => screen::json(&raw),
            Format::Table => screen::fields(&raw),
        };
    }
    let (target, body) = if args.cancel {
        let target = format!("/api/v1/workers/{}/uncordon", encode(&args.id));
        (target, Value::Null)
    } else {
        (path.clone(), json!({ "reason": args.reason }))
    };
    let raw = match api.post(&target, &body).await {
        Ok(raw) => raw,
        Err(error) => {
            let typed = std::slice::from_ref(&args.id);
            return Err(suggest::failure(&api, Kind::Worker, typed, error).await);
        }
    };
    if args.cancel || args.no_wait {
        let done = if args.cancel {
            "may get streams again"
        } else {
            "is being drained"
        };
        return match args.output.output {
            Format::Json => screen::json(&raw),
            Format::Table => screen::line(&format!("{} {done}", args.id)),
        };
    }
    watch(&api, &path, args).await
}

/// Looks until nothing moves any more.
async fn watch(api: &Api, path: &str, args: &DrainArgs) -> Result<(), Failure> {
    let mut told = usize::MAX;
    loop {
        let raw: Value = api.get(path).await?;
        let drain = Drain::deserialize(&raw).map_err(|error| another_way("a drain", &error))?;
        show(&args.id, &drain, &mut told);
        let stuck = drain.remaining > 0 && drain.left.len() >= drain.remaining;
        if drain.state == "running" && !stuck {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        end_of_line();
        if args.output.output == Format::Json {
            screen::json(&raw)?;
        } else if drain.state == "done" {
            screen::line(&format!("{} has no stream any more; it stays cordoned", args.id))?;
        }
        return match drain.state.as_str() {
            "done" => Ok(()),
            "running" => Err(left(&args.id, &drain)),
            other => Err(Failure::failed(format!("the drain of {} is {other}", args.id))),
        };
    }
}

fn left(worker: &str, drain: &Drain) -> Failure {
    let mut text = format!("{} streams are left on {worker}:", drain.remaining);
    for lacking in drain.left.iter().take(10) {
        text.push_str(&format!("\n  {}: {}", lacking.stream, lacking.detail));
    }
    text.push_str("\n  they move as soon as somebody can take them; --cancel ends the drain");
    Failure::failed(text)
}

/// A bar on a terminal; elsewhere a line for each change.
fn show(worker: &str, drain: &Drain, told: &mut usize) {
    if *told == drain.remaining {
        return;
    }
    *told = drain.remaining;
    let gone = drain.total.saturating_sub(drain.remaining);
    let mut stderr = std::io::stderr().lock();
    if !stderr.is_terminal() {
        drop(stderr);
        return screen::note(&format!("{gone} of {} streams have left {worker}", drain.total));
    }
    let filled = (gone * CELLS).checked_div(drain.total).unwrap_or(CELLS);
    let bar = "#".repeat(filled) + &"-".repeat(CELLS - filled.min(CELLS));
    // Nobody is left to tell when stderr is gone.
    let _ = write!(stderr, "\r{worker} [{bar}] {gone}/{} ", drain.total).and_then(|()| stderr.flush());
}

fn end_of_line() {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let _ = writeln!(stderr);
    }
}
