//! `rebalance`, `plan`, `migrations`, and the verbs of workers and streams that move streams.

mod drain;
mod explain;
mod order;
mod pin;
mod plan;

pub(crate) use drain::DrainArgs;
pub(crate) use explain::{ExplainArgs, explain};
pub(crate) use order::{FreezeArgs, MoveArgs, RebalanceArgs, StreamArgs, WorkerArgs};
pub(crate) use pin::{PinArgs, UnpinArgs, pin, unpin};
pub(crate) use plan::{MigrationsArgs, PlanCommand};

pub(crate) use drain::drain;
pub(crate) use order::{Verb, freeze, move_stream, order_stream, order_worker, rebalance};
pub(crate) use plan::{migrations, plan};

use serde::Deserialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::screen;

/// Streams that move, or would.
#[derive(Debug, Deserialize)]
struct Steps {
    moves: Vec<Step>,
    #[serde(default)]
    unplaced: Vec<Lacking>,
}

#[derive(Debug, Deserialize)]
struct Step {
    stream: String,
    from: Option<String>,
    to: String,
}

/// A stream that nobody can take.
#[derive(Debug, Deserialize)]
struct Lacking {
    stream: String,
    detail: String,
}

fn print_steps(raw: &Value, nothing: &str) -> Result<(), Failure> {
    let steps = Steps::deserialize(raw).map_err(|error| another_way("a plan", &error))?;
    if steps.moves.is_empty() && steps.unplaced.is_empty() {
        return screen::line(nothing);
    }
    let mut table = screen::table(&["STREAM", "FROM", "TO"]);
    for step in steps.moves {
        let from = step.from.unwrap_or_else(|| "-".to_owned());
        table.add_row(vec![step.stream, from, step.to]);
    }
    for lacking in steps.unplaced {
        table.add_row(vec![
            lacking.stream,
            "-".to_owned(),
            format!("nowhere: {}", lacking.detail),
        ]);
    }
    screen::print_table(&table)
}

fn another_way(what: &str, error: &serde_json::Error) -> Failure {
    Failure::failed(format!(
        "the server describes {what} in another way: {error}; try -o json"
    ))
}
