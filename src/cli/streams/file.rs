//! The file of `streams apply`: TOML, YAML or JSON, `streams` or the bare list. Each mistake has its file, line and
//! field. What the fields may hold is the server's to say; here only their names and kinds are checked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::place::Step;
use super::tree::Format;
use crate::failure::Failure;

/// Largest file, in bytes; what the server takes is about this.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Most mistakes that are told at once.
const MAX_MISTAKES: usize = 50;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Boolean,
    Number,
    Integer,
    Texts,
}

const FIELDS: &[(&str, Kind)] = &[
    ("name", Kind::Text),
    ("source", Kind::Text),
    ("enabled", Kind::Boolean),
    ("weight", Kind::Number),
    ("priority", Kind::Integer),
    ("ownership", Kind::Text),
    ("on_owner_lost", Kind::Text),
    ("lost_after", Kind::Text),
    ("labels", Kind::Texts),
    ("requires", Kind::Texts),
    ("prefers", Kind::Texts),
    ("spread", Kind::Text),
    ("pin", Kind::Text),
];

/// A file that was read.
#[derive(Debug)]
pub(super) struct StreamFile {
    /// Its name in messages.
    name: String,
    text: String,
    format: Format,
    /// Whether the list has a name, rather than being the whole file.
    wrapped: bool,
    /// The streams, as the server gets them.
    pub(super) streams: Vec<Value>,
}

/// One mistake; the path begins at the list of streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) path: Vec<Step>,
    pub(super) detail: String,
}

impl StreamFile {
    /// Reads a file, or stdin for `-`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let (name, text) = if path == Path::new("-") {
            ("stdin".to_owned(), read_text(std::io::stdin().lock()))
        } else {
            let text = std::fs::File::open(path).and_then(read_text);
            (path.display().to_string(), text)
        };
        let text = text.map_err(|error| Failure::usage(format!("{name}: cannot be read: {error}")))?;
        Self::parse(name, text)
    }

    pub(super) fn parse(name: String, text: String) -> Result<Self, Failure> {
        let format = Format::of(&name, &text);
        let refused = |line: Option<usize>, problem: &str| {
            let place = line.map_or_else(|| name.clone(), |line| format!("{name}:{line}"));
            Failure::usage(format!("{place}: {problem}"))
        };
        let tree = format
            .read(&text)
            .map_err(|(line, problem)| refused(line, &problem))?;
        let none = "has no streams; write a list of them, or `streams` with the list (TOML: [[streams]])";
        let (wrapped, streams) = match tree {
            Value::Array(streams) => (false, streams),
            Value::Object(mut map) => {
                let streams = map.remove("streams");
                if let Some(other) = map.keys().next() {
                    let line = format.line(&text, &[Step::Key(other.clone())]);
                    return Err(refused(
                        line,
                        &format!("{other}: is unknown; a file holds `streams` alone"),
                    ));
                }
                match streams {
                    Some(Value::Array(streams)) => (true, streams),
                    _ => return Err(refused(None, none)),
                }
            }
            _ => return Err(refused(None, none)),
        };
        Ok(Self {
            name,
            text,
            format,
            wrapped,
            streams,
        })
    }

    /// Every mistake that can be seen without the server.
    pub(super) fn mistakes(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut seen = BTreeMap::new();
        for (index, stream) in self.streams.iter().enumerate() {
            let mut wrong = |field: &[&str], detail: String| {
                let keys = field.iter().map(|key| Step::Key((*key).to_owned()));
                mistakes.push(Mistake {
                    path: std::iter::once(Step::Index(index)).chain(keys).collect(),
                    detail,
                });
            };
            let Value::Object(fields) = stream else {
                wrong(&[], format!("is {stream}; write a table with name and source"));
                continue;
            };
            check(fields, &mut wrong);
            if let Some(name) = fields.get("name").and_then(Value::as_str)
                && let Some(first) = seen.insert(name, index)
            {
                let line = self.line(&[Step::Index(first), Step::Key("name".to_owned())]);
                let line = line.map_or_else(String::new, |line| format!(" (line {line})"));
                wrong(
                    &["name"],
                    format!(
                        "{name:?} is the name of another stream too{line}; give every stream its own name"
                    ),
                );
            }
        }
        mistakes
    }

    /// The mistakes as one failure.
    pub(super) fn refuse(&self, mistakes: &[Mistake]) -> Failure {
        let mut lines: Vec<String> = mistakes
            .iter()
            .take(MAX_MISTAKES)
            .map(|mistake| format!("{}: {}", self.place(&mistake.path), mistake.detail))
            .collect();
        if mistakes.len() > MAX_MISTAKES {
            lines.push(format!("and {} more", mistakes.len() - MAX_MISTAKES));
        }
        if let [one] = lines.as_slice() {
            return Failure::usage(one.clone());
        }
        Failure::usage(format!(
            "{}: {} mistakes, nothing was applied\n  {}",
            self.name,
            mistakes.len(),
            lines.join("\n  ")
        ))
    }

    /// File, line, stream and field of a place.
    pub(super) fn place(&self, path: &[Step]) -> String {
        let mut place = match self.line(path) {
            Some(line) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        };
        if let Some(Step::Index(index)) = path.first() {
            let name = self.streams.get(*index).and_then(|stream| stream.get("name"));
            match name.and_then(Value::as_str) {
                Some(name) => place.push_str(&format!(": stream {name}")),
                None => place.push_str(&format!(": stream number {}", index + 1)),
            }
        }
        let fields: Vec<&str> = path
            .iter()
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        if !fields.is_empty() {
            place.push_str(&format!(": {}", fields.join(".")));
        }
        place
    }

    fn line(&self, path: &[Step]) -> Option<usize> {
        let list = self.wrapped.then(|| Step::Key("streams".to_owned()));
        let path: Vec<Step> = list.into_iter().chain(path.iter().cloned()).collect();
        self.format.line(&self.text, &path)
    }
}

