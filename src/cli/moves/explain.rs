//! `streams explain`: why a stream is where it is.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::another_way;
use super::plan::print_migrations;
use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

const EXAMPLES: &str = "\
Examples:
  streamkeeper streams explain radio-1
  streamkeeper streams explain radio-1 -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExplainArgs {
    /// The stream's name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    explanation: String,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    worker: String,
    here: bool,
    score: f64,
    avoided: bool,
    excluded: Option<String>,
}

pub(crate) async fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let target = format!("/api/v1/streams/{}/explain", encode(&args.name));
    let raw: Value = match api.get(&target).await {
        Ok(raw) => raw,
        Err(error) => {
            let typed = std::slice::from_ref(&args.name);
            return Err(suggest::failure(&api, Kind::Stream, typed, error).await);
        }
    };
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    let told = Explanation::deserialize(&raw).map_err(|error| another_way("a stream", &error))?;
    screen::line(&told.explanation)?;
    screen::line("")?;
    let mut table = screen::table(&["WORKER", "HERE", "SCORE", "NOTE"]);
    for candidate in told.candidates {
        let note = match candidate.excluded {
            Some(excluded) => excluded,
            None if candidate.avoided => "the stream failed there before".to_owned(),
            None => String::new(),
        };
        let here = if candidate.here { "here" } else { "" };
        table.add_row(vec![
            candidate.worker,
            here.to_owned(),
            format!("{:.4}", candidate.score),
            note,
        ]);
    }
    screen::print_table(&table)?;
    screen::line("")?;
    let history = serde_json::json!({ "migrations": raw.get("history") });
    print_migrations(&history, "it has not moved under this leader")
}
