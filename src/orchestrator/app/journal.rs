//! Takes what happened to the database, in batches, and forgets what is old. It waits for as long as the database is away;
//! nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::OrchestratorId;
use streamkeeper_resilience::Backoff;
use tokio::task::JoinHandle;

use crate::adapter::store::SeaStore;
use crate::port::{AuditEvent, EventLog, Journal};
use crate::telemetry::metrics as names;

/// What comes within this time is one batch.
const GATHER: Duration = Duration::from_millis(200);
/// Most events of one batch: a statement of this size takes a moment.
const MAX_BATCH: usize = 2_000;
/// Between attempts to store a batch.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Time between two looks at what is old.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);
/// Most events that one transaction deletes.
const MAX_FORGET: u32 = 1_000;
/// Between two of them, so that others come to the database.
const FORGET_PAUSE: Duration = Duration::from_millis(250);
/// How long the end waits for the last events.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Most events that are kept, however young they are.
const MAX_EVENTS: u64 = 2_000_000;

/// The writer's task.
pub(super) struct Writer {
    journal: Journal,
    task: JoinHandle<()>,
}

impl Writer {
    /// Starts it, before there is anything to write.
    pub(super) fn start(store: &SeaStore, journal: &Journal, id: &OrchestratorId) -> Self {
        let log: Arc<dyn EventLog> = Arc::new(store.clone());
        Self {
            journal: journal.clone(),
            task: tokio::spawn(write(log, journal.clone(), id.to_string())),
        }
    }

    /// Stores what waits, if the database takes it in time, and ends.
    pub(super) async fn stop(&self) {
        if tokio::time::timeout(LAST_WORDS, self.journal.flushed())
            .await
            .is_err()
        {
            tracing::warn!("the last events were not stored: the database does not take them");
        }
        self.task.abort();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Stores what the journal holds, for ever. `actor` is this orchestrator.
async fn write(log: Arc<dyn EventLog>, journal: Journal, actor: String) {
    loop {
        journal.filled().await;
        tokio::time::sleep(GATHER).await;
        let (batch, dropped) = journal.take(MAX_BATCH);
        let mut attempt = 0;
        let newest = loop {
            match log.append_events(&batch).await {
                Ok(newest) => break newest,
                Err(error) => {
                    if attempt == 0 {
                        tracing::warn!(%error, waiting = batch.len(), "events wait for the database");
                    }
                    tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
                    attempt = attempt.saturating_add(1);
                }
            }
        };
        metrics::counter!(names::EVENTS_STORED).increment(batch.len() as u64);
        journal.stored(newest);
        if dropped > 0 {
            tracing::error!(dropped, "events were dropped: too many waited for the database");
            let fields = [("count".to_owned(), dropped.to_string())].into();
            let (now, kind) = (chrono::Utc::now(), "events_dropped".to_owned());
            journal.offer(AuditEvent::seen(now, actor.clone(), kind, fields));
        }
    }
}

/// Forgets events that are older than `keep`, for ever.
pub(super) async fn forget(log: Arc<dyn EventLog>, keep: Duration) {
    let mut interval = tokio::time::interval(FORGET_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let age = chrono::TimeDelta::from_std(keep).unwrap_or(chrono::TimeDelta::MAX);
        let Some(before) = chrono::Utc::now().checked_sub_signed(age) else {
            continue;
        };
        loop {
            match log.forget_events(before, MAX_EVENTS, MAX_FORGET).await {
                Ok(gone) if gone < u64::from(MAX_FORGET) => break,
                Ok(_) => tokio::time::sleep(FORGET_PAUSE).await,
                Err(error) => {
                    tracing::debug!(%error, "old events are still there");
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::port::{EventQuery, StoreError, StoredEvent, Waiting};

    /// A database that is away for the first `failures` attempts.
    struct Flaky {
        failures: Mutex<u32>,
        stored: Mutex<Vec<Waiting>>,
    }

    #[async_trait]
    impl EventLog for Flaky {
        async fn append_events(&self, events: &[Waiting]) -> Result<u64, StoreError> {
            let mut failures = self.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err(StoreError::Unavailable {
                    operation: "append events",
                    reason: "away".to_owned(),
                });
            }
            let mut stored = self.stored.lock().unwrap();
            stored.extend_from_slice(events);
            Ok(stored.len() as u64)
        }

        async fn events(&self, _query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
            unreachable!("the writer only writes")
        }

        async fn newest_event(&self) -> Result<u64, StoreError> {
            unreachable!("the writer only writes")
        }

        async fn forget_events(&self, _: DateTime<Utc>, _: u64, _: u32) -> Result<u64, StoreError> {
            unreachable!("the writer only writes")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_while_the_database_is_away_is_stored_later_and_in_order() {
        let log = Arc::new(Flaky {
            failures: Mutex::new(5),
            stored: Mutex::default(),
        });
        let journal = Journal::new(1);
        let task = tokio::spawn(write(log.clone(), journal.clone(), "o".to_owned()));
        let offer = |count: usize| {
            for number in 0..count {
                let kind = number.to_string();
                journal.offer(AuditEvent::seen(Utc::now(), "o".to_owned(), kind, [].into()));
            }
        };
        offer(3);
        tokio::time::sleep(GATHER * 2).await;
        // More than the queue holds, while the first three are in hand.
        offer(crate::port::journal::MAX_WAITING + 2);
        journal.flushed().await;
        task.abort();
        let stored = log.stored.lock().unwrap();
        let kinds: Vec<&str> = stored.iter().map(|waiting| waiting.event.kind.as_str()).collect();
        assert_eq!(kinds[..4], ["0", "1", "2", "2"]);
        assert_eq!(stored.len(), 3 + crate::port::journal::MAX_WAITING + 1);
        let told = &stored.last().unwrap().event;
        assert_eq!(
            (told.kind.as_str(), told.fields["count"].as_str()),
            ("events_dropped", "2")
        );
    }
}
