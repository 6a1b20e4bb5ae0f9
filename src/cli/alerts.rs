//! `alerts` and `silences`: what fires, who has taken it on, and what nobody is to be told of.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};

const ALERTS_EXAMPLES: &str = "\
Examples:
  streamkeeper alerts list
  streamkeeper alerts list --resolved
  streamkeeper alerts show b327897167f2f416
  streamkeeper alerts ack b327897167f2f416 --by Ada --for 2h";
const SILENCES_EXAMPLES: &str = "\
A condition is LABEL=VALUE or LABEL!=VALUE; a value may end in *. Labels are those of the alert (worker, stream, kind,
alertname, severity) and, of its worker or stream, zone and label.NAME.

Examples:
  streamkeeper silences list
  streamkeeper silences add worker=w-1 --for 2h --by Ada --reason 'kernel update'
  streamkeeper silences add zone=eu-1 --starts 2026-12-01T22:00:00Z --for 3h --every 7days --by Ada --reason window
  streamkeeper silences remove 3f0c9a1d2b4e5f60";
/// Entries of a page.
const PAGE: usize = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Lists the alerts that fire, or those that are over
    #[command(after_help = ALERTS_EXAMPLES)]
    List(AlertsArgs),
    /// Shows one alert
    #[command(after_help = ALERTS_EXAMPLES)]
    Show(Named),
    /// Notes that you have taken an alert on
    #[command(after_help = ALERTS_EXAMPLES)]
    Ack(AckArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SilencesCommand {
    /// Lists silences and maintenance windows
    #[command(after_help = SILENCES_EXAMPLES)]
    List(Common),
    /// Keeps sinks from hearing of some alerts, from now on, or later, or again and again
    #[command(after_help = SILENCES_EXAMPLES)]
    Add(AddArgs),
    /// Ends a silence
    #[command(after_help = SILENCES_EXAMPLES)]
    Remove(Named),
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// Those that are over, the last 1000
    #[arg(long)]
    resolved: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The fingerprint of the alert, the silence, or the incident
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct AckArgs {
    /// The fingerprint of the alert
    fingerprint: String,
    /// Who you are
    #[arg(long)]
    by: String,
    /// How long, such as 2h; as long as it fires where it is not given
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Conditions, all of which an alert has to meet
    #[arg(required = true, value_name = "CONDITION")]
    matchers: Vec<String>,
    /// When it begins, such as 2026-12-01T22:00:00Z; now where it is not given
    #[arg(long, value_name = "MOMENT")]
    starts: Option<String>,
    /// How long it holds, such as 1h
    #[arg(long = "for", value_name = "TIME")]
    lasts: String,
    /// After which time it begins again, such as 7days
    #[arg(long, value_name = "TIME")]
    every: Option<String>,
    /// Who you are
    #[arg(long)]
    by: String,
    /// Why, for those who wonder
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    common: Common,
}

pub(crate) fn alerts(command: AlertsCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            AlertsCommand::List(args) => list_alerts(&args).await,
            AlertsCommand::Show(named) => show(&named).await,
            AlertsCommand::Ack(args) => acknowledge(&args).await,
        }
    })
}

pub(crate) fn silences(command: SilencesCommand) -> Result<(), Failure> {
    crate::runtime()?.block_on(async {
        match command {
            SilencesCommand::List(common) => list_silences(&common).await,
            SilencesCommand::Add(args) => add(&args).await,
            SilencesCommand::Remove(named) => remove(&named).await,
        }
    })
}

