//! One worker in trouble: what was found, what was tried.

use std::collections::BTreeMap;

use crate::consistency_checker::FindingKind;
use crate::time::Timestamp;

/// What is known of one worker's trouble.
#[derive(Debug)]
pub(super) struct Case {
    /// Its confirmed findings.
    pub(super) kinds: BTreeMap<FindingKind, usize>,
    /// Orders given.
    pub(super) attempts: u32,
    /// When the next attempt, or giving up, is due.
    pub(super) due: Timestamp,
    /// Whether people were asked.
    pub(super) exhausted: bool,
    /// Whether resyncs are over and something stronger is tried.
    pub(super) escalated: bool,
    /// How the last order that was answered went.
    pub(super) last_answer: Option<Result<(), String>>,
    pub(super) began: Timestamp,
}

impl Case {
    /// A case whose first attempt is due at `due`.
    pub(super) const fn new(due: Timestamp) -> Self {
        Self {
            kinds: BTreeMap::new(),
            attempts: 0,
            due,
            exhausted: false,
            escalated: false,
            last_answer: None,
            began: due,
        }
    }

    /// Whether something is to be done now.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        !self.exhausted && !self.escalated && self.due <= now
    }

    /// What was tried and how it went, for people.
    pub(super) fn describe(&self, now: Timestamp) -> String {
        let answer = match &self.last_answer {
            None => "none was answered".to_owned(),
            Some(Ok(())) => "the worker answered the last one".to_owned(),
            Some(Err(reason)) => format!("the last answer was: {reason}"),
        };
        format!(
            "{} {} in {} s did not help and {answer}; it still has these findings: {}",
            self.attempts,
            if self.attempts == 1 { "resync" } else { "resyncs" },
            now.since(self.began).as_secs(),
            self.found()
        )
    }

    /// Its findings, for people.
    pub(super) fn found(&self) -> String {
        let kinds = self.kinds.iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| format!("{count} {}", kind.as_str()))
            .collect();
        kinds.join(", ")
    }
}
