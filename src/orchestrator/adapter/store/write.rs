//! Writing a batch in one fenced transaction.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement, Value};
use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, StreamId, Term};
use tokio::time::Instant;

use super::fault::{self, Remedy};
use super::options::Kind;
use super::pool::{Pool, Transaction, timed_out};
use super::row;
use super::rows::{self, Column, MAX_ROWS, Type};
use super::{directive, kept};

/// Most times that a transaction is tried again after a fault that passes by itself.
const MAX_RETRIES: u32 = 3;
/// Attempts begin in this part of the time only, so that callers hear of a failure before they give up.
const RETRY_SHARE: u32 = 2;

const STREAM: [Column; 13] = [
    Column("name", Type::Text),
    Column("source", Type::Text),
    Column("enabled", Type::Bool),
    Column("weight", Type::Double),
    Column("priority", Type::Int),
    Column("ownership", Type::Text),
    Column("on_owner_lost", Type::Text),
    Column("lost_after_ms", Type::BigInt),
    Column("labels", Type::Text),
    Column("requires", Type::Text),
    Column("prefers", Type::Text),
    Column("spread", Type::Text),
    Column("pin", Type::Text),
];
const STREAM_KEY: [Column; 1] = [Column("name", Type::Text)];
const ASSIGNMENT: [Column; 5] = [
    Column("stream", Type::Text),
    Column("worker", Type::Text),
    Column("session", Type::Text),
    Column("epoch", Type::BigInt),
    Column("updated_at", Type::BigInt),
];
const ENDED: [Column; 2] = [Column("stream", Type::Text), Column("epoch", Type::BigInt)];

// Writers of batches come one after the other: each holds the one row of `progress` up to its commit. Rows are locked in the
// order in which a statement comes to them, and puts come before removals: two batches at once could each wait for a row of
// the other. SQLite has one writer at a time anyway.
const UNCOUNTED: &str = "SELECT transactions FROM progress WHERE id = 1 FOR UPDATE";
const COUNTED: &str = "SELECT transactions FROM progress WHERE id = 1 AND transactions = $1";
const COUNT: &str = "UPDATE progress SET transactions = transactions + 1 WHERE id = 1 AND transactions = $1";

/// Why nothing was written.
enum Refusal {
    Fenced(Term),
    Rewound,
    /// The next attempt may succeed.
    Transient(Remedy, String),
    Failed(String),
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        let reason = fault::explain(&error);
        match fault::remedy(&error) {
            Some(remedy) => Self::Transient(remedy, reason),
            None => Self::Failed(reason),
        }
    }
}

/// Writes the batch if the stored fence equals `fence`: after as many attempts as it takes and may take.
pub(super) async fn persist(pool: &Pool, fence: Fence, batch: &WriteBatch) -> Persisted {
    let timeout = pool.options.limit(Kind::Write);
    let start = Instant::now();
    let mut retries = 0;
    loop {
        let written = tokio::time::timeout_at(start + timeout, write(pool, fence, batch)).await;
        let (remedy, reason) = match written {
            Ok(Ok((transaction, refused))) => match commit(pool, transaction, refused).await {
                Ok(persisted) => return persisted,
                Err(refused) => refused,
            },
            Ok(Err(Refusal::Fenced(term))) => return Persisted::Fenced { term },
            Ok(Err(Refusal::Rewound)) => return Persisted::Rewound,
            Ok(Err(Refusal::Failed(reason))) => return Persisted::Failed { reason },
            Ok(Err(Refusal::Transient(remedy, reason))) => (remedy, reason),
            Err(_) => {
                timed_out(Kind::Write);
                let reason = format!("no answer within {timeout:?}");
                return Persisted::Failed { reason };
            }
        };
        let in_time = start.elapsed() < timeout / RETRY_SHARE;
        if retries == MAX_RETRIES || !in_time || !pool.may_retry(remedy) {
            let reason = format!("{reason} (after {retries} retries)");
            return Persisted::Failed { reason };
        }
        tracing::debug!(retries, reason, "the transaction is tried again");
        tokio::time::sleep(remedy.delay(retries, rand::random())).await;
        retries += 1;
    }
}

