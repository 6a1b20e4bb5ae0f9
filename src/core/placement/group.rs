//! Spread keys: streams with the same key keep apart.

use std::collections::BTreeMap;

use super::Index;
use super::worker::to_index;

/// The keys in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    by_key: BTreeMap<String, Index>,
    users: Vec<(String, u32)>,
    free: Vec<Index>,
}

impl Groups {
    /// The group of this key, which has one user more.
    pub(super) fn take(&mut self, key: &str) -> Index {
        if let Some(index) = self.by_key.get(key) {
            self.users[*index as usize].1 += 1;
            return *index;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.users.push((String::new(), 0));
            to_index(self.users.len() - 1)
        });
        self.users[index as usize] = (key.to_owned(), 1);
        self.by_key.insert(key.to_owned(), index);
        index
    }

    /// One user less; without users it is forgotten.
    pub(super) fn release(&mut self, index: Index) {
        let (key, users) = &mut self.users[index as usize];
        *users -= 1;
        if *users == 0 {
            self.by_key.remove(key);
            self.free.push(index);
        }
    }

    /// How many streams have the key.
    pub(super) fn users(&self, key: &str) -> u32 {
        let index = self.by_key.get(key);
        index.map_or(0, |index| self.users[*index as usize].1)
    }
}
