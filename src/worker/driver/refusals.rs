//! Log lines about refused messages: a flood of bad input must not become a flood of lines.

use std::collections::BTreeMap;

use streamkeeper_protocol::WorkerId;
use tracing::warn;

/// After the first of a kind, one in so many is logged.
const EVERY: u64 = 100;

/// Counts refusals by kind.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: BTreeMap<&'static str, u64>,
}

impl Refusals {
    /// Logs the first refusal of a kind, and every 100th.
    pub(super) fn log(&mut self, worker: &WorkerId, kind: &'static str, problem: &str) {
        if let Some(count) = self.due(kind) {
            warn!(%worker, kind, count, problem, "message is refused");
        }
    }

    /// Counts one; the count, when it is to be logged.
    fn due(&mut self, kind: &'static str) -> Option<u64> {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        (*count == 1 || count.is_multiple_of(EVERY)).then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_every_hundredth_are_logged() {
        let mut refusals = Refusals::default();
        let logged: Vec<u64> = (0..250).filter_map(|_| refusals.due("a")).collect();
        assert_eq!(logged, [1, 100, 200]);
        assert_eq!(refusals.due("b"), Some(1), "each kind for itself");
    }
}
