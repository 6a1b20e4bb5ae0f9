//! Settings of whom alerts are told to.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::Broken;
use super::load::mask;

/// Most servers of an Alertmanager.
const MAX_SERVERS: usize = crate::port::breakers::ALERTS_ALERTMANAGER.len();

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

/// Sinks of alerts that cannot be meant.
pub(super) fn check(alertmanager: &Alertmanager, broken: &mut Vec<Broken>) {
    for (keys, time) in [
        (&["alerts.alertmanager.resend_every"], alertmanager.resend_every),
        (&["alerts.alertmanager.timeout"], alertmanager.timeout),
    ] {
        if time < Duration::from_millis(100) {
            broken.push((
                keys,
                format!("is {time:?}; write a time of 100ms or more, such as \"5s\""),
            ));
        }
    }
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
        check(&settings, &mut broken);
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
}
