//! The takeover: raise the fence, then read everything, in one transaction.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use streamkeeper_core::record::Fence;

use super::options::Kind;
use super::pool::Pool;
use super::{row, unavailable};
use crate::port::{StoreError, TakenOver};

const RAISE: &str =
    "UPDATE leadership SET term = $1, nonce = $2, longest_lease_ms = $3 WHERE id = 1 AND term < $1";

/// Nothing was written under the new fence yet.
const BEGIN: &str = "UPDATE progress SET transactions = 0 WHERE id = 1";

/// Raises the fence and reads what is stored. Reading comes second, because a paused predecessor could otherwise
/// commit between the two.
pub(super) async fn take_over(pool: &Pool, fence: Fence, lease: Duration) -> Result<TakenOver, StoreError> {
    let operation = "take over";
    let transaction = pool
        .begin(Kind::Bulk, operation)
        .await
        .map_err(|error| unavailable(operation, &error))?;
    let before = row::fence(&*transaction, for_update(pool.backend())).await?;
    if before.term >= fence.term {
        let undone = transaction.rollback().await;
        undone.map_err(|error| unavailable(operation, &error))?;
        return Err(StoreError::TermTaken(before.term));
    }
    let longest = row::millis(lease).max(row::millis(before.longest_lease));
    let values = [
        i64::from(fence.term.get()).into(),
        fence.nonce.cast_signed().into(),
        longest.into(),
    ];
    let raise = Statement::from_sql_and_values(pool.backend(), RAISE, values);
    let raised = transaction.execute_raw(raise).await;
    let raised = raised.map_err(|error| unavailable(operation, &error))?;
    if raised.rows_affected() != 1 {
        return Err(StoreError::TermTaken(row::fence(&*transaction, "").await?.term));
    }
    let begun = transaction.execute_unprepared(BEGIN).await;
    begun.map_err(|error| unavailable(operation, &error))?;
    let row::Everything {
        loaded,
        alerts,
        silences,
        bad_rows,
    } = row::read(&transaction).await?;
    let in_place = pool.in_place();
    in_place.map_err(|reason| StoreError::Unavailable { operation, reason })?;
    let committed = transaction.commit().await;
    committed.map_err(|error| unavailable(operation, &error))?;
    Ok(TakenOver {
        longest_lease: before.longest_lease,
        before: before.term,
        loaded,
        alerts,
        silences,
        bad_rows,
    })
}

/// Locks the row that is about to be updated; SQLite holds its only write lock already.
const fn for_update(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => " FOR UPDATE",
        _ => "",
    }
}
