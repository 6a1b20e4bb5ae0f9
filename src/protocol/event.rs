//! Lifecycle and audit events: `sk.v1.event.<kind>`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Protocol version, [`crate::PROTOCOL_VERSION`].
    pub v: u16,
    /// What happened; the last token of the subject.
    pub kind: String,
    /// When, RFC 3339.
    pub at: String,
    /// The leadership that saw it.
    pub term: u32,
    /// What it is about, by glossary name: `worker`, `stream`, `epoch`, `session`, `reason` …
    pub fields: BTreeMap<String, String>,
}
