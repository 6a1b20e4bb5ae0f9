//! What waits for one sink: rows of which it has not heard the newest, in the order in which it hears of them.

use std::collections::BTreeMap;

use streamkeeper_core::alert_manager::StoredAlert;

use super::book::Key;

/// Most rows that wait for one sink; the newest change of each counts.
pub(super) const MAX_WAITING: usize = 10_000;

/// The rows.
pub(super) struct Lane {
    /// The sink.
    pub(super) name: &'static str,
    /// Whether it tells people, who are to hear of causes alone.
    pages: bool,
    next: u64,
    waiting: BTreeMap<u64, Key>,
    places: BTreeMap<Key, u64>,
    /// It was said that there is no room; that is said once, until there is room again.
    pub(super) full: bool,
}

impl Lane {
    pub(super) const fn new(name: &'static str, pages: bool) -> Self {
        Self {
            name,
            pages,
            next: 0,
            waiting: BTreeMap::new(),
            places: BTreeMap::new(),
            full: false,
        }
    }

    /// Whether the sink is to hear of this row's newest change, and has not. Of one that is silent it hears only that it is
    /// over, if it ever heard of it.
    pub(super) fn lacks(&self, row: &StoredAlert) -> bool {
        let taken = row.delivered.get(self.name).copied().unwrap_or(0);
        let silent = self.is_silent(row) && (row.resolved_ms.is_none() || taken == 0);
        taken < row.change && !silent
    }

    /// Whether the sink is not to hear that this row fires.
    pub(super) const fn is_silent(&self, row: &StoredAlert) -> bool {
        row.suppressed_by.is_some() || (self.pages && row.explained_by.is_some())
    }

    pub(super) fn waits(&self, key: &Key) -> bool {
        self.places.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Puts a row at the end. Says which one found no room any more.
    pub(super) fn put(&mut self, key: Key) -> Option<Key> {
        self.remove(&key);
        self.places.insert(key.clone(), self.next);
        self.waiting.insert(self.next, key);
        self.next += 1;
        if self.waiting.len() <= MAX_WAITING {
            return None;
        }
        let (_, oldest) = self.waiting.pop_first()?;
        self.places.remove(&oldest);
        Some(oldest)
    }

    /// Puts a row behind the others, if it waits.
    pub(super) fn put_back(&mut self, key: &Key) {
        if self.remove(key) {
            self.put(key.clone());
        }
    }

    pub(super) fn first(&self) -> Option<&Key> {
        self.waiting.first_key_value().map(|(_, key)| key)
    }

    pub(super) fn remove(&mut self, key: &Key) -> bool {
        let place = self.places.remove(key);
        self.full &= self.waiting.len() > MAX_WAITING / 2;
        place.is_some_and(|place| self.waiting.remove(&place).is_some())
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.places.clear();
        self.full = false;
    }
}
