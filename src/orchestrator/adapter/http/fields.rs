//! Reading JSON objects by hand, because serde stops at the first mistake and names no pointer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::mask::mask;
use super::problem::ErrorItem;

/// One JSON object whose fields are taken one by one; everything that is wrong is noted with its pointer.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    map: Map<String, Value>,
    pointer: String,
    known: Vec<&'static str>,
    errors: &'a mut Vec<ErrorItem>,
}

impl<'a> Fields<'a> {
    /// The object `value` at `pointer`.
    pub(super) fn of(value: Value, pointer: String, errors: &'a mut Vec<ErrorItem>) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self {
                map,
                pointer,
                known: Vec::new(),
                errors,
            }),
            other => {
                errors.push(ErrorItem::pointer(pointer, wrong_type("an object", &other)));
                None
            }
        }
    }

    /// Whether the field is there. `null` counts as absent.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Takes a field.
    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.map.remove(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let got = read(&value);
        if got.is_none() {
            self.wrong(name, wrong_type(expected, &value));
        }
        got
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.read(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn number(&mut self, name: &'static str) -> Option<f64> {
        self.read(name, "a number", Value::as_f64)
    }

    pub(super) fn integer(&mut self, name: &'static str) -> Option<i32> {
        let expected = format!("a whole number from {} to {}", i32::MIN, i32::MAX);
        self.read(name, &expected, |value| {
            value.as_i64().and_then(|number| i32::try_from(number).ok())
        })
    }

    /// Takes a duration as people write it.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.text(name)?;
        let read = humantime::parse_duration(&text);
        read.map_err(|error| {
            self.wrong(
                name,
                format!("is {text:?}, no duration ({error}); write one as in \"30s\" or \"5m\""),
            );
        })
        .ok()
    }

    pub(super) fn list(&mut self, name: &'static str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(list) => Some(list),
            other => {
                self.wrong(name, wrong_type("a list", &other));
                None
            }
        }
    }

    /// Takes an object whose values are texts.
    pub(super) fn texts(&mut self, name: &'static str) -> Option<BTreeMap<String, String>> {
        let map = match self.take(name)? {
            Value::Object(map) => map,
            other => {
                self.wrong(name, wrong_type("an object of texts", &other));
                return None;
            }
        };
        let mut texts = BTreeMap::new();
        for (key, value) in map {
            match value {
                Value::String(text) => {
                    texts.insert(key, text);
                }
                other => {
                    let place = format!("{name}/{}", escape(&key));
                    self.wrong(&place, wrong_type("a text", &other));
                }
            }
        }
        Some(texts)
    }

    /// Notes that something at `place` (a field, or a path below one) is wrong.
    pub(super) fn wrong(&mut self, place: &str, detail: impl Into<String>) {
        let pointer = format!("{}/{place}", self.pointer);
        self.errors.push(ErrorItem::pointer(pointer, detail));
    }

    /// Notes every field that nobody took.
    pub(super) fn finish(self) {
        for name in self.map.keys() {
            self.errors.push(ErrorItem::pointer(
                format!("{}/{}", self.pointer, escape(name)),
                format!("unknown field {name:?}; known are {}", self.known.join(", ")),
            ));
        }
    }
}

/// A key as a JSON pointer's token. Secrets are masked here, because no mask sees them once slashes are escaped.
pub(super) fn escape(key: &str) -> String {
    mask(key).replace('~', "~0").replace('/', "~1")
}

pub(super) fn wrong_type(expected: &str, value: &Value) -> String {
    let got = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    match (expected, value) {
        ("a text", Value::Bool(_) | Value::Number(_)) => {
            format!("is {got}, must be a text; write \"{got}\"")
        }
        _ => format!("is {got}, must be {expected}"),
    }
}
