//! Alerts on their way out: what fires is kept for readers and for a restarted alert manager, and what could not be
//! published yet waits until there is a connection.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use streamkeeper_core::alert_manager::ActiveAlert;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION};
use tokio::sync::watch;

use crate::port::{Bus, Clock};
use crate::telemetry::metrics as names;

/// Most changes that wait for a connection; the newest per alert counts.
const MAX_PENDING: usize = 10_000;

/// The outbox.
pub(super) struct AlertOutbox {
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    active: watch::Sender<Vec<Arc<ActiveAlert>>>,
    pending: Mutex<BTreeMap<String, Change>>,
}

#[derive(Clone)]
struct Change {
    alert: Arc<ActiveAlert>,
    ended: Option<Timestamp>,
}

impl AlertOutbox {
    pub(super) fn new(bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        Self {
            bus,
            clock,
            active: watch::Sender::new(Vec::new()),
            pending: Mutex::default(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<Arc<ActiveAlert>>> {
        self.active.subscribe()
    }

    /// What fires now.
    pub(super) fn active(&self) -> Vec<ActiveAlert> {
        self.active.borrow().iter().map(|alert| (**alert).clone()).collect()
    }

    pub(super) fn fire(&self, alert: ActiveAlert) {
        let summary = alert.annotations.get("summary").cloned().unwrap_or_default();
        tracing::warn!(rule = alert.rule, severity = %alert.severity, summary, "alert fires");
        let alert = Arc::new(alert);
        self.active.send_modify(|active| {
            active.retain(|other| other.fingerprint != alert.fingerprint);
            active.push(Arc::clone(&alert));
            active.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        });
        self.change(Change { alert, ended: None });
    }

    pub(super) fn resolve(&self, alert: ActiveAlert) {
        tracing::info!(rule = alert.rule, severity = %alert.severity, "alert is over");
        self.active
            .send_modify(|active| active.retain(|other| other.fingerprint != alert.fingerprint));
        let ended = Some(self.clock.now());
        self.change(Change {
            alert: Arc::new(alert),
            ended,
        });
    }

    fn change(&self, change: Change) {
        let status = if change.ended.is_some() { "resolved" } else { "firing" };
        metrics::counter!(names::ALERTS, "rule" => change.alert.rule, "status" => status).increment(1);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.insert(change.alert.fingerprint.clone(), change);
        if pending.len() > MAX_PENDING {
            pending.pop_first();
            tracing::error!("more than {MAX_PENDING} alert changes wait for a connection; one is dropped");
        }
        drop(pending);
        self.flush();
    }

    /// Publishes what waits, as far as the bus takes it.
    pub(super) fn flush(&self) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|_, change| {
            let message = self.message(change);
            let sent = self
                .bus
                .alert(change.alert.severity, change.alert.rule, &message);
            sent.is_err()
        });
    }

    fn message(&self, change: &Change) -> Alert {
        let mut labels = change.alert.labels.clone();
        labels.insert("alertname".to_owned(), change.alert.rule.to_owned());
        labels.insert("severity".to_owned(), change.alert.severity.to_string());
        Alert {
            v: PROTOCOL_VERSION,
            status: if change.ended.is_some() {
                AlertStatus::Resolved
            } else {
                AlertStatus::Firing
            },
            labels,
            annotations: change.alert.annotations.clone(),
            starts_at: self.clock.wall(change.alert.since).to_rfc3339(),
            ends_at: change.ended.map(|at| self.clock.wall(at).to_rfc3339()),
            fingerprint: change.alert.fingerprint.clone(),
        }
    }
}
