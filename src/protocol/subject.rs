//! Every NATS subject, in one place.

use crate::alert::Severity;
use crate::id::{IdError, WorkerId};

/// Builds and reads subjects below one prefix (`sk` by default).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    root: String,
}

impl Default for Subjects {
    fn default() -> Self {
        Self {
            root: "sk.v1".to_owned(),
        }
    }
}

impl Subjects {
    /// Subjects below `prefix`, which may have several tokens.
    ///
    /// # Errors
    /// When a token of `prefix` is no id.
    pub fn new(prefix: &str) -> Result<Self, IdError> {
        for token in prefix.split('.') {
            WorkerId::new(token)?;
        }
        Ok(Self {
            root: format!("{prefix}.v1"),
        })
    }

    /// Heartbeats of one worker.
    #[must_use]
    pub fn heartbeat(&self, worker: &WorkerId) -> String {
        format!("{}.heartbeat.{worker}", self.root)
    }

    /// Heartbeats of all workers.
    #[must_use]
    pub fn heartbeats(&self) -> String {
        format!("{}.heartbeat.*", self.root)
    }

    /// Assignments of one worker.
    #[must_use]
    pub fn assign(&self, worker: &WorkerId) -> String {
        format!("{}.assign.{worker}", self.root)
    }

    /// Orders to one worker.
    #[must_use]
    pub fn control(&self, worker: &WorkerId) -> String {
        format!("{}.control.{worker}", self.root)
    }

    /// Requests for lines of one worker's streams.
    #[must_use]
    pub fn logs(&self, worker: &WorkerId) -> String {
        format!("{}.logs.{worker}", self.root)
    }

    /// The leader's beacon.
    #[must_use]
    pub fn leader(&self) -> String {
        format!("{}.leader", self.root)
    }

    /// The key that the leader holds, in a JetStream bucket of its own.
    #[must_use]
    pub fn leader_key(&self) -> String {
        match self.root.strip_suffix(".v1") {
            Some("sk") | None => "$KV.SK_LEADER.leader".to_owned(),
            // A bucket's name has no dots, and two prefixes never share a bucket.
            Some(prefix) => format!(
                "$KV.SK_LEADER_{}.leader",
                prefix.replace('_', "__").replace('.', "_-")
            ),
        }
    }

    /// One rule's alerts.
    #[must_use]
    pub fn alert(&self, severity: Severity, rule: &str) -> String {
        format!("{}.alert.{severity}.{rule}", self.root)
    }

    /// All alerts.
    #[must_use]
    pub fn alerts(&self) -> String {
        format!("{}.alert.>", self.root)
    }

    /// One kind of event.
    #[must_use]
    pub fn event(&self, kind: &str) -> String {
        format!("{}.event.{kind}", self.root)
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> String {
        format!("{}.event.>", self.root)
    }

    /// The worker that a heartbeat's subject names.
    #[must_use]
    pub fn heartbeat_worker(&self, subject: &str) -> Option<WorkerId> {
        let token = subject.strip_prefix(&self.root)?.strip_prefix(".heartbeat.")?;
        WorkerId::new(token).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_have_leader_keys_of_their_own() {
        let key = |prefix: &str| Subjects::new(prefix).unwrap().leader_key();
        assert_eq!(Subjects::default().leader_key(), "$KV.SK_LEADER.leader");
        assert_eq!(key("sk"), "$KV.SK_LEADER.leader");
        assert_eq!(key("radio.eu"), "$KV.SK_LEADER_radio_-eu.leader");
        assert_ne!(key("radio_-eu"), key("radio.eu"));
    }

    #[test]
    fn subjects_follow_the_contract() {
        let subjects = Subjects::default();
        let worker = WorkerId::new("w-1").unwrap();
        assert_eq!(subjects.heartbeat(&worker), "sk.v1.heartbeat.w-1");
        assert_eq!(subjects.assign(&worker), "sk.v1.assign.w-1");
        assert_eq!(subjects.logs(&worker), "sk.v1.logs.w-1");
        assert_eq!(
            subjects.alert(Severity::Critical, "worker_lost"),
            "sk.v1.alert.critical.worker_lost"
        );
        assert_eq!(subjects.heartbeat_worker("sk.v1.heartbeat.w-1"), Some(worker));
        assert_eq!(subjects.heartbeat_worker("sk.v1.heartbeat.a.b"), None);
        assert_eq!(subjects.heartbeat_worker("other.v1.heartbeat.w"), None);
    }

    #[test]
    fn a_prefix_may_have_several_tokens_but_no_wildcards() {
        assert_eq!(Subjects::new("radio.eu").unwrap().leader(), "radio.eu.v1.leader");
        assert!(Subjects::new("radio.*").is_err());
        assert!(Subjects::new("").is_err());
    }
}
