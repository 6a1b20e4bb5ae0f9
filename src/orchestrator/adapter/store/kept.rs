//! What a leader keeps of moves and of streams in trouble: its rows, many in one statement.

use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryOrder, QueryResult,
    QueryTrait, Statement, Value,
};
use streamkeeper_core::cluster::MoveReason;
use streamkeeper_core::kept::{EndedMove, Kept, KeptQuarantine, KeptWrites, OpenMove};
use streamkeeper_core::migration::{MAX_RECENT, State, Way};
use streamkeeper_entities::{migration_move, open_move, quarantine};
use streamkeeper_protocol::{StreamId, WorkerId};

use super::row::{self, bad, good, key};
use super::rows::{self, Column, MAX_ROWS, Type};
use super::unavailable;
use crate::port::StoreError;

const OPEN: [Column; 3] = [
    Column("stream", Type::Text),
    Column("to_worker", Type::Text),
    Column("reason", Type::Text),
];
const ENDED: [Column; 12] = [
    Column("id", Type::BigInt),
    Column("stream", Type::Text),
    Column("from_worker", Type::Text),
    Column("to_worker", Type::Text),
    Column("reason", Type::Text),
    Column("way", Type::Text),
    Column("state", Type::Text),
    Column("detail", Type::Text),
    Column("began_ms", Type::BigInt),
    Column("ended_ms", Type::BigInt),
    Column("gap_ms", Type::BigInt),
    Column("overlap_ms", Type::BigInt),
];
const QUARANTINE: [Column; 4] = [
    Column("stream", Type::Text),
    Column("tried", Type::Text),
    Column("rounds", Type::Int),
    Column("until_ms", Type::BigInt),
];
const STREAM: [Column; 1] = [Column("stream", Type::Text)];

/// Writes the changes: each table in the order of its keys, puts before removals.
pub(super) async fn write(transaction: &DatabaseTransaction, writes: &KeptWrites) -> Result<(), DbErr> {
    let now = chrono::Utc::now().timestamp_millis();
    let (mut puts, mut ends) = (Vec::new(), Vec::new());
    for (stream, write) in &writes.moves {
        match write {
            Some(open) => puts.push([
                stream.as_str().into(),
                open.to.as_str().into(),
                open.reason.as_str().into(),
            ]),
            None => ends.push([stream.as_str().into()]),
        }
    }
    put(transaction, "open_move", &OPEN, puts).await?;
    remove(transaction, "open_move", ends).await?;
    let ended = writes
        .ended
        .iter()
        .map(|ended| row_of_ended(ended, now))
        .collect();
    put(transaction, "migration_move", &ENDED, ended).await?;
    if !writes.ended.is_empty() {
        // No more than is shown.
        let sql = format!(
            "DELETE FROM migration_move WHERE id < (SELECT MIN(id) FROM \
             (SELECT id FROM migration_move ORDER BY id DESC LIMIT {MAX_RECENT}) AS newest)"
        );
        transaction.execute_unprepared(&sql).await?;
    }
    let (mut puts, mut ends) = (Vec::new(), Vec::new());
    for (stream, write) in &writes.quarantines {
        match write {
            Some(kept) => puts.push(row_of_quarantine(kept, now)),
            None => ends.push([stream.as_str().into()]),
        }
    }
    put(transaction, "quarantine", &QUARANTINE, puts).await?;
    remove(transaction, "quarantine", ends).await
}

fn row_of_ended(ended: &EndedMove, now: i64) -> [Value; 12] {
    let moment = |ago| now.saturating_sub(row::millis(ago));
    [
        ended.id.into(),
        ended.stream.as_str().into(),
        ended.from.as_str().into(),
        ended.to.as_str().into(),
        ended.reason.as_str().into(),
        ended.way.as_str().into(),
        ended.state.as_str().into(),
        ended.detail.as_deref().unwrap_or_default().into(),
        moment(ended.began).into(),
        moment(ended.ended).into(),
        row::millis_or_none(ended.gap).into(),
        row::millis_or_none(ended.overlap).into(),
    ]
}

fn row_of_quarantine(kept: &KeptQuarantine, now: i64) -> [Value; 4] {
    let tried: Vec<serde_json::Value> = kept.tried.iter().map(|worker| worker.as_str().into()).collect();
    [
        kept.stream.as_str().into(),
        serde_json::Value::Array(tried).to_string().into(),
        i32::try_from(kept.rounds).unwrap_or(i32::MAX).into(),
        now.saturating_add(row::millis(kept.left)).into(),
    ]
}

