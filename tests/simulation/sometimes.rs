//! What the runs must have met at least once: a fault that never happens tests nothing.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sometimes(BTreeMap<&'static str, u64>);

impl Sometimes {
    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn table(&self) -> String {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|(what, count)| format!("{count:>10}  {what}"))
            .collect();
        lines.join("\n")
    }
}
