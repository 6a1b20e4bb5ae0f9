//! Where alerts go besides the message server, as the settings say.

use std::sync::Arc;

use anyhow::anyhow;

use crate::adapter::alert::{Alertmanager, LogSink};
use crate::adapter::http::mask;
use crate::config::Alerts;
use crate::port::AlertSink;

pub(super) fn of(alerts: &Alerts) -> anyhow::Result<Vec<Arc<dyn AlertSink>>> {
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
    Ok(sinks)
}
