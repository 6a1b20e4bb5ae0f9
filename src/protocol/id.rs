//! Ids that are safe as subject tokens, file names and metric labels.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limit::MAX_ID_BYTES;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The id has no character at all.
    #[error("an id must not be empty; use 1 to {MAX_ID_BYTES} of A-Z a-z 0-9 _ -")]
    Empty,
    /// The id is longer than [`MAX_ID_BYTES`].
    #[error("an id has at most {MAX_ID_BYTES} characters, this one has {0}")]
    TooLong(usize),
    /// The id has a character that a subject token cannot carry.
    #[error("character {character:?} at position {position} of {id:?} is not allowed; use A-Z a-z 0-9 _ -")]
    Character {
        /// The whole text.
        id: String,
        /// The first character that is not allowed.
        character: char,
        /// Its position, counted from 0.
        position: usize,
    },
    /// A session id is not 32 hexadecimal digits.
    #[error("{0:?} is not a session id; it has 32 hexadecimal digits")]
    Session(String),
}

fn validate(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.bytes().all(good) {
        return Ok(());
    }
    let bad = |c: char| u8::try_from(c).map_or(true, |byte| !good(byte));
    match text.chars().enumerate().find(|(_, c)| bad(*c)) {
        None => Ok(()),
        Some((position, character)) => Err(IdError::Character {
            id: text.to_owned(),
            character,
            position,
        }),
    }
}

/// Reads a text without a copy of its own: there are thousands of ids in one message.
struct Text<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, IdError>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        self.0(text).map_err(E::custom)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Err(E::invalid_value(serde::de::Unexpected::Bytes(bytes), &self));
        };
        self.visit_str(text)
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and makes an id of it.
            ///
            /// # Errors
            /// When `text` is not 1 to 64 of `A-Z a-z 0-9 _ -`.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                validate(text.as_ref())?;
                Ok(Self(text.as_ref().into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(|text: &str| Self::new(text)))
            }
        }
    };
}

id_type!(
    /// Names a worker: a process of the fleet. Stable over restarts of the process.
    WorkerId
);
id_type!(
    /// Names a stream that a user declared.
    StreamId
);
id_type!(
    /// Names an orchestrator process in beacons and events.
    OrchestratorId
);

/// One life of a worker process: random, never used again. Text form: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(
    // Two halves, the higher one first: a whole one would leave gaps in everything that holds it.
    u64,
    u64,
);

impl SessionId {
    /// Makes a session id of 128 random bits.
    #[must_use]
    pub const fn from_u128(bits: u128) -> Self {
        Self((bits >> 64) as u64, bits as u64)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.as_u128())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for SessionId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        bits.map(Self::from_u128)
            .ok_or_else(|| IdError::Session(text.chars().take(MAX_ID_BYTES).collect()))
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(|text: &str| text.parse()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_subject_safe() {
        for good in ["a", "radio-7", "A_b-9", &"x".repeat(64)] {
            assert!(StreamId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "ä", "*", ">", &"x".repeat(65)] {
            assert!(WorkerId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_character_is_named_with_its_place() {
        let error = StreamId::new("radio.7").unwrap_err();
        let expected = IdError::Character {
            id: "radio.7".into(),
            character: '.',
            position: 5,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn session_text_round_trips() {
        let session = SessionId::from_u128(0xab);
        assert_eq!(session.to_string().parse::<SessionId>(), Ok(session));
        assert!("+0000000000000000000000000000000".parse::<SessionId>().is_err());
    }
}
