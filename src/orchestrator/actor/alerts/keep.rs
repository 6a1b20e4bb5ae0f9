//! Writes alerts to the database, a batch at a time, and removes those that are long over.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::alert_manager::StoredAlert;
use streamkeeper_resilience::Backoff;

use super::Desk;
use crate::port::{Store, StoreError};

/// Between attempts to write.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
/// Between looks for alerts that are long over.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Most rows that are removed at a time: a large removal is in the way of others.
const MAX_PRUNED: u32 = 500;
/// Between two removals.
const PRUNE_PAUSE: Duration = Duration::from_millis(200);

/// Writes what changed, whenever something has. A change comes first, everything that has come by then goes with it.
pub(super) async fn write(desk: Arc<Desk>, store: Arc<dyn Store>) {
    let mut attempt = 0;
    loop {
        let (fence, batch) = {
            let book = desk.book();
            (book.fence(), book.batch())
        };
        let Some(fence) = fence.filter(|_| !batch.is_empty()) else {
            desk.changed.notified().await;
            continue;
        };
        let rows: Vec<StoredAlert> = batch.iter().map(|dirty| (*dirty.alert).clone()).collect();
        let outcome = store.write_alerts(fence, &rows).await;
        match outcome {
            Ok(()) => {
                desk.book().written(fence, batch, true);
                desk.show();
                attempt = 0;
            }
            // Another one leads: what is not stored is not ours to tell, until a new leadership begins.
            Err(StoreError::Fenced(term)) => {
                tracing::debug!(%term, "alerts are not stored: another leadership has begun");
                desk.book().fenced(fence);
            }
            Err(error) => {
                desk.book().written(fence, batch, false);
                desk.show();
                if attempt == 0 {
                    tracing::warn!(%error, "alerts are not stored; they are told nevertheless, and it is tried again");
                }
                tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
}

/// Removes alerts that were over for `retention`, in small steps.
pub(super) async fn prune(desk: Arc<Desk>, store: Arc<dyn Store>, retention: Duration) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let before = desk.wall_ms().saturating_sub(retention);
        loop {
            let Some(fence) = desk.book().fence() else {
                break;
            };
            match store.prune_alerts(fence, before, MAX_PRUNED).await {
                Ok(removed) if removed >= u64::from(MAX_PRUNED) => tokio::time::sleep(PRUNE_PAUSE).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "old alerts are not removed; it is tried again");
                    break;
                }
            }
        }
    }
}
