//! Directives of operators: their rows. They are few, so each one has its own statement.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult, QueryResult, Statement, Value};
use streamkeeper_core::directive::{DirectiveWrite, Key, Kind};
use streamkeeper_entities::directive;

use super::row::bad;
use crate::port::StoreError;

const PUT: &str = "INSERT INTO directive (kind, subject, reason, until_ms) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (kind, subject) DO UPDATE SET reason = excluded.reason, until_ms = excluded.until_ms";
const DELETE: &str = "DELETE FROM directive WHERE kind = $1 AND subject = $2";

/// Writes the changes, in the order of what they are about.
pub(super) async fn write(transaction: &DatabaseTransaction, writes: &[DirectiveWrite]) -> Result<(), DbErr> {
    let now = chrono::Utc::now().timestamp_millis();
    let mut writes: Vec<&DirectiveWrite> = writes.iter().collect();
    writes.sort_by_key(|write| write.key());
    for write in writes {
        let Key { kind, subject } = write.key();
        let mut values: Vec<Value> = vec![kind.as_str().into(), subject.as_str().into()];
        let sql = match write {
            DirectiveWrite::Put { reason, lasts, .. } => {
                let until = lasts.map_or(0, |lasts| now.saturating_add(millis(lasts)));
                values.extend([reason.as_str().into(), until.into()]);
                PUT
            }
            DirectiveWrite::Delete(_) => DELETE,
        };
        let backend = transaction.get_database_backend();
        let statement = Statement::from_sql_and_values(backend, sql, values);
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

/// A stored directive, if it is not over.
pub(super) fn of_row(row: &QueryResult) -> Result<Option<DirectiveWrite>, StoreError> {
    let model = directive::Model::from_query_result(row, "")
        .map_err(|error| bad("directive", &super::row::key(row, "subject"), "?", error))?;
    let kind = Kind::named(&model.kind).ok_or_else(|| {
        let problem = format!("{:?} is no kind of directive", model.kind);
        bad("directive", &model.subject, "kind", problem)
    })?;
    let now = chrono::Utc::now().timestamp_millis();
    let left = model.until_ms.saturating_sub(now);
    if model.until_ms != 0 && left <= 0 {
        return Ok(None);
    }
    let lasts = (model.until_ms != 0).then(|| Duration::from_millis(left.unsigned_abs()));
    Ok(Some(DirectiveWrite::Put {
        key: Key {
            kind,
            subject: model.subject,
        },
        reason: model.reason,
        lasts,
    }))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
