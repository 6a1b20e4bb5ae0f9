//! `streams apply`: the declarative change, all of it or nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::change::Change;
use super::diff::{self, StreamDiff};
use super::file::{Mistake, StreamFile};
use super::place::Step;
use crate::api::{Api, ApiError, Problem, ServerArgs};
use crate::failure::Failure;
use crate::screen::{self, Format, OutputArgs};

const EXAMPLES: &str = "\
The file is TOML, YAML or JSON, told by its ending or its beginning:
  streams:
    - name: radio-1
      source: http://radio.example/1.mp3
      weight: 1            # share of a worker's capacity
      priority: 0          # who yields when capacity lacks: lower ones first
      labels: {genre: jazz}
In TOML:
  [[streams]]
  name = \"radio-1\"
  source = \"http://radio.example/1.mp3\"

First the difference is shown: + is new, ~ changes, - goes. Fields that a file does not name get their defaults.

Examples:
  streamkeeper streams apply -f streams.yaml
  streamkeeper streams apply -f streams.toml --prune --dry-run
  generate-streams | streamkeeper streams apply -f -";

/// The streams of an orchestrator.
const STREAMS: &str = "/api/v1/streams";
/// The same, but nothing is done.
const STREAMS_DRY: &str = "/api/v1/streams?dry_run=true";

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

pub(super) async fn run(args: &ApplyArgs) -> Result<(), Failure> {
    let file = StreamFile::read(&args.file)?;
    let api = args.server.api()?;
    let body = json!({ "streams": file.streams, "prune": args.prune });
    let mistakes = file.mistakes();
    if !mistakes.is_empty() {
        return Err(refuse(&api, &file, &body, mistakes).await);
    }
    let planned = put(&api, STREAMS_DRY, &body, &file).await?;
    let change = Change::of(&planned)?;
    let differences = differences(&api, &file, &change).await?;
    if args.output.output == Format::Table {
        diff::print(&differences)?;
    }
    let mut answer = if args.dry_run {
        planned
    } else {
        put(&api, STREAMS, &body, &file).await?
    };
    if args.output.output == Format::Table {
        let change = Change::of(&answer)?;
        change.warn();
        return screen::line(&change.summary());
    }
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("differences".to_owned(), json!(differences));
    }
    screen::json(&answer)
}

async fn put(api: &Api, target: &str, body: &Value, file: &StreamFile) -> Result<Value, Failure> {
    api.put(target, body).await.map_err(|error| match error {
        ApiError::Problem(problem) => ApiError::Problem(Box::new(in_file(*problem, file))).into(),
        error => error.into(),
    })
}

/// All mistakes of the file at once. The server knows more of them than this program does; where it cannot be asked,
/// those that are known here must do.
async fn refuse(api: &Api, file: &StreamFile, body: &Value, mut mistakes: Vec<Mistake>) -> Failure {
    if let Err(ApiError::Problem(problem)) = api.put(STREAMS_DRY, body).await {
        let more = problem.errors.into_iter().filter_map(|item| {
            Some(Mistake {
                path: path(item.pointer.as_deref()?)?,
                detail: item.detail,
            })
        });
        for mistake in more {
            // Both name the same place, or the server names a field where this program names the stream that lacks it.
            let known = mistakes.iter().any(|known| {
                known.path == mistake.path
                    || (mistake.path.starts_with(&known.path) && known.detail.ends_with("is missing"))
            });
            if !known {
                mistakes.push(mistake);
            }
        }
        mistakes.sort_by_key(|mistake| match mistake.path.first() {
            Some(Step::Index(index)) => *index,
            _ => usize::MAX,
        });
    }
    file.refuse(&mistakes)
}

/// What the change makes different, field by field.
async fn differences(api: &Api, file: &StreamFile, change: &Change) -> Result<Vec<StreamDiff>, Failure> {
    fn by_name(streams: &[Value]) -> BTreeMap<&str, &Value> {
        let named = streams
            .iter()
            .filter_map(|stream| Some((stream.get("name")?.as_str()?, stream)));
        named.collect()
    }
    let wanted = by_name(&file.streams);
    let current = if change.changed.is_empty() {
        Vec::new()
    } else {
        super::all(api, "").await?
    };
    let current = by_name(&current);
    let nothing = Value::Null;
    let find = |streams: &BTreeMap<&str, &Value>, name: &String| -> Value {
        streams.get(name.as_str()).copied().unwrap_or(&nothing).clone()
    };
    let created = change.created.iter();
    let changed = change.changed.iter();
    Ok(created
        .map(|name| StreamDiff::created(name, &find(&wanted, name)))
        .chain(changed.map(|name| StreamDiff::changed(name, &find(&current, name), &find(&wanted, name))))
        .chain(change.deleted.iter().map(|name| StreamDiff::deleted(name)))
        .collect())
}

/// The server names places of the body that it got; the user knows a file.
fn in_file(mut problem: Problem, file: &StreamFile) -> Problem {
    for item in &mut problem.errors {
        if let Some(path) = item.pointer.as_deref().and_then(path)
            && let Some(Step::Index(index)) = path.first()
            && *index < file.streams.len()
        {
            item.pointer = Some(file.place(&path));
        }
    }
    problem
}

/// The path of a JSON pointer into the list of streams.
fn path(pointer: &str) -> Option<Vec<Step>> {
    let mut steps = pointer.strip_prefix("/streams/")?.split('/');
    let index = steps.next()?.parse().ok().map(Step::Index)?;
    let keys = steps.map(|step| Step::Key(step.replace("~1", "/").replace("~0", "~")));
    Some(std::iter::once(index).chain(keys).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ProblemItem;

    #[test]
    fn places_in_the_body_become_places_in_the_file() {
        let text = "- name: a\n  source: x\n- name: b\n  source: ''\n  labels:\n    x/y: ''\n";
        let file = StreamFile::parse("f.yaml".to_owned(), text.to_owned()).unwrap();
        let item = |pointer: &str| ProblemItem {
            pointer: Some(pointer.to_owned()),
            ..ProblemItem::default()
        };
        let problem = Problem {
            errors: vec![
                item("/streams/1/source"),
                item("/streams/0"),
                item("/streams/1/labels/x~1y"),
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
        assert_eq!(
            places,
            [
                "f.yaml:4: stream b: source",
                "f.yaml:1: stream a",
                "f.yaml:6: stream b: labels.x/y",
                "/streams/7/x",
                "/delete",
            ]
        );
    }
}
