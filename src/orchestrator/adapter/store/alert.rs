//! Alerts: their rows, written in batches under the fence of the leadership that they are of.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement, Value};
use streamkeeper_core::alert_manager::{Acknowledged, IncidentId, StoredAlert};
use streamkeeper_core::record::Fence;
use streamkeeper_entities::alert;
use streamkeeper_protocol::{Severity, Term};

use super::options::Kind;
use super::pool::{Pool, Transaction};
use super::row::{self, bad};
use super::rows::{self, Column, MAX_ROWS, Type};
use super::unavailable;
use crate::port::StoreError;

/// Names of the operations.
pub(super) const WRITE: &str = "write alerts";
pub(super) const PRUNE: &str = "remove old alerts";

/// What a new leadership has to know: what fires, and what is over and somebody has not been told yet, as much of that as the
/// outbox has room for, the newest.
pub(super) const OPEN: &str = "SELECT * FROM alert WHERE resolved_ms = 0 UNION ALL SELECT * FROM (SELECT * FROM alert \
    WHERE resolved_ms > 0 AND pending ORDER BY resolved_ms DESC LIMIT 10000) AS untold ORDER BY began_ms";

const ALERT: [Column; 19] = [
    Column("fingerprint", Type::Text),
    Column("began_ms", Type::BigInt),
    Column("rule", Type::Text),
    Column("severity", Type::Text),
    Column("labels", Type::Text),
    Column("annotations", Type::Text),
    Column("changed_ms", Type::BigInt),
    Column("resolved_ms", Type::BigInt),
    Column("acknowledged_by", Type::Text),
    Column("acknowledged_ms", Type::BigInt),
    Column("acknowledged_until_ms", Type::BigInt),
    Column("change_count", Type::BigInt),
    Column("delivered", Type::Text),
    Column("pending", Type::Bool),
    Column("context", Type::Text),
    Column("suppressed_by", Type::Text),
    Column("incident_term", Type::BigInt),
    Column("incident_number", Type::BigInt),
    Column("explained_by", Type::Text),
];

/// Writes the rows as they are, over older ones.
pub(super) async fn write(pool: &Pool, fence: Fence, alerts: &[StoredAlert]) -> Result<(), StoreError> {
    let transaction = begin(pool, fence, WRITE).await?;
    for chunk in alerts.chunks(MAX_ROWS) {
        let mut chunk: Vec<&StoredAlert> = chunk.iter().collect();
        chunk.sort_by(|a, b| (&a.fingerprint, a.began_ms).cmp(&(&b.fingerprint, b.began_ms)));
        let chunk = chunk.into_iter().map(values).collect();
        let statement = rows::statement(pool.backend(), &ALERT, chunk, |source| {
            let (names, overwrite) = (rows::names(&ALERT), rows::overwrite(&ALERT));
            format!(
                "INSERT INTO alert ({names}) {source} ON CONFLICT (fingerprint, began_ms) DO UPDATE SET {overwrite}"
            )
        });
        let written = transaction.execute_raw(statement).await;
        written.map_err(|error| unavailable(WRITE, &error))?;
    }
    end(pool, transaction, WRITE).await
}

/// Removes at most `limit` alerts that were over before this moment, the oldest first, and says how many those were.
pub(super) async fn prune(pool: &Pool, fence: Fence, before_ms: i64, limit: u32) -> Result<u64, StoreError> {
    let transaction = begin(pool, fence, PRUNE).await?;
    let sql = format!(
        "DELETE FROM alert WHERE (fingerprint, began_ms) IN (SELECT fingerprint, began_ms FROM alert \
         WHERE resolved_ms > 0 AND resolved_ms < $1 ORDER BY resolved_ms LIMIT {limit})"
    );
    let statement = Statement::from_sql_and_values(pool.backend(), sql, [before_ms.into()]);
    let removed = transaction.execute_raw(statement).await;
    let removed = removed
        .map_err(|error| unavailable(PRUNE, &error))?
        .rows_affected();
    end(pool, transaction, PRUNE).await?;
    Ok(removed)
}

/// A transaction that nobody but this leadership may write in.
pub(super) async fn begin(
    pool: &Pool,
    fence: Fence,
    operation: &'static str,
) -> Result<Transaction, StoreError> {
    let failed = |error: DbErr| unavailable(operation, &error);
    let transaction = pool.begin(Kind::Write, operation).await.map_err(failed)?;
    let lock = match pool.backend() {
        DbBackend::Postgres => " FOR SHARE",
        _ => "",
    };
    let stored = row::fence(&*transaction, lock).await?;
    if (stored.term, stored.nonce) == (fence.term, fence.nonce) {
        return Ok(transaction);
    }
    transaction.rollback().await.map_err(failed)?;
    Err(StoreError::Fenced(stored.term))
}

