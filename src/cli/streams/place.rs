//! Finds a place in a file.
//!
//! None of the parsers keeps lines of what it has read, but each says where it was when it failed. So the line of a
//! place is found by reading the file once more and failing there on purpose.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Fails at the end of a path.
#[derive(Clone, Copy)]
pub(super) struct Stop<'p>(pub(super) &'p [Step]);

/// What nobody reads.
const HERE: &str = "here";

impl<'de> DeserializeSeed<'de> for Stop<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Stop<'_> {
    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.0.is_empty() {
            Err(E::custom(HERE))
        } else {
            Ok(())
        }
    }
}

impl<'de> Visitor<'de> for Stop<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let wanted = match self.0.split_first() {
            None => return Err(A::Error::custom(HERE)),
            Some((Step::Index(index), rest)) => Some((*index, rest)),
            Some((Step::Key(_), _)) => None,
        };
        let mut index = 0;
        loop {
            let more = match wanted {
                Some((wanted, rest)) if wanted == index => from.next_element_seed(Stop(rest))?.is_some(),
                _ => from.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<(), A::Error> {
        let (wanted, rest) = match self.0.split_first() {
            None => return Err(A::Error::custom(HERE)),
            Some((Step::Key(key), rest)) => (Some(key.as_str()), rest),
            Some((Step::Index(_), rest)) => (None, rest),
        };
        // The last key is where to stop: what it holds may begin lines below.
        let stop = wanted.filter(|_| rest.is_empty());
        while let Some(key) = from.next_key_seed(KeyOr(stop))? {
            if wanted == Some(key.as_str()) {
                from.next_value_seed(Stop(rest))?;
            } else {
                from.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads a key; fails at the one that is given.
#[derive(Clone, Copy)]
struct KeyOr<'p>(Option<&'p str>);

impl<'de> DeserializeSeed<'de> for KeyOr<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyOr<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.0 == Some(key) {
            Err(E::custom(HERE))
        } else {
            Ok(key.to_owned())
        }
    }
}
