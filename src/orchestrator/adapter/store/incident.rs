//! Incidents: alerts that belong together. They have no rows of their own, so that nothing can differ from its alerts.

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value};
use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};
use streamkeeper_protocol::Severity;

use super::alert::{incident, of_row};
use super::options::Kind;
use super::pool::{Pool, Transaction};
use super::unavailable;
use crate::port::StoreError;
use crate::port::incidents::{Ended, Incident, IncidentQuery, MAX_ALERTS};

const READ: &str = "read incidents";
const READ_ALERTS: &str = "read alerts";

/// What is known of a whole incident without its alerts.
const SUMMED: &str = "SELECT incident_term, incident_number, MIN(began_ms) AS opened_ms, \
    MAX(resolved_ms) AS ended_ms, COUNT(*) AS alerts, SUM(CASE WHEN resolved_ms = 0 THEN 1 ELSE 0 END) AS firing, \
    MAX(CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END) AS severity FROM alert";
/// The alert that says best what it is: a cause, the most urgent one, the first one.
const HEAD: &str = "SELECT * FROM alert WHERE incident_term = $1 AND incident_number = $2 \
    ORDER BY CASE WHEN explained_by = '' THEN 0 ELSE 1 END, \
    CASE severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, began_ms, fingerprint LIMIT 1";

/// Incidents, the newest first.
pub(super) async fn list(pool: &Pool, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError> {
    let (mut conditions, mut values) = ("incident_term > 0".to_owned(), Vec::new());
    if let Some(before) = query.before {
        conditions.push_str(" AND (incident_term < $1 OR (incident_term = $1 AND incident_number < $2))");
        values = key(before).into();
    }
    let having = match query.open {
        Some(true) => " HAVING MIN(resolved_ms) = 0",
        Some(false) => " HAVING MIN(resolved_ms) > 0",
        None => "",
    };
    let sql = format!(
        "{SUMMED} WHERE {conditions} GROUP BY incident_term, incident_number{having} \
         ORDER BY incident_term DESC, incident_number DESC LIMIT {}",
        query.limit
    );
    let work = async {
        let transaction = begin(pool, READ).await?;
        let rows = rows(&transaction, READ, &sql, values).await?;
        let mut incidents = Vec::with_capacity(rows.len());
        for row in &rows {
            incidents.extend(summed(&transaction, row).await?);
        }
        Ok(incidents)
    };
    pool.limited(Kind::Read, READ, work).await
}

/// One incident with its alerts, the oldest first, at most [`MAX_ALERTS`] of them.
pub(super) async fn show(
    pool: &Pool,
    id: IncidentId,
) -> Result<Option<(Incident, Vec<StoredAlert>)>, StoreError> {
    const OF: &str = "WHERE incident_term = $1 AND incident_number = $2";
    let work = async {
        let transaction = begin(pool, READ).await?;
        let sql = format!("{SUMMED} {OF} GROUP BY incident_term, incident_number");
        let found = rows(&transaction, READ, &sql, key(id).into()).await?;
        let Some(row) = found.first() else {
            return Ok(None);
        };
        let Some(incident) = summed(&transaction, row).await? else {
            return Ok(None);
        };
        let sql = format!("SELECT * FROM alert {OF} ORDER BY began_ms, fingerprint LIMIT {MAX_ALERTS}");
        let alerts = rows(&transaction, READ, &sql, key(id).into()).await?;
        let alerts: Result<Vec<StoredAlert>, StoreError> = alerts.iter().map(of_row).collect();
        Ok(Some((incident, alerts?)))
    };
    pool.limited(Kind::Read, READ, work).await
}

/// Alerts that are over, the last one first.
pub(super) async fn over(
    pool: &Pool,
    before: Option<&Ended>,
    limit: usize,
) -> Result<Vec<StoredAlert>, StoreError> {
    let (mut condition, mut values) = ("resolved_ms > 0", Vec::new());
    if let Some(before) = before {
        condition = "resolved_ms > 0 AND (resolved_ms < $1 OR (resolved_ms = $1 AND fingerprint < $2))";
        values = vec![before.at_ms.into(), before.fingerprint.as_str().into()];
    }
    let sql = format!(
        "SELECT * FROM alert WHERE {condition} ORDER BY resolved_ms DESC, fingerprint DESC LIMIT {limit}"
    );
    let work = async {
        let transaction = begin(pool, READ_ALERTS).await?;
        let rows = rows(&transaction, READ_ALERTS, &sql, values).await?;
        rows.iter().map(of_row).collect()
    };
    pool.limited(Kind::Read, READ_ALERTS, work).await
}

async fn begin(pool: &Pool, operation: &'static str) -> Result<Transaction, StoreError> {
    let begun = pool.begin(Kind::Read, operation).await;
    begun.map_err(|error| unavailable(operation, &error))
}

async fn rows(
    transaction: &Transaction,
    operation: &'static str,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<QueryResult>, StoreError> {
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let rows = transaction.query_all_raw(statement).await;
    rows.map_err(|error| unavailable(operation, &error))
}

/// An incident of its sums, with the alert that stands for it.
async fn summed(transaction: &Transaction, row: &QueryResult) -> Result<Option<Incident>, StoreError> {
    let failed = |error: DbErr| unavailable(READ, &error);
    let number = |column: &str| row.try_get::<i64>("", column).map_err(failed);
    let Some(id) = incident(number("incident_term")?, number("incident_number")?) else {
        return Ok(None);
    };
    let heads = rows(transaction, READ, HEAD, key(id).into()).await?;
    let Some(head) = heads.first() else {
        return Ok(None);
    };
    // SQLite has no types for sums, PostgreSQL gives the smallest that fits.
    let small = |column: &str| {
        let wide = row.try_get::<i64>("", column);
        wide.or_else(|_| row.try_get::<i32>("", column).map(i64::from))
            .map_err(failed)
    };
    let firing = small("firing")?;
    let severity = usize::try_from(small("severity")?).unwrap_or(0);
    Ok(Some(Incident {
        id,
        severity: Severity::ALL.get(severity).copied().unwrap_or(Severity::Critical),
        opened_ms: number("opened_ms")?,
        ended_ms: (firing == 0).then(|| number("ended_ms")).transpose()?,
        alerts: number("alerts")?.unsigned_abs(),
        firing: firing.unsigned_abs(),
        head: of_row(head)?,
    }))
}

fn key(id: IncidentId) -> [Value; 2] {
    [i64::from(id.term.get()).into(), i64::from(id.number).into()]
}
