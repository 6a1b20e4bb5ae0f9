//! The database: SQLite or PostgreSQL behind [`crate::port::Store`].

use std::future::Future;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use streamkeeper_core::record::{Fence, Persisted, WriteBatch};
use streamkeeper_protocol::Term;

use crate::port::{Store, StoreError, TakenOver};

mod connect;
mod fault;
mod open_error;
mod redact;
mod row;
mod take_over;
mod tls;
mod write;

pub use connect::{StoreOptions, probe};
pub use open_error::OpenError;
pub use redact::redact_url;

/// The database through sea-orm.
#[derive(Debug, Clone)]
pub struct SeaStore {
    database: DatabaseConnection,
    timeout: Duration,
}

impl SeaStore {
    /// Connects, brings the schema up to date and returns the store.
    ///
    /// # Errors
    /// When the database cannot be reached, or has a schema that this version does not know.
    pub async fn open(url: &str, options: &StoreOptions) -> Result<Self, OpenError> {
        let database = connect::open(url, options).await?;
        let timeout = options.operation_timeout;
        Ok(Self { database, timeout })
    }

    /// Closes every connection.
    ///
    /// # Errors
    /// When a connection cannot be closed.
    pub async fn close(self) -> Result<(), StoreError> {
        let closed = self.database.close().await;
        closed.map_err(|error| unavailable("close", &error))
    }

    async fn limited<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, work)
            .await
            .unwrap_or_else(|_| Err(late(operation, timeout)))
    }
}

#[async_trait]
impl Store for SeaStore {
    async fn stored_term(&self) -> Result<Term, StoreError> {
        let work = async { row::fence(&self.database, "").await.map(|fence| fence.term) };
        self.limited("read the term", work).await
    }

    async fn take_over(&self, fence: Fence, lease: Duration) -> Result<TakenOver, StoreError> {
        let work = take_over::take_over(&self.database, fence, lease);
        self.limited("take over", work).await
    }

    async fn persist(&self, fence: Fence, batch: &WriteBatch) -> Persisted {
        write::persist(&self.database, self.timeout, fence, batch).await
    }

    async fn ping(&self) -> Result<Duration, StoreError> {
        let start = Instant::now();
        let work = async {
            let answer = self.database.ping().await;
            answer.map_err(|error| unavailable("ping", &error))
        };
        self.limited("ping", work).await?;
        Ok(start.elapsed())
    }
}

/// Begins a transaction that writes. SQLite takes its write lock at once, because a transaction that read first cannot
/// wait for it later; PostgreSQL reads what was committed before each statement, so that nothing is older than the
/// lock on the fence row.
async fn begin(database: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let options = match database.get_database_backend() {
        DbBackend::Sqlite => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        },
        _ => TransactionOptions {
            isolation_level: Some(IsolationLevel::ReadCommitted),
            ..TransactionOptions::default()
        },
    };
    database.begin_with_options(options).await
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
