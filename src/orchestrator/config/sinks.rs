//! Settings of whom alerts are told to.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Alerts;
use super::check::Broken;
use super::load::mask;
use super::nats::Secret;
use crate::webhook::{Template, refusal};

/// Most servers of an Alertmanager.
const MAX_SERVERS: usize = crate::port::breakers::ALERTS_ALERTMANAGER.len();
/// Fewest bytes of a secret.
const MIN_SECRET_BYTES: usize = 16;
/// Most requests of a minute that may be allowed.
const MAX_PER_MINUTE: u32 = 6_000;

/// An Alertmanager, with version 2 of its API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Its servers, such as `http://127.0.0.1:9093`; each of them is told. Empty: there is none.
    pub urls: Vec<String>,
    /// After which time it is told again of what fires; below its `resolve_timeout`.
    #[serde(with = "humantime_serde")]
    pub resend_every: Duration,
    /// How long a request to it may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// A webhook, which each change of an alert is posted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where it is; there is none where it is not set. Such addresses often are secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    /// What requests are signed with; they are not where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// Hosts that the URL may name; empty: any.
    pub hosts: Vec<String>,
    /// Whether the URL may be `http://`.
    pub plain_http: bool,
    /// Whether it may be in a private network or on this machine.
    pub private_addresses: bool,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Most requests of a minute.
    pub per_minute: u32,
    /// The body; none: that of Alertmanager's webhooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Sinks of alerts that cannot be meant.
pub(super) fn check(alerts: &Alerts, broken: &mut Vec<Broken>) {
    times(alerts, broken);
    servers(&alerts.alertmanager, broken);
    webhook(&alerts.webhook, broken);
}

fn times(alerts: &Alerts, broken: &mut Vec<Broken>) {
    let alertmanager = &alerts.alertmanager;
    for (keys, time) in [
        (&["alerts.alertmanager.resend_every"], alertmanager.resend_every),
        (&["alerts.alertmanager.timeout"], alertmanager.timeout),
        (&["alerts.webhook.timeout"], alerts.webhook.timeout),
    ] {
        if time < Duration::from_millis(100) {
            broken.push((
                keys,
                format!("is {time:?}; write a time of 100ms or more, such as \"5s\""),
            ));
        }
    }
}

fn servers(alertmanager: &Alertmanager, broken: &mut Vec<Broken>) {
    const URLS: &[&str] = &["alerts.alertmanager.urls"];
    if alertmanager.urls.len() > MAX_SERVERS {
        let count = alertmanager.urls.len();
        let problem = format!("names {count} servers; name {MAX_SERVERS} or fewer, each is told");
        broken.push((URLS, problem));
    }
    for (index, url) in alertmanager.urls.iter().enumerate() {
        if let Err(problem) = server(url) {
            broken.push((URLS, format!("{problem}; write \"http://HOST:9093\"")));
        } else if alertmanager.urls[..index].contains(url) {
            broken.push((URLS, format!("names {url:?} twice; name it once")));
        }
    }
}

fn server(text: &str) -> Result<(), String> {
    let shown = mask(text);
    let url = Url::parse(text).map_err(|error| format!("{shown:?} is no address ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{shown:?} is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "{shown:?} has a login in it, and this setting is shown to everybody"
        ));
    }
    if url.query().is_some() || url.fragment().is_some() || text.contains("/api/") {
        return Err(format!("{shown:?} says more than where the server is"));
    }
    Ok(())
}

/// Nothing that is said here holds the URL or the secret.
fn webhook(webhook: &Webhook, broken: &mut Vec<Broken>) {
    if let Some(url) = &webhook.url {
        address(url.reveal(), webhook, broken);
    }
    if let Some(secret) = &webhook.secret {
        let count = secret.reveal().len();
        if count < MIN_SECRET_BYTES {
            let problem = format!(
                "has {count} bytes, which others can guess; write {MIN_SECRET_BYTES} or more, such as those of \
                 `openssl rand -hex 32`"
            );
            broken.push((&["alerts.webhook.secret"], problem));
        }
    }
    if !(1..=MAX_PER_MINUTE).contains(&webhook.per_minute) {
        let problem = format!(
            "is {}; write a number from 1 to {MAX_PER_MINUTE}",
            webhook.per_minute
        );
        broken.push((&["alerts.webhook.per_minute"], problem));
    }
    if let Some(Err(problem)) = webhook.template.as_deref().map(Template::new) {
        broken.push((&["alerts.webhook.template"], problem.to_string()));
    }
}

