//! A webhook as a sink of alerts: one request for each change, signed, to an address that was judged after its name was
//! resolved.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use ring::hmac;
use serde_json::{Value, json};
use streamkeeper_protocol::{Alert, AlertStatus};

use super::{Mask, post};
use crate::port::Clock;
use crate::port::alert_sink::{AlertSink, Change, SinkError};
use crate::port::breakers::ALERTS_WEBHOOK;
use crate::webhook::{Template, refusal};

/// How a webhook is told.
pub struct WebhookOptions {
    /// Where it is.
    pub url: String,
    /// What requests are signed with; none: they are not.
    pub secret: Option<String>,
    /// Whether it may be in a private network or on this machine.
    pub private_addresses: bool,
    /// How long a request may take.
    pub timeout: Duration,
    /// Most requests of a minute.
    pub per_minute: u32,
    /// What it is told; none: the body that Alertmanager's own webhooks have.
    pub template: Option<Template>,
}

/// A webhook.
pub struct Webhook {
    target: Url,
    key: Option<hmac::Key>,
    per_minute: u32,
    template: Option<Template>,
    client: Client,
    clock: Arc<dyn Clock>,
    mask: Mask,
}

impl Webhook {
    /// A webhook with these options; nobody is asked yet.
    ///
    /// # Errors
    /// When its address cannot be used, or TLS is needed that this machine does not have; in words that do not hold the
    /// address: it may be a secret.
    pub fn new(options: WebhookOptions, clock: Arc<dyn Clock>, mask: Mask) -> Result<Self, String> {
        let target = Url::parse(&options.url).map_err(|error| format!("it is no address ({error})"))?;
        let private_allowed = options.private_addresses;
        if let Some(address) = literal(&target)
            && let Some(refusal) = refusal(address, private_allowed)
        {
            return Err(format!("its address {refusal}"));
        }
        let mut client = post::client(options.timeout).dns_resolver(Arc::new(Judged { private_allowed }));
        if target.scheme() == "http" {
            // Plain HTTP needs no certificates, and works on machines that have none.
            client = client.tls_certs_only([]);
        }
        let key = options.secret.as_ref();
        Ok(Self {
            target,
            key: key.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
            per_minute: options.per_minute,
            template: options.template,
            client: client.build().map_err(|error| error.without_url().to_string())?,
            clock,
            mask,
        })
    }

    fn body(&self, alert: &Alert) -> Result<String, SinkError> {
        match &self.template {
            None => Ok(usual(alert, self.mask).to_string()),
            Some(template) => template.render(alert, self.mask).map_err(|problem| {
                SinkError::Refused(format!("alerts.webhook.template makes no body: {problem}"))
            }),
        }
    }
}

/// The address that a URL names without a name: nobody resolves it.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok()
}

/// What Alertmanager tells its webhooks (version 4 of that), with one alert.
fn usual(alert: &Alert, mask: Mask) -> Value {
    let annotations = alert.annotations.iter();
    let annotations: serde_json::Map<String, Value> = annotations
        .map(|(name, text)| (name.clone(), mask(text).into()))
        .collect();
    let rule = alert.labels.get("alertname");
    // Alertmanager writes the year 1 where there is no end.
    let ends_at = alert.ends_at.as_deref().unwrap_or("0001-01-01T00:00:00Z");
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{alertname=\"{}\"}}", rule.map_or("", String::as_str)),
        "truncatedAlerts": 0,
        "status": alert.status,
        "receiver": "streamkeeper",
        "groupLabels": { "alertname": rule },
        "commonLabels": alert.labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": alert.status,
            "labels": alert.labels,
            "annotations": annotations,
            "startsAt": alert.starts_at,
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": alert.fingerprint,
        }],
    })
}

/// Names each change, so that one that comes twice is known.
fn name(alert: &Alert) -> String {
    let status = match alert.status {
        AlertStatus::Firing => "firing",
        AlertStatus::Resolved => "resolved",
    };
    format!("{}-{status}-{}", alert.fingerprint, alert.starts_at)
}

#[async_trait]
impl AlertSink for Webhook {
    fn name(&self) -> &'static str {
        ALERTS_WEBHOOK
    }

    fn per_minute(&self) -> Option<u32> {
        Some(self.per_minute)
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        let body = self.body(&change.message)?;
        let mut request = self
            .client
            .post(self.target.clone())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", name(&change.message));
        if let Some(key) = &self.key {
            let timestamp = self.clock.wall(self.clock.now()).timestamp();
            let signed = format!("{timestamp}.{body}");
            let signature = HEXLOWER.encode(hmac::sign(key, signed.as_bytes()).as_ref());
            request = request
                .header("X-Streamkeeper-Timestamp", timestamp)
                .header("X-Streamkeeper-Signature", format!("sha256={signature}"));
        }
        post::send(request.body(body)).await
    }
}

/// Resolves names, and gives only addresses that may be asked: the connection goes to one of these.
struct Judged {
    private_allowed: bool,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let private_allowed = self.private_allowed;
        Box::pin(async move {
            let mut usable: Vec<SocketAddr> = Vec::new();
            let mut why = "the name has no address".to_owned();
            for found in tokio::net::lookup_host((name.as_str(), 0)).await? {
                match refusal(found.ip(), private_allowed) {
                    None => usable.push(found),
                    Some(refusal) => why = format!("its address {} {refusal}", found.ip()),
                }
            }
            if usable.is_empty() {
                return Err(why.into());
            }
            let usable: Addrs = Box::new(usable.into_iter());
            Ok(usable)
        })
    }
}
