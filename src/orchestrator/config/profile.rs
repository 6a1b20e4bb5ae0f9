//! Settings for each kind of installation, part of the program: `--environment production`.

use std::path::Path;

use super::layer::{self, Setting};
use super::load::ConfigError;
use super::suggest;
use super::variables::Variables;

/// Names the environment where no flag does.
const VARIABLE: &str = "STREAMKEEPER_ENVIRONMENT";

/// (name, file, its text)
const PROFILES: &[(&str, &str, &str)] = &[
    (
        "development",
        "config/development.toml",
        include_str!("../../../config/development.toml"),
    ),
    (
        "test",
        "config/test.toml",
        include_str!("../../../config/test.toml"),
    ),
    (
        "staging",
        "config/staging.toml",
        include_str!("../../../config/staging.toml"),
    ),
    (
        "production",
        "config/production.toml",
        include_str!("../../../config/production.toml"),
    ),
];

/// Settings of the environment that was chosen, by flag or variable; none where none was.
pub(super) fn read(
    flag: Option<&str>,
    variables: &Variables,
    settings: &mut Vec<Setting>,
    errors: &mut Vec<ConfigError>,
) {
    let variable = variables.get(VARIABLE);
    let (place, name) = match (flag, variable) {
        (Some(name), _) => ("flag --environment", name),
        (None, Some(variable)) => (
            variable.place.as_str(),
            variable.value.as_deref().unwrap_or_default(),
        ),
        (None, None) => return,
    };
    if flag.is_none() && variable.is_some_and(|variable| variable.value.as_deref() == Some("")) {
        return;
    }
    let known = PROFILES.iter().map(|(known, ..)| *known);
    match PROFILES.iter().find(|(known, ..)| *known == name) {
        Some((_, file, text)) => layer::read_text(Path::new(file), text, settings, errors),
        None => errors.push(ConfigError {
            place: place.to_owned(),
            key: String::new(),
            problem: match suggest::nearest(name, known.clone()) {
                Some(near) => format!("{name:?} is no environment; did you mean {near}?"),
                None => format!(
                    "{name:?} is no environment; write one of {}",
                    known.collect::<Vec<_>>().join(", ")
                ),
            },
        }),
    }
}