/// Commits. An error is one after which nothing is stored, and the next attempt may succeed; where the answer is missing
/// nobody knows what became of the commit, and nothing is tried again.
async fn commit(
    pool: &Pool,
    transaction: Transaction,
    refused: Vec<StreamId>,
) -> Result<Persisted, (Remedy, String)> {
    let timeout = pool.options.limit(Kind::Write);
    match tokio::time::timeout(timeout, transaction.commit()).await {
        Ok(Ok(())) => Ok(Persisted::Committed { refused }),
        Ok(Err(error)) => match (fault::commit_failed(&error), fault::remedy(&error)) {
            (Persisted::Failed { reason }, Some(remedy)) => Err((remedy, reason)),
            (outcome, _) => Ok(outcome),
        },
        Err(_) => {
            timed_out(Kind::Write);
            let reason = format!("commit: no answer within {timeout:?}");
            Ok(Persisted::Ambiguous { reason })
        }
    }
}

/// Everything before the commit. Returning an error drops the transaction, which rolls it back.
async fn write(
    pool: &Pool,
    fence: Fence,
    batch: &WriteBatch,
) -> Result<(Transaction, Vec<StreamId>), Refusal> {
    let transaction = pool.begin(Kind::Write, "write a batch").await?;
    let lock = match pool.backend() {
        DbBackend::Postgres => " FOR SHARE",
        _ => "",
    };
    let stored = row::fence_of_row(row::fence_row(&*transaction, lock).await?);
    let stored = stored.map_err(|error| Refusal::Failed(error.to_string()))?;
    if (stored.term, stored.nonce) != (fence.term, fence.nonce) {
        transaction.rollback().await?;
        return Err(Refusal::Fenced(stored.term));
    }
    count(&transaction, batch).await?;
    write_streams(&transaction, &batch.streams).await?;
    directive::write(&transaction, &batch.directives).await?;
    kept::write(&transaction, &batch.kept).await?;
    let refused = write_assignments(&transaction, &batch.assignments).await?;
    pool.in_place().map_err(Refusal::Failed)?;
    Ok((transaction, refused))
}

/// Counts a transaction that writes, and finds out whether those before it are still there. To come before any other row
/// is touched.
async fn count(transaction: &DatabaseTransaction, batch: &WriteBatch) -> Result<(), Refusal> {
    let backend = transaction.get_database_backend();
    let Some(before) = batch.before else {
        if backend == DbBackend::Postgres {
            transaction.execute_unprepared(UNCOUNTED).await?;
        }
        return Ok(());
    };
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
    let backend = transaction.get_database_backend();
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
    for chunk in puts.chunks(MAX_ROWS) {
        let chunk = chunk.iter().map(|spec| stream_row(spec)).collect();
        transaction.execute_raw(put_streams(backend, chunk)).await?;
    }
    for chunk in deletes.chunks(MAX_ROWS) {
        let chunk = chunk.iter().map(|stream| [stream.as_str().into()]).collect();
        transaction.execute_raw(delete_streams(backend, chunk)).await?;
    }
    Ok(())
}

pub(super) fn put_streams(backend: DbBackend, rows: Vec<[Value; 13]>) -> Statement {
    rows::statement(backend, &STREAM, rows, |source| {
        let (names, overwrite) = (rows::names(&STREAM), rows::overwrite(&STREAM));
        format!("INSERT INTO stream ({names}) {source} ON CONFLICT (name) DO UPDATE SET {overwrite}")
    })
}

pub(super) fn delete_streams(backend: DbBackend, rows: Vec<[Value; 1]>) -> Statement {
    rows::statement(backend, &STREAM_KEY, rows, |source| {
        format!("DELETE FROM stream WHERE name IN ({source})")
    })
}

pub(super) fn stream_row(spec: &StreamSpec) -> [Value; 13] {
    [
        spec.name.as_str().into(),
        (&*spec.source).into(),
        spec.enabled.into(),
        spec.weight.into(),
        spec.priority.into(),
        row::text_of_ownership(spec.ownership).into(),
        spec.on_owner_lost.as_str().into(),
        row::millis_or_none(spec.lost_after).into(),
        row::text_of_labels(&spec.labels).into(),
        row::text_of_labels(&spec.requires).into(),
        row::text_of_labels(&spec.prefers).into(),
        spec.spread.as_deref().unwrap_or_default().into(),
        spec.pin.as_ref().map_or("", |pin| pin.as_str()).into(),
    ]
}

