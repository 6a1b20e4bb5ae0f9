//! `streams enable`, `disable`, `restart`, `delete`: streams by name.

use clap::Args;
use serde_json::json;

use super::change::Change;
use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::screen::OutputArgs;
use crate::suggest::{self, Kind};

const DELETE_EXAMPLES: &str = "\
All of them are deleted or none.

Examples:
  streamkeeper streams delete radio-1 radio-2
  streamkeeper streams delete radio-1 -o json";
const ENABLE_EXAMPLES: &str = "\
All of them are switched on or none.

Examples:
  streamkeeper streams enable radio-1 radio-2";
const DISABLE_EXAMPLES: &str = "\
A stream that is switched off is stopped and keeps its declaration. The next `streams apply` sets it as the file says.
All of them are switched off or none.

Examples:
  streamkeeper streams disable radio-1";
const RESTART_EXAMPLES: &str = "\
The stream's process is stopped and started again on the same worker. All of them are restarted or none.

Examples:
  streamkeeper streams restart radio-1 radio-2";

/// Streams by name.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Names of the streams
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = DELETE_EXAMPLES)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
#[command(after_help = ENABLE_EXAMPLES)]
pub(crate) struct EnableArgs {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
#[command(after_help = DISABLE_EXAMPLES)]
pub(crate) struct DisableArgs {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
#[command(after_help = RESTART_EXAMPLES)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    named: Named,
}

pub(super) async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    act(&args.named, "delete", "changed").await
}

pub(super) async fn enable(args: &EnableArgs) -> Result<(), Failure> {
    act(&args.named, "enable", "enabled").await
}

pub(super) async fn disable(args: &DisableArgs) -> Result<(), Failure> {
    act(&args.named, "disable", "disabled").await
}

pub(super) async fn restart(args: &RestartArgs) -> Result<(), Failure> {
    act(&args.named, "restart", "restarted").await
}

/// One request for all of them; `changed` is the word for streams that were changed.
async fn act(named: &Named, action: &str, changed: &str) -> Result<(), Failure> {
    let Named {
        names,
        server,
        output,
    } = named;
    let api = server.api()?;
    let body = json!({ "action": action, "names": names });
    match api.post("/api/v1/streams", &body).await {
        Ok(answer) => Change::of(&answer)?.print(output.output, changed),
        Err(error) => Err(suggest::failure(&api, Kind::Stream, names, error).await),
    }
}