/// A whole list, page by page.
async fn all(api: &Api, name: &str) -> Result<Vec<Value>, Failure> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page: Value = api.get(&format!("/api/v1/{name}?limit={PAGE}{after}")).await?;
        items.extend(page[name].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={}", encode(next)),
            None => return Ok(items),
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `worker=a, zone=eu`
pub(crate) fn pairs(labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let labels: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    labels.join(", ")
}

async fn list_alerts(args: &AlertsArgs) -> Result<(), Failure> {
    let api = args.common.server.api()?;
    let alerts = match args.resolved {
        true => {
            let target = format!("/api/v1/alerts?status=resolved&limit={PAGE}");
            let page: Value = api.get(&target).await?;
            page["alerts"].as_array().cloned().unwrap_or_default()
        }
        false => all(&api, "alerts").await?,
    };
    if args.common.output.output == Format::Json {
        return screen::json(&json!({ "alerts": alerts }));
    }
    if alerts.is_empty() {
        return screen::line(if args.resolved {
            "no alert is over"
        } else {
            "no alert fires"
        });
    }
    let mut table = screen::table(&[
        "FINGERPRINT",
        "INCIDENT",
        "SEVERITY",
        "RULE",
        "ABOUT",
        "STATUS",
        "SINCE",
        "SUMMARY",
    ]);
    for alert in &alerts {
        table.add_row(vec![
            text(&alert["fingerprint"]),
            text(&alert["incident"]),
            text(&alert["severity"]),
            text(&alert["rule"]),
            pairs(&alert["labels"]),
            text(&alert["status"]),
            text(&alert["since"]),
            text(&alert["annotations"]["summary"]),
        ]);
    }
    screen::print_table(&table)
}

async fn show(named: &Named) -> Result<(), Failure> {
    let alerts = all(&named.common.server.api()?, "alerts").await?;
    let found = alerts
        .iter()
        .find(|alert| alert["fingerprint"] == named.id.as_str());
    let Some(alert) = found else {
        let text = format!(
            "no alert {:?} fires; `streamkeeper alerts list` shows those that do",
            named.id
        );
        return Err(Failure::failed(text));
    };
    match named.common.output.output {
        Format::Json => screen::json(alert),
        Format::Table => screen::fields(alert),
    }
}

async fn acknowledge(args: &AckArgs) -> Result<(), Failure> {
    let target = format!("/api/v1/alerts/{}/acknowledge", encode(&args.fingerprint));
    let body = json!({ "by": args.by, "for": args.lasts });
    let raw = args.common.server.api()?.post(&target, &body).await?;
    match args.common.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => screen::line(&format!("{} has taken {} on", args.by, args.fingerprint)),
    }
}

async fn list_silences(common: &Common) -> Result<(), Failure> {
    let silences = all(&common.server.api()?, "silences").await?;
    if common.output.output == Format::Json {
        return screen::json(&json!({ "silences": silences }));
    }
    if silences.is_empty() {
        return screen::line("there is no silence");
    }
    let mut table = screen::table(&[
        "ID",
        "CONDITIONS",
        "HOLDS",
        "STARTS",
        "ENDS",
        "TURNS",
        "BY",
        "REASON",
    ]);
    for silence in &silences {
        let matchers = silence["matchers"].as_array().into_iter().flatten();
        let matchers: Vec<String> = matchers.map(text).collect();
        table.add_row(vec![
            text(&silence["id"]),
            matchers.join(" "),
            if silence["holds"] == true { "yes" } else { "no" }.to_owned(),
            text(&silence["starts"]),
            text(&silence["ends"]),
            text(&silence["turns"]),
            text(&silence["by"]),
            text(&silence["reason"]),
        ]);
    }
    screen::print_table(&table)
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let body = json!({
        "matchers": args.matchers,
        "starts": args.starts,
        "for": args.lasts,
        "every": args.every,
        "by": args.by,
        "reason": args.reason,
    });
    let raw = args.common.server.api()?.post("/api/v1/silences", &body).await?;
    match args.common.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => screen::line(&format!(
            "silence {} is in force from {}",
            text(&raw["id"]),
            text(&raw["starts"])
        )),
    }
}

async fn remove(named: &Named) -> Result<(), Failure> {
    let target = format!("/api/v1/silences/{}", encode(&named.id));
    let raw = named.common.server.api()?.delete(&target).await?;
    match named.common.output.output {
        Format::Json => screen::json(&raw),
        Format::Table => screen::line(&format!("silence {} has ended", named.id)),
    }
}
