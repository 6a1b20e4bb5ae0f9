//! Alerts as they are stored: one row for each time that an alert fired.

use std::collections::BTreeMap;

use streamkeeper_protocol::Severity;

use super::{ActiveAlert, IncidentId, Rule};
use crate::time::Timestamp;

/// One alert from its beginning to its end. Moments are those of the wall clock, in milliseconds since 1970: they are for
/// people, and for a leadership on another machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlert {
    /// Names the alert over all its changes; with `began_ms` the key.
    pub fingerprint: String,
    /// The rule's name.
    pub rule: String,
    /// How urgent.
    pub severity: Severity,
    /// What it is about.
    pub labels: BTreeMap<String, String>,
    /// Where that is: for silences, and no part of its identity.
    pub context: BTreeMap<String, String>,
    /// For people.
    pub annotations: BTreeMap<String, String>,
    /// When it began.
    pub began_ms: i64,
    /// When it changed last.
    pub changed_ms: i64,
    /// When it was over; none while it fires.
    pub resolved_ms: Option<i64>,
    /// Who has taken it on.
    pub acknowledged: Option<Acknowledged>,
    /// The silence that keeps it quiet.
    pub suppressed_by: Option<String>,
    /// The incident that it belongs to; none where it was stored before there were any.
    pub incident: Option<IncidentId>,
    /// The fingerprint of the alert that explains it: nobody is paged for it.
    pub explained_by: Option<String>,
    /// Counts what consumers are to be told of it.
    pub change: u64,
    /// The newest change that each sink has taken.
    pub delivered: BTreeMap<String, u64>,
    /// Whether a sink has not taken the newest change yet.
    pub pending: bool,
}

/// Somebody has taken an alert on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Who, in words.
    pub by: String,
    /// When.
    pub at_ms: i64,
    /// Until when that holds; none: as long as the alert fires.
    pub until_ms: Option<i64>,
}

impl StoredAlert {
    /// The alert as the manager knows it, if it fires and its rule is known to this version.
    #[must_use]
    pub fn active(&self, since: Timestamp) -> Option<ActiveAlert> {
        let rule = Rule::named(&self.rule).filter(|_| self.resolved_ms.is_none())?;
        Some(ActiveAlert {
            rule: rule.as_str(),
            severity: self.severity,
            labels: self.labels.clone(),
            context: self.context.clone(),
            annotations: self.annotations.clone(),
            since,
            fingerprint: self.fingerprint.clone(),
            incident: self.incident,
            explained_by: self.explained_by.clone(),
        })
    }

    /// Everything that a silence may name: labels, context, rule and severity.
    #[must_use]
    pub fn silenceable(&self) -> BTreeMap<String, String> {
        let mut labels = self.context.clone();
        labels.extend(self.labels.clone());
        labels.insert("alertname".to_owned(), self.rule.clone());
        labels.insert("severity".to_owned(), self.severity.to_string());
        labels
    }

    /// Who has taken it on and still has it.
    #[must_use]
    pub fn acknowledged_at(&self, wall_ms: i64) -> Option<&Acknowledged> {
        let holds = |acknowledged: &&Acknowledged| acknowledged.until_ms.is_none_or(|until| wall_ms < until);
        self.acknowledged.as_ref().filter(holds)
    }
}
