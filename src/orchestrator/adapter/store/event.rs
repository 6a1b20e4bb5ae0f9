//! Events: appended in one order by all orchestrators, read by pages, forgotten in small parts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, Value};

use super::options::Kind;
use super::pool::{Pool, Transaction};
use super::rows::{self, Column, Type};
use super::unavailable;
use crate::port::{AuditEvent, EventQuery, StoreError, StoredEvent, Waiting};

/// Names the lock under which ids are given; any number that nobody else uses. Who reads on after an id may then not miss
/// one that is committed later.
const LOCK: i64 = 0x5354_524b_4556_4e54;
const APPEND: &str = "append events";
const READ: &str = "read events";
const FORGET: &str = "forget events";

const EVENT: [Column; 9] = [
    Column("id", Type::BigInt),
    Column("origin", Type::Text),
    Column("at_ms", Type::BigInt),
    Column("kind", Type::Text),
    Column("actor", Type::Text),
    Column("cause", Type::Text),
    Column("correlation", Type::Text),
    Column("subject", Type::Text),
    Column("fields", Type::Text),
];
const NEWEST: &str = "SELECT COALESCE(MAX(id), 0) FROM audit_event";

pub(super) async fn append(pool: &Pool, events: &[Waiting]) -> Result<u64, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(APPEND, &error);
        let transaction = pool.begin(Kind::Write, APPEND).await.map_err(failed)?;
        let newest = insert(&transaction, events).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(newest)
    };
    pool.limited(Kind::Write, APPEND, work).await
}

async fn insert(transaction: &Transaction, events: &[Waiting]) -> Result<u64, DbErr> {
    let backend = transaction.get_database_backend();
    if backend == DbBackend::Postgres {
        let lock = format!("SELECT pg_advisory_xact_lock({LOCK})");
        transaction.execute_unprepared(&lock).await?;
    }
    let mut id = number(transaction, NEWEST).await?;
    let mut values: Vec<[Value; 9]> = Vec::with_capacity(events.len());
    for Waiting { origin, event } in events {
        id += 1;
        let fields = serde_json::to_string(&event.fields).unwrap_or_else(|_| "{}".to_owned());
        values.push([
            id.into(),
            origin.as_str().into(),
            event.at.timestamp_millis().into(),
            event.kind.as_str().into(),
            event.actor.as_str().into(),
            event.cause.as_str().into(),
            event.correlation.as_str().into(),
            event.subject.as_str().into(),
            fields.into(),
        ]);
    }
    let statement = rows::statement(backend, &EVENT, values, |source| {
        let names = rows::names(&EVENT);
        // Written again after an answer was lost.
        format!("INSERT INTO audit_event ({names}) {source} ON CONFLICT (origin) DO NOTHING")
    });
    transaction.execute_raw(statement).await?;
    Ok(id.unsigned_abs())
}

pub(super) async fn newest(pool: &Pool) -> Result<u64, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(READ, &error);
        let transaction = pool.begin(Kind::Read, READ).await.map_err(failed)?;
        let id = number(&transaction, NEWEST).await.map_err(failed)?;
        Ok(id.unsigned_abs())
    };
    pool.limited(Kind::Read, READ, work).await
}

pub(super) async fn read(pool: &Pool, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(READ, &error);
        let transaction = pool.begin(Kind::Read, READ).await.map_err(failed)?;
        select(&transaction, query).await.map_err(failed)
    };
    pool.limited(Kind::Read, READ, work).await
}

