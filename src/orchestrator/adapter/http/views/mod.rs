//! What answers look like. Views borrow from the snapshot and are written out at once.

pub(super) mod alerts;
pub(super) mod cluster;
pub(super) mod consistency;
pub(super) mod events;
pub(super) mod explain;
pub(super) mod health;
pub(super) mod history;
pub(super) mod incidents;
pub(super) mod leader;
pub(super) mod logs;
pub(super) mod moves;
pub(super) mod recovery;
pub(super) mod shape;
pub(super) mod stream;
pub(super) mod worker;

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Serialize, Serializer};
use streamkeeper_core::time::Timestamp;

use super::mask::mask;
use crate::port::Clock;

/// Moments for people: RFC 3339 in UTC.
#[derive(Clone, Copy)]
pub(super) struct Times<'a>(pub(super) &'a dyn Clock);

impl Times<'_> {
    pub(super) fn show(self, at: Timestamp) -> String {
        self.0.wall(at).to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// A moment so long before `at`, which may be before the machine was started.
    pub(super) fn before(self, at: Timestamp, ago: Duration) -> String {
        let moment = self
            .0
            .wall(at)
            .checked_sub_signed(TimeDelta::from_std(ago).unwrap_or_default());
        moment
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// None for a moment that never was.
    pub(super) fn known(self, at: Timestamp) -> Option<String> {
        (at > Timestamp::ZERO).then(|| self.show(at))
    }
}

/// A moment of the wall clock, in milliseconds since 1970.
fn moment(ms: i64) -> String {
    let moment = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Writes a text without the secrets in it.
fn masked<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask(text))
}

fn masked_option<S: Serializer>(text: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    text.map(mask).serialize(serializer)
}

/// A number of 64 bits as text, because JavaScript rounds large numbers.
fn as_text<S: Serializer>(number: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
