//! The log as a sink of alerts.

use async_trait::async_trait;
use streamkeeper_protocol::{AlertStatus, Severity};

use super::Mask;
use crate::port::alert_sink::{AlertSink, Change, SinkError};
use crate::port::breakers::ALERTS_LOG;

/// Writes a line for each change.
#[derive(Debug, Clone, Copy)]
pub struct LogSink(pub Mask);

#[async_trait]
impl AlertSink for LogSink {
    fn name(&self) -> &'static str {
        ALERTS_LOG
    }

    /// Who reads it wants to see everything, and which alert explains which.
    fn pages(&self) -> bool {
        false
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        let Change {
            severity,
            rule,
            message,
        } = change;
        let labels = message.labels.iter();
        let about: Vec<String> = labels
            .filter(|(name, _)| !matches!(name.as_str(), "alertname" | "severity"))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let about = about.join(",");
        let fingerprint = &message.fingerprint;
        let (incident, explained_by) = (message.incident.as_deref(), message.explained_by.as_deref());
        match (message.status, severity) {
            (AlertStatus::Resolved, _) => {
                tracing::info!(rule, %severity, about, fingerprint, incident, "alert is over");
            }
            (AlertStatus::Firing, Severity::Info) => {
                let summary = self.summary(change);
                tracing::info!(rule, %severity, about, fingerprint, incident, explained_by, %summary, "alert fires");
            }
            (AlertStatus::Firing, Severity::Warning | Severity::Critical) => {
                let summary = self.summary(change);
                tracing::warn!(rule, %severity, about, fingerprint, incident, explained_by, %summary, "alert fires");
            }
        }
        Ok(())
    }
}

impl LogSink {
    fn summary(&self, change: &Change) -> String {
        let summary = change.message.annotations.get("summary");
        summary.map_or_else(String::new, |text| self.0(text).into_owned())
    }
}
