//! Where alerts go besides the message server, as the settings say.

use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use crate::adapter::alert::{self, Alertmanager, LogSink, WebhookOptions};
use crate::adapter::http::mask;
use crate::config::{Alerts, Webhook};
use crate::port::{AlertSink, Clock};
use crate::webhook::Template;

pub(super) fn of(alerts: &Alerts, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn AlertSink>>> {
    let mut sinks: Vec<Arc<dyn AlertSink>> = Vec::new();
    if alerts.log {
        sinks.push(Arc::new(LogSink(mask)));
    }
    let settings = &alerts.alertmanager;
    let servers = Alertmanager::servers(&settings.urls, settings.resend_every, settings.timeout, mask);
    let servers = servers.map_err(|reason| anyhow!("alerts.alertmanager.urls: {reason}"))?;
    for server in servers {
        sinks.push(Arc::new(server));
    }
    sinks.extend(webhook(&alerts.webhook, clock)?);
    Ok(sinks)
}

fn webhook(settings: &Webhook, clock: &Arc<dyn Clock>) -> anyhow::Result<Option<Arc<dyn AlertSink>>> {
    let Some(url) = &settings.url else {
        return Ok(None);
    };
    let template = settings.template.as_deref().map(Template::new).transpose();
    let options = WebhookOptions {
        url: url.reveal().to_owned(),
        secret: settings.secret.as_ref().map(|secret| secret.reveal().to_owned()),
        private_addresses: settings.private_addresses,
        timeout: settings.timeout,
        per_minute: settings.per_minute,
        template: template.context("alerts.webhook.template")?,
    };
    let webhook = alert::Webhook::new(options, Arc::clone(clock), mask);
    let webhook = webhook.map_err(|reason| anyhow!("alerts.webhook.url: {reason}"))?;
    Ok(Some(Arc::new(webhook)))
}
