//! `streams logs`: what a stream wrote, and what it writes.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::api::ServerArgs;
use crate::failure::{Exit, Failure};
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs, Paint};
use crate::suggest::{self, Kind};

/// The server gives a sign of life every few seconds, also where a stream is silent.
const QUIET: Duration = Duration::from_secs(30);
/// The server's largest number of lines.
const MAX_LINES: i64 = 1_000;

const EXAMPLES: &str = "\
Each line has the worker, the epoch, and where it was written: stdout or stderr of the stream's command, or worker for
what the worker says of it. A worker keeps the newest lines in memory, those of former runs too; its restart loses them.
An agent whose --output is not log shows its own words alone.
Notes (-- …) go to standard error. With -o json each line is an object of its own when it follows.

Examples:
  streamkeeper streams logs radio-1
  streamkeeper streams logs -f radio-1
  streamkeeper streams logs --lines 20 --timestamps radio-1
  streamkeeper streams logs -f --lines 0 radio-1 -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The stream's name
    name: String,
    /// Goes on with new lines, wherever the stream moves
    #[arg(short, long)]
    follow: bool,
    /// Most lines of the past
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=MAX_LINES))]
    lines: u32,
    /// Shows when each line was written, by the worker's clock
    #[arg(short, long)]
    timestamps: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The answer without following.
#[derive(Debug, Deserialize)]
struct Logs {
    lines: Vec<Line>,
}

/// One line of a stream.
#[derive(Debug, Deserialize)]
struct Line {
    number: u64,
    at: Option<String>,
    worker: String,
    epoch: String,
    fd: String,
    text: String,
}

/// One line of the answer when it is followed.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Owner {
        worker: String,
        epoch: String,
    },
    Line(Line),
    Dropped {
        worker: String,
        lines: u64,
    },
    Waiting {
        detail: String,
    },
    End {
        reason: String,
        detail: String,
    },
    /// Of a newer server.
    #[serde(other)]
    Unknown,
}

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    On,
    Done,
}

pub(super) async fn run(args: &LogsArgs) -> Result<(), Failure> {
    let target = format!("/api/v1/streams/{}/logs?lines={}", encode(&args.name), args.lines);
    if args.follow {
        return follow(args, &format!("{target}&follow=true")).await;
    }
    let api = args.server.api()?;
    let answer: Value = match api.get(&target).await {
        Ok(answer) => answer,
        Err(error) => {
            let typed = std::slice::from_ref(&args.name);
            return Err(suggest::failure(&api, Kind::Stream, typed, error).await);
        }
    };
    if args.output.output == Format::Json {
        return screen::json(&answer);
    }
    let logs = Logs::deserialize(&answer).map_err(|error| other_words(&error))?;
    let mut expected = None;
    for line in logs.lines {
        let missing = expected.map_or(0, |expected| line.number.saturating_sub(expected));
        if missing > 0 {
            screen::note(&dropped(&line.worker, missing));
        }
        expected = line.number.checked_add(1);
        screen::line(&line.shown(args.timestamps))?;
    }
    Ok(())
}

async fn follow(args: &LogsArgs, target: &str) -> Result<(), Failure> {
    let api = args.server.api()?;
    let mut following = match api.follow(target, QUIET).await {
        Ok(following) => following,
        Err(error) => {
            let typed = std::slice::from_ref(&args.name);
            return Err(suggest::failure(&api, Kind::Stream, typed, error).await);
        }
    };
    let mut is_first = true;
    loop {
        let next = following.next().await.map_err(crate::api::ApiError::from)?;
        let Some(text) = next else {
            let text = format!("{}: the orchestrator ended the connection", args.name);
            return Err(Failure::new(Exit::Unreachable, text));
        };
        // A sign of life.
        if text.is_empty() {
            continue;
        }
        let entry: Entry = serde_json::from_str(&text).map_err(|error| other_words(&error))?;
        if args.output.output == Format::Json && !screen::read_line(&text)? {
            return Ok(());
        }
        let is_owner = matches!(entry, Entry::Owner { .. });
        if show(args, entry, is_first)? == Step::Done {
            return Ok(());
        }
        is_first &= !is_owner;
    }
}

/// Shows an entry, unless it was printed as JSON.
fn show(args: &LogsArgs, entry: Entry, is_first: bool) -> Result<Step, Failure> {
    let is_json = args.output.output == Format::Json;
    let note = match entry {
        Entry::End { reason, .. } if is_json && reason == "deleted" => return Ok(Step::Done),
        Entry::End { reason, detail } if reason == "deleted" => {
            screen::note(&format!("{}: {detail}", args.name));
            return Ok(Step::Done);
        }
        Entry::End { detail, .. } => {
            return Err(Failure::new(
                Exit::Unreachable,
                format!("{}: {detail}", args.name),
            ));
        }
        _ if is_json => return Ok(Step::On),
        Entry::Line(line) => {
            let is_read = screen::read_line(&line.shown(args.timestamps))?;
            return Ok(if is_read { Step::On } else { Step::Done });
        }
        Entry::Owner { .. } if is_first => return Ok(Step::On),
        Entry::Owner { worker, epoch } => format!("{} goes on with {worker} (epoch {epoch})", args.name),
        Entry::Dropped { worker, lines } => dropped(&worker, lines),
        Entry::Waiting { detail } => format!("waiting: {detail}"),
        Entry::Unknown => return Ok(Step::On),
    };
    screen::note(&note);
    Ok(Step::On)
}

fn dropped(worker: &str, lines: u64) -> String {
    let lines = if lines == 1 {
        "1 line".to_owned()
    } else {
        format!("{lines} lines")
    };
    format!("{lines} dropped on {worker}")
}

fn other_words(error: &serde_json::Error) -> Failure {
    Failure::failed(format!("the server describes lines in another way: {error}"))
}

impl Line {
    fn shown(&self, timestamps: bool) -> String {
        let mut place = String::new();
        if timestamps {
            place = format!("{} ", self.at.as_deref().unwrap_or("-"));
        }
        place.push_str(&format!("{} {} {:6}", self.worker, self.epoch, self.fd));
        format!("{} {}", Paint::Dim.out(&place), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_it_comes_from() {
        let entry: Entry = serde_json::from_str(
            r#"{"kind":"line","number":7,"at":"2026-01-01T00:00:00.000Z","worker":"w-1","epoch":"68719476737",
                "fd":"stderr","text":"hear me"}"#,
        )
        .unwrap();
        let Entry::Line(line) = entry else {
            panic!("{entry:?}");
        };
        assert_eq!(line.shown(false), "w-1 68719476737 stderr hear me");
        assert_eq!(
            line.shown(true),
            "2026-01-01T00:00:00.000Z w-1 68719476737 stderr hear me"
        );
        assert_eq!(dropped("w-1", 1), "1 line dropped on w-1");
        assert_eq!(dropped("w-1", 30), "30 lines dropped on w-1");
        let newer: Entry = serde_json::from_str(r#"{"kind":"weather","text":"fine"}"#).unwrap();
        assert!(matches!(newer, Entry::Unknown), "{newer:?}");
    }
}
