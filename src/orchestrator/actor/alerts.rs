//! Alerts on their way out: what fires is kept for readers and for a restarted alert manager, and every change waits
//! here until the message server has it.
//!
//! What fires is sent again whenever a connection comes to stand: the server may have lost what it kept. One that has
//! kept it knows the change by its name, and keeps it once.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use streamkeeper_core::alert_manager::ActiveAlert;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION, Severity};
use streamkeeper_resilience::{Backoff, BreakerState};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::port::breakers::ALERTS_NATS;
use crate::port::{Breakers, Bus, BusError, Clock};
use crate::telemetry::metrics as names;

/// Most changes that wait for the message server; the newest per alert counts.
const MAX_PENDING: usize = 10_000;
/// Between attempts to hand over what waits.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// The outbox.
pub(super) struct AlertOutbox {
    clock: Arc<dyn Clock>,
    active: watch::Sender<Vec<Arc<ActiveAlert>>>,
    queue: Arc<Queue>,
    _stop_on_drop: DropGuard,
}

/// One change as it is sent.
#[derive(Clone)]
struct Change {
    severity: Severity,
    rule: &'static str,
    message: Arc<Alert>,
}

/// Changes that wait, and what wakes their sender.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// Something waits.
    filled: Notify,
    /// A connection came to stand: no need to wait any longer.
    connected: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// In the order in which they are sent.
    waiting: BTreeMap<u64, Change>,
    /// The place of each alert in `waiting`, by fingerprint.
    places: BTreeMap<String, u64>,
    /// What fires, as it was sent first, by fingerprint.
    firing: BTreeMap<String, Change>,
}

