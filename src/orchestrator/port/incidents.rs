//! The database as far as incidents, and alerts that are over, are concerned. Nothing here is fenced: it is only read.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use streamkeeper_core::alert_manager::{IncidentId, StoredAlert};
use streamkeeper_protocol::Severity;

use super::store::StoreError;

/// Most alerts of one incident that are shown.
pub const MAX_ALERTS: usize = 1_000;

/// Alerts that have one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// The most urgent of its alerts.
    pub severity: Severity,
    /// When its first alert began, in milliseconds since 1970.
    pub opened_ms: i64,
    /// When its last alert was over; none while one fires.
    pub ended_ms: Option<i64>,
    /// How many alerts it has.
    pub alerts: u64,
    /// How many of them fire.
    pub firing: u64,
    /// The alert that says best what it is.
    pub head: StoredAlert,
}

/// Which incidents are wanted; the newest come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IncidentQuery {
    /// Those that began before this one.
    pub before: Option<IncidentId>,
    /// Those that go on (true), or those that are over.
    pub open: Option<bool>,
    /// Most of them.
    pub limit: usize,
}

/// A place among the alerts that are over: `1767225602000-b327897167f2f416`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When it was over, in milliseconds since 1970.
    pub at_ms: i64,
    /// The alert.
    pub fingerprint: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at_ms, self.fingerprint)
    }
}

impl FromStr for Ended {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (at, fingerprint) = text.split_once('-')?;
            Some(Self {
                at_ms: at.parse().ok()?,
                fingerprint: fingerprint.to_owned(),
            })
        };
        read().ok_or_else(|| "write `next` of the page before".to_owned())
    }
}

/// What is known of incidents and of alerts that are over.
#[async_trait]
pub trait IncidentLog: Send + Sync + 'static {
    /// Reads incidents, the newest first.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn incidents(&self, query: &IncidentQuery) -> Result<Vec<Incident>, StoreError>;

    /// Reads one incident with its alerts, the oldest first, at most [`MAX_ALERTS`] of them; none where there is none.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn incident(&self, id: IncidentId) -> Result<Option<(Incident, Vec<StoredAlert>)>, StoreError>;

    /// Reads at most `limit` alerts that were over before this one, the last one first.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn alerts_over(&self, before: Option<&Ended>, limit: usize)
    -> Result<Vec<StoredAlert>, StoreError>;
}
