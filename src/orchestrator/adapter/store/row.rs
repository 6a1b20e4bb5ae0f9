//! Rows to domain values and back.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, FromQueryResult, QueryOrder, QueryResult,
    QueryTrait, Statement,
};
use streamkeeper_core::alert_manager::{Silence, StoredAlert};
use streamkeeper_core::labels::Labels;
use streamkeeper_core::record::{Assignment, Loaded};
use streamkeeper_core::spec::{OnOwnerLost, StreamSpec};
use streamkeeper_entities::{assignment, directive, leadership, silence, stream};
use streamkeeper_protocol::{Epoch, Ownership, StreamId, Term, WorkerId};

use super::{alert, page, unavailable};
use crate::port::StoreError;

/// Rows that are read at a time where everything is read.
const PART_ROWS: u32 = 10_000;

/// The fence row.
pub(super) struct StoredFence {
    /// The leadership that may write.
    pub(super) term: Term,
    /// Its random number.
    pub(super) nonce: u64,
    /// The longest lease ever used.
    pub(super) longest_lease: Duration,
}

/// Reads the fence row; `lock` is appended to the query.
pub(super) async fn fence(connection: &impl ConnectionTrait, lock: &str) -> Result<StoredFence, StoreError> {
    let found = fence_row(connection, lock).await;
    fence_of_row(found.map_err(|error| unavailable("read the fence row", &error))?)
}

/// The fence row as it is stored; `lock` is appended to the query.
pub(super) async fn fence_row(
    connection: &impl ConnectionTrait,
    lock: &str,
) -> Result<Option<QueryResult>, DbErr> {
    let sql = format!("SELECT id, term, nonce, longest_lease_ms FROM leadership WHERE id = 1{lock}");
    let query = Statement::from_string(connection.get_database_backend(), sql);
    connection.query_one_raw(query).await
}

/// What the fence row says.
pub(super) fn fence_of_row(found: Option<QueryResult>) -> Result<StoredFence, StoreError> {
    let Some(found) = found else {
        return Err(bad_fence("id", "the row is missing; restore it from a backup"));
    };
    let model = leadership::Model::from_query_result(&found, "").map_err(|error| bad_fence("?", error))?;
    let number =
        u32::try_from(model.term).map_err(|_| bad_fence("term", format!("{} is no term", model.term)))?;
    let lease = u64::try_from(model.longest_lease_ms).map_err(|_| {
        bad_fence(
            "longest_lease_ms",
            format!("{} is negative", model.longest_lease_ms),
        )
    })?;
    Ok(StoredFence {
        term: Term::new(number).map_err(|error| bad_fence("term", error))?,
        nonce: model.nonce.cast_unsigned(),
        longest_lease: Duration::from_millis(lease),
    })
}

fn bad_fence(column: &'static str, problem: impl ToString) -> StoreError {
    bad("leadership", "1", column, problem)
}

pub(super) fn bad(
    table: &'static str,
    row: &str,
    column: &'static str,
    problem: impl ToString,
) -> StoreError {
    StoreError::BadRow {
        table,
        row: row.to_owned(),
        column,
        problem: problem.to_string(),
    }
}

/// All that is stored.
pub(super) struct Everything {
    pub(super) loaded: Loaded,
    pub(super) alerts: Vec<StoredAlert>,
    pub(super) silences: Vec<Silence>,
    /// What is wrong with rows that make no sense.
    pub(super) bad_rows: Vec<String>,
}

/// Reads everything, part by part: as rows, a million streams are many times as large as what they say, and what they say is
/// worked out while nothing else happens in the transaction, which the server ends when that takes long. What makes no
/// sense is left out and named: it must not keep the rest of the fleet from being led.
pub(super) async fn read(transaction: &DatabaseTransaction) -> Result<Everything, StoreError> {
    let mut bad_rows = Vec::new();
    let streams = whole(transaction, page::STREAMS, stream_of_row, &mut bad_rows).await?;
    let assignments = whole(transaction, page::ASSIGNMENTS, assignment_of_row, &mut bad_rows).await?;
    let backend = transaction.get_database_backend();
    let query = directive::Entity::find().order_by_asc(directive::Column::Kind);
    let rows = transaction.query_all_raw(query.build(backend)).await;
    let rows = rows.map_err(|error| unavailable("read directives", &error))?;
    let directives = good(&rows, super::directive::of_row, &mut bad_rows);
    let kept = super::kept::read(transaction, &mut bad_rows).await?;
    let loaded = Loaded {
        streams,
        assignments,
        kept,
        directives: directives.into_iter().flatten().collect(),
        ..Loaded::default()
    };
    let rows = transaction
        .query_all_raw(Statement::from_string(backend, alert::OPEN))
        .await;
    let rows = rows.map_err(|error| unavailable("read alerts", &error))?;
    let alerts = good(&rows, alert::of_row, &mut bad_rows);
    let query = silence::Entity::find().order_by_asc(silence::Column::Id);
    let rows = transaction.query_all_raw(query.build(backend)).await;
    let rows = rows.map_err(|error| unavailable("read silences", &error))?;
    let silences = good(&rows, super::silence::of_row, &mut bad_rows);
    Ok(Everything {
        loaded,
        alerts,
        silences,
        bad_rows,
    })
}

