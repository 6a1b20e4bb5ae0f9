//! Secrets that stand in a file of their own: `file:/run/secrets/database-url` in place of the value.

use std::io::Read;

use toml::Value;

use super::layer::Setting;
use super::load::ConfigError;

/// What a reference begins with; the path follows.
const SCHEME: &str = "file:";
/// Settings whose value may be a reference.
const SECRET: &[&str] = &[
    "database.url",
    "nats.password",
    "nats.token",
    "nats.system_password",
    "alerts.webhook.url",
    "alerts.webhook.secret",
    "alerts.webhook.template",
];
/// Most bytes of a secret; a path that names something else is no secret.
const MAX_BYTES: u64 = 64 * 1024;

/// Puts the contents of files in place of references. Settings whose file cannot be used are left out.
pub(super) fn resolve(settings: Vec<Setting>, errors: &mut Vec<ConfigError>) -> Vec<Setting> {
    let mut resolved = Vec::with_capacity(settings.len());
    for setting in settings {
        let path = setting.value.as_str().and_then(|text| text.strip_prefix(SCHEME));
        let Some(path) = path.filter(|_| SECRET.contains(&setting.key.as_str())) else {
            resolved.push(setting);
            continue;
        };
        match read(path).and_then(|text| usable(&setting.key, text)) {
            Ok(text) => resolved.push(Setting {
                place: format!("{}, in file {path}", setting.place),
                value: Value::String(text),
                key: setting.key,
            }),
            Err(problem) => errors.push(ConfigError {
                problem: format!("file {path}: {problem}"),
                place: setting.place,
                key: setting.key,
            }),
        }
    }
    resolved
}

fn read(path: &str) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read: {error}; check the path and who may read it"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "has more than {MAX_BYTES} bytes; name the file of the secret"
        ));
    }
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err("is empty; write the value into it".to_owned());
    }
    Ok(text.to_owned())
}

/// Later checks show the value, so what is no URL at all is refused here, without showing it.
fn usable(key: &str, text: String) -> Result<String, String> {
    if key == "database.url" && !(text.contains("://") || text.starts_with("sqlite:")) {
        return Err("holds no URL; write postgres://USER:PASSWORD@HOST/DATABASE into it".to_owned());
    }
    Ok(text)
}
