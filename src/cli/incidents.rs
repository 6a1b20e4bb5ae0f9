//! `incidents`: alerts that have one cause, and what happened around them.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::alerts::{Common, Named, pairs, text};
use crate::api::Api;
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format};

const EXAMPLES: &str = "\
Alerts that one cause explains are one incident, and one page. Those that are over are kept for alerts.retention.

Examples:
  streamkeeper incidents list
  streamkeeper incidents list --open
  streamkeeper incidents show 17-3";
/// Most incidents that are listed.
const MAX_LISTED: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// Lists the last 100 incidents, the newest first
    #[command(after_help = EXAMPLES)]
    List(ListArgs),
    /// Shows one incident: its alerts and what happened around them, in order
    #[command(after_help = EXAMPLES)]
    Show(Named),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only those that go on
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn run(command: IncidentsCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            IncidentsCommand::List(args) => list(&args).await,
            IncidentsCommand::Show(named) => show(&named).await,
        }
    })
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let api: Api = args.common.server.api()?;
    let status = if args.open { "&status=open" } else { "" };
    let page: Value = api
        .get(&format!("/api/v1/incidents?limit={MAX_LISTED}{status}"))
        .await?;
    if args.common.output.output == Format::Json {
        return screen::json(&json!({ "incidents": page["incidents"] }));
    }
    let incidents = page["incidents"].as_array().cloned().unwrap_or_default();
    if incidents.is_empty() {
        return screen::line("there is no incident");
    }
    let mut table = screen::table(&[
        "INCIDENT", "SEVERITY", "STATUS", "OPENED", "ENDED", "ALERTS", "SUMMARY",
    ]);
    for incident in &incidents {
        table.add_row(vec![
            text(&incident["id"]),
            text(&incident["severity"]),
            text(&incident["status"]),
            text(&incident["opened"]),
            text(&incident["ended"]),
            incident["alerts"].to_string(),
            text(&incident["summary"]),
        ]);
    }
    screen::print_table(&table)
}

async fn show(named: &Named) -> Result<(), Failure> {
    let target = format!("/api/v1/incidents/{}", encode(&named.id));
    let incident: Value = named.common.server.api()?.get(&target).await?;
    if named.common.output.output == Format::Json {
        return screen::json(&incident);
    }
    screen::line(&format!(
        "incident {} ({}, {}): {}",
        text(&incident["id"]),
        text(&incident["severity"]),
        text(&incident["status"]),
        text(&incident["summary"])
    ))?;
    let mut table = screen::table(&["AT", "WHAT", "ABOUT", "DETAIL"]);
    for row in timeline(&incident) {
        table.add_row(row);
    }
    screen::print_table(&table)
}

/// Beginnings and ends of alerts, and events, by time.
fn timeline(incident: &Value) -> Vec<[String; 4]> {
    let mut rows = Vec::new();
    for alert in incident["members"].as_array().into_iter().flatten() {
        let about = pairs(&alert["labels"]);
        let mut add = |at: &Value, what: String, detail: String| {
            if !at.is_null() {
                rows.push([text(at), what, about.clone(), detail]);
            }
        };
        let explained = if alert["explained_by"].is_null() {
            ""
        } else {
            " (explained)"
        };
        let rule = text(&alert["rule"]);
        let summary = text(&alert["annotations"]["summary"]);
        add(&alert["since"], format!("alert {rule}{explained}"), summary);
        let taken = &alert["acknowledged"];
        add(&taken["at"], format!("{rule} is taken on"), text(&taken["by"]));
        add(&alert["resolved"], format!("{rule} is over"), String::new());
    }
    for event in incident["events"].as_array().into_iter().flatten() {
        let [at, kind, subject, cause] = ["at", "kind", "subject", "cause"].map(|name| text(&event[name]));
        rows.push([at, kind, subject, cause]);
    }
    rows.sort();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_and_events_are_told_in_their_order() {
        let incident = json!({
            "members": [
                {"rule": "worker_lost", "labels": {"worker": "a"}, "since": "2026-01-01T00:00:02.000Z", "explained_by": null,
                 "annotations": {"summary": "Worker a is lost"}, "resolved": "2026-01-01T00:00:09.000Z",
                 "acknowledged": {"by": "Ada", "at": "2026-01-01T00:00:05.000Z"}},
                {"rule": "streams_unplaced", "labels": {}, "since": "2026-01-01T00:00:04.000Z", "explained_by": "aa",
                 "annotations": {"summary": "7 streams have no worker"}, "resolved": null, "acknowledged": null},
            ],
            "events": [{"at": "2026-01-01T00:00:01.000Z", "kind": "loss_found", "subject": "a", "cause": "silence"}],
        });
        let told: Vec<String> = timeline(&incident)
            .iter()
            .map(|[_, rest @ ..]| rest.join(" "))
            .collect();
        assert_eq!(
            told,
            [
                "loss_found a silence",
                "alert worker_lost worker=a Worker a is lost",
                "alert streams_unplaced (explained)  7 streams have no worker",
                "worker_lost is taken on worker=a Ada",
                "worker_lost is over worker=a ",
            ]
        );
    }
}
