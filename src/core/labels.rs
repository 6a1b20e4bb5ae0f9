//! The labels of a stream, in one piece of memory: there are as many of them as streams, and a map of texts would take ten
//! times as much.

use std::collections::BTreeMap;
use std::fmt;

/// Bits of a length in one character of the packed text.
const BITS: u32 = 6;
/// Set where another character of the same length follows.
const MORE: u8 = 1 << BITS;

/// Texts by keys, sorted by key. Made once and read often: a change packs everything anew.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(
    /// For each label the lengths of key and value, in characters below 128 with the lowest bits first, then both texts.
    Option<Box<str>>,
);

impl Labels {
    /// Those of a map.
    fn pack<K: AsRef<str>, V: AsRef<str>>(labels: &BTreeMap<K, V>) -> Self {
        if labels.is_empty() {
            return Self(None);
        }
        let mut text = String::new();
        for (key, value) in labels {
            let (key, value) = (key.as_ref(), value.as_ref());
            push_length(&mut text, key.len());
            push_length(&mut text, value.len());
            text.push_str(key);
            text.push_str(value);
        }
        Self(Some(text.into_boxed_str()))
    }

    /// Sets one of them.
    pub fn insert(&mut self, key: String, value: String) {
        let mut labels = self.to_map();
        labels.insert(key, value);
        *self = Self::pack(&labels);
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter()
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// All of them, sorted by key.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.0.as_deref().unwrap_or_default())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The same as a map.
    #[must_use]
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let owned = self.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        owned.collect()
    }
}

fn push_length(text: &mut String, mut length: usize) {
    loop {
        let low = (length & usize::from(MORE - 1)) as u8;
        length >>= BITS;
        if length == 0 {
            text.push(char::from(low));
            return;
        }
        text.push(char::from(low | MORE));
    }
}

/// Takes a length from the beginning of a packed text.
fn take_length(text: &mut &str) -> usize {
    let (mut length, mut shift) = (0, 0);
    let mut bytes = text.bytes();
    for byte in bytes.by_ref() {
        length |= usize::from(byte & (MORE - 1)) << shift;
        shift += BITS;
        if byte & MORE == 0 {
            break;
        }
    }
    let taken = text.len() - bytes.len();
    *text = text.get(taken..).unwrap_or_default();
    length
}

/// Labels one after the other; what is left of the packed text.
#[derive(Debug, Clone)]
pub struct Iter<'a>(&'a str);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let key = take_length(&mut self.0);
        let value = take_length(&mut self.0);
        let (key, rest) = self.0.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.0 = rest;
        Some((key, value))
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self::pack(&labels)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_say_what_the_map_says(map: BTreeMap<String, String>, other: String) {
            let labels = Labels::from(map.clone());
            prop_assert_eq!(labels.len(), map.len());
            prop_assert_eq!(labels.is_empty(), map.is_empty());
            prop_assert!(labels.iter().eq(map.iter().map(|(key, value)| (&**key, &**value))));
            for (key, value) in &map {
                prop_assert_eq!(labels.get(key), Some(&**value));
            }
            prop_assert_eq!(labels.get(&other), map.get(&other).map(|value| &**value));
            prop_assert_eq!(labels.to_map(), map);
        }
    }

    #[test]
    fn texts_of_every_length_and_kind_are_kept() {
        let mut labels = Labels::default();
        for length in [0, 1, 63, 64, 4_095, 4_096, 300_000] {
            labels.insert(format!("k{length}"), "ü".repeat(length));
        }
        labels.insert(String::new(), "\0\u{7f}".to_owned());
        labels.insert("k1".to_owned(), "again".to_owned());
        assert_eq!(labels.len(), 8);
        assert_eq!(labels.get("k300000").map(str::len), Some(600_000));
        assert_eq!(labels.get("k1"), Some("again"));
        assert_eq!(labels.get(""), Some("\0\u{7f}"));
        assert_eq!(labels.get("k"), None);
    }
}
