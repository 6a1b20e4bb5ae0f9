//! A file in TOML, YAML or JSON as one tree of values, and the line of any place in it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::place::{Step, Stop};

/// The formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Toml,
    Yaml,
    Json,
}

/// A text that is no tree: the line, where it is known, and the reason.
pub(super) type Mistake = (Option<usize>, String);

impl Format {
    /// By the name, or else by what the text begins with.
    pub(super) fn of(name: &str, text: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("toml") => return Self::Toml,
            Some("yaml" | "yml") => return Self::Yaml,
            Some("json") => return Self::Json,
            _ => {}
        }
        let first = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .unwrap_or_default();
        let key_end = first.find(['=', ':']);
        if first.starts_with("[[") || key_end.is_some_and(|at| first[at..].starts_with('=')) {
            Self::Toml
        } else if first.starts_with(['{', '[']) {
            Self::Json
        } else {
            Self::Yaml
        }
    }

    /// Reads the whole text.
    pub(super) fn read(self, text: &str) -> Result<Value, Mistake> {
        self.deserialize(text, Tree)
    }

    /// The line of a place, or of the nearest thing around it that is there.
    pub(super) fn line(self, text: &str, path: &[Step]) -> Option<usize> {
        (0..=path.len())
            .rev()
            .find_map(|length| match self.deserialize(text, Stop(path.get(..length)?)) {
                Ok(()) => None,
                Err((line, _)) => line,
            })
    }

    fn deserialize<'a, S: DeserializeSeed<'a>>(self, text: &'a str, seed: S) -> Result<S::Value, Mistake> {
        match self {
            Self::Toml => {
                let mistake = |error: toml::de::Error| {
                    let line = error
                        .span()
                        .and_then(|span| text.get(..span.start))
                        .map(|before| before.matches('\n').count() + 1);
                    (line, error.message().to_owned())
                };
                let reader = toml::de::Deserializer::parse(text).map_err(mistake)?;
                seed.deserialize(reader).map_err(mistake)
            }
            Self::Yaml => seed
                .deserialize(serde_yaml_ng::Deserializer::from_str(text))
                .map_err(|error| (error.location().map(|place| place.line()), error.to_string())),
            Self::Json => {
                let mistake = |error: serde_json::Error| {
                    (Some(error.line()).filter(|line| *line > 0), error.to_string())
                };
                let mut reader = serde_json::Deserializer::from_str(text);
                let value = seed.deserialize(&mut reader).map_err(mistake)?;
                reader.end().map_err(mistake)?;
                Ok(value)
            }
        }
    }
}

/// Reads any value; a key that is there twice is a mistake.
#[derive(Clone, Copy)]
struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true, false, a list or a table")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom(format!("{value} is no number that can be used")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Tree)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = from.next_key_seed(NewKey(&map))? {
            let value = from.next_value_seed(Tree)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Reads a key; one that is there already is a mistake, here rather than later, so that its line is known.
struct NewKey<'m>(&'m Map<String, Value>);

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.0.contains_key(key) {
            Err(E::custom(format!("{key:?} is there twice; write it once")))
        } else {
            Ok(key.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TOML: &str = "# list\n[[streams]]\nname = \"a\"\n\n[[streams]]\nname = \"b\"\nweight = 2\n[streams.labels]\nk = \"v\"\n";
    const YAML: &str =
        "streams:\n  - name: a\n\n  - name: b\n    weight: 2\n    labels:\n      # none\n      k: v\n";
    const JSON: &str = "{\"streams\": [\n{\"name\": \"a\"},\n\n{\"name\": \"b\",\n\"weight\": 2,\n\"labels\":\n{\"k\":\n\"v\"}}]}";

    fn path(steps: &str) -> Vec<Step> {
        steps
            .split('/')
            .skip(1)
            .map(|step| match step.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key(step.to_owned()),
            })
            .collect()
    }

    #[test]
    fn three_formats_give_the_same_tree() {
        let expected = json!({"streams": [{"name": "a"}, {"name": "b", "weight": 2, "labels": {"k": "v"}}]});
        for (format, text) in [(Format::Toml, TOML), (Format::Yaml, YAML), (Format::Json, JSON)] {
            assert_eq!(format.read(text), Ok(expected.clone()), "{format:?}");
            assert_eq!(Format::of("-", text), format);
        }
    }

    #[test]
    fn every_place_has_its_line() {
        for (place, toml, yaml, json) in [
            ("/streams/0/name", 3, 2, 2),
            ("/streams/1/name", 6, 4, 4),
            ("/streams/1/weight", 7, 5, 5),
            ("/streams/1/labels", 8, 6, 6),
            ("/streams/1/labels/k", 9, 8, 7),
            // Not there: what is around it.
            ("/streams/1/source", 5, 4, 4),
            ("/streams/1/labels/z", 8, 6, 6),
        ] {
            let lines = [(Format::Toml, TOML), (Format::Yaml, YAML), (Format::Json, JSON)]
                .map(|(format, text)| format.line(text, &path(place)));
            assert_eq!(lines, [Some(toml), Some(yaml), Some(json)], "{place}");
        }
    }

    #[test]
    fn what_is_no_tree_has_a_line() {
        for (format, text, line, part) in [
            (Format::Toml, "a = 1\nb = \n", 2, ""),
            (Format::Toml, "a = 1\na = 2\n", 2, "duplicate"),
            (Format::Toml, "a = nan\n", 1, "no number"),
            (Format::Yaml, "a: 1\nb: [\n", 3, ""),
            (Format::Yaml, "a: 1\nb: 3\na: 2\n", 3, "twice"),
            (Format::Json, "{\"a\": 1,\n\"a\": 2}", 2, "twice"),
            (Format::Json, "{\"a\": 1}\n}", 2, ""),
        ] {
            let (found, reason) = format.read(text).unwrap_err();
            assert_eq!(found, Some(line), "{text}: {reason}");
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    #[test]
    fn the_format_is_told_by_name_or_beginning() {
        for (name, text, expected) in [
            ("a.toml", "{", Format::Toml),
            ("a.yml", "{}", Format::Yaml),
            ("a.json", "x", Format::Json),
            ("stdin", "# c\n\nstreams = []", Format::Toml),
            ("stdin", "streams: []", Format::Yaml),
            ("stdin", "- source: http://h/?a=b", Format::Yaml),
            ("stdin", "[{}]", Format::Json),
        ] {
            assert_eq!(Format::of(name, text), expected, "{name} {text}");
        }
    }
}
