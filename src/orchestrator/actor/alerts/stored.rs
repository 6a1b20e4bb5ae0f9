//! The database's side of the book: what is to be written, what is written, and what readers see of it.

use std::sync::Arc;

use streamkeeper_core::alert_manager::StoredAlert;
use streamkeeper_core::record::Fence;
use streamkeeper_core::time::Timestamp;

use super::book::{Book, Key};

/// Most rows of one transaction.
const MAX_BATCH: usize = 1_000;

/// A row that is to be written, and which version of it that is.
pub(super) struct Dirty {
    pub(super) key: Key,
    pub(super) revision: u64,
    pub(super) alert: Arc<StoredAlert>,
}

impl Book {
    /// What fires, for readers: a sink has taken it when that is stored.
    pub(super) fn shown(&self) -> Vec<Arc<StoredAlert>> {
        let entries = self
            .firing
            .iter()
            .filter_map(|(name, began)| self.rows.get(&(name.clone(), *began)));
        let shown = entries.map(|entry| {
            let mut alert = Arc::clone(&entry.alert);
            if alert.delivered != entry.stored {
                let row = Arc::make_mut(&mut alert);
                row.delivered.clone_from(&entry.stored);
                row.pending = self.lanes.iter().any(|lane| lane.lacks(row));
            }
            alert
        });
        shown.collect()
    }

    /// What is to be written next.
    pub(super) fn batch(&self) -> Vec<Dirty> {
        let keys = self.dirty.iter().take(MAX_BATCH);
        let rows = keys.filter_map(|key| Some((key, self.rows.get(key)?)));
        rows.map(|(key, entry)| Dirty {
            key: key.clone(),
            revision: entry.revision,
            alert: Arc::clone(&entry.alert),
        })
        .collect()
    }

    /// These rows were written under this fence, or not.
    pub(super) fn written(&mut self, fence: Fence, rows: Vec<Dirty>, stored: bool) {
        if self.fence != Some(fence) {
            return;
        }
        self.fails = !stored;
        for Dirty { key, revision, alert } in rows {
            let Some(entry) = self.rows.get_mut(&key) else {
                continue;
            };
            entry.held_until = Timestamp::ZERO;
            if stored {
                entry.stored.clone_from(&alert.delivered);
                if entry.revision == revision {
                    self.dirty.remove(&key);
                }
            }
            self.retire(&key);
        }
    }

    /// The leadership of this fence is over.
    pub(super) fn fenced(&mut self, fence: Fence) {
        if self.fence == Some(fence) {
            self.dirty.clear();
            self.clear_lanes();
        }
    }
}
