//! Where the circuit breakers stand, one for each dependency: for metrics, health and events.

use std::collections::BTreeMap;
use std::sync::Arc;

use streamkeeper_core::time::Timestamp;
pub use streamkeeper_resilience::BreakerState;
use tokio::sync::watch;

use crate::telemetry::metrics::BREAKER_STATE;

/// Reads of the database.
pub const DATABASE_READS: &str = "database_reads";
/// Writes to the database, takeovers included.
pub const DATABASE_WRITES: &str = "database_writes";
/// The connection to the message server.
pub const NATS: &str = "nats";
/// The sink of alerts: the message server that keeps them.
pub const ALERTS_NATS: &str = "alerts_nats";
/// Sinks of alerts: the servers of an Alertmanager, in the order of the settings. There can be no more.
pub const ALERTS_ALERTMANAGER: [&str; 4] = [
    "alerts_alertmanager",
    "alerts_alertmanager_2",
    "alerts_alertmanager_3",
    "alerts_alertmanager_4",
];
/// The sink of alerts: a webhook.
pub const ALERTS_WEBHOOK: &str = "alerts_webhook";
/// The sink of alerts: the log.
pub const ALERTS_LOG: &str = "alerts_log";

/// Where one breaker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Its state.
    pub state: BreakerState,
    /// Since when.
    pub since: Timestamp,
    /// What failed last; none while it is closed.
    pub reason: Option<String>,
}

/// All of them, by dependency. Clones show the same.
#[derive(Debug, Clone)]
pub struct Breakers(Arc<watch::Sender<BTreeMap<&'static str, BreakerStatus>>>);

impl Default for Breakers {
    fn default() -> Self {
        let closed = BreakerStatus {
            state: BreakerState::Closed,
            since: Timestamp::ZERO,
            reason: None,
        };
        let all = [DATABASE_READS, DATABASE_WRITES, NATS, ALERTS_NATS];
        for dependency in all {
            gauge(dependency, BreakerState::Closed);
        }
        Self(Arc::new(watch::Sender::new(
            all.map(|dependency| (dependency, closed.clone())).into(),
        )))
    }
}

impl Breakers {
    /// Notes where a breaker stands; only a change of its state tells anybody.
    pub fn set(&self, dependency: &'static str, state: BreakerState, reason: Option<&str>, now: Timestamp) {
        self.0.send_if_modified(|all| {
            let before = all.remove(dependency);
            if let Some(before) = before.clone().filter(|before| before.state == state) {
                all.insert(dependency, before);
                return false;
            }
            gauge(dependency, state);
            // Whoever is being tried out again has not worked since.
            let last = before.and_then(|before| before.reason);
            let reason = match state {
                BreakerState::Closed => None,
                _ => reason.map(str::to_owned).or(last),
            };
            let since = now;
            all.insert(dependency, BreakerStatus { state, since, reason });
            true
        });
    }

    /// For who wants to know.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<&'static str, BreakerStatus>> {
        self.0.subscribe()
    }
}

fn gauge(dependency: &'static str, state: BreakerState) {
    let value = match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    metrics::gauge!(BREAKER_STATE, "dependency" => dependency).set(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let breakers = Breakers::default();
        let mut seen = breakers.watch();
        seen.mark_unchanged();
        let at = Timestamp::from_ms;
        breakers.set(NATS, BreakerState::Closed, None, at(1));
        assert!(!seen.has_changed().unwrap());
        breakers.set(NATS, BreakerState::Open, Some("gone"), at(2));
        breakers.set(NATS, BreakerState::Open, Some("still gone"), at(3));
        let status = seen.borrow_and_update()[NATS].clone();
        let since = at(2);
        let reason = Some("gone".to_owned());
        let state = BreakerState::Open;
        assert_eq!(status, BreakerStatus { state, since, reason });
        assert_eq!(seen.borrow()[DATABASE_WRITES].state, BreakerState::Closed);
        breakers.set(NATS, BreakerState::HalfOpen, None, at(4));
        assert_eq!(seen.borrow()[NATS].reason.as_deref(), Some("gone"));
        breakers.set(NATS, BreakerState::Closed, None, at(5));
        assert_eq!(seen.borrow()[NATS].reason, None);
    }
}
