//! Pages of long lists: sorted by key, cut by `limit`, continued after the last key. Nothing is copied but the page.

use std::fmt::Display;
use std::str::FromStr;

use super::query::Query;

/// Entries of a page where the caller does not say.
const DEFAULT_LIMIT: usize = 100;
/// Most entries of a page.
pub(super) const MAX_LIMIT: usize = 1_000;

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<K> {
    /// Most entries.
    pub(super) limit: usize,
    /// The key after which the page begins.
    pub(super) after: Option<K>,
}

impl<K: FromStr<Err: Display>> Page<K> {
    pub(super) fn of(query: &mut Query) -> Self {
        let limit = query.parsed("limit").unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            query.wrong("limit", format!("{limit}: write a number from 1 to {MAX_LIMIT}"));
        }
        Self {
            limit,
            after: query.parsed("after"),
        }
    }
}

impl<K> Page<K> {
    /// Takes a page of entries that come sorted, and the key to go on after, if there are more.
    pub(super) fn cut<T>(
        &self,
        entries: impl Iterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut entries: Vec<T> = entries.take(self.limit.saturating_add(1)).collect();
        if entries.len() <= self.limit {
            return (entries, None);
        }
        entries.truncate(self.limit);
        let next = entries.last().map(key);
        (entries, next)
    }
}