/// Names and kinds of one stream's fields.
fn check(fields: &Map<String, Value>, wrong: &mut impl FnMut(&[&str], String)) {
    for required in ["name", "source"] {
        if fields.get(required).is_none_or(Value::is_null) {
            wrong(&[], format!("{required} is missing"));
        }
    }
    for (field, value) in fields {
        let Some((_, kind)) = FIELDS.iter().find(|(known, _)| known == field) else {
            let known: Vec<&str> = FIELDS.iter().map(|(known, _)| *known).collect();
            wrong(
                &[field],
                format!("is unknown; the fields are {}", known.join(", ")),
            );
            continue;
        };
        let expected = match kind {
            // What is empty counts as not written.
            _ if value.is_null() => None,
            Kind::Text => (!value.is_string()).then_some("text in quotes"),
            Kind::Boolean => (!value.is_boolean()).then_some("true or false"),
            Kind::Number => (!value.is_number()).then_some("a number"),
            Kind::Integer => (!value.is_i64()).then_some("a whole number"),
            Kind::Texts => match value {
                Value::Object(entries) => {
                    for (key, value) in entries.iter().filter(|(_, value)| !value.is_string()) {
                        wrong(&[field, key], format!("is {value}; write text in quotes"));
                    }
                    None
                }
                _ => Some("a table of texts"),
            },
        };
        if let Some(expected) = expected {
            wrong(&[field], format!("is {value}; write {expected}"));
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, text: &str) -> Result<StreamFile, Failure> {
        let file = StreamFile::parse(name.to_owned(), text.to_owned())?;
        match file.mistakes().as_slice() {
            [] => Ok(file),
            mistakes => Err(file.refuse(mistakes)),
        }
    }

    #[test]
    fn five_shapes_say_the_same() {
        let yaml = "streams:\n  - name: a\n    source: http://x/a\n    weight: 2\n    labels: {k: v}\n";
        let bare = "- name: a\n  source: http://x/a\n  weight: 2\n  labels:\n    k: v\n";
        let json =
            r#"{"streams": [{"name": "a", "source": "http://x/a", "weight": 2, "labels": {"k": "v"}}]}"#;
        let list =
            "[\n\t{\"name\": \"a\", \"source\": \"http://x/a\", \"weight\": 2, \"labels\": {\"k\": \"v\"}}]";
        let toml = "[[streams]]\nname = \"a\"\nsource = \"http://x/a\"\nweight = 2\nlabels = { k = \"v\" }\n";
        let expected = parse("f.yaml", yaml).unwrap().streams;
        assert_eq!(expected[0]["labels"]["k"], "v");
        for (name, text) in [
            ("f", bare),
            ("f", json),
            ("f.json", list),
            ("f.yml", json),
            ("f", toml),
        ] {
            assert_eq!(parse(name, text).unwrap().streams, expected, "{text}");
        }
    }

    #[test]
    fn mistakes_name_file_line_and_field() {
        let cases: &[(&str, &str, &[&str])] = &[
            (
                "f.yaml",
                "- name: a\n  source: x\n  wieght: 2\n",
                &["f.yaml:3: stream a: wieght: is unknown", "weight"],
            ),
            (
                "f.yaml",
                "streams:\n- name: a\n",
                &["f.yaml:2: stream a: source is missing"],
            ),
            (
                "f.toml",
                "[[streams]]\nname = \"a\"\nsource = \"x\"\nweight = \"heavy\"\n",
                &["f.toml:4: stream a: weight: is \"heavy\"; write a number"],
            ),
            (
                "f.yaml",
                "streams:\n- name: a\n  source: x\n  labels:\n    n: 7\n",
                &["f.yaml:5: stream a: labels.n: is 7; write text"],
            ),
            ("f.yaml", "streams:\n- 5\n", &["f.yaml:2: stream number 1: is 5"]),
            ("f.yaml", "streams:\n- name: a\n  source: [\n", &["f.yaml:"]),
            (
                "f.yaml",
                "stream: []\n",
                &["f.yaml:1: stream: is unknown", "`streams`"],
            ),
            ("f.yaml", "", &["f.yaml: has no streams"]),
            ("f.yaml", "5\n", &["f.yaml: has no streams"]),
            ("f.json", "{", &["f.json:1:"]),
            (
                "f.yaml",
                "- name: a\n  source: x\n- {source: y, name: \"a\"}\n",
                &["f.yaml:3: stream a: name: \"a\" is the name of another stream too (line 1)"],
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
    fn all_mistakes_are_named_at_once() {
        let text = "- name: a\n  sauce: x\n  priority: 1.5\n- name: b\n  source: 7\n  enabled: yes please\n";
        let failure = parse("f.yaml", text).unwrap_err();
        let lines: Vec<&str> = failure.text.lines().map(str::trim).collect();
        let expected = [
            "f.yaml: 5 mistakes",
            "f.yaml:1: stream a: source is missing",
            "f.yaml:2: stream a: sauce: is unknown",
            "f.yaml:3: stream a: priority: is 1.5; write a whole number",
            "f.yaml:5: stream b: source: is 7; write text in quotes",
            "f.yaml:6: stream b: enabled: is \"yes please\"; write true or false",
        ];
        assert_eq!(lines.len(), expected.len(), "{}", failure.text);
        for expected in expected {
            assert!(
                lines.iter().any(|line| line.starts_with(expected)),
                "{expected:?} is missing in {}",
                failure.text
            );
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
}
