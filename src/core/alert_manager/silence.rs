//! What people want to hear nothing of, and when: silences, and maintenance windows, which begin later or come again.

use std::collections::BTreeMap;
use std::fmt;

/// Most silences that stand at a time.
pub const MAX_SILENCES: usize = 1_000;
/// Most conditions of one silence.
pub const MAX_MATCHERS: usize = 16;
/// Longest text of one condition.
const MAX_MATCHER_BYTES: usize = 256;

/// One condition on the labels of an alert: `worker=a`, `stream=cam-*`, `severity!=critical`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    label: String,
    negated: bool,
    /// What the label is to be, or to begin with.
    value: String,
    prefix: bool,
}

impl Matcher {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_MATCHER_BYTES {
            return Err(format!(
                "has {} bytes, at most {MAX_MATCHER_BYTES} are allowed",
                text.len()
            ));
        }
        let wrong = || {
            format!(
                "{text:?} is no condition; write one such as \"worker=a\", \"stream=cam-*\" or \"severity!=critical\""
            )
        };
        let (label, value) = text.split_once('=').ok_or_else(wrong)?;
        let (label, negated) = label
            .strip_suffix('!')
            .map_or((label, false), |label| (label, true));
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        if label.is_empty() || !label.chars().all(fits) || value.contains(char::is_control) {
            return Err(wrong());
        }
        let (value, prefix) = value
            .strip_suffix('*')
            .map_or((value, false), |value| (value, true));
        if value.contains('*') {
            return Err(format!("{text:?} has a * that is not at its end"));
        }
        Ok(Self {
            label: label.to_owned(),
            negated,
            value: value.to_owned(),
            prefix,
        })
    }

    /// Whether an alert with these labels meets it. A label that is not there counts as empty.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.label).map_or("", String::as_str);
        let same = match self.prefix {
            true => found.starts_with(&self.value),
            false => found == self.value,
        };
        same != self.negated
    }

    /// Whether everything meets it that has any labels or none.
    const fn is_open(&self) -> bool {
        self.prefix && self.value.is_empty() && !self.negated
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (not, star) = (
            if self.negated { "!" } else { "" },
            if self.prefix { "*" } else { "" },
        );
        write!(f, "{}{not}={}{star}", self.label, self.value)
    }
}

