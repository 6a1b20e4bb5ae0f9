//! The message server: version, limits, and whether it takes us.

use std::time::Duration;

use serde_json::Value;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::config::Config;

use super::Finding;
use crate::wait::{connect_file, greeting, host_of, managed_urls};

const AREA: &str = "nats";
/// Messages are split at the server's limit; below this one they are split often.
const SMALL_PAYLOAD: u64 = 64 * 1024;
/// The oldest version that streamkeeper is tested with.
const OLDEST: (u32, u32) = (2, 9);
/// How long the server may take to greet.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let is_managed = config.nats.urls.is_empty();
    let urls = if is_managed {
        match managed_urls(&connect_file(config)).await {
            Ok(urls) => urls,
            Err(_) => return vec![Finding::ok(AREA, "the managed server starts with `serve`")],
        }
    } else {
        config.nats.urls.clone()
    };
    let mut findings = Vec::new();
    let mut answers = false;
    for url in urls {
        let host = host_of(&url);
        let greeted = tokio::time::timeout(TIMEOUT, greeting(&host)).await;
        match greeted.unwrap_or_else(|_| Err(format!("no greeting within {TIMEOUT:?}"))) {
            Ok(info) => {
                answers = true;
                findings.extend(judge(&host, &info));
            }
            // The one in the data folder of an orchestrator that does not run now.
            Err(_) if is_managed => {
                findings.push(Finding::ok(AREA, "the managed server starts with `serve`"));
            }
            Err(reason) => findings.push(Finding::error(
                AREA,
                format!("{host}: {reason}"),
                "start the server, or correct nats.urls",
            )),
        }
    }
    if answers && !is_managed {
        findings.push(permission(config).await);
    }
    findings
}

fn judge(host: &str, info: &Value) -> Vec<Finding> {
    let version = info["version"].as_str().unwrap_or("?");
    let mut numbers = version.split('.').map(|number| number.parse::<u32>().ok());
    let is_old = match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < OLDEST,
        _ => false,
    };
    let greets = format!("{host} greets (nats-server {version})");
    let mut findings = vec![if is_old {
        Finding::warning(AREA, greets, "update it to 2.9 or newer")
    } else {
        Finding::ok(AREA, greets)
    }];
    let payload = info["max_payload"].as_u64().unwrap_or_default();
    if payload < SMALL_PAYLOAD {
        findings.push(Finding::warning(
            AREA,
            format!("{host} takes messages of {payload} bytes at most"),
            "raise max_payload of the server to 1 MB",
        ));
    }
    if info["jetstream"] != true {
        findings.push(Finding::warning(
            AREA,
            format!("{host} has no JetStream"),
            "switch it on (jetstream {} in its configuration): alerts are kept by it, and several orchestrators need it",
        ));
    }
    findings
}

/// Login, subscriptions, and what it keeps.
async fn permission(config: &Config) -> Finding {
    match app::look_at_message_server(config).await {
        Ok(true) => Finding::ok(AREA, "it takes us as an orchestrator, and keeps alerts"),
        Ok(false) => Finding::warning(
            AREA,
            "it takes us as an orchestrator, and keeps no alerts: they reach only those who listen at the time",
            "give the server JetStream, and the user of nats.urls the right to it",
        ),
        Err(reason) => Finding::error(
            AREA,
            format!("it does not take us as an orchestrator: {reason}"),
            "correct the login (nats.user and its like), or the user's permissions on the server",
        ),
    }
}
