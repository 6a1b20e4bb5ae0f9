//! Samples: stored in batches, rolled up level by level, read as points, forgotten in small parts.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};

use super::options::Kind;
use super::pool::{Pool, Transaction};
use super::rows::{self, Column, Type};
use super::unavailable;
use crate::port::StoreError;
use crate::port::samples::{LEVELS, Level, Point, Sample, SampleQuery, Series};

const APPEND: &str = "append samples";
const ROLL_UP: &str = "roll samples up";
const READ: &str = "read samples";
const FORGET: &str = "forget samples";

const SAMPLE: [Column; 8] = [
    Column("level", Type::BigInt),
    Column("name", Type::Text),
    Column("labels", Type::Text),
    Column("at_ms", Type::BigInt),
    Column("low", Type::Double),
    Column("high", Type::Double),
    Column("total", Type::Double),
    Column("count", Type::BigInt),
];
/// What a row becomes that another leader, or an earlier life, has measured within the same moment: both count.
const MERGE: &str = "ON CONFLICT (level, name, at_ms, labels) DO UPDATE SET \
    low = CASE WHEN excluded.low < metric_sample.low THEN excluded.low ELSE metric_sample.low END, \
    high = CASE WHEN excluded.high > metric_sample.high THEN excluded.high ELSE metric_sample.high END, \
    total = metric_sample.total + excluded.total, count = metric_sample.count + excluded.count";
/// What a row becomes that was rolled up already.
const OVERWRITE: &str = "ON CONFLICT (level, name, at_ms, labels) DO UPDATE SET low = excluded.low, high = excluded.high, \
    total = excluded.total, count = excluded.count";

pub(super) async fn append(pool: &Pool, at: DateTime<Utc>, samples: &[Sample]) -> Result<(), StoreError> {
    let level = LEVELS[0];
    let at = level.begin(at);
    let values: Vec<[Value; 8]> = samples
        .iter()
        .map(|sample| {
            let value = sample.value;
            [
                level.ms().into(),
                sample.name.as_str().into(),
                sample.labels.as_str().into(),
                at.into(),
                value.into(),
                value.into(),
                value.into(),
                1_i64.into(),
            ]
        })
        .collect();
    let statement = rows::statement(pool.backend(), &SAMPLE, values, |source| {
        format!(
            "INSERT INTO metric_sample ({}) {source} {MERGE}",
            rows::names(&SAMPLE)
        )
    });
    let work = async {
        let failed = |error: DbErr| unavailable(APPEND, &error);
        let transaction = pool.begin(Kind::Write, APPEND).await.map_err(failed)?;
        transaction.execute_raw(statement).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    };
    pool.limited(Kind::Write, APPEND, work).await
}

pub(super) async fn roll_up(pool: &Pool, to: usize, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let Some((fine, coarse)) = to
        .checked_sub(1)
        .and_then(|fine| LEVELS.get(fine).zip(LEVELS.get(to)))
    else {
        return Ok(false);
    };
    let work = async {
        let failed = |error: DbErr| unavailable(ROLL_UP, &error);
        let transaction = pool.begin(Kind::Write, ROLL_UP).await.map_err(failed)?;
        let done = roll(&transaction, *fine, *coarse, now).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(done)
    };
    pool.limited(Kind::Write, ROLL_UP, work).await
}

async fn roll(
    transaction: &Transaction,
    fine: Level,
    coarse: Level,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let backend = transaction.get_database_backend();
    let last = "SELECT MAX(at_ms) FROM metric_sample WHERE level = $1";
    let last = number(transaction, last, [coarse.ms().into()]).await?;
    let next = last.map_or(i64::MIN, |last| last.saturating_add(coarse.ms()));
    let first = "SELECT MIN(at_ms) FROM metric_sample WHERE level = $1 AND at_ms >= $2";
    let Some(first) = number(transaction, first, [fine.ms().into(), next.into()]).await? else {
        return Ok(false);
    };
    // Where nothing was measured for a while, it goes on after that.
    let begin = first.div_euclid(coarse.ms()) * coarse.ms();
    let end = begin.saturating_add(coarse.ms());
    if end > fine.begin(now) {
        return Ok(false);
    }
    let sql = format!(
        "INSERT INTO metric_sample ({}) SELECT $1, name, labels, $2, MIN(low), MAX(high), SUM(total), \
         CAST(SUM(count) AS BIGINT) FROM metric_sample WHERE level = $3 AND at_ms >= $4 AND at_ms < $5 \
         GROUP BY name, labels {OVERWRITE}",
        rows::names(&SAMPLE)
    );
    let values = [coarse.ms(), begin, fine.ms(), begin, end].map(Value::from);
    transaction
        .execute_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    Ok(true)
}

