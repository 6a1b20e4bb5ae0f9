//! Alerts in Alertmanager's shape: `sk.v1.alert.<severity>.<rule>`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One change of an alert. Consumers deduplicate by `fingerprint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// Whether it fires or is over.
    pub status: AlertStatus,
    /// Identity: `alertname`, `severity` and what it is about (`worker`, `stream`).
    pub labels: BTreeMap<String, String>,
    /// For people: `summary`, `description`, `suggestion`.
    pub annotations: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    pub starts_at: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<String>,
    /// Names the alert over all its changes: 16 hexadecimal digits, derived from the labels.
    pub fingerprint: String,
    /// The incident that it belongs to: alerts with one cause have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The fingerprint of the alert that explains it: nobody need be paged for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explained_by: Option<String>,
}

/// Whether an alert fires or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// The condition holds.
    Firing,
    /// The condition is over.
    Resolved,
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it in working hours.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// All of them, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The severity of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == name)
    }

    /// The subject token and label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
