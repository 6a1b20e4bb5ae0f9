//! Variables of the environment and of `--env-file`, under the names of this program and under the classic ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::Value;

use super::layer::{Setting, interpret};
use super::load::ConfigError;

/// What names of variables begin with; `__` parts section and key.
const PREFIX: &str = "STREAMKEEPER__";

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    /// What it is set to; none where that is not UTF-8.
    pub(super) value: Option<String>,
    /// Where it was set.
    pub(super) place: String,
}

/// Variables by name, so that the messages come in the same order every time.
pub(super) type Variables = BTreeMap<String, Variable>;

/// How a classic name's value is read.
#[derive(Debug, Clone, Copy)]
enum Classic {
    Seconds,
    Number,
    Switch,
}

/// Names that other stream keepers use, in whose variables times are plain numbers of seconds.
const CLASSIC: &[(&str, &str, Classic)] = &[
    ("HEARTBEAT_TIMEOUT", "heartbeat.timeout", Classic::Seconds),
    (
        "HEARTBEAT_WARNING_THRESHOLD",
        "heartbeat.warning",
        Classic::Seconds,
    ),
    (
        "HEARTBEAT_CHECK_INTERVAL",
        "heartbeat.check_interval",
        Classic::Seconds,
    ),
    ("EMERGENCY_THRESHOLD", "heartbeat.emergency", Classic::Seconds),
    ("MAX_RETRY_ATTEMPTS", "recovery.max_attempts", Classic::Number),
    ("RETRY_DELAY_SECONDS", "recovery.retry_delay", Classic::Seconds),
    (
        "EXPONENTIAL_BACKOFF",
        "recovery.exponential_backoff",
        Classic::Switch,
    ),
    (
        "CIRCUIT_BREAKER_THRESHOLD",
        "database.breaker_threshold",
        Classic::Number,
    ),
    ("EMERGENCY_RECOVERY_ENABLED", "recovery.enabled", Classic::Switch),
];

/// The classic name of a setting, if it has one.
#[cfg(test)]
pub(super) fn classic_name(key: &str) -> Option<&'static str> {
    CLASSIC
        .iter()
        .find(|(_, known, _)| *known == key)
        .map(|(name, ..)| *name)
}

/// The name of a setting's own variable.
#[cfg(test)]
pub(super) fn name_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Adds the variables of the process; they win over those of a file.
pub(super) fn of_process(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    variables: &mut Variables,
) {
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let variable = Variable {
            value: value.into_string().ok(),
            place: format!("environment variable {name}"),
        };
        variables.insert(name, variable);
    }
}

/// Adds the variables of a file with a `NAME=VALUE` a line.
pub(super) fn of_file(path: &Path, variables: &mut Variables, errors: &mut Vec<ConfigError>) {
    let mut refuse = |place: String, problem: String| {
        errors.push(ConfigError {
            place,
            key: String::new(),
            problem,
        });
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let problem = format!("cannot be read: {error}; check the path given with --env-file");
            return refuse(path.display().to_string(), problem);
        }
    };
    for (index, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), index + 1);
        match assignment(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                let variable = Variable {
                    value: Some(value.to_owned()),
                    place: format!("{place}: variable {name}"),
                };
                variables.insert(name.to_owned(), variable);
            }
            Err(problem) => refuse(place, problem),
        }
    }
}

/// Reads one line. The line itself is in no message: it may hold a secret.
fn assignment(line: &str) -> Result<Option<(&str, &str)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return Err("is no variable; write NAME=VALUE, or # before a comment".to_owned());
    };
    let name = name.trim_start();
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins || name.contains(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')) {
        return Err(
            "has no name of a variable before the =; write letters, digits and _ without spaces, such as \
             HEARTBEAT_TIMEOUT=300"
                .to_owned(),
        );
    }
    let value = value.trim();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let Some(quote) = quote else {
        let end = value.find(" #").unwrap_or(value.len());
        return Ok(Some((name, value.get(..end).unwrap_or(value).trim_end())));
    };
    let (inside, after) = value
        .get(1..)
        .and_then(|rest| rest.split_once(quote))
        .ok_or_else(|| {
            format!("{name}: the quote {quote} is not closed; write it after the value as well")
        })?;
    let after = after.trim();
    if !(after.is_empty() || after.starts_with('#')) {
        return Err(format!(
            "{name}: something stands after the closing {quote}; remove it"
        ));
    }
    Ok(Some((name, inside)))
}

/// Settings of the variables. The own names come last, because they win over the classic ones.
pub(super) fn read(
    variables: &Variables,
    samples: &BTreeMap<String, Value>,
    settings: &mut Vec<Setting>,
    errors: &mut Vec<ConfigError>,
) {
    for (name, key, kind) in CLASSIC {
        let Some(variable) = variables.get(*name) else {
            continue;
        };
        let text = variable.value.as_deref().map(str::trim);
        // Compose files set what they do not know to nothing.
        if text == Some("") {
            continue;
        }
        let value = match kind {
            _ if text.is_none() => Err("is not UTF-8; write it in UTF-8".to_owned()),
            Classic::Seconds => seconds(text.unwrap_or_default()),
            Classic::Number => Ok(interpret(text.unwrap_or_default(), samples.get(*key))),
            Classic::Switch => switch(text.unwrap_or_default()),
        };
        put(variable, key, value, settings, errors);
    }
    for (name, variable) in variables {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            let key = rest.to_lowercase().replace("__", ".");
            let value = match &variable.value {
                Some(text) => Ok(interpret(text, samples.get(&key))),
                None => Err("is not UTF-8; write it in UTF-8".to_owned()),
            };
            put(variable, &key, value, settings, errors);
        }
    }
}

fn put(
    variable: &Variable,
    key: &str,
    value: Result<Value, String>,
    settings: &mut Vec<Setting>,
    errors: &mut Vec<ConfigError>,
) {
    let (key, place) = (key.to_owned(), variable.place.clone());
    match value {
        Ok(value) => settings.push(Setting { key, value, place }),
        Err(problem) => errors.push(ConfigError { place, key, problem }),
    }
}

fn seconds(text: &str) -> Result<Value, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            let shown = if seconds.fract() == 0.0 {
                format!("{seconds}s")
            } else {
                format!("{}ms", (seconds * 1_000.0).round())
            };
            Ok(Value::String(shown))
        }
        _ => Err(format!(
            "{text:?} is not usable: it is a number of seconds; write for example 300"
        )),
    }
}

fn switch(text: &str) -> Result<Value, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Value::Boolean(true)),
        "false" | "0" => Ok(Value::Boolean(false)),
        _ => Err(format!("{text:?} is not usable: write true or false")),
    }
}
