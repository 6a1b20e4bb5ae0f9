//! Reading a part of both tables, for the consistency check.

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, Value};
use streamkeeper_core::record::Page;
use streamkeeper_protocol::StreamId;

use super::options::Kind;
use super::pool::Pool;
use super::{row, unavailable};
use crate::port::StoreError;

/// A table that is read in parts, in the order of its key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    name: &'static str,
    pub(super) key: &'static str,
}

/// Declared streams.
pub(super) const STREAMS: Table = Table {
    name: "stream",
    key: "name",
};
/// Assignments.
pub(super) const ASSIGNMENTS: Table = Table {
    name: "assignment",
    key: "stream",
};

/// Name of the operation.
pub(super) const OPERATION: &str = "read a page";

/// Reads what comes after `after`. Two statements, each of which sees what was committed before it: what changes between
/// them looks like a difference once, and not again.
pub(super) async fn read(pool: &Pool, after: Option<&StreamId>, limit: u32) -> Result<Page, StoreError> {
    let database = &*pool
        .begin(Kind::Read, OPERATION)
        .await
        .map_err(|error| unavailable(OPERATION, &error))?;
    // No name is empty.
    let after = after.map_or("", |after| after.as_str());
    let streams = part(database, STREAMS, after, None, limit).await?;
    let mut end = end_of(&streams, STREAMS.key, limit);
    let assignments = part(database, ASSIGNMENTS, after, end.as_ref(), limit).await?;
    if let Some(earlier) = end_of(&assignments, ASSIGNMENTS.key, limit) {
        end = Some(end.map_or(earlier.clone(), |end| end.min(earlier)));
    }
    let mut bad_rows = Vec::new();
    let mut page = Page {
        streams: row::good(&streams, row::stream_of_row, &mut bad_rows),
        assignments: row::good(&assignments, row::assignment_of_row, &mut bad_rows),
        bad_rows,
        end,
    };
    if let Some(end) = &page.end {
        page.streams.retain(|spec| spec.name <= *end);
        page.assignments.retain(|(stream, _)| stream <= end);
    }
    Ok(page)
}

/// At most so many rows whose key comes after `after`, in the order of their keys.
pub(super) async fn part(
    database: &DatabaseTransaction,
    table: Table,
    after: &str,
    until: Option<&StreamId>,
    limit: u32,
) -> Result<Vec<QueryResult>, StoreError> {
    let statement = statement(database.get_database_backend(), table, after, until, limit);
    let found = database.query_all_raw(statement).await;
    found.map_err(|error| unavailable(OPERATION, &error))
}

pub(super) fn statement(
    backend: DbBackend,
    table: Table,
    after: &str,
    until: Option<&StreamId>,
    limit: u32,
) -> Statement {
    let Table { name: table, key } = table;
    // The order of bytes, as that of the memory; SQLite has no other.
    let by = match backend {
        DbBackend::Postgres => format!("{key} COLLATE \"C\""),
        _ => key.to_owned(),
    };
    let mut values: Vec<Value> = vec![after.into()];
    let mut sql = format!("SELECT * FROM {table} WHERE {by} > $1");
    if let Some(until) = until {
        values.push(until.as_str().into());
        sql.push_str(&format!(" AND {by} <= $2"));
    }
    sql.push_str(&format!(" ORDER BY {by} LIMIT {limit}"));
    Statement::from_sql_and_values(backend, sql, values)
}

/// The last name of a part that is full; what comes after it was not read.
fn end_of(rows: &[QueryResult], key: &str, limit: u32) -> Option<StreamId> {
    let full = u32::try_from(rows.len()).is_ok_and(|count| count >= limit);
    let names = rows
        .iter()
        .rev()
        .filter_map(|row| StreamId::new(row::key(row, key)).ok());
    names.take(usize::from(full)).next()
}
