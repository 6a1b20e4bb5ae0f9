//! One evaluation: which conditions hold, within the bounds.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rule::{Fingerprint, Rule, fingerprint};
use super::{ActiveAlert, MAX_ALERTS_PER_RULE};
use crate::time::Timestamp;

/// Label of the alert that stands for all that found no room.
const OVERFLOW: (&str, &str) = ("overflow", "true");

/// What an alert says to people.
pub(super) struct Words {
    pub(super) summary: String,
    pub(super) description: String,
    pub(super) suggestion: &'static str,
}

/// One condition that holds.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) rule: Rule,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What an evaluation found.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) holding: BTreeMap<Fingerprint, Condition>,
    /// When time alone may change the outcome.
    pub(super) wake: Option<Timestamp>,
    /// Whether some conditions found no room.
    pub(super) overflowed: bool,
}

/// Collects conditions. Alerts that fire keep their place; new ones get the room that is left, so that an alert does
/// not come and go with its neighbours.
pub(super) struct Evaluation<'a> {
    pub(super) now: Timestamp,
    active: &'a BTreeMap<Fingerprint, ActiveAlert>,
    inhibited: bool,
    used: BTreeMap<&'static str, usize>,
    excess: BTreeMap<Rule, usize>,
    outcome: Outcome,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        now: Timestamp,
        active: &'a BTreeMap<Fingerprint, ActiveAlert>,
        inhibited: bool,
    ) -> Self {
        let mut used: BTreeMap<&'static str, usize> = BTreeMap::new();
        for alert in active
            .values()
            .filter(|alert| !alert.labels.contains_key(OVERFLOW.0))
        {
            *used.entry(alert.rule).or_default() += 1;
        }
        Self {
            now,
            active,
            inhibited,
            used,
            excess: BTreeMap::new(),
            outcome: Outcome {
                holding: BTreeMap::new(),
                wake: None,
                overflowed: false,
            },
        }
    }

    /// Whether this alert fires already.
    pub(super) fn is_active(&self, rule: Rule, label: Option<(&str, &str)>) -> bool {
        self.active
            .contains_key(&fingerprint(rule.as_str(), rule.severity(), label))
    }

    /// Whether `since` is at least `long` ago; if not, there will be another evaluation when it is.
    pub(super) fn lasts(&mut self, since: Timestamp, long: Duration) -> bool {
        if self.now.since(since) >= long {
            return true;
        }
        self.wake_at(since + long);
        false
    }

    /// Asks for another evaluation at `at`.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        let wake = self.outcome.wake.map_or(at, |wake| wake.min(at));
        self.outcome.wake = Some(wake);
    }

    /// This condition holds. The words are made only where they are needed: a failing source can have 100,000 streams.
    pub(super) fn add(&mut self, rule: Rule, label: Option<(&str, &str)>, words: impl FnOnce() -> Words) {
        if !self.is_active(rule, label) {
            if self.inhibited && rule.is_inhibited_by_mass_failure() {
                return;
            }
            let used = self.used.entry(rule.as_str()).or_default();
            if *used >= MAX_ALERTS_PER_RULE {
                *self.excess.entry(rule).or_default() += 1;
                return;
            }
            *used += 1;
        }
        self.hold(rule, label, words());
    }

    fn hold(&mut self, rule: Rule, label: Option<(&str, &str)>, words: Words) {
        let key = fingerprint(rule.as_str(), rule.severity(), label);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let condition = Condition {
            rule,
            labels: label.map(owned).into_iter().collect(),
            annotations: [
                ("summary", words.summary),
                ("description", words.description),
                ("suggestion", words.suggestion.to_owned()),
            ]
            .map(|(name, text)| (name.to_owned(), text))
            .into(),
        };
        self.outcome.holding.insert(key, condition);
    }

    pub(super) fn finish(mut self) -> Outcome {
        self.outcome.overflowed = !self.excess.is_empty();
        for (rule, count) in std::mem::take(&mut self.excess) {
            let words = Words {
                summary: format!("{count} more alerts of {}", rule.as_str()),
                description: format!(
                    "{MAX_ALERTS_PER_RULE} alerts of {} fire one by one; {count} more are only counted here.",
                    rule.as_str()
                ),
                suggestion: "Look for one cause of all of them.",
            };
            self.hold(rule, Some(OVERFLOW), words);
        }
        self.outcome
    }
}