/// Writes rows over those of the same key, which is the first column.
async fn put<const N: usize>(
    transaction: &DatabaseTransaction,
    table: &str,
    columns: &[Column; N],
    rows: Vec<[Value; N]>,
) -> Result<(), DbErr> {
    let Column(key, _) = columns[0];
    for chunk in rows.chunks(MAX_ROWS) {
        let statement = rows::statement(
            transaction.get_database_backend(),
            columns,
            chunk.to_vec(),
            |source| {
                let (names, overwrite) = (rows::names(columns), rows::overwrite(columns));
                format!(
                    "INSERT INTO {table} ({names}) {source} ON CONFLICT ({key}) DO UPDATE SET {overwrite}"
                )
            },
        );
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

async fn remove(
    transaction: &DatabaseTransaction,
    table: &str,
    streams: Vec<[Value; 1]>,
) -> Result<(), DbErr> {
    for chunk in streams.chunks(MAX_ROWS) {
        let backend = transaction.get_database_backend();
        let statement = rows::statement(backend, &STREAM, chunk.to_vec(), |source| {
            format!("DELETE FROM {table} WHERE stream IN ({source})")
        });
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

/// Reads everything. What makes no sense is left out and named.
pub(super) async fn read(
    transaction: &DatabaseTransaction,
    bad_rows: &mut Vec<String>,
) -> Result<Kept, StoreError> {
    let backend = transaction.get_database_backend();
    let moves = open_move::Entity::find().order_by_asc(open_move::Column::Stream);
    let ended = migration_move::Entity::find().order_by_asc(migration_move::Column::Id);
    let quarantines = quarantine::Entity::find().order_by_asc(quarantine::Column::Stream);
    let moves = all(transaction, moves.build(backend)).await?;
    let ended = all(transaction, ended.build(backend)).await?;
    let quarantines = all(transaction, quarantines.build(backend)).await?;
    Ok(Kept {
        moves: good(&moves, open_of_row, bad_rows),
        ended: good(&ended, ended_of_row, bad_rows),
        quarantines: good(&quarantines, quarantine_of_row, bad_rows),
    })
}

async fn all(transaction: &DatabaseTransaction, query: Statement) -> Result<Vec<QueryResult>, StoreError> {
    let rows = transaction.query_all_raw(query).await;
    rows.map_err(|error| unavailable("read moves and quarantines", &error))
}

/// A value of a row: what it says, or which column says nothing that is known.
fn read_value<T, E: ToString>(
    (table, row): (&'static str, &str),
    column: &'static str,
    value: Result<T, E>,
) -> Result<T, StoreError> {
    value.map_err(|error| bad(table, row, column, error))
}

/// The one of `all` that has this name.
fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Result<T, String> {
    let found = all.iter().copied().find(|one| name(*one) == text);
    found.ok_or_else(|| format!("{text:?} is not known"))
}

fn open_of_row(row: &QueryResult) -> Result<OpenMove, StoreError> {
    let model = open_move::Model::from_query_result(row, "")
        .map_err(|error| bad("open_move", &key(row, "stream"), "?", error))?;
    let at = ("open_move", model.stream.as_str());
    Ok(OpenMove {
        stream: read_value(at, "stream", StreamId::new(&model.stream))?,
        to: read_value(at, "to_worker", WorkerId::new(&model.to_worker))?,
        reason: read_value(
            at,
            "reason",
            named(&MoveReason::ALL, MoveReason::as_str, &model.reason),
        )?,
    })
}

fn ended_of_row(row: &QueryResult) -> Result<EndedMove, StoreError> {
    let model = migration_move::Model::from_query_result(row, "")
        .map_err(|error| bad("migration_move", "?", "?", error))?;
    let id = model.id.to_string();
    let at = ("migration_move", id.as_str());
    let now = chrono::Utc::now().timestamp_millis();
    let ago = |moment: i64| Duration::from_millis(u64::try_from(now.saturating_sub(moment)).unwrap_or(0));
    let time = |millis: i64| u64::try_from(millis).ok().map(Duration::from_millis);
    Ok(EndedMove {
        id: model.id,
        stream: read_value(at, "stream", StreamId::new(&model.stream))?,
        from: read_value(at, "from_worker", WorkerId::new(&model.from_worker))?,
        to: read_value(at, "to_worker", WorkerId::new(&model.to_worker))?,
        reason: read_value(
            at,
            "reason",
            named(&MoveReason::ALL, MoveReason::as_str, &model.reason),
        )?,
        way: read_value(at, "way", named(&Way::ALL, Way::as_str, &model.way))?,
        state: read_value(at, "state", named(&State::ALL, State::as_str, &model.state))?,
        began: ago(model.began_ms),
        ended: ago(model.ended_ms),
        gap: time(model.gap_ms),
        overlap: time(model.overlap_ms),
        detail: Some(model.detail).filter(|detail| !detail.is_empty()),
    })
}

fn quarantine_of_row(row: &QueryResult) -> Result<KeptQuarantine, StoreError> {
    let model = quarantine::Model::from_query_result(row, "")
        .map_err(|error| bad("quarantine", &key(row, "stream"), "?", error))?;
    let at = ("quarantine", model.stream.as_str());
    let tried: Vec<String> = read_value(at, "tried", serde_json::from_str(&model.tried))?;
    let tried: Result<_, _> = tried.iter().map(WorkerId::new).collect();
    let left = model
        .until_ms
        .saturating_sub(chrono::Utc::now().timestamp_millis());
    Ok(KeptQuarantine {
        stream: read_value(at, "stream", StreamId::new(&model.stream))?,
        tried: read_value(at, "tried", tried)?,
        rounds: read_value(at, "rounds", u32::try_from(model.rounds))?,
        left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
    })
}