async fn select(transaction: &Transaction, query: &EventQuery) -> Result<Vec<StoredEvent>, DbErr> {
    let backend = transaction.get_database_backend();
    let is_newest = query.after.is_none() && query.since.is_none();
    let mut after = i64::try_from(query.after.unwrap_or(0)).unwrap_or(i64::MAX);
    let mut conditions = vec!["id > $1".to_owned()];
    let mut values: Vec<Value> = vec![Value::Int(None)];
    let mut condition = |text: &str, value: Value, values: &mut Vec<Value>| {
        values.push(value);
        conditions.push(format!("{text} ${}", values.len()));
    };
    if let Some(since) = query.since.map(|since| since.timestamp_millis()) {
        condition("at_ms >=", since.into(), &mut values);
        // Where to begin, so that what came before is not looked through.
        let first = "SELECT id FROM audit_event WHERE at_ms >= $1 ORDER BY at_ms, id LIMIT 1";
        let statement = Statement::from_sql_and_values(backend, first, [since.into()]);
        let Some(row) = transaction.query_one_raw(statement).await? else {
            return Ok(Vec::new());
        };
        after = after.max(row.try_get_by_index::<i64>(0)? - 1);
    }
    if let Some(subject) = &query.subject {
        condition("subject =", subject.as_str().into(), &mut values);
    }
    if let [kind] = &query.kinds[..] {
        condition("kind =", kind.as_str().into(), &mut values);
    } else if !query.kinds.is_empty() {
        let places: Vec<String> = query
            .kinds
            .iter()
            .map(|kind| {
                values.push(kind.as_str().into());
                format!("${}", values.len())
            })
            .collect();
        conditions.push(format!("kind IN ({})", places.join(", ")));
    }
    values[0] = after.into();
    let sql = format!(
        "SELECT {} FROM audit_event WHERE {} ORDER BY id {} LIMIT {}",
        rows::names(&EVENT),
        conditions.join(" AND "),
        if is_newest { "DESC" } else { "ASC" },
        query.limit
    );
    let found = transaction
        .query_all_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    let mut events = found.iter().map(of_row).collect::<Result<Vec<_>, _>>()?;
    if is_newest {
        events.reverse();
    }
    Ok(events)
}

fn of_row(row: &QueryResult) -> Result<StoredEvent, DbErr> {
    let text = |column: &str| row.try_get::<String>("", column);
    let fields: BTreeMap<String, String> = serde_json::from_str(&text("fields")?).unwrap_or_default();
    Ok(StoredEvent {
        id: row.try_get::<i64>("", "id")?.unsigned_abs(),
        event: AuditEvent {
            at: DateTime::from_timestamp_millis(row.try_get("", "at_ms")?).unwrap_or(DateTime::UNIX_EPOCH),
            kind: text("kind")?,
            actor: text("actor")?,
            cause: text("cause")?,
            correlation: text("correlation")?,
            subject: text("subject")?,
            fields,
        },
    })
}

/// The newest always stays: ids go on from it.
pub(super) async fn forget(
    pool: &Pool,
    before: DateTime<Utc>,
    keep: u64,
    most: u32,
) -> Result<u64, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(FORGET, &error);
        let transaction = pool.begin(Kind::Write, FORGET).await.map_err(failed)?;
        let newest = number(&transaction, NEWEST).await.map_err(failed)?;
        let last = newest.saturating_sub(i64::try_from(keep).unwrap_or(i64::MAX));
        let backend = transaction.get_database_backend();
        let mut gone = 0;
        let old: [(&str, i64); 2] = [
            (
                "at_ms < $1 AND id < $2 ORDER BY at_ms, id",
                before.timestamp_millis(),
            ),
            ("id <= $1 AND id < $2 ORDER BY id", last),
        ];
        for (which, bound) in old {
            let left = u64::from(most).saturating_sub(gone);
            let sql = format!(
                "DELETE FROM audit_event WHERE id IN (SELECT id FROM audit_event WHERE {which} LIMIT {left})"
            );
            let statement = Statement::from_sql_and_values(backend, sql, [bound.into(), newest.into()]);
            let done = transaction.execute_raw(statement).await.map_err(failed)?;
            gone += done.rows_affected();
        }
        transaction.commit().await.map_err(failed)?;
        Ok(gone)
    };
    pool.limited(Kind::Write, FORGET, work).await
}

async fn number(transaction: &Transaction, sql: &str) -> Result<i64, DbErr> {
    let statement = Statement::from_string(transaction.get_database_backend(), sql);
    let row = transaction.query_one_raw(statement).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}
