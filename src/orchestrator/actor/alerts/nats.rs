//! The message server as a sink of alerts.

use std::sync::Arc;

use async_trait::async_trait;

use crate::port::alert_sink::{AlertSink, Change, SinkError};
use crate::port::breakers::ALERTS_NATS;
use crate::port::{Bus, BusError};

/// Hands alerts to the bus.
pub(in crate::actor) struct NatsSink(pub(in crate::actor) Arc<dyn Bus>);

#[async_trait]
impl AlertSink for NatsSink {
    fn name(&self) -> &'static str {
        ALERTS_NATS
    }

    /// Its server may come back empty. One that has kept a change knows it by its name, and keeps it once.
    fn forgets(&self) -> bool {
        true
    }

    /// Its consumers decide themselves; each alert says what explains it.
    fn pages(&self) -> bool {
        false
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        let Change {
            severity,
            rule,
            message,
        } = change;
        let kept = self.0.keep_alert(*severity, rule, message).await;
        kept.map_err(|error| match error {
            BusError::Unsendable(_) => SinkError::Refused(error.to_string()),
            // The bus itself logs that.
            BusError::Disconnected => SinkError::Away(error.to_string()),
            _ => SinkError::Failed(error.to_string()),
        })
    }
}
