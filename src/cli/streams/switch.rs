//! `streams enable`, `disable`, `restart`, `delete`: streams by name.

use clap::Args;
use serde_json::json;

use super::change::Change;
use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::OutputArgs;
use crate::suggest::{self, Kind};

const DELETE_EXAMPLES: &str = "\
All of them are deleted or none.

Examples:
  streamkeeper streams delete radio-1 radio-2
  streamkeeper streams delete radio-1 -o json";
const ENABLE_EXAMPLES: &str = "\
Examples:
  streamkeeper streams enable radio-1 radio-2";
const DISABLE_EXAMPLES: &str = "\
A stream that is switched off is stopped and keeps its declaration. The next `streams apply` sets it as the file says.

Examples:
  streamkeeper streams disable radio-1";
const RESTART_EXAMPLES: &str = "\
The stream's process is stopped and started again on the same worker.

Examples:
  streamkeeper streams restart radio-1";

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
    let Named {
        names,
        server,
        output,
    } = &args.named;
    let api = server.api()?;
    let body = json!({ "streams": [], "delete": names });
    match api.put("/api/v1/streams", &body).await {
        Ok(answer) => Change::of(&answer)?.print(output.output, "changed"),
        Err(error) => Err(suggest::failure(&api, Kind::Stream, names, error).await),
    }
}

pub(super) async fn enable(args: &EnableArgs) -> Result<(), Failure> {
    each(&args.named, Verb::Switch(true)).await
}

pub(super) async fn disable(args: &DisableArgs) -> Result<(), Failure> {
    each(&args.named, Verb::Switch(false)).await
}

pub(super) async fn restart(args: &RestartArgs) -> Result<(), Failure> {
    each(&args.named, Verb::Restart).await
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Switch(bool),
    Restart,
}

/// One request per stream; what was done before one fails stays done, and is told.
async fn each(named: &Named, verb: Verb) -> Result<(), Failure> {
    let api = named.server.api()?;
    let word = match verb {
        Verb::Switch(true) => "enabled",
        Verb::Switch(false) => "disabled",
        Verb::Restart => "restarted",
    };
    let mut total = Change::default();
    for name in &named.names {
        let target = format!("/api/v1/streams/{}", encode(name));
        let answer = match verb {
            Verb::Switch(enabled) => api.patch(&target, &json!({ "enabled": enabled })).await,
            Verb::Restart => api.post(&format!("{target}/restart")).await,
        };
        match answer {
            Ok(answer) => total.add(Change::of(&answer)?),
            Err(error) => {
                total.print(named.output.output, word)?;
                return Err(suggest::failure(&api, Kind::Stream, std::slice::from_ref(name), error).await);
            }
        }
    }
    total.print(named.output.output, word)
}
