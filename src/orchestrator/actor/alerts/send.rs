//! Hands alerts to one sink. Each has a task of its own, so that one that hangs delays no other.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use streamkeeper_core::alert_manager::StoredAlert;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION};
use streamkeeper_resilience::{Backoff, BreakerState, Budget};
use tokio::time::Instant;

use super::Desk;
use super::book::{Key, Next};
use crate::port::alert_sink::{AlertSink, Change, SinkError};

/// Between attempts to hand over what waits.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// Sends what waits, one change at a time, so that the changes of an alert arrive in their order. The circuit breaker of
/// the sink: the delay between two attempts is its open time.
pub(super) async fn send(desk: Arc<Desk>, lane: usize, sink: Arc<dyn AlertSink>) {
    let name = sink.name();
    let stands = |state, reason: Option<&str>| desk.breakers.set(name, state, reason, desk.clock.now());
    let mut repeats = Repeats::new(sink.repeat_after());
    let mut pace = sink.per_minute().map(Pace::new);
    let mut attempt = 0;
    loop {
        // First the time, then the newest of what waits by then.
        if let Some(pace) = &mut pace {
            pace.allows(&desk).await;
        }
        let (key, alert) = first(&desk, lane, &mut repeats).await;
        if attempt > 0 {
            stands(BreakerState::HalfOpen, None);
        }
        let error = match sink.take(&change(&alert)).await {
            Ok(()) => {
                desk.taken(lane, &key, alert.change);
                desk.count(lane, name, "delivered");
                stands(BreakerState::Closed, None);
                if attempt > 0 {
                    // Whoever was away may have lost everything.
                    repeats.at_once();
                }
                attempt = 0;
                continue;
            }
            Err(error @ SinkError::Refused(_)) => {
                desk.taken(lane, &key, alert.change);
                desk.count(lane, name, "refused");
                tracing::error!(sink = name, rule = alert.rule, %error, "an alert is dropped");
                continue;
            }
            Err(error) => error,
        };
        desk.count(lane, name, "failed");
        stands(BreakerState::Open, Some(&error.to_string()));
        if matches!(error, SinkError::Failed(_)) {
            // Behind the others, so that one that is never taken holds up none of them.
            desk.book().put_back(lane, &key);
            if attempt == 0 {
                let waiting = desk.book().waiting(lane);
                tracing::warn!(sink = name, rule = alert.rule, waiting, %error, "alerts wait");
            }
        }
        let delay = RETRY.delay(attempt, rand::random());
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = desk.connected(lane) => attempt = 0,
        }
    }
}

/// The change that is to be sent next.
async fn first(desk: &Desk, lane: usize, repeats: &mut Repeats) -> (Key, Arc<StoredAlert>) {
    loop {
        if repeats.are_due() {
            desk.book().again(lane);
        }
        let now = desk.clock.now();
        let next = desk.book().next(lane, now);
        let ready = match next {
            Next::Take(key, alert) => return (key, alert),
            Next::Nothing => None,
            Next::At(moment) => Some(moment.since(now).max(Duration::from_millis(1))),
        };
        tokio::select! {
            () = desk.filled(lane) => {}
            () = sleep(ready) => {}
            () = repeats.due() => {}
        }
    }
}

/// Never ends where there is nothing to wait for.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// How many changes a sink is told within a minute.
struct Pace {
    budget: Budget,
    one: Duration,
}

impl Pace {
    fn new(per_minute: u32) -> Self {
        let one = Duration::from_secs(60) / per_minute.max(1);
        let budget = Budget::new(per_minute.max(1), one.as_secs_f64().recip());
        Self { budget, one }
    }

    /// Waits until one more may be told.
    async fn allows(&mut self, desk: &Desk) {
        while !self.budget.take(Duration::from_millis(desk.clock.now().as_ms())) {
            tokio::time::sleep(self.one).await;
        }
    }
}

/// When a sink is told again of all that fires.
struct Repeats {
    every: Option<Duration>,
    at: Option<Instant>,
}

impl Repeats {
    fn new(every: Option<Duration>) -> Self {
        let at = every.map(|every| Instant::now() + every);
        Self { every, at }
    }

    fn at_once(&mut self) {
        self.at = self.every.map(|_| Instant::now());
    }

    /// Whether it is time; then the next time is set.
    fn are_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.at.is_some_and(|at| at <= now);
        if due {
            self.at = self.every.map(|every| now + every);
        }
        due
    }

    async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

fn change(alert: &StoredAlert) -> Change {
    let mut labels = alert.labels.clone();
    labels.insert("alertname".to_owned(), alert.rule.clone());
    labels.insert("severity".to_owned(), alert.severity.to_string());
    let message = Alert {
        v: PROTOCOL_VERSION,
        status: match alert.resolved_ms {
            Some(_) => AlertStatus::Resolved,
            None => AlertStatus::Firing,
        },
        labels,
        annotations: alert.annotations.clone(),
        starts_at: moment(alert.began_ms),
        ends_at: alert.resolved_ms.map(moment),
        fingerprint: alert.fingerprint.clone(),
        incident: alert.incident.map(|id| id.to_string()),
        explained_by: alert.explained_by.clone(),
    };
    Change {
        severity: alert.severity,
        rule: alert.rule.clone(),
        message,
    }
}

fn moment(ms: i64) -> String {
    let moment = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    moment.to_rfc3339()
}
