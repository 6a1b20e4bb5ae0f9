//! What users declare: streams.

use std::time::Duration;

use streamkeeper_protocol::limit::{MAX_LABELS, MAX_SOURCE_BYTES, MAX_TEXT_BYTES};
use streamkeeper_protocol::{Ownership, StreamId, WorkerId};

use crate::labels::Labels;

/// One stream as the user declared it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSpec {
    /// Its name, unique in the fleet.
    pub name: StreamId,
    /// Where it comes from: an URL, a device, a query. Handed to the worker as it is.
    pub source: Box<str>,
    /// Whether it should run.
    pub enabled: bool,
    /// How much of a worker's capacity it takes; greater than zero.
    pub weight: f64,
    /// Who yields when capacity lacks: lower ones first.
    pub priority: i32,
    /// How many copies may run while its owner changes.
    pub ownership: Ownership,
    /// What becomes of it when its owner is lost.
    pub on_owner_lost: OnOwnerLost,
    /// How long after the time-out its owner counts as lost for it; none: at once, or when its lease is over.
    pub lost_after: Option<Duration>,
    /// Labels, handed to the worker.
    pub labels: Labels,
    /// Labels that its worker must have.
    pub requires: Labels,
    /// Labels that its worker should have, where such a worker has room and is not much fuller than others.
    pub prefers: Labels,
    /// Streams of the same key are never on one worker, and in different zones where that is possible.
    pub spread: Option<Box<str>>,
    /// The only worker that may run it.
    pub pin: Option<WorkerId>,
}

// Its weight is never NaN. With it, two references to the same spec are known to be equal without a look at it.
impl Eq for StreamSpec {}

/// What becomes of a stream whose owner is lost. Proof of the owner's death replaces it at once, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOwnerLost {
    /// It runs elsewhere.
    #[default]
    Replace,
    /// It waits until its owner is back, is proven dead, or the operator releases it.
    Hold,
}

impl OnOwnerLost {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Replace, Self::Hold];

    /// Name in the API, in files and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Hold => "hold",
        }
    }
}

impl StreamSpec {
    /// A stream with default settings.
    #[must_use]
    pub fn new(name: StreamId, source: impl Into<Box<str>>) -> Self {
        Self {
            name,
            source: source.into(),
            enabled: true,
            weight: 1.0,
            priority: 0,
            ownership: Ownership::Available,
            on_owner_lost: OnOwnerLost::default(),
            lost_after: None,
            labels: Labels::default(),
            requires: Labels::default(),
            prefers: Labels::default(),
            spread: None,
            pin: None,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// All problems at once, each with its field.
    pub fn validate(&self) -> Result<(), Vec<SpecError>> {
        let mut errors = Vec::new();
        if self.source.trim().is_empty() {
            errors.push(SpecError::EmptySource);
        }
        if self.source.len() > MAX_SOURCE_BYTES {
            errors.push(SpecError::SourceTooLong(self.source.len()));
        }
        if self.source.contains(char::is_control) {
            errors.push(SpecError::ControlCharacter { field: "source" });
        }
        if !(self.weight.is_finite() && self.weight > 0.0 && self.weight <= MAX_WEIGHT) {
            errors.push(SpecError::Weight(self.weight.to_string()));
        }
        if self.lost_after.is_some_and(|after| after > MAX_LOST_AFTER) {
            errors.push(SpecError::LostAfterTooLong);
        }
        if self.lost_after.is_some() && self.on_owner_lost == OnOwnerLost::Hold {
            errors.push(SpecError::LostAfterOfHold);
        }
        if let Some(key) = &self.spread {
            if key.is_empty() || key.len() > MAX_TEXT_BYTES {
                errors.push(SpecError::Spread(key.len()));
            }
            if key.contains('\0') {
                errors.push(SpecError::ControlCharacter { field: "spread" });
            }
        }
        for (field, labels) in [
            ("labels", &self.labels),
            ("requires", &self.requires),
            ("prefers", &self.prefers),
        ] {
            if labels.len() > MAX_LABELS {
                errors.push(SpecError::TooManyLabels {
                    field,
                    count: labels.len(),
                });
            }
            // No database text and no environment variable can carry a NUL.
            if labels
                .iter()
                .any(|(key, value)| key.contains('\0') || value.contains('\0'))
            {
                errors.push(SpecError::ControlCharacter { field });
            }
            for (key, value) in labels {
                if key.is_empty() || key.len() > MAX_TEXT_BYTES || value.len() > MAX_TEXT_BYTES {
                    errors.push(SpecError::Label {
                        field,
                        key: key.to_owned(),
                    });
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether a worker has to start the stream anew when the spec changes from `self` to `other`.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> bool {
        self.source != other.source || self.ownership != other.ownership || self.labels != other.labels
    }
}

/// Heaviest stream.
pub const MAX_WEIGHT: f64 = 1e9;

/// Longest time that a stream may wait for its lost owner by itself; `on_owner_lost = hold` waits for ever.
pub const MAX_LOST_AFTER: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What is wrong with a declared stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// No source.
    #[error("source: must not be empty; write the URL or device that the worker reads")]
    EmptySource,
    /// A control character where none can be stored or handed to a process.
    #[error("{field}: has a control character, which cannot be stored or handed to a process; remove it")]
    ControlCharacter {
        /// `source`, `spread`, `labels`, `requires` or `prefers`.
        field: &'static str,
    },
    /// Source too long.
    #[error("source: has {0} bytes, at most {MAX_SOURCE_BYTES} are allowed")]
    SourceTooLong(usize),
    /// The spread key is empty or too long.
    #[error("spread: has {0} bytes; write a key of 1 to {MAX_TEXT_BYTES}, or leave it out")]
    Spread(usize),
    /// Weight out of range.
    #[error("weight: is {0}, must be a number above 0 and at most {MAX_WEIGHT}")]
    Weight(String),
    /// Its owner would be waited for too long.
    #[error("lost_after: is more than 7 days; write on_owner_lost = \"hold\" to wait for ever")]
    LostAfterTooLong,
    /// Two answers to one question.
    #[error(
        "lost_after: has no effect with on_owner_lost = \"hold\", which waits for ever; leave one of them out"
    )]
    LostAfterOfHold,
    /// Too many labels.
    #[error("{field}: has {count} entries, at most {MAX_LABELS} are allowed")]
    TooManyLabels {
        /// `labels`, `requires` or `prefers`.
        field: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A key is empty, or a key or value is too long.
    #[error("{field}: entry {key:?} is empty or longer than {MAX_TEXT_BYTES} bytes")]
    Label {
        /// `labels`, `requires` or `prefers`.
        field: &'static str,
        /// The key.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_named_at_once() {
        let mut spec = StreamSpec::new(StreamId::new("s").unwrap(), "http://x\0y");
        assert_eq!(
            spec.validate(),
            Err(vec![SpecError::ControlCharacter { field: "source" }])
        );
        spec.source = " ".into();
        spec.weight = f64::NAN;
        spec.labels.insert("key".into(), "a\0b".into());
        let errors = spec.validate().unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!(
            StreamSpec::new(StreamId::new("s").unwrap(), "http://x").validate(),
            Ok(())
        );
    }
}