fn address(url: &str, webhook: &Webhook, broken: &mut Vec<Broken>) {
    const URL: &[&str] = &["alerts.webhook.url"];
    const LIKE: &str = "write \"https://HOST/PATH\"";
    let url = match Url::parse(url) {
        Ok(url) => url,
        Err(error) => return broken.push((URL, format!("is no address ({error}); {LIKE}"))),
    };
    match url.scheme() {
        "https" => {}
        "http" if webhook.plain_http => {}
        "http" => broken.push((
            &["alerts.webhook.url", "alerts.webhook.plain_http"],
            format!(
                "alerts.webhook.url is http://, which anybody on the way reads; {LIKE}, or set \
                 alerts.webhook.plain_http = true"
            ),
        )),
        other => broken.push((URL, format!("begins with {other}:, which is no webhook; {LIKE}"))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        let problem = "has a login in it; sign requests with alerts.webhook.secret instead";
        broken.push((URL, problem.to_owned()));
    }
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_matches(['[', ']']).parse().ok();
    if let Some(refusal) = literal.and_then(|literal| refusal(literal, webhook.private_addresses)) {
        broken.push((
            &["alerts.webhook.url", "alerts.webhook.private_addresses"],
            format!("the address in alerts.webhook.url {refusal}"),
        ));
    }
    let named = |known: &String| known.eq_ignore_ascii_case(host);
    if !webhook.hosts.is_empty() && !webhook.hosts.iter().any(named) {
        let problem = format!(
            "alerts.webhook.url names none of alerts.webhook.hosts ({}); name one of them, or add its host",
            webhook.hosts.join(", ")
        );
        broken.push((&["alerts.webhook.url", "alerts.webhook.hosts"], problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(urls: &[&str]) -> Vec<String> {
        let settings = Alertmanager {
            urls: urls.iter().map(ToString::to_string).collect(),
            resend_every: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
        };
        let mut broken = Vec::new();
        servers(&settings, &mut broken);
        broken.into_iter().map(|(_, problem)| problem).collect()
    }

    #[test]
    fn addresses_of_servers_are_checked() {
        assert_eq!(
            problems(&["http://a:9093", "https://am.example/prefix/"]),
            [""; 0]
        );
        for (urls, expected) in [
            (&["a:9093"][..], "neither http nor https"),
            (&[""], "is no address"),
            (&["http://u:s3cret@a"], "has a login in it"),
            (&["http://a/api/v2/alerts"], "says more"),
            (&["http://a", "http://a"], "twice"),
            (
                &["http://a", "http://b", "http://c", "http://d", "http://e"],
                "names 5 servers",
            ),
        ] {
            let found = problems(urls);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{urls:?}: {found:?}"
            );
            assert!(!found[0].contains("s3cret"), "{found:?}");
        }
    }

    fn problems_of_webhook(lines: &str) -> Vec<String> {
        let text =
            "hosts = []\nplain_http = false\nprivate_addresses = false\ntimeout = \"1s\"\nper_minute = 1\n";
        let mut table: toml::Table = text.parse().unwrap();
        table.extend(lines.parse::<toml::Table>().unwrap());
        let mut broken = Vec::new();
        webhook(&table.try_into().unwrap(), &mut broken);
        broken.into_iter().map(|(_, problem)| problem).collect()
    }

    #[test]
    fn webhooks_are_checked_and_their_secrets_are_not_told() {
        for fine in [
            "url = \"https://hooks.example/s3cret\"\nhosts = [\"HOOKS.example\"]",
            "url = \"http://10.0.0.1/\"\nplain_http = true\nprivate_addresses = true",
            "secret = \"0123456789abcdef\"\ntemplate = '{\"a\": {{ rule }}}'",
        ] {
            assert_eq!(problems_of_webhook(fine), [""; 0], "{fine}");
        }
        for (lines, expected) in [
            ("url = \"s3cret\"", "is no address"),
            ("url = \"http://a/s3cret\"", "plain_http"),
            ("url = \"ftp://a/s3cret\"", "begins with ftp:"),
            ("url = \"https://u:s3cret@a/\"", "login"),
            ("url = \"https://127.0.0.1/s3cret\"", "is private"),
            ("url = \"https://2130706433/s3cret\"", "is private"),
            (
                "url = \"https://[::ffff:a9fe:a9fe]/s3cret\"\nprivate_addresses = true",
                "never asked",
            ),
            (
                "url = \"https://a/s3cret\"\nhosts = [\"b\"]",
                "none of alerts.webhook.hosts (b)",
            ),
            ("secret = \"s3cret\"", "has 6 bytes"),
            ("per_minute = 0", "from 1 to"),
            ("template = '{{ s3cret'", "is no template: line 1"),
        ] {
            let found = problems_of_webhook(lines);
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{lines}: {found:?}"
            );
            assert!(!found[0].contains("s3cret"), "{found:?}");
        }
    }
}
