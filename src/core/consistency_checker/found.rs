//! What one comparison found, bounded, and what makes a finding the same in the next one.

use std::collections::BTreeMap;

use streamkeeper_protocol::{SessionId, StreamId, WorkerId};

use super::{Finding, FindingKind, MAX_FINDINGS_PER_KIND, Policies, Repair};
use crate::time::Timestamp;

/// What makes a finding the same in the next comparison. A worker's new session starts a new one, and so do other epochs:
/// what changes all the time is under way, not wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// First, so that the findings of a range of streams lie together.
    pub(super) stream: Option<StreamId>,
    pub(super) kind: FindingKind,
    pub(super) worker: Option<(WorkerId, SessionId)>,
    /// Epochs or counts on both sides.
    pub(super) mark: (i64, i64),
}

impl Key {
    pub(super) const fn of_stream(kind: FindingKind, stream: StreamId, mark: (i64, i64)) -> Self {
        Self {
            stream: Some(stream),
            kind,
            worker: None,
            mark,
        }
    }

    pub(super) fn on(mut self, worker: &WorkerId, session: SessionId) -> Self {
        self.worker = Some((worker.clone(), session));
        self
    }
}

/// The findings of one comparison.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) all: BTreeMap<Key, Finding>,
    counts: [usize; FindingKind::ALL.len()],
}

impl Found {
    pub(super) fn add(&mut self, policies: &Policies, key: Key, detail: String, repair: Option<Repair>) {
        let Some(count) = self.counts.get_mut(key.kind as usize) else {
            return;
        };
        if *count >= MAX_FINDINGS_PER_KIND {
            return;
        }
        let finding = Finding {
            kind: key.kind,
            stream: key.stream.clone(),
            worker: key.worker.as_ref().map(|(worker, _)| worker.clone()),
            detail,
            repair,
            policy: policies.of(key.kind),
            since: Timestamp::ZERO,
        };
        if self.all.insert(key, finding).is_none() {
            *count += 1;
        }
    }
}

/// In how many comparisons in a row each present finding was seen.
#[derive(Debug, Default)]
pub(super) struct Streaks(pub(super) BTreeMap<Key, u32>);

impl Streaks {
    /// Counts the findings of a comparison, and answers those that enough in a row have seen. `compared` are the keys that
    /// it would have found: the others are left as they are.
    pub(super) fn count(
        &mut self,
        found: Found,
        compared: impl Fn(&Key) -> bool,
        confirmations: u32,
    ) -> BTreeMap<Key, Finding> {
        self.0
            .retain(|key, _| !compared(key) || found.all.contains_key(key));
        let mut confirmed = BTreeMap::new();
        for (key, finding) in found.all {
            let seen = self.0.entry(key.clone()).or_default();
            *seen = seen.saturating_add(1);
            if *seen >= confirmations {
                confirmed.insert(key, finding);
            }
        }
        confirmed
    }
}
