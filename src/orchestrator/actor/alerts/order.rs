//! What people order for alerts: stored first, and in force then.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::alert_manager::{Acknowledged, MAX_SILENCES, Silence, StoredAlert};
use streamkeeper_core::record::Fence;

use super::{AlertOutbox, Desk};
use crate::port::{AlertOrderError, StoreError};

/// Longest time between two looks whether a silence begins or ends: the wall clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long an order waits for the beginning of a leadership.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);
/// Shortest time between two looks.
const LOOK_AFTER: Duration = Duration::from_millis(10);

impl AlertOutbox {
    /// Keeps sinks from hearing of some alerts.
    pub(in crate::actor) async fn silence(&self, silence: Silence) -> Result<(), AlertOrderError> {
        let fence = self.fence().await?;
        let wall_ms = self.desk.wall_ms();
        let over = {
            let book = self.desk.book();
            let over = book.silences_over(wall_ms);
            if book.silence_count() - over.len() >= MAX_SILENCES {
                return Err(AlertOrderError::Full(MAX_SILENCES));
            }
            over
        };
        let puts = [silence];
        let written = self.store.write_silences(fence, &puts, &over).await;
        written.map_err(refused)?;
        self.desk.book().silence(fence, puts.into(), &over, wall_ms);
        self.desk.note_silences();
        Ok(())
    }

    /// Ends a silence.
    pub(in crate::actor) async fn unsilence(&self, id: &str) -> Result<(), AlertOrderError> {
        let fence = self.fence().await?;
        if !self.desk.book().has_silence(id) {
            return Err(AlertOrderError::Unknown("silence", id.to_owned()));
        }
        let removes = [id.to_owned()];
        let written = self.store.write_silences(fence, &[], &removes).await;
        written.map_err(refused)?;
        let wall_ms = self.desk.wall_ms();
        self.desk.book().silence(fence, Vec::new(), &removes, wall_ms);
        self.desk.note_silences();
        Ok(())
    }

    /// Notes that somebody has taken an alert on.
    pub(in crate::actor) async fn acknowledge(
        &self,
        fingerprint: &str,
        acknowledged: Acknowledged,
    ) -> Result<Arc<StoredAlert>, AlertOrderError> {
        let fence = self.fence().await?;
        let unknown = || AlertOrderError::Unknown("alert", fingerprint.to_owned());
        let mut row = {
            let book = self.desk.book();
            let mut firing = book.firing().map(|(alert, _)| alert);
            let found = firing.find(|alert| alert.fingerprint == fingerprint);
            StoredAlert::clone(found.ok_or_else(unknown)?)
        };
        row.acknowledged = Some(acknowledged.clone());
        let written = self.store.write_alerts(fence, &[row]).await;
        written.map_err(refused)?;
        // Whatever else has changed meanwhile is written again with it.
        let done = self.desk.book().acknowledge(fence, fingerprint, acknowledged);
        self.desk.note();
        done.ok_or_else(unknown)
    }

    /// The right to write. A leadership that has just begun has it in a moment.
    async fn fence(&self) -> Result<Fence, AlertOrderError> {
        let begun = async {
            while self.desk.book().is_about_to_lead() {
                tokio::time::sleep(LOOK_AFTER).await;
            }
        };
        // Where it does not begin, the right of the one before is refused by the database.
        let _ = tokio::time::timeout(BEGINS_WITHIN, begun).await;
        self.desk.book().fence().ok_or(AlertOrderError::NotLeading)
    }
}

fn refused(error: StoreError) -> AlertOrderError {
    match error {
        StoreError::Fenced(_) => AlertOrderError::NotLeading,
        error => AlertOrderError::NotStored(error.to_string()),
    }
}

/// Judges anew what fires whenever a silence begins or ends.
pub(super) async fn watch_silences(desk: Arc<Desk>) {
    loop {
        let wall_ms = desk.wall_ms();
        let (changed, next) = {
            let mut book = desk.book();
            (book.judge(wall_ms), book.silence_turns_at(wall_ms))
        };
        if changed {
            desk.note();
        }
        let left = next.map(|next| u64::try_from(next.saturating_sub(wall_ms)).unwrap_or(0));
        let wait = left.map_or(LOOK_EVERY, |left| {
            Duration::from_millis(left).clamp(LOOK_AFTER, LOOK_EVERY)
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = desk.silenced.notified() => {}
        }
    }
}