async fn write_assignments(
    transaction: &DatabaseTransaction,
    writes: &[AssignmentWrite],
) -> Result<Vec<StreamId>, DbErr> {
    let mut puts: Vec<(&StreamId, &Assignment)> = Vec::new();
    let mut restores: Vec<(&StreamId, &Assignment)> = Vec::new();
    let mut clears: Vec<(&StreamId, Epoch)> = Vec::new();
    for write in writes {
        match write {
            AssignmentWrite::Put { stream, assignment } => puts.push((stream, assignment)),
            AssignmentWrite::Restore { stream, assignment } => restores.push((stream, assignment)),
            AssignmentWrite::Clear { stream, epoch } => clears.push((stream, *epoch)),
        }
    }
    puts.sort_unstable_by_key(|(stream, _)| *stream);
    restores.sort_unstable_by_key(|(stream, _)| *stream);
    clears.sort_unstable_by_key(|(stream, _)| *stream);
    let now = chrono::Utc::now().timestamp_millis();
    let mut refused = Vec::new();
    for chunk in puts.chunks(MAX_ROWS) {
        refused.extend(put_assignments(transaction, chunk, "<", now).await?);
    }
    for chunk in restores.chunks(MAX_ROWS) {
        refused.extend(put_assignments(transaction, chunk, "<=", now).await?);
    }
    for chunk in clears.chunks(MAX_ROWS) {
        clear_assignments(transaction, chunk).await?;
    }
    Ok(refused)
}

/// Writes where the stored epoch compares so with the new one. Returns the streams where it does not.
async fn put_assignments(
    transaction: &DatabaseTransaction,
    puts: &[(&StreamId, &Assignment)],
    compares: &'static str,
    now: i64,
) -> Result<Vec<StreamId>, DbErr> {
    let values = puts
        .iter()
        .map(|(stream, assignment)| {
            [
                stream.as_str().into(),
                assignment.worker.as_str().into(),
                assignment.session.to_string().into(),
                assignment.epoch.get().into(),
                now.into(),
            ]
        })
        .collect();
    let statement = put_rows(transaction.get_database_backend(), values, compares);
    let mut written = BTreeSet::new();
    for returned in transaction.query_all_raw(statement).await? {
        written.insert(returned.try_get::<String>("", "stream")?);
    }
    let refused = puts
        .iter()
        .filter(|(stream, _)| !written.contains(stream.as_str()));
    Ok(refused.map(|(stream, _)| (*stream).clone()).collect())
}

pub(super) fn put_rows(backend: DbBackend, rows: Vec<[Value; 5]>, compares: &'static str) -> Statement {
    rows::statement(backend, &ASSIGNMENT, rows, |source| {
        let (names, overwrite) = (rows::names(&ASSIGNMENT), rows::overwrite(&ASSIGNMENT));
        format!(
            "INSERT INTO assignment ({names}) {source} ON CONFLICT (stream) DO UPDATE SET {overwrite} \
             WHERE assignment.epoch {compares} excluded.epoch RETURNING stream"
        )
    })
}

async fn clear_assignments(
    transaction: &DatabaseTransaction,
    clears: &[(&StreamId, Epoch)],
) -> Result<(), DbErr> {
    let values = clears
        .iter()
        .map(|(stream, epoch)| [stream.as_str().into(), epoch.get().into()])
        .collect();
    let statement = clear_rows(transaction.get_database_backend(), values);
    transaction.execute_raw(statement).await.map(drop)
}

pub(super) fn clear_rows(backend: DbBackend, rows: Vec<[Value; 2]>) -> Statement {
    rows::statement(backend, &ENDED, rows, |source| {
        // CROSS JOIN keeps SQLite from looking through the table for each ended one, instead of the other way round.
        format!(
            "WITH ended (stream, epoch) AS ({source}) DELETE FROM assignment WHERE stream IN \
             (SELECT stored.stream FROM ended CROSS JOIN assignment AS stored \
             WHERE stored.stream = ended.stream AND stored.epoch <= ended.epoch)"
        )
    })
}
