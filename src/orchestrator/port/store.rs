//! The database as the actors see it.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use streamkeeper_core::alert_manager::{Silence, StoredAlert};
use streamkeeper_core::record::{Fence, Loaded, Page, Persisted, WriteBatch};
use streamkeeper_protocol::{StreamId, Term};

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The fence row carries this term or a higher one already.
    #[error("term {0} is stored already")]
    TermTaken(Term),
    /// Another leadership has raised the fence.
    #[error("the leadership of term {0} may write, and no other")]
    Fenced(Term),
    /// The database cannot be reached, or refused.
    #[error("{operation}: {reason}")]
    Unavailable {
        /// What was tried.
        operation: &'static str,
        /// What the database said, without secrets.
        reason: String,
    },
    /// A row holds a value that no version of this program writes.
    #[error("table {table}, row {row}, column {column}: {problem}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// The column.
        column: &'static str,
        /// The value and what is wrong with it.
        problem: String,
    },
}

/// What a takeover found.
#[derive(Debug, Clone, PartialEq)]
pub struct TakenOver {
    /// The longest lease that any earlier leadership used; zero when there was none.
    pub longest_lease: Duration,
    /// The last leadership before this one.
    pub before: Term,
    /// Everything that is stored, read after the fence stood; without alerts.
    pub loaded: Loaded,
    /// Alerts that fire, and those of which somebody has not been told yet.
    pub alerts: Vec<StoredAlert>,
    /// What people want to hear nothing of.
    pub silences: Vec<Silence>,
    /// Rows that could not be read and were left out, each with the reason. They stay in the database.
    pub bad_rows: Vec<String>,
}

/// A transaction that was, or is, open for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongTransaction {
    /// What it is for.
    pub operation: &'static str,
    /// How long it was open.
    pub took: Duration,
    /// When it ended; none while it is open.
    pub ended: Option<DateTime<Utc>>,
}

/// The database. Every write is fenced.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The term in the fence row; zero in a new database.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn stored_term(&self) -> Result<Term, StoreError>;

    /// Raises the fence and then reads everything, in one transaction (OWNERSHIP rule 6). `lease` is the lease that
    /// this leadership uses; the row keeps the longest ever used.
    ///
    /// # Errors
    /// [`StoreError::TermTaken`] when the stored term is not lower; otherwise when the database does not answer.
    async fn take_over(&self, fence: Fence, lease: Duration) -> Result<TakenOver, StoreError>;

    /// Writes a batch in one transaction, if the stored fence equals `fence` (OWNERSHIP rule 7).
    async fn persist(&self, fence: Fence, batch: &WriteBatch) -> Persisted;

    /// Reads at most `limit` streams, and as many assignments, whose names come after `after`, in the order of their
    /// bytes. It locks nothing and waits for nobody.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn read_page(&self, after: Option<&StreamId>, limit: u32) -> Result<Page, StoreError>;

    /// Writes alerts in one transaction, over older rows, if the stored fence equals `fence`.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another leadership may write; otherwise when the database does not answer, and then they
    /// may be written nevertheless.
    async fn write_alerts(&self, fence: Fence, alerts: &[StoredAlert]) -> Result<(), StoreError>;

    /// Puts some silences and removes others, in one transaction, if the stored fence equals `fence`.
    ///
    /// # Errors
    /// As for [`Store::write_alerts`].
    async fn write_silences(
        &self,
        fence: Fence,
        puts: &[Silence],
        removes: &[String],
    ) -> Result<(), StoreError>;

    /// Removes at most `limit` alerts that were over before this moment, in milliseconds since 1970, and of which
    /// everybody was told, if the stored fence equals `fence`. Says how many those were.
    ///
    /// # Errors
    /// As for [`Store::write_alerts`].
    async fn prune_alerts(&self, fence: Fence, before_ms: i64, limit: u32) -> Result<u64, StoreError>;

    /// Asks the database for a sign of life and says how long the answer took.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn ping(&self) -> Result<Duration, StoreError>;

    /// Transactions that are open for long, and the longest that ended, the longest first.
    fn long_transactions(&self) -> Vec<LongTransaction> {
        Vec::new()
    }
}
