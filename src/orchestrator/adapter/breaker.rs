//! A circuit breaker before the database: after some failures in a row it is left alone for a moment, and whoever asks
//! meanwhile is refused at once instead of waiting for it. Signs of life always pass: health shows the database itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_core::alert_manager::{Silence, StoredAlert};
use streamkeeper_core::record::{Fence, Page, Persisted, WriteBatch};
use streamkeeper_protocol::{StreamId, Term};
use streamkeeper_resilience::{Breaker, BreakerState};

use crate::port::breakers::{DATABASE_READS, DATABASE_WRITES};
use crate::port::{Breakers, Clock, LongTransaction, Store, StoreError, TakenOver};

/// How long the database is left alone. Not longer than the coordinator waits before it tries again, so that the breaker
/// delays no recovery.
const OPEN_TIME: Duration = Duration::from_secs(1);

/// A store behind two breakers: a database may answer and yet take nothing, such as one whose disk is full.
pub struct BreakerStore {
    store: Arc<dyn Store>,
    reads: Guard,
    writes: Guard,
}

impl std::fmt::Debug for BreakerStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreakerStore")
            .field("reads", &self.reads.breaker)
            .field("writes", &self.writes.breaker)
            .finish_non_exhaustive()
    }
}

impl BreakerStore {
    /// Puts breakers that open after `threshold` failures in a row before `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, threshold: u32, breakers: Breakers) -> Self {
        let guard = |dependency| Guard {
            dependency,
            clock: clock.clone(),
            threshold,
            breaker: Mutex::new(Breaker::new(threshold, OPEN_TIME)),
            breakers: breakers.clone(),
        };
        Self {
            store,
            reads: guard(DATABASE_READS),
            writes: guard(DATABASE_WRITES),
        }
    }
}

/// One breaker, and who is told where it stands.
struct Guard {
    dependency: &'static str,
    clock: Arc<dyn Clock>,
    threshold: u32,
    breaker: Mutex<Breaker>,
    breakers: Breakers,
}

impl Guard {
    /// Asks whether a call may be made; the answer must be told how it went.
    fn allow(&self) -> Result<Call<'_>, String> {
        let allowed = self.change(None, |breaker, now| breaker.allow(now));
        if allowed {
            let failure = Some("it was given up".to_owned());
            return Ok(Call { guard: self, failure });
        }
        Err(format!(
            "it failed {} times in a row (database.breaker_threshold) and is left alone for {OPEN_TIME:?}",
            self.threshold
        ))
    }

    fn change<T>(&self, failure: Option<&str>, change: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let at = self.clock.now();
        let now = Duration::from_millis(at.as_ms());
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = change(&mut breaker, now);
        let dependency = self.dependency;
        self.breakers.set(dependency, breaker.state(), failure, at);
        match (before, breaker.state()) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::warn!(
                    dependency,
                    threshold = self.threshold,
                    reason = failure,
                    "the database fails; it is asked once a second until it answers"
                );
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                tracing::info!(dependency, "the database answers again");
            }
            _ => {}
        }
        result
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut guard = self
            .allow()
            .map_err(|reason| StoreError::Unavailable { operation, reason })?;
        let result = call.await;
        // Whatever else it says, it answers.
        guard.failure = match &result {
            Err(error @ StoreError::Unavailable { .. }) => Some(error.to_string()),
            _ => None,
        };
        result
    }
}

/// One call. It is reported when it ends, one that is given up as a failure: an unreported one would keep the breaker
/// half-open for ever.
struct Call<'a> {
    guard: &'a Guard,
    failure: Option<String>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let failure = self.failure.take();
        self.guard
            .change(failure.as_deref(), |breaker, now| match &failure {
                Some(_) => breaker.failed(now),
                None => breaker.succeeded(now),
            });
    }
}

#[async_trait]
impl Store for BreakerStore {
    async fn stored_term(&self) -> Result<Term, StoreError> {
        self.reads.call("stored_term", self.store.stored_term()).await
    }

    async fn take_over(&self, fence: Fence, lease: Duration) -> Result<TakenOver, StoreError> {
        self.writes
            .call("take_over", self.store.take_over(fence, lease))
            .await
    }

    async fn persist(&self, fence: Fence, batch: &WriteBatch) -> Persisted {
        let mut guard = match self.writes.allow() {
            Ok(guard) => guard,
            Err(reason) => return Persisted::Failed { reason },
        };
        let outcome = self.store.persist(fence, batch).await;
        guard.failure = match &outcome {
            Persisted::Failed { reason } | Persisted::Ambiguous { reason } => Some(reason.clone()),
            Persisted::Committed { .. } | Persisted::Fenced { .. } | Persisted::Rewound => None,
        };
        outcome
    }

    async fn read_page(&self, after: Option<&StreamId>, limit: u32) -> Result<Page, StoreError> {
        self.reads
            .call("read_page", self.store.read_page(after, limit))
            .await
    }

    async fn write_alerts(&self, fence: Fence, alerts: &[StoredAlert]) -> Result<(), StoreError> {
        self.writes
            .call("write_alerts", self.store.write_alerts(fence, alerts))
            .await
    }

    async fn write_silences(
        &self,
        fence: Fence,
        puts: &[Silence],
        removes: &[String],
    ) -> Result<(), StoreError> {
        self.writes
            .call("write_silences", self.store.write_silences(fence, puts, removes))
            .await
    }

