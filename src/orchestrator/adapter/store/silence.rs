//! Silences: their rows. They are few, so each one has its own statement.

use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult, Statement, Value};
use streamkeeper_core::alert_manager::{Matcher, Silence};
use streamkeeper_core::record::Fence;
use streamkeeper_entities::silence;

use super::pool::Pool;
use super::row::{self, bad};
use super::{alert, unavailable};
use crate::port::StoreError;

/// Name of the operation.
pub(super) const WRITE: &str = "write silences";
const PUT: &str = "INSERT INTO silence (id, matchers, starts_ms, ends_ms, every_ms, author, reason) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET matchers = excluded.matchers, \
    starts_ms = excluded.starts_ms, ends_ms = excluded.ends_ms, every_ms = excluded.every_ms, \
    author = excluded.author, reason = excluded.reason";
const DELETE: &str = "DELETE FROM silence WHERE id = $1";

/// Puts some and removes others, in one transaction.
pub(super) async fn write(
    pool: &Pool,
    fence: Fence,
    puts: &[Silence],
    removes: &[String],
) -> Result<(), StoreError> {
    let transaction = alert::begin(pool, fence, WRITE).await?;
    let puts = puts.iter().map(|silence| (PUT, values(silence)));
    let removes = removes.iter().map(|id| (DELETE, vec![id.as_str().into()]));
    for (sql, values) in puts.chain(removes) {
        let statement = Statement::from_sql_and_values(pool.backend(), sql, values);
        let written = transaction.execute_raw(statement).await;
        written.map_err(|error| unavailable(WRITE, &error))?;
    }
    alert::end(pool, transaction, WRITE).await
}

fn values(silence: &Silence) -> Vec<Value> {
    let matchers: Vec<serde_json::Value> = silence
        .matchers
        .iter()
        .map(|matcher| matcher.to_string().into())
        .collect();
    vec![
        silence.id.as_str().into(),
        serde_json::Value::Array(matchers).to_string().into(),
        silence.starts_ms.into(),
        silence.ends_ms.into(),
        silence.every_ms.unwrap_or(0).into(),
        silence.by.as_str().into(),
        silence.reason.as_str().into(),
    ]
}

/// What a row of table `silence` says.
pub(super) fn of_row(row: &QueryResult) -> Result<Silence, StoreError> {
    let model = silence::Model::from_query_result(row, "")
        .map_err(|error| bad("silence", &row::key(row, "id"), "?", error))?;
    let wrong = |problem: String| bad("silence", &model.id, "matchers", problem);
    let texts: Vec<String> =
        serde_json::from_str(&model.matchers).map_err(|error| wrong(error.to_string()))?;
    let matchers: Result<Vec<Matcher>, String> = texts.iter().map(|text| Matcher::parse(text)).collect();
    Ok(Silence {
        matchers: matchers.map_err(wrong)?,
        starts_ms: model.starts_ms,
        ends_ms: model.ends_ms,
        every_ms: (model.every_ms > 0).then_some(model.every_ms),
        by: model.author,
        reason: model.reason,
        id: model.id,
    })
}
