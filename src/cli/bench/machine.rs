//! What a figure was measured with: the machine, the build, the settings.

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::part::own_program;

/// Settings that figures depend on, by the beginning of their keys.
const TOLD: &[&str] = &[
    "heartbeat.",
    "lease.",
    "balancer.",
    "detection.",
    "leadership.",
    "database.url",
];

/// All of it, as the last field of a result. Settings that are wrong end the bench before it begins.
pub(super) async fn describe(set: &[(String, String)]) -> Result<Value, Failure> {
    let build = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    Ok(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": build,
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "processor": processor(),
        "kernel": kernel(),
        "serve": settings(set).await?,
    }))
}

/// What `serve` runs with, as it says itself.
async fn settings(set: &[(String, String)]) -> Result<Map<String, Value>, Failure> {
    let mut command = own_program()?;
    command.args(["config", "show", "-o", "json"]);
    for (key, value) in set {
        command.args(["--set", &format!("{key}={value}")]);
    }
    let output = command
        .output()
        .await
        .map_err(|error| Failure::failed(format!("bench: this program cannot be started: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::usage(
            text.trim().trim_start_matches("error:").trim().to_owned(),
        ));
    }
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::failed(format!("bench: `config show` says no JSON: {error}")))?;
    let told = all.iter().filter_map(|setting| {
        let key = setting.get("key")?.as_str()?;
        let chosen =
            TOLD.iter().any(|begin| key.starts_with(begin)) || set.iter().any(|(name, _)| name == key);
        chosen.then(|| (key.to_owned(), setting.get("value").cloned().unwrap_or_default()))
    });
    Ok(told.collect())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find(|line| line.starts_with("model name"));
    let name = model.and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}
