//! `streams enable`, `disable`, `restart`, `delete`: streams by name.

use clap::Args;
use serde_json::{Value, json};

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

const RELEASE_EXAMPLES: &str = "\
A stream whose worker is lost may wait for it (state \"waiting\"). One that is released is given to another worker; an
exclusive one when the lease of its worker is over as well. Release exclusive streams only when you know that their worker
and its commands are dead. Nothing of it is stored: after a change of the leader, release again what still waits. All of them
are released or none.

Examples:
  streamkeeper streams release radio-1
  streamkeeper streams release --owner-is-dead camera-1 camera-2";

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

#[derive(Debug, Args)]
#[command(after_help = RELEASE_EXAMPLES)]
pub(crate) struct ReleaseArgs {
    /// You know that the lost worker and its commands are dead; needed for exclusive streams
    #[arg(long)]
    owner_is_dead: bool,
    #[command(flatten)]
    named: Named,
}

pub(super) async fn release(args: &ReleaseArgs) -> Result<(), Failure> {
    let named = &args.named;
    let mut body = json!({ "action": "release", "names": named.names });
    if args.owner_is_dead {
        body["owner_is_dead"] = true.into();
    }
    send(named, &body, "changed").await
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
    let body = json!({ "action": action, "names": named.names });
    send(named, &body, changed).await
}

async fn send(named: &Named, body: &Value, changed: &str) -> Result<(), Failure> {
    let Named {
        names,
        server,
        output,
    } = named;
    let api = server.api()?;
    match api.post("/api/v1/streams", body).await {
        Ok(answer) => Change::of(&answer)?.print(output.output, changed),
        Err(error) => Err(suggest::failure(&api, Kind::Stream, names, error).await),
    }
}