/// What a whole table says.
async fn whole<T>(
    transaction: &DatabaseTransaction,
    table: page::Table,
    convert: fn(&QueryResult) -> Result<T, StoreError>,
    bad_rows: &mut Vec<String>,
) -> Result<Vec<T>, StoreError> {
    let mut values = Vec::new();
    // No key is empty.
    let mut after = String::new();
    loop {
        let rows = page::part(transaction, table, &after, None, PART_ROWS).await?;
        values.extend(good(&rows, convert, bad_rows));
        match rows.last() {
            Some(last) if rows.len() >= PART_ROWS as usize => after = key(last, table.key),
            _ => return Ok(values),
        }
    }
}

/// The rows that make sense; the others are named.
pub(super) fn good<T>(
    rows: &[QueryResult],
    convert: fn(&QueryResult) -> Result<T, StoreError>,
    bad_rows: &mut Vec<String>,
) -> Vec<T> {
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        match convert(row) {
            Ok(value) => values.push(value),
            Err(error) => bad_rows.push(error.to_string()),
        }
    }
    values
}

/// A row's key, as it is stored.
pub(super) fn key(row: &QueryResult, column: &str) -> String {
    row.try_get("", column).unwrap_or_else(|_| "?".to_owned())
}

/// What a row of table `stream` says.
pub(super) fn stream_of_row(row: &QueryResult) -> Result<StreamSpec, StoreError> {
    let model = stream::Model::from_query_result(row, "")
        .map_err(|error| bad("stream", &key(row, "name"), "?", error))?;
    let name = model.name.as_str();
    if !(model.weight.is_finite() && model.weight > 0.0) {
        let problem = format!("{} is not a number above 0", model.weight);
        return Err(bad("stream", name, "weight", problem));
    }
    Ok(StreamSpec {
        name: StreamId::new(name).map_err(|error| bad("stream", name, "name", error))?,
        enabled: model.enabled,
        weight: model.weight,
        priority: model.priority,
        ownership: ownership_of_text(&model.ownership)
            .map_err(|error| bad("stream", name, "ownership", error))?,
        on_owner_lost: on_owner_lost_of_text(&model.on_owner_lost)
            .map_err(|error| bad("stream", name, "on_owner_lost", error))?,
        lost_after: lost_after_of(model.lost_after_ms)
            .map_err(|error| bad("stream", name, "lost_after_ms", error))?,
        labels: labels_of_text(&model.labels).map_err(|error| bad("stream", name, "labels", error))?,
        requires: labels_of_text(&model.requires).map_err(|error| bad("stream", name, "requires", error))?,
        prefers: labels_of_text(&model.prefers).map_err(|error| bad("stream", name, "prefers", error))?,
        spread: Some(model.spread).filter(|key| !key.is_empty()).map(Into::into),
        pin: Some(model.pin)
            .filter(|pin| !pin.is_empty())
            .map(WorkerId::new)
            .transpose()
            .map_err(|error| bad("stream", name, "pin", error))?,
        source: model.source.into(),
    })
}

/// What a row of table `assignment` says.
pub(super) fn assignment_of_row(row: &QueryResult) -> Result<(StreamId, Assignment), StoreError> {
    let model = assignment::Model::from_query_result(row, "")
        .map_err(|error| bad("assignment", &key(row, "stream"), "?", error))?;
    let name = model.stream.as_str();
    let stream = StreamId::new(name).map_err(|error| bad("assignment", name, "stream", error))?;
    let assignment = Assignment {
        worker: WorkerId::new(&model.worker).map_err(|error| bad("assignment", name, "worker", error))?,
        session: model
            .session
            .parse()
            .map_err(|error: streamkeeper_protocol::IdError| bad("assignment", name, "session", error))?,
        epoch: Epoch::from_i64(model.epoch).map_err(|error| bad("assignment", name, "epoch", error))?,
    };
    Ok((stream, assignment))
}

fn ownership_of_text(text: &str) -> Result<Ownership, String> {
    match text {
        "available" => Ok(Ownership::Available),
        "exclusive" => Ok(Ownership::Exclusive),
        other => Err(format!("{other:?} is neither \"available\" nor \"exclusive\"")),
    }
}

/// How an ownership is stored.
pub(super) const fn text_of_ownership(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::Available => "available",
        Ownership::Exclusive => "exclusive",
    }
}

fn on_owner_lost_of_text(text: &str) -> Result<OnOwnerLost, String> {
    let known = OnOwnerLost::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| format!("{text:?} is neither \"replace\" nor \"hold\""))
}

fn lost_after_of(stored: i64) -> Result<Option<Duration>, String> {
    if stored == NOT_DECLARED {
        return Ok(None);
    }
    let millis = u64::try_from(stored).map_err(|_| format!("{stored} is negative"))?;
    Ok(Some(Duration::from_millis(millis)))
}

/// Stands for a duration that is not declared: arrays of values have no place for NULL.
const NOT_DECLARED: i64 = -1;

/// How durations are stored that may be missing.
pub(super) fn millis_or_none(duration: Option<Duration>) -> i64 {
    duration.map_or(NOT_DECLARED, millis)
}

/// How durations are stored.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn labels_of_text(text: &str) -> Result<Labels, serde_json::Error> {
    serde_json::from_str::<BTreeMap<String, String>>(text).map(Labels::from)
}

/// How labels are stored.
pub(super) fn text_of_labels<T: AsRef<str>>(labels: impl IntoIterator<Item = (T, T)>) -> String {
    let object = labels
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().into()))
        .collect();
    serde_json::Value::Object(object).to_string()
}
