//! `streams pin`, `streams unpin`.

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{StreamArgs, another_way};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format};
use crate::suggest::{self, Kind};

const EXAMPLES: &str = "\
A pin is a part of the stream's declaration: the next `streams apply` sets it as the file says. A pinned stream waits while \
its worker is away.

Examples:
  streamkeeper streams pin radio-1 --to w-2
  streamkeeper streams pin radio-1 --to w-2 --dry-run
  streamkeeper streams unpin radio-1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PinArgs {
    #[command(flatten)]
    stream: StreamArgs,
    /// The only worker that may run it
    #[arg(long, value_name = "WORKER")]
    to: String,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    stream: StreamArgs,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of a pin, as the server says it.
#[derive(Debug, Deserialize)]
struct Pin {
    stream: String,
    pin: Option<String>,
    moves: bool,
    warnings: Vec<String>,
    dry_run: bool,
}

pub(crate) async fn pin(args: &PinArgs) -> Result<(), Failure> {
    send(&args.stream, "pin", &json!({ "to": args.to }), args.dry_run).await
}

pub(crate) async fn unpin(args: &UnpinArgs) -> Result<(), Failure> {
    send(&args.stream, "unpin", &Value::Null, args.dry_run).await
}

async fn send(stream: &StreamArgs, verb: &str, body: &Value, dry_run: bool) -> Result<(), Failure> {
    let StreamArgs { name, server, output } = stream;
    let api = server.api()?;
    let target = format!("/api/v1/streams/{}/{verb}?dry_run={dry_run}", encode(name));
    let raw = match api.post(&target, body).await {
        Ok(raw) => raw,
        Err(error) => {
            return Err(suggest::failure(&api, Kind::Stream, std::slice::from_ref(name), error).await);
        }
    };
    if output.output == Format::Json {
        return screen::json(&raw);
    }
    let said = Pin::deserialize(&raw).map_err(|error| another_way("a pin", &error))?;
    for warning in &said.warnings {
        screen::complain(&format!("warning: {warning}"));
    }
    let stream = &said.stream;
    let done = match &said.pin {
        Some(worker) if said.moves => format!("{stream} may run on {worker} alone, and moves there"),
        Some(worker) => format!("{stream} may run on {worker} alone"),
        None => format!("{stream} may run on any worker; it stays where it is"),
    };
    let dry = if said.dry_run {
        "dry run, nothing was done: "
    } else {
        ""
    };
    screen::line(&format!("{dry}{done}"))
}
