//! Silences and acknowledgements in the book.

use std::sync::Arc;

use streamkeeper_core::alert_manager::{Acknowledged, Silence, StoredAlert};
use streamkeeper_core::record::Fence;

use super::book::{Book, Key};

impl Book {
    /// All silences, sorted by name.
    pub(super) fn silences(&self) -> impl Iterator<Item = &Arc<Silence>> {
        self.silences.values()
    }

    pub(super) fn silence_count(&self) -> usize {
        self.silences.len()
    }

    pub(super) fn has_silence(&self, id: &str) -> bool {
        self.silences.contains_key(id)
    }

    /// Names of those that will never hold again.
    pub(super) fn silences_over(&self, wall_ms: i64) -> Vec<String> {
        let over = self.silences.values().filter(|silence| silence.is_over(wall_ms));
        over.map(|silence| silence.id.clone()).collect()
    }

    /// When a silence begins or ends next.
    pub(super) fn silence_turns_at(&self, wall_ms: i64) -> Option<i64> {
        self.silences
            .values()
            .filter_map(|silence| silence.turns_at(wall_ms))
            .min()
    }

    /// Some silences begin and others end, as it was stored under this fence.
    pub(super) fn silence(&mut self, fence: Fence, puts: Vec<Silence>, removes: &[String], wall_ms: i64) {
        if self.fence() != Some(fence) {
            return;
        }
        self.silences.retain(|id, _| !removes.contains(id));
        for silence in puts {
            self.silences.insert(silence.id.clone(), Arc::new(silence));
        }
        self.judge(wall_ms);
    }

    /// Which silence keeps a row quiet. The one that does already goes on to.
    pub(super) fn silence_of(&self, key: &Key, wall_ms: i64) -> Option<String> {
        let alert = self.alert(key)?;
        let labels = alert.silenceable();
        let mut holding = self
            .silences
            .values()
            .filter(|silence| silence.holds(wall_ms) && silence.matches(&labels));
        let first = holding.clone().next()?;
        let same = holding.find(|silence| Some(&silence.id) == alert.suppressed_by.as_ref());
        Some(same.unwrap_or(first).id.clone())
    }

    /// Looks which of the alerts that fire are silent now. Says whether that has changed.
    pub(super) fn judge(&mut self, wall_ms: i64) -> bool {
        let keys: Vec<Key> = self.firing_keys().collect();
        let mut changed = false;
        for key in keys {
            let silence = self.silence_of(&key, wall_ms);
            if self
                .alert(&key)
                .is_some_and(|alert| alert.suppressed_by != silence)
            {
                self.change(&key, |row| row.suppressed_by = silence);
                self.line_up(&key);
                changed = true;
            }
        }
        changed
    }

    /// Somebody has taken an alert on, as it was stored under this fence.
    pub(super) fn acknowledge(
        &mut self,
        fence: Fence,
        fingerprint: &str,
        acknowledged: Acknowledged,
    ) -> Option<Arc<StoredAlert>> {
        let mut keys = self.firing_keys();
        let key = keys
            .find(|key| key.0 == fingerprint)
            .filter(|_| self.fence() == Some(fence));
        drop(keys);
        let key = key?;
        self.change(&key, |row| row.acknowledged = Some(acknowledged));
        self.alert(&key).map(Arc::clone)
    }
}