pub(super) async fn end(
    pool: &Pool,
    transaction: Transaction,
    operation: &'static str,
) -> Result<(), StoreError> {
    let in_place = pool.in_place();
    in_place.map_err(|reason| StoreError::Unavailable { operation, reason })?;
    let committed = transaction.commit().await;
    committed.map_err(|error| unavailable(operation, &error))
}

fn values(alert: &StoredAlert) -> [Value; 19] {
    let acknowledged = alert.acknowledged.as_ref();
    let by = acknowledged.map_or("", |acknowledged| &acknowledged.by);
    let at = acknowledged.map_or(0, |acknowledged| acknowledged.at_ms);
    let until = acknowledged.and_then(|acknowledged| acknowledged.until_ms);
    let delivered: serde_json::Map<String, serde_json::Value> = alert
        .delivered
        .iter()
        .map(|(sink, change)| (sink.clone(), (*change).into()))
        .collect();
    [
        alert.fingerprint.as_str().into(),
        alert.began_ms.into(),
        alert.rule.as_str().into(),
        alert.severity.as_str().into(),
        row::text_of_labels(&alert.labels).into(),
        row::text_of_labels(&alert.annotations).into(),
        alert.changed_ms.into(),
        alert.resolved_ms.unwrap_or(0).into(),
        by.into(),
        at.into(),
        until.unwrap_or(0).into(),
        i64::try_from(alert.change).unwrap_or(i64::MAX).into(),
        serde_json::Value::Object(delivered).to_string().into(),
        alert.pending.into(),
        row::text_of_labels(&alert.context).into(),
        alert.suppressed_by.as_deref().unwrap_or("").into(),
        alert.incident.map_or(0, |id| i64::from(id.term.get())).into(),
        alert.incident.map_or(0, |id| i64::from(id.number)).into(),
        alert.explained_by.as_deref().unwrap_or("").into(),
    ]
}

/// What a row of table `alert` says.
pub(super) fn of_row(row: &QueryResult) -> Result<StoredAlert, StoreError> {
    let key = || row::key(row, "fingerprint");
    let model = alert::Model::from_query_result(row, "").map_err(|error| bad("alert", &key(), "?", error))?;
    let wrong = |column, problem: String| bad("alert", &model.fingerprint, column, problem);
    let severity = Severity::named(&model.severity).ok_or_else(|| {
        let problem = format!("{:?} is no severity", model.severity);
        wrong("severity", problem)
    })?;
    let texts = |column, text: &str| {
        serde_json::from_str::<BTreeMap<String, String>>(text)
            .map_err(|error| wrong(column, error.to_string()))
    };
    let delivered = serde_json::from_str(&model.delivered);
    let set = |ms: i64| (ms != 0).then_some(ms);
    Ok(StoredAlert {
        labels: texts("labels", &model.labels)?,
        annotations: texts("annotations", &model.annotations)?,
        context: texts("context", &model.context)?,
        incident: incident(model.incident_term, model.incident_number),
        explained_by: (!model.explained_by.is_empty()).then(|| model.explained_by.clone()),
        suppressed_by: (!model.suppressed_by.is_empty()).then(|| model.suppressed_by.clone()),
        delivered: delivered.map_err(|error| wrong("delivered", error.to_string()))?,
        change: u64::try_from(model.change_count)
            .map_err(|_| wrong("change_count", format!("{} is negative", model.change_count)))?,
        severity,
        began_ms: model.began_ms,
        changed_ms: model.changed_ms,
        resolved_ms: set(model.resolved_ms),
        acknowledged: (!model.acknowledged_by.is_empty()).then(|| Acknowledged {
            by: model.acknowledged_by.clone(),
            at_ms: model.acknowledged_ms,
            until_ms: set(model.acknowledged_until_ms),
        }),
        pending: model.pending,
        rule: model.rule,
        fingerprint: model.fingerprint,
    })
}

/// The incident of these columns; none where an alert has none.
pub(super) fn incident(term: i64, number: i64) -> Option<IncidentId> {
    let term = u32::try_from(term).ok().and_then(|term| Term::new(term).ok());
    Some(IncidentId {
        term: term?,
        number: u32::try_from(number).ok().filter(|number| *number > 0)?,
    })
}