impl AlertOutbox {
    /// An empty outbox, whose sender runs on the present runtime.
    pub(super) fn new(bus: Arc<dyn Bus>, clock: Arc<dyn Clock>, breakers: Breakers) -> Self {
        let queue = Arc::new(Queue::default());
        let stopping = CancellationToken::new();
        let sink = Sink {
            breakers,
            clock: Arc::clone(&clock),
        };
        let sender = send(bus, Arc::clone(&queue), sink);
        tokio::spawn(stopping.clone().run_until_cancelled_owned(sender));
        Self {
            clock,
            active: watch::Sender::new(Vec::new()),
            queue,
            _stop_on_drop: stopping.drop_guard(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<Arc<ActiveAlert>>> {
        self.active.subscribe()
    }

    /// What fires now.
    pub(super) fn active(&self) -> Vec<ActiveAlert> {
        self.active
            .borrow()
            .iter()
            .map(|alert| (**alert).clone())
            .collect()
    }

    pub(super) fn fire(&self, alert: ActiveAlert) {
        let summary = alert.annotations.get("summary").cloned().unwrap_or_default();
        tracing::warn!(rule = alert.rule, severity = %alert.severity, summary, "alert fires");
        count(&alert, "firing");
        let alert = Arc::new(alert);
        self.active.send_modify(|active| {
            active.retain(|other| other.fingerprint != alert.fingerprint);
            active.push(Arc::clone(&alert));
            active.sort_by(|a, b| a.fingerprint.cmp(&b.fingerprint));
        });
        let starts_at = self.clock.wall(alert.since).to_rfc3339();
        let change = Change::new(&alert, starts_at, None);
        let mut state = self.queue.state();
        state.firing.insert(alert.fingerprint.clone(), change.clone());
        state.put(change);
        drop(state);
        self.queue.filled.notify_one();
    }

    pub(super) fn resolve(&self, alert: ActiveAlert) {
        tracing::info!(rule = alert.rule, severity = %alert.severity, "alert is over");
        count(&alert, "resolved");
        self.active
            .send_modify(|active| active.retain(|other| other.fingerprint != alert.fingerprint));
        let ended = self.clock.wall(self.clock.now()).to_rfc3339();
        let mut state = self.queue.state();
        // As it was told first: the wall clock may have been set since.
        let starts_at = match state.firing.remove(&alert.fingerprint) {
            Some(fired) => fired.message.starts_at.clone(),
            None => self.clock.wall(alert.since).to_rfc3339(),
        };
        state.put(Change::new(&alert, starts_at, Some(ended)));
        drop(state);
        self.queue.filled.notify_one();
    }

    /// Another leads now: what was not sent is not ours to send any more.
    pub(super) fn drop_waiting(&self) {
        let mut state = self.queue.state();
        state.waiting.clear();
        state.places.clear();
    }

    /// A connection came to stand: what waits is sent at once, and what fires is sent again.
    pub(super) fn flush(&self) {
        let mut state = self.queue.state();
        let again: Vec<Change> = state
            .firing
            .iter()
            .filter(|(fingerprint, _)| !state.places.contains_key(*fingerprint))
            .map(|(_, change)| change.clone())
            .collect();
        for change in again {
            state.put(change);
        }
        drop(state);
        self.queue.filled.notify_one();
        self.queue.connected.notify_one();
    }
}

fn count(alert: &ActiveAlert, status: &'static str) {
    metrics::counter!(names::ALERTS, "rule" => alert.rule, "status" => status).increment(1);
}

impl Change {
    fn new(alert: &ActiveAlert, starts_at: String, ends_at: Option<String>) -> Self {
        let mut labels = alert.labels.clone();
        labels.insert("alertname".to_owned(), alert.rule.to_owned());
        labels.insert("severity".to_owned(), alert.severity.to_string());
        let message = Alert {
            v: PROTOCOL_VERSION,
            status: if ends_at.is_some() {
                AlertStatus::Resolved
            } else {
                AlertStatus::Firing
            },
            labels,
            annotations: alert.annotations.clone(),
            starts_at,
            ends_at,
            fingerprint: alert.fingerprint.clone(),
        };
        Self {
            severity: alert.severity,
            rule: alert.rule,
            message: Arc::new(message),
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The change that is to be sent next, and its place.
    async fn first(&self) -> (u64, Change) {
        loop {
            let first = self.state().first();
            match first {
                Some(first) => return first,
                None => self.filled.notified().await,
            }
        }
    }
}

impl State {
    /// Puts a change at the end; an older one of the same alert is no longer worth sending.
    fn put(&mut self, change: Change) {
        let fingerprint = change.message.fingerprint.clone();
        if let Some(older) = self.places.insert(fingerprint, self.next) {
            self.waiting.remove(&older);
        }
        self.waiting.insert(self.next, change);
        self.next += 1;
        if self.waiting.len() > MAX_PENDING
            && let Some((_, oldest)) = self.waiting.pop_first()
        {
            self.places.remove(&oldest.message.fingerprint);
            tracing::error!(
                rule = oldest.rule,
                "more than {MAX_PENDING} alert changes wait for the message server; the oldest is dropped"
            );
        }
    }

    fn first(&self) -> Option<(u64, Change)> {
        let (place, change) = self.waiting.first_key_value()?;
        Some((*place, change.clone()))
    }

    /// Takes out what was sent, unless something newer has taken its place.
    fn take(&mut self, place: u64) -> Option<Change> {
        let change = self.waiting.remove(&place)?;
        self.places.remove(&change.message.fingerprint);
        Some(change)
    }
}

/// The way out, as its circuit breaker: the delay between two attempts is its open time.
struct Sink {
    breakers: Breakers,
    clock: Arc<dyn Clock>,
}

impl Sink {
    fn stands(&self, state: BreakerState, reason: Option<&str>) {
        self.breakers.set(ALERTS_NATS, state, reason, self.clock.now());
    }
}

/// Sends what waits, one change at a time, so that the changes of an alert arrive in their order.
async fn send(bus: Arc<dyn Bus>, queue: Arc<Queue>, sink: Sink) {
    let mut attempt = 0;
    loop {
        let (place, change) = queue.first().await;
        if attempt > 0 {
            sink.stands(BreakerState::HalfOpen, None);
        }
        let outcome = bus
            .keep_alert(change.severity, change.rule, &change.message)
            .await;
        match outcome {
            Ok(()) => {
                queue.state().take(place);
                attempt = 0;
                sink.stands(BreakerState::Closed, None);
                continue;
            }
            Err(error @ BusError::Unsendable(_)) => {
                queue.state().take(place);
                tracing::error!(rule = change.rule, %error, "an alert is dropped");
                continue;
            }
            // The bus itself logs that.
            Err(error @ BusError::Disconnected) => {
                sink.stands(BreakerState::Open, Some(&error.to_string()));
            }
            Err(error) => {
                sink.stands(BreakerState::Open, Some(&error.to_string()));
                let mut state = queue.state();
                // Behind the others, so that one that is never kept holds up none of them.
                if let Some(change) = state.take(place) {
                    state.put(change);
                }
                if attempt == 0 {
                    tracing::warn!(rule = change.rule, waiting = state.waiting.len(), %error, "alerts wait");
                }
            }
        }
        let delay = RETRY.delay(attempt, rand::random());
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = queue.connected.notified() => attempt = 0,
        }
    }
}
