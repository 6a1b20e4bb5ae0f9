//! Reads the layers (defaults, profile of the environment, file, variables, flags) and names every mistake with its key, value and place.
//!
//! Each setting is tried on its own over the defaults, so that one bad value hides no other; what only shows between
//! settings is in `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::check;
use super::layer::{self, Setting};
use super::nats::SECRETS;
use super::profile;
use super::reference;
use super::suggest;
use super::variables::{self, Variables};

/// The defaults; the documented file itself.
pub(super) const DEFAULTS: &str = include_str!("../../../config/default.toml");

/// Settings that have no default, with an example of each.
pub(super) const OPTIONAL: &[(&str, &str)] = &[
    ("alerts.webhook.url", "https://hooks.example/streamkeeper"),
    ("alerts.webhook.secret", "16 bytes or more"),
    ("alerts.webhook.template", "{\"text\": {{ annotations.summary }}}"),
    ("http.api_url", "http://o1.example:8001"),
    ("http.probe_bind", "127.0.0.1:8002"),
    ("leadership.number", "1"),
    ("nats.server", "/usr/sbin/nats-server"),
    ("nats.user", "streamkeeper"),
    ("nats.password", "a password"),
    ("nats.password_file", "/run/secrets/nats-password"),
    ("nats.token", "a token"),
    ("nats.token_file", "/run/secrets/nats-token"),
    ("nats.credentials_file", "/etc/streamkeeper/orchestrator.creds"),
    ("nats.nkey_seed_file", "/etc/streamkeeper/orchestrator.nk"),
    ("nats.system_user", "system"),
    ("nats.system_password", "a password"),
    ("nats.system_password_file", "/run/secrets/nats-system-password"),
    ("nats.system_credentials_file", "/etc/streamkeeper/system.creds"),
    ("nats.system_nkey_seed_file", "/etc/streamkeeper/system.nk"),
    ("nats.tls_ca_file", "/etc/streamkeeper/ca.pem"),
    ("nats.tls_cert_file", "/etc/streamkeeper/client.pem"),
    ("nats.tls_key_file", "/etc/streamkeeper/client-key.pem"),
];

/// Where settings come from, besides the defaults and the environment.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Which kind of installation it is: `development`, `test`, `staging` or `production`. Where it is not given, the
    /// variable `STREAMKEEPER_ENVIRONMENT` says it; where nothing does, the defaults hold.
    pub environment: Option<String>,
    /// A file with variables, one `NAME=VALUE` a line; those of the process win.
    pub env_file: Option<PathBuf>,
    /// A file of the user's.
    pub file: Option<PathBuf>,
    /// Flags, in the order in which they were given; the last one wins.
    pub flags: Vec<Flag>,
}

/// One setting that was given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag itself, such as `--bind`.
    pub name: String,
    /// The setting, such as `http.bind`.
    pub key: String,
    /// The value as it was written.
    pub value: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the value came from.
    pub place: String,
    /// The setting, such as `http.bind`; empty when the place as a whole is unusable.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.place, self.problem)
        } else {
            write!(f, "{}: {}: {}", self.place, self.key, self.problem)
        }
    }
}

impl std::error::Error for ConfigError {}

/// All mistakes at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The settings, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Every setting that has a value, sorted by key.
    pub effective: Vec<Effective>,
}

/// One setting as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting, such as `http.bind`.
    pub key: String,
    /// Its value in TOML, without passwords.
    pub value: String,
    /// Where it came from.
    pub place: String,
}

/// Loads the settings.
///
/// # Errors
/// Every mistake of every layer.
pub fn load(layers: &Layers) -> Result<Config, ConfigErrors> {
    explain(layers).map(|loaded| loaded.config)
}

/// Loads the settings and says where each came from.
///
/// # Errors
/// Every mistake of every layer.
pub fn explain(layers: &Layers) -> Result<Loaded, ConfigErrors> {
    load_from(layers, std::env::vars_os())
}

