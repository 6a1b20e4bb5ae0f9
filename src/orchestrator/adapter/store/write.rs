//! Writing a batch in one fenced transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement, Value};
use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, StreamId, Term};
use streamkeeper_resilience::Backoff;
use tokio::time::Instant;

use super::{begin, fault, row};

/// Rows per statement: SQLite binds at most 32,766 values, and nests at most 1,000 terms.
const CHUNK: usize = 500;

/// Most times that a transaction is tried again after a fault that passes by itself.
const MAX_RETRIES: u32 = 3;
/// Attempts begin in this part of the time only, so that callers hear of a failure before they give up.
const RETRY_SHARE: u32 = 2;
/// Delays between the attempts.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

const COUNTED: &str = "SELECT transactions FROM progress WHERE id = 1 AND transactions = $1";
const COUNT: &str = "UPDATE progress SET transactions = transactions + 1 WHERE id = 1 AND transactions = $1";

/// Why nothing was written.
enum Refusal {
    Fenced(Term),
    Rewound,
    /// The next attempt may succeed.
    Transient(String),
    Failed(String),
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        let reason = fault::explain(&error);
        if fault::is_transient(&error) {
            Self::Transient(reason)
        } else {
            Self::Failed(reason)
        }
    }
}

/// Writes the batch if the stored fence equals `fence`.
pub(super) async fn persist(
    database: &DatabaseConnection,
    timeout: Duration,
    fence: Fence,
    batch: &WriteBatch,
) -> Persisted {
    let retry_until = Instant::now() + timeout / RETRY_SHARE;
    let prepared = tokio::time::timeout(timeout, prepare(database, retry_until, fence, batch)).await;
    let (transaction, refused) = match prepared {
        Ok(Ok(prepared)) => prepared,
        Ok(Err(persisted)) => return persisted,
        Err(_) => {
            let reason = format!("no answer within {timeout:?}");
            return Persisted::Failed { reason };
        }
    };
    // From here on nothing is tried again: nobody knows what became of a commit without an answer.
    match tokio::time::timeout(timeout, transaction.commit()).await {
        Ok(Ok(())) => Persisted::Committed { refused },
        Ok(Err(error)) => fault::commit_failed(&error),
        Err(_) => {
            let reason = format!("commit: no answer within {timeout:?}");
            Persisted::Ambiguous { reason }
        }
    }
}

/// A transaction that only has to be committed, after as many attempts as it takes and may take.
async fn prepare(
    database: &DatabaseConnection,
    retry_until: Instant,
    fence: Fence,
    batch: &WriteBatch,
) -> Result<(DatabaseTransaction, Vec<StreamId>), Persisted> {
    let mut retries = 0;
    loop {
        let reason = match write(database, fence, batch).await {
            Ok(written) => return Ok(written),
            Err(Refusal::Fenced(term)) => return Err(Persisted::Fenced { term }),
            Err(Refusal::Rewound) => return Err(Persisted::Rewound),
            Err(Refusal::Failed(reason)) => return Err(Persisted::Failed { reason }),
            Err(Refusal::Transient(reason)) => reason,
        };
        if retries == MAX_RETRIES || Instant::now() >= retry_until {
            let reason = format!("{reason} (after {retries} retries)");
            return Err(Persisted::Failed { reason });
        }
        tracing::debug!(retries, reason, "the transaction is tried again");
        tokio::time::sleep(RETRY.delay(retries, rand::random())).await;
        retries += 1;
    }
}

/// Everything before the commit. Returning an error drops the transaction, which rolls it back.
async fn write(
    database: &DatabaseConnection,
    fence: Fence,
    batch: &WriteBatch,
) -> Result<(DatabaseTransaction, Vec<StreamId>), Refusal> {
    let transaction = begin(database).await?;
    let lock = match database.get_database_backend() {
        DbBackend::Postgres => " FOR SHARE",
        _ => "",
    };
    let stored = row::fence_of_row(row::fence_row(&transaction, lock).await?);
    let stored = stored.map_err(|error| Refusal::Failed(error.to_string()))?;
    if (stored.term, stored.nonce) != (fence.term, fence.nonce) {
        transaction.rollback().await?;
        return Err(Refusal::Fenced(stored.term));
    }
    count(&transaction, batch).await?;
    write_streams(&transaction, &batch.streams).await?;
    let refused = write_assignments(&transaction, &batch.assignments).await?;
    Ok((transaction, refused))
}

/// Counts a transaction that writes, and finds out whether those before it are still there.
async fn count(transaction: &DatabaseTransaction, batch: &WriteBatch) -> Result<(), Refusal> {
    let Some(before) = batch.before else {
        return Ok(());
    };
    let backend = transaction.get_database_backend();
    let before = i64::try_from(before).unwrap_or(i64::MAX);
    let found = if batch.is_empty() {
        let statement = Statement::from_sql_and_values(backend, COUNTED, [before.into()]);
        u64::from(transaction.query_one_raw(statement).await?.is_some())
    } else {
        let statement = Statement::from_sql_and_values(backend, COUNT, [before.into()]);
        transaction.execute_raw(statement).await?.rows_affected()
    };
    if found == 1 { Ok(()) } else { Err(Refusal::Rewound) }
}

