//! `status`: how the whole is.

use std::collections::BTreeMap;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::api::ServerArgs;
use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};

const EXAMPLES: &str = "\
Examples:
  streamkeeper status
  streamkeeper status --server http://orchestrator-1:8001 -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of `GET /api/v1/status`.
#[derive(Debug, Deserialize)]
struct Status {
    orchestrator: String,
    version: String,
    leadership: Leadership,
    streams: Streams,
    workers: Workers,
    health: Health,
    findings: usize,
    alerts: usize,
    actors: Vec<Actor>,
}

#[derive(Debug, Deserialize)]
struct Health {
    overall: String,
    reasons: Vec<String>,
    needs_intervention: bool,
}

#[derive(Debug, Deserialize)]
struct Leadership {
    role: String,
    term: Value,
    #[serde(default)]
    since: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Streams {
    total: usize,
    by_state: BTreeMap<String, usize>,
}

#[derive(Debug, Deserialize)]
struct Workers {
    total: usize,
    by_availability: BTreeMap<String, usize>,
}

#[derive(Debug, Deserialize)]
struct Actor {
    name: String,
    restarts: u64,
    #[serde(default)]
    restarting: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let raw: Value = crate::runtime()?.block_on(api.get("/api/v1/status"))?;
    match args.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => {
            let status = Status::deserialize(&raw).map_err(|error| {
                Failure::failed(format!(
                    "the server describes its status in another way: {error}; try -o json"
                ))
            })?;
            show(&status)
        }
    }
}

fn show(status: &Status) -> Result<(), Failure> {
    let leadership = &status.leadership;
    let term = match &leadership.term {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let since = leadership
        .since
        .as_ref()
        .map_or_else(String::new, |since| format!(" since {since}"));
    let mut table = screen::table(&["WHAT", "STATE", "DETAIL"]);
    table.add_row(vec![
        "orchestrator".into(),
        screen::state(&leadership.role),
        format!(
            "{} version {}, term {term}{since}",
            status.orchestrator, status.version
        )
        .into(),
    ]);
    let health = &status.health;
    let mut reasons = health.reasons.join("; ");
    if health.needs_intervention {
        reasons.push_str(" (somebody has to look)");
    }
    table.add_row(vec![
        "health".into(),
        screen::state(&health.overall.to_lowercase()),
        reasons.into(),
    ]);
    for (what, total, counts) in [
        ("streams", status.streams.total, &status.streams.by_state),
        ("workers", status.workers.total, &status.workers.by_availability),
    ] {
        table.add_row([what.to_owned(), total.to_string(), counted(counts)]);
    }
    table.add_row([
        "alerts".to_owned(),
        status.alerts.to_string(),
        "firing".to_owned(),
    ]);
    table.add_row([
        "findings".to_owned(),
        status.findings.to_string(),
        "inconsistencies".to_owned(),
    ]);
    let troubled: Vec<String> = status
        .actors
        .iter()
        .filter(|actor| actor.restarts > 0 || actor.restarting)
        .map(|actor| format!("{} restarted {} times", actor.name, actor.restarts))
        .collect();
    table.add_row([
        "actors".to_owned(),
        status.actors.len().to_string(),
        troubled.join(", "),
    ]);
    screen::print_table(&table)
}

/// `5 running, 1 failing`; what is 0 is left out.
fn counted(counts: &BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    parts.join(", ")
}
