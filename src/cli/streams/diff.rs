//! What a change makes different: stream by stream, field by field.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use streamkeeper_orchestrator::adapter::http::mask;

use crate::failure::Failure;
use crate::screen::{self, Paint};

/// Most streams whose differences are shown one by one.
const MAX_SHOWN: usize = 500;

/// What becomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    Created,
    Changed,
    Deleted,
}

/// One field; `from` is none where it is new, `to` where it goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct FieldDiff {
    pub(super) field: String,
    pub(super) from: Option<Value>,
    pub(super) to: Option<Value>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StreamDiff {
    pub(super) stream: String,
    pub(super) fate: Fate,
    pub(super) fields: Vec<FieldDiff>,
}

/// Fields by name, labels each by itself.
type Fields = BTreeMap<String, Value>;

impl StreamDiff {
    pub(super) fn created(stream: &str, wanted: &Value) -> Self {
        Self {
            stream: stream.to_owned(),
            fate: Fate::Created,
            // Compared with a stream of default settings, only what is said remains.
            fields: differences(&fields(&json!({})), &fields(wanted)),
        }
    }

    pub(super) fn changed(stream: &str, current: &Value, wanted: &Value) -> Self {
        let mut differences = differences(&fields(current), &fields(wanted));
        if differences.is_empty() {
            // The server sees a difference where its answers show a mask: the secret in the source.
            let source = fields(wanted).remove("source");
            differences.push(FieldDiff {
                field: "source".to_owned(),
                from: source.clone(),
                to: source,
            });
        }
        Self {
            stream: stream.to_owned(),
            fate: Fate::Changed,
            fields: differences,
        }
    }

    pub(super) fn deleted(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            fate: Fate::Deleted,
            fields: Vec::new(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let (sign, paint) = match self.fate {
            Fate::Created => ("+", Paint::Good),
            Fate::Changed => ("~", Paint::Notable),
            Fate::Deleted => ("-", Paint::Bad),
        };
        let head = paint.out(&format!("{sign} {}", self.stream));
        std::iter::once(head)
            .chain(self.fields.iter().map(|field| format!("    {}", field.line())))
            .collect()
    }
}

impl FieldDiff {
    fn line(&self) -> String {
        let name = &self.field;
        match (&self.from, &self.to) {
            (Some(from), Some(to)) if from == to => {
                Paint::Notable.out(&format!("~ {name}: {} (the secret in it)", show(to)))
            }
            (Some(from), Some(to)) => {
                Paint::Notable.out(&format!("~ {name}: {} -> {}", show(from), show(to)))
            }
            (None, Some(to)) => Paint::Good.out(&format!("+ {name}: {}", show(to))),
            (Some(from), None) => Paint::Bad.out(&format!("- {name}: {}", show(from))),
            (None, None) => name.clone(),
        }
    }
}

/// Prints them, up to a limit.
pub(super) fn print(differences: &[StreamDiff]) -> Result<(), Failure> {
    for difference in differences.iter().take(MAX_SHOWN) {
        for line in difference.lines() {
            screen::line(&line)?;
        }
    }
    if differences.len() > MAX_SHOWN {
        screen::line(&format!("and {} streams more", differences.len() - MAX_SHOWN))?;
    }
    Ok(())
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The fields of a stream as a file or the server says them, with the server's defaults where nothing is said.
fn fields(stream: &Value) -> Fields {
    let said = |field: &str| stream.get(field).filter(|value| !value.is_null());
    let mut fields = Fields::new();
    if let Some(source) = said("source").and_then(Value::as_str) {
        fields.insert("source".to_owned(), mask(source).into_owned().into());
    }
    for (field, default) in [
        ("enabled", json!(true)),
        ("weight", json!(1.0)),
        ("priority", json!(0)),
        ("ownership", json!("available")),
        ("on_owner_lost", json!("replace")),
        // The server's word for what is not said.
        ("lost_after", Value::Null),
    ] {
        let value = said(field).cloned().unwrap_or(default);
        // 1 and 1.0 are the same weight.
        let value = match value.as_f64() {
            Some(number) if field == "weight" => json!(number),
            _ => value,
        };
        fields.insert(field.to_owned(), value);
    }
    for field in ["spread", "pin"] {
        if let Some(value) = said(field) {
            fields.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["labels", "requires", "prefers"] {
        for (key, value) in said(field).and_then(Value::as_object).into_iter().flatten() {
            fields.insert(format!("{field}.{key}"), value.clone());
        }
    }
    fields
}

fn differences(current: &Fields, wanted: &Fields) -> Vec<FieldDiff> {
    let mut names: Vec<&String> = current.keys().chain(wanted.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter(|name| current.get(*name) != wanted.get(*name))
        .map(|name| FieldDiff {
            field: name.clone(),
            from: current.get(name).cloned(),
            to: wanted.get(name).cloned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(diff: &StreamDiff) -> Vec<String> {
        diff.lines()
    }

    #[test]
    fn fields_are_compared_one_by_one() {
        let current = json!({
            "name": "a", "source": "http://u:***@h/1", "enabled": true, "weight": 1.0, "priority": 0,
            "ownership": "available", "labels": {"k": "v", "old": "x"}, "requires": {}, "state": "running",
        });
        let wanted = json!({
            "name": "a", "source": "http://u:p@h/1", "weight": 2, "labels": {"k": "w"}, "requires": {"gpu": "yes"},
        });
        assert_eq!(
            lines(&StreamDiff::changed("a", &current, &wanted)),
            [
                "~ a",
                "    ~ labels.k: v -> w",
                "    - labels.old: x",
                "    + requires.gpu: yes",
                "    ~ weight: 1.0 -> 2.0",
            ]
        );
        let same =
            json!({"name": "a", "source": "http://u:q@h/1", "weight": 1, "labels": {"k": "v", "old": "x"}});
        assert_eq!(
            lines(&StreamDiff::changed("a", &current, &same)),
            ["~ a", "    ~ source: http://u:***@h/1 (the secret in it)"]
        );
    }

    #[test]
    fn new_streams_show_what_is_said_and_no_secret() {
        let wanted = json!({"name": "a", "source": "rtsp://u:p@h/1", "priority": 7, "enabled": true});
        assert_eq!(
            lines(&StreamDiff::created("a", &wanted)),
            ["+ a", "    ~ priority: 0 -> 7", "    + source: rtsp://u:***@h/1"]
        );
        assert_eq!(lines(&StreamDiff::deleted("b")), ["- b"]);
    }
}
