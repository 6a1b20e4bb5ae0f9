//! `streams apply`: the declarative change, all of it or nothing.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::file::StreamFile;
use crate::api::{ApiError, Problem, ServerArgs};
use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};

const EXAMPLES: &str = "\
The file is YAML or JSON:
  streams:
    - name: radio-1
      source: http://radio.example/1.mp3
      weight: 1            # share of a worker's capacity
      priority: 0          # who yields when capacity lacks: lower ones first
      labels: {genre: jazz}

Examples:
  streamkeeper streams apply -f streams.yaml
  streamkeeper streams apply -f streams.yaml --prune --dry-run
  generate-streams | streamkeeper streams apply -f -";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ApplyArgs {
    /// File with streams, - for stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Deletes every stream that the file does not name
    #[arg(long)]
    prune: bool,
    /// Says what would change, and changes nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a change did.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Change {
    #[serde(default)]
    created: Vec<String>,
    #[serde(default)]
    changed: Vec<String>,
    #[serde(default)]
    deleted: Vec<String>,
    #[serde(default)]
    unchanged: Vec<String>,
    #[serde(default)]
    dry_run: bool,
    #[serde(skip)]
    raw: Value,
}

impl Change {
    pub(crate) fn of(raw: Value) -> Result<Self, Failure> {
        let change = Self::deserialize(&raw).map_err(|error| {
            Failure::failed(format!("the server answers a change in another way: {error}"))
        })?;
        Ok(Self { raw, ..change })
    }

    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        if format == Format::Json {
            return screen::json(&self.raw);
        }
        for (word, names) in [
            ("created", &self.created),
            ("changed", &self.changed),
            ("deleted", &self.deleted),
        ] {
            for name in names {
                screen::line(&format!("{word} {name}"))?;
            }
        }
        screen::line(&format!(
            "{}{} created, {} changed, {} deleted, {} unchanged",
            if self.dry_run {
                "dry run, nothing was done: "
            } else {
                ""
            },
            self.created.len(),
            self.changed.len(),
            self.deleted.len(),
            self.unchanged.len()
        ))
    }
}

pub(super) async fn run(args: &ApplyArgs) -> Result<(), Failure> {
    let file = StreamFile::read(&args.file)?;
    let api = args.server.api()?;
    let body = json!({ "streams": file.streams, "prune": args.prune });
    let target = if args.dry_run {
        "/api/v1/streams?dry_run=true"
    } else {
        "/api/v1/streams"
    };
    match api.put(target, &body).await {
        Ok(answer) => Change::of(answer)?.print(args.output.output),
        Err(ApiError::Problem(problem)) => Err(ApiError::Problem(Box::new(in_file(*problem, &file))).into()),
        Err(error) => Err(error.into()),
    }
}

/// The server names places of the body that it got; the user knows a file.
fn in_file(mut problem: Problem, file: &StreamFile) -> Problem {
    for item in &mut problem.errors {
        let Some(rest) = item
            .pointer
            .as_deref()
            .and_then(|pointer| pointer.strip_prefix("/streams/"))
        else {
            continue;
        };
        let (index, field) = rest.split_once('/').unwrap_or((rest, ""));
        let Some((index, entry)) = index
            .parse()
            .ok()
            .and_then(|index: usize| Some((index, file.streams.get(index)?)))
        else {
            continue;
        };
        let field = if field.is_empty() {
            String::new()
        } else {
            format!(": {field}")
        };
        item.pointer = Some(format!("{}: stream {}{field}", file.place(index), entry.name));
    }
    problem
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::api::ProblemItem;

    #[test]
    fn places_in_the_body_become_places_in_the_file() {
        let mut kept = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        kept.write_all(b"- name: a\n  source: x\n- name: b\n  source: ''\n")
            .unwrap();
        let file = StreamFile::read(kept.path()).unwrap();
        let item = |pointer: &str| ProblemItem {
            pointer: Some(pointer.to_owned()),
            ..ProblemItem::default()
        };
        let problem = Problem {
            errors: vec![
                item("/streams/1/source"),
                item("/streams/0"),
                item("/streams/7/x"),
                item("/delete"),
            ],
            ..Problem::default()
        };
        let places: Vec<String> = in_file(problem, &file)
            .errors
            .into_iter()
            .filter_map(|item| item.pointer)
            .collect();
        let name = kept.path().display();
        assert_eq!(
            places,
            [
                format!("{name}:3: stream b: source"),
                format!("{name}:1: stream a"),
                "/streams/7/x".to_owned(),
                "/delete".to_owned()
            ]
        );
    }
}