async fn write_streams(transaction: &DatabaseTransaction, writes: &[StreamWrite]) -> Result<(), DbErr> {
    let mut puts: Vec<&StreamSpec> = Vec::new();
    let mut deletes: Vec<&StreamId> = Vec::new();
    for write in writes {
        match write {
            StreamWrite::Put(spec) => puts.push(spec),
            StreamWrite::Delete(stream) => deletes.push(stream),
        }
    }
    puts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    deletes.sort_unstable();
    for chunk in puts.chunks(CHUNK) {
        put_streams(transaction, chunk).await?;
    }
    for chunk in deletes.chunks(CHUNK) {
        let sql = format!("DELETE FROM stream WHERE name IN {}", tuple(0, chunk.len()));
        let values = chunk.iter().map(|stream| stream.as_str().into());
        execute(transaction, sql, values.collect()).await?;
    }
    Ok(())
}

async fn put_streams(transaction: &DatabaseTransaction, specs: &[&StreamSpec]) -> Result<(), DbErr> {
    let sql = format!(
        "INSERT INTO stream (name, source, enabled, weight, priority, ownership, labels, requires) VALUES {} \
         ON CONFLICT (name) DO UPDATE SET source = excluded.source, enabled = excluded.enabled, \
         weight = excluded.weight, priority = excluded.priority, ownership = excluded.ownership, \
         labels = excluded.labels, requires = excluded.requires",
        tuples(specs.len(), 8)
    );
    let mut values: Vec<Value> = Vec::with_capacity(specs.len() * 8);
    for spec in specs {
        values.extend([
            spec.name.as_str().into(),
            spec.source.as_str().into(),
            spec.enabled.into(),
            spec.weight.into(),
            spec.priority.into(),
            row::text_of_ownership(spec.ownership).into(),
            row::text_of_labels(&spec.labels).into(),
            row::text_of_labels(&spec.requires).into(),
        ]);
    }
    execute(transaction, sql, values).await
}

async fn write_assignments(
    transaction: &DatabaseTransaction,
    writes: &[AssignmentWrite],
) -> Result<Vec<StreamId>, DbErr> {
    let mut puts: Vec<(&StreamId, &Assignment)> = Vec::new();
    let mut clears: Vec<(&StreamId, Epoch)> = Vec::new();
    for write in writes {
        match write {
            AssignmentWrite::Put { stream, assignment } => puts.push((stream, assignment)),
            AssignmentWrite::Clear { stream, epoch } => clears.push((stream, *epoch)),
        }
    }
    puts.sort_unstable_by_key(|(stream, _)| *stream);
    clears.sort_unstable_by_key(|(stream, _)| *stream);
    let now = chrono::Utc::now().timestamp_millis();
    let mut refused = Vec::new();
    for chunk in puts.chunks(CHUNK) {
        refused.extend(put_assignments(transaction, chunk, now).await?);
    }
    for chunk in clears.chunks(CHUNK) {
        clear_assignments(transaction, chunk).await?;
    }
    Ok(refused)
}

/// Returns the streams whose stored epoch is not lower.
async fn put_assignments(
    transaction: &DatabaseTransaction,
    rows: &[(&StreamId, &Assignment)],
    now: i64,
) -> Result<Vec<StreamId>, DbErr> {
    let sql = format!(
        "INSERT INTO assignment (stream, worker, session, epoch, updated_at) VALUES {} \
         ON CONFLICT (stream) DO UPDATE SET worker = excluded.worker, session = excluded.session, \
         epoch = excluded.epoch, updated_at = excluded.updated_at \
         WHERE assignment.epoch < excluded.epoch RETURNING stream",
        tuples(rows.len(), 5)
    );
    let mut values: Vec<Value> = Vec::with_capacity(rows.len() * 5);
    for (stream, assignment) in rows {
        values.extend([
            stream.as_str().into(),
            assignment.worker.as_str().into(),
            assignment.session.to_string().into(),
            assignment.epoch.get().into(),
            now.into(),
        ]);
    }
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let mut written = BTreeSet::new();
    for returned in transaction.query_all_raw(statement).await? {
        written.insert(returned.try_get::<String>("", "stream")?);
    }
    let refused = rows
        .iter()
        .filter(|(stream, _)| !written.contains(stream.as_str()));
    Ok(refused.map(|(stream, _)| (*stream).clone()).collect())
}

async fn clear_assignments(
    transaction: &DatabaseTransaction,
    rows: &[(&StreamId, Epoch)],
) -> Result<(), DbErr> {
    let terms: Vec<String> = (0..rows.len())
        .map(|index| format!("(stream = ${} AND epoch <= ${})", index * 2 + 1, index * 2 + 2))
        .collect();
    let sql = format!("DELETE FROM assignment WHERE {}", terms.join(" OR "));
    let values = rows
        .iter()
        .flat_map(|(stream, epoch)| [stream.as_str().into(), epoch.get().into()]);
    execute(transaction, sql, values.collect()).await
}

async fn execute(transaction: &DatabaseTransaction, sql: String, values: Vec<Value>) -> Result<(), DbErr> {
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    transaction.execute_raw(statement).await.map(drop)
}

/// `($1, $2), ($3, $4)` for two rows of two columns.
fn tuples(rows: usize, columns: usize) -> String {
    let all: Vec<String> = (0..rows).map(|index| tuple(index * columns, columns)).collect();
    all.join(", ")
}

/// `($3, $4)` for two columns after two values.
fn tuple(before: usize, columns: usize) -> String {
    let all: Vec<String> = (1..=columns)
        .map(|index| format!("${}", before + index))
        .collect();
    format!("({})", all.join(", "))
}
