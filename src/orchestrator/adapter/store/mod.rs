//! The database: SQLite or PostgreSQL behind [`crate::port::Store`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use streamkeeper_core::alert_manager::{IncidentId, Silence, StoredAlert};
use streamkeeper_core::record::{Fence, Page, Persisted, WriteBatch};
use streamkeeper_protocol::{StreamId, Term};

use crate::port::incidents::{Ended, Incident, IncidentLog, IncidentQuery};
use crate::port::samples::{Level, Sample, SampleQuery, Series};
use crate::port::{
    EventLog, EventQuery, LongTransaction, SampleLog, Store, StoreError, StoredEvent, TakenOver, Waiting,
};
use options::Kind;
use pool::Pool;

pub mod admin;
mod alert;
mod connect;
mod directive;
mod event;
mod fault;
mod file;
mod incident;
mod kept;
mod monitor;
mod open_error;
mod options;
mod page;
#[cfg(test)]
mod plans;
mod pool;
mod redact;
mod row;
mod rows;
mod sample;
mod silence;
mod take_over;
mod tls;
mod write;

pub use connect::probe;
pub use open_error::OpenError;
pub use options::StoreOptions;
pub use redact::redact_url;

/// The database through sea-orm.
#[derive(Debug, Clone)]
pub struct SeaStore {
    pool: Arc<Pool>,
}

impl SeaStore {
    /// Connects, brings the schema up to date and returns the store.
    ///
    /// # Errors
    /// When the database cannot be reached, or has a schema that this version does not know.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Self, OpenError> {
        let pool = Arc::new(connect::open(url, options).await?);
        // It ends by itself when the store is gone.
        tokio::spawn(monitor::watch(Arc::downgrade(&pool)));
        Ok(Self { pool })
    }

    /// Closes every connection.
    ///
    /// # Errors
    /// When a connection cannot be closed.
    pub async fn close(self) -> Result<(), StoreError> {
        let closed = self.pool.database.close_by_ref().await;
        closed.map_err(|error| unavailable("close", &error))
    }
}

#[async_trait]
impl Store for SeaStore {
    async fn stored_term(&self) -> Result<Term, StoreError> {
        let operation = "read the term";
        let work = async {
            let transaction = self.pool.begin(Kind::Read, operation).await;
            let transaction = transaction.map_err(|error| unavailable(operation, &error))?;
            row::fence(&*transaction, "").await.map(|fence| fence.term)
        };
        self.pool.limited(Kind::Read, operation, work).await
    }

    async fn take_over(&self, fence: Fence, lease: Duration) -> Result<TakenOver, StoreError> {
        let work = take_over::take_over(&self.pool, fence, lease);
        self.pool.limited(Kind::Bulk, "take over", work).await
    }

    async fn persist(&self, fence: Fence, batch: &WriteBatch) -> Persisted {
        write::persist(&self.pool, fence, batch).await
    }

    async fn read_page(&self, after: Option<&StreamId>, limit: u32) -> Result<Page, StoreError> {
        let work = page::read(&self.pool, after, limit);
        self.pool.limited(Kind::Read, page::OPERATION, work).await
    }

    async fn write_alerts(&self, fence: Fence, alerts: &[StoredAlert]) -> Result<(), StoreError> {
        let work = alert::write(&self.pool, fence, alerts);
        self.pool.limited(Kind::Write, alert::WRITE, work).await
    }

    async fn write_silences(
        &self,
        fence: Fence,
        puts: &[Silence],
        removes: &[String],
    ) -> Result<(), StoreError> {
        let work = silence::write(&self.pool, fence, puts, removes);
        self.pool.limited(Kind::Write, silence::WRITE, work).await
    }

    async fn prune_alerts(&self, fence: Fence, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
        let work = alert::prune(&self.pool, fence, before_ms, limit);
        self.pool.limited(Kind::Write, alert::PRUNE, work).await
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        let operation = "ping";
        let work = async {
            let in_place = self.pool.in_place();
            in_place.map_err(|reason| StoreError::Unavailable { operation, reason })?;
            let answer = self.pool.database.ping().await;
            answer.map_err(|error| unavailable(operation, &error))
        };
        self.pool.limited(Kind::Read, operation, work).await?;
        Ok(start.elapsed())
    }

    fn long_transactions(&self) -> Vec<LongTransaction> {
        self.pool.monitor.long()
    }
}

#[async_trait]
impl EventLog for SeaStore {
    async fn append_events(&self, events: &[Waiting]) -> Result<u64, StoreError> {
        event::append(&self.pool, events).await
    }

    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
        event::read(&self.pool, query).await
    }

    async fn newest_event(&self) -> Result<u64, StoreError> {
        event::newest(&self.pool).await
    }

    async fn forget_events(&self, before: DateTime<Utc>, keep: u64, most: u32) -> Result<u64, StoreError> {
        event::forget(&self.pool, before, keep, most).await
    }
}

#[async_trait]
impl IncidentLog for SeaStore {
    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError> {
        incident::list(&self.pool, query).await
    }

    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<StoredAlert>)>, StoreError> {
        incident::show(&self.pool, id).await
    }

    async fn alerts_over(
        &self,
        before: Option<&Ended>,
        limit: usize,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        incident::over(&self.pool, before, limit).await
    }
}

#[async_trait]
impl SampleLog for SeaStore {
    async fn append_samples(&self, at: DateTime<Utc>, samples: &[Sample]) -> Result<(), StoreError> {
        sample::append(&self.pool, at, samples).await
    }

    async fn roll_up(&self, to: usize, now: DateTime<Utc>) -> Result<bool, StoreError> {
        sample::roll_up(&self.pool, to, now).await
    }

    async fn samples(&self, query: &SampleQuery) -> Result<Series, StoreError> {
        sample::read(&self.pool, query).await
    }

    async fn forget_samples(
        &self,
        level: Level,
        before: DateTime<Utc>,
        most: u32,
    ) -> Result<u64, StoreError> {
        sample::forget(&self.pool, level, before, most).await
    }
}

fn unavailable(operation: &'static str, error: &DbErr) -> StoreError {
    StoreError::Unavailable {
        operation,
        reason: fault::explain(error),
    }
}

fn late(operation: &'static str, timeout: Duration) -> StoreError {
    StoreError::Unavailable {
        operation,
        reason: format!("no answer within {timeout:?}"),
    }
}
