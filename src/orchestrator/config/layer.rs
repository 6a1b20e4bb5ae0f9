//! One layer of settings each: a file, flags. All become the same flat list.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::load::{ConfigError, Flag};

/// The place of everything that nobody set.
pub(super) const DEFAULTS: &str = "defaults";

/// One setting of one layer.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    /// Such as `http.bind`.
    pub(super) key: String,
    /// What was written.
    pub(super) value: Value,
    /// Where.
    pub(super) place: String,
}

/// Settings of a TOML file, each with its line.
pub(super) fn read_file(path: &Path, settings: &mut Vec<Setting>, errors: &mut Vec<ConfigError>) {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            errors.push(ConfigError {
                place: path.display().to_string(),
                key: String::new(),
                problem: format!("cannot be read: {error}; check the path given with --config"),
            });
            return;
        }
    };
    read_text(path, &text, settings, errors);
}

/// As [`read_file`], with the text at hand.
pub(super) fn read_text(path: &Path, text: &str, settings: &mut Vec<Setting>, errors: &mut Vec<ConfigError>) {
    let (table, mistakes) = DeTable::parse_recoverable(text);
    for mistake in mistakes {
        let start = mistake.span().map_or(0, |span| span.start);
        errors.push(ConfigError {
            place: place(path, text, start),
            key: String::new(),
            problem: format!("is no TOML: {}", mistake.message()),
        });
    }
    collect("", table.get_ref(), path, text, settings);
}

fn collect(prefix: &str, table: &DeTable<'_>, path: &Path, text: &str, settings: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            collect(&key, inner, path, text, settings);
            continue;
        }
        let raw = text.get(value.span()).unwrap_or_default();
        settings.push(Setting {
            key,
            value: parse_or_text(raw),
            place: place(path, text, name.span().start),
        });
    }
}

fn place(path: &Path, text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    format!("{}:{}", path.display(), before.matches('\n').count() + 1)
}

/// Settings of the command line.
pub(super) fn read_flags(flags: &[Flag], samples: &BTreeMap<String, Value>, settings: &mut Vec<Setting>) {
    for flag in flags {
        settings.push(Setting {
            key: flag.key.clone(),
            value: interpret(&flag.value, samples.get(&flag.key)),
            place: format!("flag {}", flag.name),
        });
    }
}

/// Text as the kind of value that the setting has: outside of TOML nobody wants to write quotes.
pub(super) fn interpret(text: &str, sample: Option<&Value>) -> Value {
    match sample {
        None | Some(Value::String(_)) => Value::String(text.to_owned()),
        Some(Value::Array(_)) if !text.trim_start().starts_with('[') => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.to_owned()))
                .collect(),
        ),
        Some(_) => parse_or_text(text.trim()),
    }
}

fn parse_or_text(raw: &str) -> Value {
    raw.parse().unwrap_or_else(|_| Value::String(raw.to_owned()))
}