pub(super) async fn read(pool: &Pool, query: &SampleQuery) -> Result<Series, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(READ, &error);
        let transaction = pool.begin(Kind::Read, READ).await.map_err(failed)?;
        select(&transaction, query).await.map_err(failed)
    };
    pool.limited(Kind::Read, READ, work).await
}

async fn select(transaction: &Transaction, query: &SampleQuery) -> Result<Series, DbErr> {
    let step = Level(query.step).ms().max(1);
    let sql = format!(
        "SELECT labels, (at_ms / $1) * $2 AS begin_ms, MIN(low) AS low, MAX(high) AS high, SUM(total) AS total, \
         CAST(SUM(count) AS BIGINT) AS count FROM metric_sample \
         WHERE level = $3 AND name = $4 AND at_ms >= $5 AND at_ms < $6 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT {}",
        query.limit
    );
    let values: [Value; 6] = [
        step.into(),
        step.into(),
        query.level.ms().into(),
        query.name.as_str().into(),
        query.from.timestamp_millis().into(),
        query.to.timestamp_millis().into(),
    ];
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let mut series = Series::new();
    for row in transaction.query_all_raw(statement).await? {
        let count = row.try_get::<i64>("", "count")?.max(1);
        let point = Point {
            at: DateTime::from_timestamp_millis(row.try_get("", "begin_ms")?).unwrap_or(DateTime::UNIX_EPOCH),
            low: row.try_get("", "low")?,
            high: row.try_get("", "high")?,
            mean: row.try_get::<f64>("", "total")? / count as f64,
        };
        series.entry(row.try_get("", "labels")?).or_default().push(point);
    }
    Ok(series)
}

pub(super) async fn forget(
    pool: &Pool,
    level: Level,
    before: DateTime<Utc>,
    most: u32,
) -> Result<u64, StoreError> {
    let work = async {
        let failed = |error: DbErr| unavailable(FORGET, &error);
        let transaction = pool.begin(Kind::Write, FORGET).await.map_err(failed)?;
        let gone = delete(&transaction, level, before, most).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(gone)
    };
    pool.limited(Kind::Write, FORGET, work).await
}

async fn delete(
    transaction: &Transaction,
    level: Level,
    before: DateTime<Utc>,
    most: u32,
) -> Result<u64, DbErr> {
    // Whole moments, the oldest first: a part of one would be rolled up as if it were all.
    let last = "SELECT MAX(at_ms) FROM (SELECT at_ms FROM metric_sample WHERE level = $1 AND at_ms < $2 \
        ORDER BY at_ms LIMIT $3) AS old";
    let values = [level.ms(), before.timestamp_millis(), i64::from(most)].map(Value::from);
    let Some(last) = number(transaction, last, values).await? else {
        return Ok(0);
    };
    let sql = "DELETE FROM metric_sample WHERE level = $1 AND at_ms <= $2";
    let values = [level.ms(), last].map(Value::from);
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    Ok(transaction.execute_raw(statement).await?.rows_affected())
}

/// One number; none where there is no row.
async fn number<const N: usize>(
    transaction: &Transaction,
    sql: &str,
    values: [Value; N],
) -> Result<Option<i64>, DbErr> {
    let backend = transaction.get_database_backend();
    let row = transaction
        .query_one_raw(Statement::from_sql_and_values(backend, sql, values))
        .await?;
    row.map_or(Ok(None), |row| row.try_get_by_index(0))
}