/// As [`explain`], with the environment as an argument.
pub(super) fn load_from(
    layers: &Layers,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigErrors> {
    let mut errors = Vec::new();
    let (defaults, samples) = defaults(&mut errors);
    let settings = collect(layers, environment, &samples, &mut errors);

    let mut merged = defaults.clone();
    let mut origins = BTreeMap::new();
    let mut faulty: BTreeSet<String> = errors.iter().map(|error| error.key.clone()).collect();
    for setting in settings {
        match try_alone(&defaults, &samples, &setting) {
            Ok(()) => {
                set(&mut merged, &setting.key, setting.value);
                origins.insert(setting.key, setting.place);
            }
            Err(problem) => {
                faulty.insert(setting.key.clone());
                errors.push(ConfigError {
                    place: setting.place,
                    key: setting.key,
                    problem,
                });
            }
        }
    }
    match Config::deserialize(merged.clone()) {
        Ok(config) => {
            errors.extend(check::check(&config, &origins, &faulty));
            if errors.is_empty() {
                let effective = effective(&merged, &origins);
                return Ok(Loaded { config, effective });
            }
        }
        Err(error) if errors.is_empty() => errors.push(ConfigError {
            place: layer::DEFAULTS.to_owned(),
            key: String::new(),
            problem: error.message().to_owned(),
        }),
        // Its cause is among the errors already.
        Err(_) => {}
    }
    Err(ConfigErrors(errors))
}

/// Every setting of every layer; a later one wins.
fn collect(
    layers: &Layers,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    samples: &BTreeMap<String, Value>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Setting> {
    let mut variables = Variables::new();
    if let Some(file) = &layers.env_file {
        variables::of_file(file, &mut variables, errors);
    }
    variables::of_process(environment, &mut variables);
    let mut settings = Vec::new();
    profile::read(layers.environment.as_deref(), &variables, &mut settings, errors);
    if let Some(file) = &layers.file {
        layer::read_file(file, &mut settings, errors);
    }
    variables::read(&variables, samples, &mut settings, errors);
    layer::read_flags(&layers.flags, samples, &mut settings);
    reference::resolve(settings, errors)
}

/// The defaults as a tree, and an example of every setting.
fn defaults(errors: &mut Vec<ConfigError>) -> (Table, BTreeMap<String, Value>) {
    let table = DEFAULTS.parse::<Table>().unwrap_or_else(|error| {
        errors.push(ConfigError {
            place: layer::DEFAULTS.to_owned(),
            key: String::new(),
            problem: error.message().to_owned(),
        });
        Table::new()
    });
    let mut samples = BTreeMap::new();
    flatten("", &table, &mut samples);
    for (key, example) in OPTIONAL {
        let number = example.parse().map(Value::Integer);
        let value = number.unwrap_or_else(|_| Value::String((*example).to_owned()));
        samples.insert((*key).to_owned(), value);
    }
    (table, samples)
}

/// Whether one setting alone, over the defaults, is right.
fn try_alone(defaults: &Table, samples: &BTreeMap<String, Value>, setting: &Setting) -> Result<(), String> {
    let Some(sample) = samples.get(&setting.key) else {
        return Err(unknown(&setting.key, samples));
    };
    let mut table = defaults.clone();
    set(&mut table, &setting.key, setting.value.clone());
    match Config::deserialize(table) {
        Ok(_) => Ok(()),
        Err(error) => {
            let reason = shown(&setting.key, error.message());
            let shown = shown(&setting.key, &setting.value.to_string());
            let sample = match sample {
                Value::Array(_) => r#"["nats://127.0.0.1:4222"]"#.to_owned(),
                other => other.to_string(),
            };
            Err(format!(
                "{shown} is not usable: {reason}; write for example {sample}"
            ))
        }
    }
}

fn unknown(key: &str, samples: &BTreeMap<String, Value>) -> String {
    let section = format!("{key}.");
    let inside: Vec<&str> = samples
        .keys()
        .filter_map(|known| known.strip_prefix(&section))
        .collect();
    if !inside.is_empty() {
        return format!("is a section, not a setting; set its keys: {}", inside.join(", "));
    }
    match suggest::nearest(key, samples.keys().map(String::as_str)) {
        Some(near) => format!("is no setting; did you mean {near}?"),
        None => "is no setting; `streamkeeper config show` lists them all".to_owned(),
    }
}

fn set(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = entry {
                set(inner, rest, value);
            }
        }
    }
}

pub(super) fn flatten(prefix: &str, table: &Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => flatten(&key, inner, into),
            other => {
                into.insert(key, other.clone());
            }
        }
    }
}

fn effective(merged: &Table, origins: &BTreeMap<String, String>) -> Vec<Effective> {
    let mut values = BTreeMap::new();
    flatten("", merged, &mut values);
    values
        .into_iter()
        .map(|(key, value)| Effective {
            place: origins
                .get(&key)
                .cloned()
                .unwrap_or_else(|| layer::DEFAULTS.to_owned()),
            value: shown(&key, &value.to_string()),
            key,
        })
        .collect()
}

/// What may be shown of a setting's value, or of what is said about it.
fn shown(key: &str, text: &str) -> String {
    if SECRETS.contains(&key) {
        "\"***\"".to_owned()
    } else {
        mask(text)
    }
}

/// Hides the password of every URL in `text`, in its login and in its query.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (head, tail) = rest.split_at(start + 3);
        masked.push_str(head);
        let end = tail
            .find(['/', '"', '\'', ' ', ',', '?', '#'])
            .unwrap_or(tail.len());
        let (authority, after) = tail.split_at(end);
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                let hidden = if login.contains(':') { ":***" } else { "" };
                masked.push_str(&format!("{user}{hidden}@{host}"));
            }
            None => masked.push_str(authority),
        }
        rest = after;
    }
    masked.push_str(rest);
    hide_query(&masked)
}

fn hide_query(text: &str) -> String {
    const NAME: &str = "password=";
    let mut parts = text.split(NAME);
    let mut hidden = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['&', '"', '\'', ' ', ',']).unwrap_or(part.len());
        hidden.push_str(NAME);
        hidden.push_str("***");
        hidden.push_str(part.get(end..).unwrap_or_default());
    }
    hidden
}
