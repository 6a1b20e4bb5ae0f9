//! A server of an Alertmanager (version 2 of its API) as a sink of alerts.
//!
//! Its servers do not tell each other of alerts, so each is a sink of its own. Each takes what is repeated for what it knows,
//! and ends by itself what nobody repeats for some minutes, or forgets everything when it is started again: so what fires is
//! told again all the time.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use streamkeeper_protocol::Alert;

use super::{Mask, post};
use crate::port::alert_sink::{AlertSink, Change, SinkError};
use crate::port::breakers::ALERTS_ALERTMANAGER;

/// Most servers.
pub const MAX_SERVERS: usize = ALERTS_ALERTMANAGER.len();

/// One server.
#[derive(Debug)]
pub struct Alertmanager {
    name: &'static str,
    target: Url,
    resend_every: Duration,
    client: Client,
    mask: Mask,
}

impl Alertmanager {
    /// The servers at these addresses, such as `http://127.0.0.1:9093`; at most [`MAX_SERVERS`]. What fires is told again
    /// after `resend_every`; a request may take `timeout`.
    ///
    /// # Errors
    /// When an address cannot be used, or TLS is needed that this machine does not have; in words.
    pub fn servers(
        urls: &[String],
        resend_every: Duration,
        timeout: Duration,
        mask: Mask,
    ) -> Result<Vec<Self>, String> {
        let named = ALERTS_ALERTMANAGER.into_iter().zip(urls);
        let server = |(name, url): (&'static str, &String)| {
            let target = target(url)?;
            let mut client = post::client(timeout);
            if target.scheme() == "http" {
                // Plain HTTP needs no certificates, and works on machines that have none.
                client = client.tls_certs_only([]);
            }
            Ok(Self {
                name,
                target,
                resend_every,
                client: client.build().map_err(|error| error.to_string())?,
                mask,
            })
        };
        named.map(server).collect()
    }

    fn body(&self, alert: &Alert) -> Value {
        let annotations = alert.annotations.iter();
        let annotations: serde_json::Map<String, Value> = annotations
            .map(|(name, text)| (name.clone(), (self.mask)(text).into()))
            .collect();
        let mut body = json!({
            "labels": alert.labels,
            "annotations": annotations,
            "startsAt": alert.starts_at,
        });
        // Without it, the server ends the alert `resolve_timeout` after it heard of it last, by its own clock.
        if let Some(ends_at) = &alert.ends_at {
            body["endsAt"] = ends_at.as_str().into();
        }
        json!([body])
    }
}

/// Where alerts go on the server at this address.
fn target(server: &str) -> Result<Url, String> {
    let base = server.trim_end_matches('/');
    Url::parse(&format!("{base}/api/v2/alerts"))
        .map_err(|error| format!("{server:?} is no address ({error})"))
}

#[async_trait]
impl AlertSink for Alertmanager {
    fn name(&self) -> &'static str {
        self.name
    }

    fn repeat_after(&self) -> Option<Duration> {
        Some(self.resend_every)
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        let request = self.client.post(self.target.clone());
        post::send(request.json(&self.body(&change.message))).await
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use streamkeeper_protocol::{AlertStatus, PROTOCOL_VERSION};

    use super::*;

    fn hides(_: &str) -> Cow<'_, str> {
        "hidden".into()
    }

    #[test]
    fn each_server_has_a_name_and_its_path() {
        let urls = ["http://127.0.0.1:9093", "http://am.example/prefix/"].map(str::to_owned);
        let time = Duration::from_secs(1);
        let servers = Alertmanager::servers(&urls, time, time, hides).unwrap();
        let found: Vec<(&str, &str)> = servers
            .iter()
            .map(|server| (server.name(), server.target.as_str()))
            .collect();
        let expected = [
            ("alerts_alertmanager", "http://127.0.0.1:9093/api/v2/alerts"),
            ("alerts_alertmanager_2", "http://am.example/prefix/api/v2/alerts"),
        ];
        assert_eq!(found, expected);
        let refused = Alertmanager::servers(&["am".to_owned()], time, time, hides).unwrap_err();
        assert!(refused.contains("\"am\""), "{refused}");
    }

    #[test]
    fn what_it_is_told_ends_only_where_the_alert_does_and_holds_no_secret() {
        let time = Duration::from_secs(1);
        let servers = Alertmanager::servers(&["http://am".to_owned()], time, time, hides).unwrap();
        let mut alert = Alert {
            v: PROTOCOL_VERSION,
            status: AlertStatus::Firing,
            labels: [("worker".to_owned(), "w".to_owned())].into(),
            annotations: [("summary".to_owned(), "rtsp://u:p@h".to_owned())].into(),
            starts_at: "2026-01-01T00:00:00Z".to_owned(),
            ends_at: None,
            fingerprint: String::new(),
            incident: None,
            explained_by: None,
        };
        let mut expected = json!([{
            "labels": {"worker": "w"},
            "annotations": {"summary": "hidden"},
            "startsAt": "2026-01-01T00:00:00Z",
        }]);
        assert_eq!(servers[0].body(&alert), expected);
        alert.ends_at = Some("2026-01-01T00:01:00Z".to_owned());
        expected[0]["endsAt"] = "2026-01-01T00:01:00Z".into();
        assert_eq!(servers[0].body(&alert), expected);
    }
}
