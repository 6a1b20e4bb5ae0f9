//! `events`: what happened, and what happens.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::{Api, ApiError, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs, Paint};

/// The server gives a sign of life every few seconds, also where nothing happens.
const QUIET: Duration = Duration::from_secs(40);
/// Between two attempts to go on.
const RETRY: Duration = Duration::from_secs(1);
/// The server's largest page.
const MAX_LINES: i64 = 1_000;

const EXAMPLES: &str = "\
Each line has the time, what happened, what it is about, who did it, and the rest. api_write is a change that somebody
asked for over the API. Followed, it goes on where it was when the orchestrator was away.
Notes (-- …) go to standard error. With -o json each line is an object of its own when it follows.

Examples:
  streamkeeper events
  streamkeeper events -f
  streamkeeper events --stream radio-1 --kind assigned,migrated
  streamkeeper events --since 2h --kind api_write -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EventsArgs {
    /// Goes on with new events
    #[arg(short, long)]
    follow: bool,
    /// Only these kinds
    #[arg(short, long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only what is about this stream
    #[arg(long, value_name = "NAME", conflicts_with = "worker")]
    stream: Option<String>,
    /// Only what is about this worker
    #[arg(long, value_name = "ID")]
    worker: Option<String>,
    /// Only what happened within this time, such as 2h; the oldest first
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Most events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=MAX_LINES))]
    lines: u32,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of an event.
#[derive(Debug, Deserialize)]
struct Event {
    id: u64,
    at: String,
    kind: String,
    actor: String,
    subject: String,
    fields: Map<String, Value>,
}

pub(crate) fn run(args: &EventsArgs) -> Result<(), Failure> {
    crate::runtime()?.block_on(show(args))
}

async fn show(args: &EventsArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let answer: Value = api.get(&args.target(None)).await?;
    if args.output.output == Format::Json && !args.follow {
        return screen::json(&answer);
    }
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    let mut last = None;
    for event in events {
        last = event["id"].as_u64().or(last);
        if !args.print(event)? {
            return Ok(());
        }
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        match follow(&api, args, &mut last).await {
            Ok(()) => return Ok(()),
            Err(Ended::For(failure)) => return Err(failure),
            Err(Ended::Lost(reason)) => screen::note(&format!("{reason}; going on when it is back")),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Why following ended.
enum Ended {
    /// For good.
    For(Failure),
    /// It may go on.
    Lost(String),
}

impl From<ApiError> for Ended {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Problem(problem) if (400..500).contains(&problem.status) => {
                Self::For(ApiError::Problem(problem).into())
            }
            error => Self::Lost(error.to_string()),
        }
    }
}

async fn follow(api: &Api, args: &EventsArgs, last: &mut Option<u64>) -> Result<(), Ended> {
    let mut following = api.follow(&args.target(Some(*last)), QUIET).await?;
    let mut kind = String::new();
    loop {
        let line = following.next().await.map_err(ApiError::from)?;
        let Some(line) = line else {
            return Err(Ended::Lost("the orchestrator ended the connection".to_owned()));
        };
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        }
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        let event: Value = serde_json::from_str(data).map_err(|error| Ended::For(other_words(&error)))?;
        if kind == "end" {
            let detail = event["detail"].as_str().unwrap_or("the orchestrator ended it");
            return Err(Ended::Lost(detail.to_owned()));
        }
        *last = event["id"].as_u64().or(*last);
        if !args.print(event).map_err(Ended::For)? {
            return Ok(());
        }
    }
}

fn other_words(error: &serde_json::Error) -> Failure {
    Failure::failed(format!("the server describes events in another way: {error}"))
}

impl EventsArgs {
    /// What is asked; `after` where it follows.
    fn target(&self, after: Option<Option<u64>>) -> String {
        let mut target = match after {
            None => format!("/api/v1/events?limit={}", self.lines),
            Some(_) => "/api/v1/events?follow=true".to_owned(),
        };
        let since = self.since.and_then(|since| SystemTime::now().checked_sub(since));
        match (after.flatten(), since) {
            (Some(after), _) => target.push_str(&format!("&after={after}")),
            (None, Some(since)) => {
                target.push_str(&format!(
                    "&since={}",
                    encode(&humantime::format_rfc3339_millis(since).to_string())
                ));
            }
            (None, None) => {}
        }
        if !self.kind.is_empty() {
            target.push_str(&format!("&kind={}", encode(&self.kind.join(","))));
        }
        if let Some(subject) = self.stream.as_ref().or(self.worker.as_ref()) {
            target.push_str(&format!("&subject={}", encode(subject)));
        }
        target
    }

    /// False when nobody reads any more.
    fn print(&self, event: Value) -> Result<bool, Failure> {
        if self.output.output == Format::Json {
            return screen::read_line(&event.to_string());
        }
        let event = Event::deserialize(&event).map_err(|error| other_words(&error))?;
        screen::read_line(&event.shown())
    }
}

impl Event {
    fn shown(&self) -> String {
        let subject = if self.subject.is_empty() {
            "-"
        } else {
            &self.subject
        };
        let rest: Vec<String> = self
            .fields
            .iter()
            .filter(|(_, value)| **value != self.subject.as_str())
            .map(|(key, value)| match value {
                Value::String(text) => format!("{key}={text}"),
                other => format!("{key}={other}"),
            })
            .collect();
        let place = format!("{} {:6}", self.at, self.id);
        let rest = format!("by {} {}", self.actor, rest.join(" "));
        format!(
            "{} {:18} {subject} {}",
            Paint::Dim.out(&place),
            self.kind,
            Paint::Dim.out(&rest)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event: Event = serde_json::from_str(
            r#"{"id": 7, "at": "2026-01-01T00:00:00.000Z", "kind": "assigned", "actor": "o-1", "cause": "balance",
                "correlation": "9", "subject": "radio", "fields": {"epoch": "9", "stream": "radio", "worker": "w"}}"#,
        )
        .unwrap();
        let line = "2026-01-01T00:00:00.000Z      7 assigned           radio by o-1 epoch=9 worker=w";
        assert_eq!(event.shown(), line);
    }
}
