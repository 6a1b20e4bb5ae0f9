//! The file of `streams apply`: YAML or JSON, `streams: [...]` or the bare list. A mistake names file, line and field.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Largest file, in bytes; what the server takes is about this.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// One stream as the user wrote it. What is not written keeps the server's default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ownership: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) requires: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    streams: Vec<Entry>,
}

/// A file that was read.
#[derive(Debug)]
pub(crate) struct StreamFile {
    /// Its name in messages.
    name: String,
    text: String,
    pub(crate) streams: Vec<Entry>,
}

impl StreamFile {
    /// Reads a file, or stdin for `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let (name, text) = if path == Path::new("-") {
            ("stdin".to_owned(), read_text(std::io::stdin().lock()))
        } else {
            let text = std::fs::File::open(path).and_then(read_text);
            (path.display().to_string(), text)
        };
        let text = text.map_err(|error| Failure::usage(format!("{name}: cannot be read: {error}")))?;
        Self::parse(name, text)
    }

    fn parse(name: String, text: String) -> Result<Self, Failure> {
        let outcome = if is_json(&name, &text) {
            parse_json(&text)
        } else {
            parse_yaml(&text)
        };
        let streams = outcome.map_err(|(line, problem)| {
            let place = line.map_or_else(|| name.clone(), |line| format!("{name}:{line}"));
            Failure::usage(format!("{place}: {problem}"))
        })?;
        let file = Self { name, text, streams };
        file.refuse_doubles()?;
        Ok(file)
    }

    fn refuse_doubles(&self) -> Result<(), Failure> {
        let mut seen = BTreeMap::new();
        for (index, entry) in self.streams.iter().enumerate() {
            if let Some(first) = seen.insert(entry.name.as_str(), index) {
                return Err(Failure::usage(format!(
                    "{}: name: {:?} is the name of another stream too{}; give every stream its own name",
                    self.place(index),
                    entry.name,
                    self.line(first)
                        .map_or_else(String::new, |line| format!(" (line {line})")),
                )));
            }
        }
        Ok(())
    }

    /// File and, where it can be told, line of the stream with this index.
    pub(crate) fn place(&self, index: usize) -> String {
        self.line(index)
            .map_or_else(|| self.name.clone(), |line| format!("{}:{line}", self.name))
    }

    /// The line with the name of the stream with this index. The parser keeps no lines of what it has read: the
    /// names are looked for in the text, in their order.
    fn line(&self, index: usize) -> Option<usize> {
        let mut lines = self.text.lines().enumerate();
        let mut found = None;
        for entry in self.streams.get(..=index)? {
            found = lines
                .find(|(_, line)| names(line, &entry.name))
                .map(|(number, _)| number + 1);
        }
        found
    }
}

/// Whether a line says `name: NAME`, in YAML or JSON.
fn names(line: &str, name: &str) -> bool {
    line.match_indices("name").any(|(start, _)| {
        let rest = line[start + "name".len()..].trim_start_matches(['"', '\'', ' ']);
        let Some(value) = rest.strip_prefix(':') else {
            return false;
        };
        let value = value.split(" #").next().unwrap_or_default();
        let value = value.trim_start_matches(['"', '\'', ' ']);
        let end = value.find(['"', '\'', ',', '}']).unwrap_or(value.len());
        value[..end].trim_end() == name
    })
}

fn read_text(from: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!(
            "has more than {MAX_FILE_BYTES} bytes; apply it in several files"
        )));
    }
    Ok(text)
}

fn is_json(name: &str, text: &str) -> bool {
    let yaml = [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending));
    !yaml && (name.ends_with(".json") || text.trim_start().starts_with(['{', '[']))
}

type Mistake = (Option<usize>, String);

fn parse_json(text: &str) -> Result<Vec<Entry>, Mistake> {
    let mistake = |error: serde_json::Error| (Some(error.line()), error.to_string());
    if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(mistake)
    } else {
        serde_json::from_str::<Wrapped>(text)
            .map(|wrapped| wrapped.streams)
            .map_err(mistake)
    }
}

