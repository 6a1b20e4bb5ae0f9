//! Where alerts go.

use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_protocol::{Alert, Severity};

/// Why a sink did not take a change of an alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// It will never take this one.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached; nothing else would be taken either.
    #[error("{0}")]
    Away(String),
    /// It did not take this one, as far as is known; it may take others.
    #[error("{0}")]
    Failed(String),
}

/// One change on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How urgent.
    pub severity: Severity,
    /// The rule's name.
    pub rule: String,
    /// The change, as consumers read it.
    pub message: Alert,
}

/// Takes changes of alerts, one at a time and in their order. The same change may come again.
#[async_trait]
pub trait AlertSink: Send + Sync + 'static {
    /// Its name: in the API, in the database and as the name of its circuit breaker.
    fn name(&self) -> &'static str;

    /// Whether a new connection may mean that it has lost what it took: then it is told again of what fires.
    fn forgets(&self) -> bool {
        false
    }

    /// After which time it is told again of what fires, because it takes what nobody repeats for what is over.
    fn repeat_after(&self) -> Option<Duration> {
        None
    }

    /// Most changes that it is told within a minute, where that is limited. What waits meanwhile is told as it is then.
    fn per_minute(&self) -> Option<u32> {
        None
    }

    /// Whether people are told at once: then it hears of causes alone, and of nothing that another alert explains.
    fn pages(&self) -> bool {
        true
    }

    /// Hands a change over and waits until it is taken.
    ///
    /// # Errors
    /// When it was not taken, as far as is known.
    async fn take(&self, change: &Change) -> Result<(), SinkError>;
}