    async fn prune_alerts(&self, fence: Fence, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        self.writes
            .call("prune_alerts", self.store.prune_alerts(fence, before_ms, limit))
            .await
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        self.store.ping().await
    }

    fn long_transactions(&self) -> Vec<LongTransaction> {
        self.store.long_transactions()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    use chrono::{DateTime, Utc};
    use streamkeeper_core::time::Timestamp;

    use super::*;

    #[derive(Default)]
    struct Behind {
        down: AtomicBool,
        hangs: AtomicBool,
        calls: AtomicU32,
        now_ms: AtomicU64,
    }

    impl Clock for Behind {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(self.now_ms.load(Ordering::SeqCst))
        }

        fn wall(&self, _at: Timestamp) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }
    }

    #[async_trait]
    impl Store for Behind {
        async fn stored_term(&self) -> Result<Term, StoreError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            match self.down.load(Ordering::SeqCst) {
                true => Err(StoreError::Unavailable {
                    operation: "stored_term",
                    reason: "down".to_owned(),
                }),
                false => Ok(Term::default()),
            }
        }

        async fn take_over(&self, _fence: Fence, _lease: Duration) -> Result<TakenOver, StoreError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            Err(StoreError::TermTaken(Term::default()))
        }

        async fn persist(&self, _fence: Fence, _batch: &WriteBatch) -> Persisted {
            self.calls.fetch_add(1, Ordering::SeqCst);
            match self.down.load(Ordering::SeqCst) {
                true => Persisted::Failed {
                    reason: "down".to_owned(),
                },
                false => Persisted::Committed { refused: Vec::new() },
            }
        }

        async fn read_page(&self, _after: Option<&StreamId>, _limit: u32) -> Result<Page, StoreError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            Ok(Page::default())
        }

        async fn write_alerts(&self, _fence: Fence, _alerts: &[StoredAlert]) -> Result<(), StoreError> {
            Ok(())
        }

        async fn write_silences(
            &self,
            _fence: Fence,
            _puts: &[Silence],
            _removes: &[String],
        ) -> Result<(), StoreError> {
            Ok(())
        }

        async fn prune_alerts(&self, _fence: Fence, _before_ms: i64, _limit: u32) -> Result<u64, StoreError> {
            Ok(0)
        }

        async fn ping(&self) -> Result<Duration, StoreError> {
            Ok(Duration::ZERO)
        }
    }

    fn fence() -> Fence {
        Fence {
            term: Term::default(),
            nonce: 1,
        }
    }

    fn world() -> (Arc<Behind>, BreakerStore) {
        let behind = Arc::new(Behind::default());
        let store = BreakerStore::new(behind.clone(), behind.clone(), 3, Breakers::default());
        (behind, store)
    }

    #[tokio::test]
    async fn a_failing_database_is_left_alone_and_asked_again() {
        let (behind, store) = world();
        behind.down.store(true, Ordering::SeqCst);
        let batch = WriteBatch::default();
        for _ in 0..3 {
            assert!(matches!(
                store.persist(fence(), &batch).await,
                Persisted::Failed { .. }
            ));
        }
        assert_eq!(behind.calls.load(Ordering::SeqCst), 3);
        let refused = store.persist(fence(), &batch).await;
        let Persisted::Failed { reason } = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("database.breaker_threshold"), "{reason}");
        assert_eq!(
            behind.calls.load(Ordering::SeqCst),
            3,
            "it was asked nevertheless"
        );
        let seen = store.writes.breakers.watch();
        let status = seen.borrow()[DATABASE_WRITES].clone();
        assert_eq!(
            (status.state, status.reason.as_deref()),
            (BreakerState::Open, Some("down"))
        );
        assert_eq!(seen.borrow()[DATABASE_READS].state, BreakerState::Closed);
        assert!(store.ping().await.is_ok());

        behind.down.store(false, Ordering::SeqCst);
        behind.now_ms.store(1_000, Ordering::SeqCst);
        for _ in 0..2 {
            let outcome = store.persist(fence(), &batch).await;
            assert!(matches!(outcome, Persisted::Committed { .. }), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_database_that_refuses_does_answer() {
        let (behind, store) = world();
        for _ in 0..9 {
            let refused = store.take_over(fence(), Duration::ZERO).await;
            assert!(matches!(refused, Err(StoreError::TermTaken(_))));
        }
        assert_eq!(behind.calls.load(Ordering::SeqCst), 9);
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_does_not_close_the_way_for_ever() {
        let (behind, store) = world();
        behind.down.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            assert!(store.stored_term().await.is_err());
        }
        behind.hangs.store(true, Ordering::SeqCst);
        behind.now_ms.store(1_000, Ordering::SeqCst);
        let waited = tokio::time::timeout(Duration::from_millis(5), store.stored_term()).await;
        assert!(waited.is_err(), "the probe does not hang");
        behind.hangs.store(false, Ordering::SeqCst);
        behind.down.store(false, Ordering::SeqCst);
        assert!(store.stored_term().await.is_err(), "left alone once more");
        behind.now_ms.store(2_000, Ordering::SeqCst);
        assert!(store.stored_term().await.is_ok());
    }
}