fn parse_yaml(text: &str) -> Result<Vec<Entry>, Mistake> {
    use serde_yaml_ng::Value;
    let mistake =
        |error: serde_yaml_ng::Error| (error.location().map(|place| place.line()), error.to_string());
    // Twice, because only the second reading, into the wanted shape, names field and line.
    match serde_yaml_ng::from_str::<Value>(text).map_err(mistake)? {
        Value::Sequence(_) => serde_yaml_ng::from_str(text).map_err(mistake),
        Value::Mapping(_) => serde_yaml_ng::from_str::<Wrapped>(text)
            .map(|wrapped| wrapped.streams)
            .map_err(mistake),
        _ => Err((
            None,
            "has no streams; write a list of them, or \"streams:\" and the list below".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<StreamFile, Failure> {
        StreamFile::parse(name.to_owned(), text.to_owned())
    }

    #[test]
    fn four_shapes_say_the_same() {
        let yaml = "streams:\n  - name: a\n    source: http://x/a\n    weight: 2\n    labels: {k: v}\n";
        let bare = "- name: a\n  source: http://x/a\n  weight: 2.0\n  labels:\n    k: v\n";
        let json =
            r#"{"streams": [{"name": "a", "source": "http://x/a", "weight": 2, "labels": {"k": "v"}}]}"#;
        let list =
            "[\n\t{\"name\": \"a\", \"source\": \"http://x/a\", \"weight\": 2, \"labels\": {\"k\": \"v\"}}]";
        let expected = parse("f.yaml", yaml).unwrap().streams;
        assert_eq!(expected[0].weight, Some(2.0));
        assert_eq!(expected[0].labels["k"], "v");
        for (name, text) in [("f", bare), ("f", json), ("f.json", list), ("f.yml", json)] {
            assert_eq!(parse(name, text).unwrap().streams, expected, "{text}");
        }
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        let cases: &[(&str, &str, &[&str])] = &[
            (
                "f.yaml",
                "- name: a\n  source: x\n  wieght: 2\n",
                &["f.yaml:3:", "wieght", "weight"],
            ),
            ("f.yaml", "streams:\n- name: a\n", &["f.yaml:2:", "source"]),
            (
                "f.yaml",
                "streams:\n- name: a\n  source: x\n  weight: heavy\n",
                &["f.yaml:4:", "weight", "heavy"],
            ),
            (
                "f.yaml",
                "streams:\n- name: a\n  source: x\n  enabled: 7\n",
                &["f.yaml:4:", "enabled"],
            ),
            ("f.yaml", "streams:\n- name: a\n  source: [\n", &["f.yaml:"]),
            ("f.yaml", "stream: []\n", &["f.yaml:1:", "stream", "streams"]),
            ("f.yaml", "", &["f.yaml: has no streams"]),
            ("f.yaml", "5\n", &["f.yaml: has no streams"]),
            (
                "f.json",
                "[\n {\"name\": \"a\",\n \"sauce\": 1}]",
                &["f.json:3:", "sauce", "source"],
            ),
            (
                "f",
                "{\"streams\": [\n{\"name\": 5}]}",
                &["f:2:", "expected a string"],
            ),
            ("f.json", "{", &["f.json:1:"]),
            (
                "f.yaml",
                "- name: a\n  source: x\n- {source: y, name: \"a\"}\n",
                &["f.yaml:3: name: \"a\" is the name of another stream too (line 1)"],
            ),
        ];
        for (name, text, parts) in cases {
            let failure = parse(name, text).expect_err(text);
            assert_eq!(failure.exit, crate::failure::Exit::Usage);
            for part in *parts {
                assert!(
                    failure.text.contains(part),
                    "{part:?} is missing in {:?}",
                    failure.text
                );
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let failure = StreamFile::read(Path::new("/nonexistent/streams.yaml")).unwrap_err();
        assert!(
            failure
                .text
                .starts_with("/nonexistent/streams.yaml: cannot be read"),
            "{}",
            failure.text
        );
    }

    #[test]
    fn lines_of_streams_are_found_in_order() {
        let file = parse(
            "f.yaml",
            "- name: ab\n  source: x\n- source: y\n  name: a\n- {name: b, source: z}\n- name: x y  # no\n  source: x\n",
        )
        .unwrap();
        assert_eq!(
            [file.place(0), file.place(1), file.place(2), file.place(3)],
            ["f.yaml:1", "f.yaml:4", "f.yaml:5", "f.yaml:6"]
        );
    }
}