/// While it holds, sinks are not told of alerts that meet all its conditions. Moments are those of the wall clock, in
/// milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its name.
    pub id: String,
    /// All of them have to be met; at least one.
    pub matchers: Vec<Matcher>,
    /// When it begins, the first time.
    pub starts_ms: i64,
    /// When it ends, the first time.
    pub ends_ms: i64,
    /// After which time it begins again; none: it holds once.
    pub every_ms: Option<i64>,
    /// Who wants it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Silence {
    /// What is wrong with it, in words, with the field's name.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut mistakes = Vec::new();
        if self.matchers.is_empty() || self.matchers.iter().all(Matcher::is_open) {
            mistakes.push((
                "matchers",
                "meets every alert; name what is to be silent, such as \"worker=a\"".to_owned(),
            ));
        }
        if self.matchers.len() > MAX_MATCHERS {
            let count = self.matchers.len();
            mistakes.push((
                "matchers",
                format!("has {count} conditions, at most {MAX_MATCHERS} are allowed"),
            ));
        }
        if self.ends_ms <= self.starts_ms {
            mistakes.push((
                "for",
                "is no time; a silence needs an end after its beginning".to_owned(),
            ));
        }
        if self.every_ms.is_some_and(|every| every <= self.length()) {
            mistakes.push((
                "every",
                "is not longer than the silence itself, which would never end".to_owned(),
            ));
        }
        mistakes
    }

    const fn length(&self) -> i64 {
        self.ends_ms.saturating_sub(self.starts_ms)
    }

    /// How long after the beginning of its present or last turn it is; none before the first one.
    fn since_turn(&self, wall_ms: i64) -> Option<i64> {
        let passed = wall_ms
            .checked_sub(self.starts_ms)
            .filter(|passed| *passed >= 0)?;
        Some(
            self.every_ms
                .filter(|every| *every > 0)
                .map_or(passed, |every| passed % every),
        )
    }

    /// Whether it holds now.
    #[must_use]
    pub fn holds(&self, wall_ms: i64) -> bool {
        self.since_turn(wall_ms)
            .is_some_and(|passed| passed < self.length())
    }

    /// Whether it will never hold again.
    #[must_use]
    pub fn is_over(&self, wall_ms: i64) -> bool {
        self.every_ms.is_none() && wall_ms >= self.ends_ms
    }

    /// When it begins or ends next; none when never.
    #[must_use]
    pub fn turns_at(&self, wall_ms: i64) -> Option<i64> {
        let Some(passed) = self.since_turn(wall_ms) else {
            return Some(self.starts_ms);
        };
        if passed < self.length() {
            return Some(wall_ms.saturating_add(self.length() - passed));
        }
        self.every_ms.map(|every| wall_ms.saturating_add(every - passed))
    }

    /// Whether an alert with these labels is silent while it holds.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn conditions_are_read_and_met() {
        let table = [
            ("worker=a", "worker", "a", true),
            ("worker=a", "worker", "ab", false),
            ("worker=a", "stream", "a", false),
            ("worker!=a", "worker", "b", true),
            ("worker!=a", "stream", "a", true),
            ("worker!=a", "worker", "a", false),
            ("stream=cam-*", "stream", "cam-7", true),
            ("stream=cam-*", "stream", "radio", false),
            ("stream!=cam-*", "stream", "cam-7", false),
            ("label.site=north", "label.site", "north", true),
            ("zone=", "worker", "a", true),
            ("zone=", "zone", "eu", false),
        ];
        for (text, label, value, expected) in table {
            let matcher = Matcher::parse(text).unwrap();
            assert_eq!(matcher.to_string(), text);
            assert_eq!(
                matcher.matches(&labels(&[(label, value)])),
                expected,
                "{text} {label}={value}"
            );
        }
        let long = format!("a={}", "b".repeat(MAX_MATCHER_BYTES));
        for bad in ["", "worker", "=a", "!=a", "wor ker=a", "a=b*c", "a=\n", &long] {
            assert!(Matcher::parse(bad).is_err(), "{bad:?}");
        }
    }

    fn silence(matchers: &[&str], starts_ms: i64, ends_ms: i64, every_ms: Option<i64>) -> Silence {
        Silence {
            id: "s".to_owned(),
            matchers: matchers
                .iter()
                .map(|text| Matcher::parse(text).unwrap())
                .collect(),
            starts_ms,
            ends_ms,
            every_ms,
            by: "Ada".to_owned(),
            reason: "update".to_owned(),
        }
    }

    #[test]
    fn all_conditions_have_to_be_met() {
        let silence = silence(&["worker=a", "severity!=critical"], 0, 1, None);
        assert!(silence.matches(&labels(&[("worker", "a"), ("severity", "warning")])));
        assert!(!silence.matches(&labels(&[("worker", "a"), ("severity", "critical")])));
        assert!(!silence.matches(&labels(&[("worker", "b"), ("severity", "warning")])));
    }

    #[test]
    fn it_holds_from_its_beginning_to_its_end_once_or_again_and_again() {
        let once = silence(&["worker=a"], 100, 110, None);
        let again = silence(&["worker=a"], 100, 110, Some(50));
        // When, whether each holds, and when each turns.
        let table = [
            (0, false, Some(100), false, Some(100)),
            (99, false, Some(100), false, Some(100)),
            (100, true, Some(110), true, Some(110)),
            (109, true, Some(110), true, Some(110)),
            (110, false, None, false, Some(150)),
            (149, false, None, false, Some(150)),
            (150, false, None, true, Some(160)),
            (1_005, false, None, true, Some(1_010)),
            (1_010, false, None, false, Some(1_050)),
        ];
        for (now, holds, turns, holds_again, turns_again) in table {
            assert_eq!(
                (once.holds(now), once.turns_at(now)),
                (holds, turns),
                "once at {now}"
            );
            assert_eq!(
                (again.holds(now), again.turns_at(now)),
                (holds_again, turns_again),
                "again at {now}"
            );
            assert_eq!((once.is_over(now), again.is_over(now)), (now >= 110, false));
        }
    }

    #[test]
    fn mistakes_are_named_with_their_fields() {
        let fields = |silence: Silence| {
            let fields = silence.mistakes().into_iter().map(|(field, _)| field);
            fields.collect::<Vec<_>>()
        };
        assert_eq!(fields(silence(&["worker=a"], 1, 2, Some(2))), [""; 0]);
        assert_eq!(fields(silence(&[], 1, 1, None)), ["matchers", "for"]);
        assert_eq!(
            fields(silence(&["worker=*"], 1, 9, Some(8))),
            ["matchers", "every"]
        );
        let many: Vec<String> = (0..=MAX_MATCHERS)
            .map(|number| format!("worker!=w{number}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(fields(silence(&many, 1, 2, None)), ["matchers"]);
    }
}
