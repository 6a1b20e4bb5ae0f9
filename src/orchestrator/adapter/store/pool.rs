//! The connections: every transaction says what kind it is and what it is for, has the limits of its kind, and is known
//! to the monitor until it ends.

use std::future::Future;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    IsolationLevel, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use streamkeeper_resilience::Budget;

use super::file::File;
use super::monitor::{Held, Monitor};
use super::options::{Kind, StoreOptions};
use super::{fault, late};
use crate::port::StoreError;
use crate::telemetry::metrics::{
    DATABASE_ACQUIRE_SECONDS, DATABASE_RETRIES, DATABASE_TIMEOUTS, DATABASE_TRANSACTION_SECONDS,
};

/// Retries that may follow each other at once, over all transactions.
const RETRY_BURST: u32 = 20;
/// Retries per second that are always affordable: more would make an overloaded database worse.
const RETRIES_PER_SECOND: f64 = 2.0;

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) database: DatabaseConnection,
    pub(super) options: StoreOptions,
    pub(super) monitor: Arc<Monitor>,
    /// The file of SQLite.
    file: Option<File>,
    budget: std::sync::Mutex<Budget>,
    since: Instant,
}

impl Pool {
    /// `file` is the one that is open, on SQLite.
    pub(super) fn new(database: DatabaseConnection, options: StoreOptions, file: Option<&Path>) -> Self {
        Self {
            database,
            file: file.and_then(File::of),
            monitor: Arc::new(Monitor::new(options.clone())),
            options,
            budget: std::sync::Mutex::new(Budget::new(RETRY_BURST, RETRIES_PER_SECOND)),
            since: Instant::now(),
        }
    }

    pub(super) fn backend(&self) -> DbBackend {
        self.database.get_database_backend()
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(super) fn connections(&self) -> (u32, u32) {
        let (open, idle) = match self.backend() {
            DbBackend::Postgres => {
                let pool = self.database.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            }
            _ => {
                let pool = self.database.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            }
        };
        let idle = u32::try_from(idle).unwrap_or(u32::MAX).min(open);
        (open, idle)
    }

    /// Begins a transaction. On SQLite one that writes takes the write lock at once, because a transaction that read first
    /// cannot wait for it later; on PostgreSQL each statement reads what was committed before it, so that nothing is
    /// older than the lock on the fence row.
    pub(super) async fn begin(&self, kind: Kind, operation: &'static str) -> Result<Transaction, DbErr> {
        // What is written to a file that has lost its place is gone with it. Who reads may go on as long as a connection
        // stands; where a new one fails, the file that is missing says more than the driver.
        if kind != Kind::Read {
            self.in_place().map_err(DbErr::Custom)?;
        }
        let start = Instant::now();
        let begun = self
            .database
            .begin_with_options(transaction_options(self.backend(), kind))
            .await
            .map_err(|error| self.in_place().err().map_or(error, DbErr::Custom));
        metrics::histogram!(DATABASE_ACQUIRE_SECONDS).record(start.elapsed().as_secs_f64());
        if matches!(begun, Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))) {
            metrics::counter!(DATABASE_TIMEOUTS, "kind" => "acquire").increment(1);
        }
        let transaction = Transaction {
            inner: begun?,
            held: self.monitor.hold(kind, operation),
        };
        // What a batch may do is what the connection is set to.
        if self.backend() == DbBackend::Postgres && kind != Kind::Write {
            let limits = format!(
                "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
                 SELECT set_config('application_name', current_setting('application_name') || ' {}', true)",
                millis(self.options.limit(kind)),
                millis(self.options.lock_limit(kind)),
                kind.as_str()
            );
            transaction.execute_unprepared(&limits).await?;
        }
        Ok(transaction)
    }

    /// Ends work that takes longer than its kind may; a transaction of its is rolled back with it.
    pub(super) async fn limited<T>(
        &self,
        kind: Kind,
        operation: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let timeout = self.options.limit(kind);
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            timed_out(kind);
            Err(late(operation, timeout))
        })
    }

    /// Whether the file that is open still is where a new life of this program looks for it: what is written to one that was
    /// removed or replaced is gone with it.
    pub(super) fn in_place(&self) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), File::in_place)
    }

    /// Whether another retry is affordable; counts it where it is.
    pub(super) fn may_retry(&self, remedy: fault::Remedy) -> bool {
        let now = self.since.elapsed();
        let mut budget = self
            .budget
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let affordable = budget.take(now);
        if affordable {
            metrics::counter!(DATABASE_RETRIES, "reason" => remedy.as_str()).increment(1);
        }
        affordable
    }
}

/// Counts an operation that was ended because it took too long.
pub(super) fn timed_out(kind: Kind) {
    metrics::counter!(DATABASE_TIMEOUTS, "kind" => kind.as_str()).increment(1);
}

pub(super) fn millis(duration: Duration) -> u128 {
    // Zero would mean no limit.
    duration.as_millis().max(1)
}

fn transaction_options(backend: DbBackend, kind: Kind) -> TransactionOptions {
    match (backend, kind) {
        (DbBackend::Sqlite, Kind::Read) => TransactionOptions::default(),
        (DbBackend::Sqlite, _) => TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        },
        _ => TransactionOptions {
            isolation_level: Some(IsolationLevel::ReadCommitted),
            ..TransactionOptions::default()
        },
    }
}

/// A transaction that the monitor knows. Dropping it rolls it back.
#[derive(Debug)]
pub(super) struct Transaction {
    inner: DatabaseTransaction,
    held: Held,
}

impl Transaction {
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let committed = self.inner.commit().await;
        let took = self.held.since().elapsed().as_secs_f64();
        let operation = self.held.operation();
        metrics::histogram!(DATABASE_TRANSACTION_SECONDS, "operation" => operation).record(took);
        committed
    }

    pub(super) async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}
