//! Which repairs are proposed now: each again after a while if it did not help, all of them within a budget.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::found::Key;
use super::{Config, Finding, FindingKind, Repair};
use crate::time::Timestamp;

/// A repair that did not help is proposed again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Everything is read again at most once in this time.
const REREAD_EVERY: Duration = Duration::from_secs(60);
/// Repairs that are remembered for the report.
const REMEMBERED: usize = 100;

/// One repair that was proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// When.
    pub at: Timestamp,
    /// What was found.
    pub kind: FindingKind,
    /// What is done.
    pub repair: Repair,
    /// Whether an operator asked for it.
    pub asked: bool,
}

/// The proposals of the past.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    last: BTreeMap<Key, Timestamp>,
    reread_at: Option<Timestamp>,
    /// When each proposal of the present window was made.
    window: VecDeque<Timestamp>,
    pub(super) recent: VecDeque<Proposed>,
    /// Repairs that the budget holds back.
    pub(super) waiting: usize,
}

impl Repairs {
    /// The repairs of these findings that are due. `asked`: an operator wants all of them, whatever policy and budget say.
    pub(super) fn due(
        &mut self,
        now: Timestamp,
        config: &Config,
        findings: &BTreeMap<Key, Finding>,
        asked: bool,
    ) -> Vec<Repair> {
        self.last.retain(|key, _| findings.contains_key(key));
        while self
            .window
            .front()
            .is_some_and(|at| now.since(*at) >= config.repair_window)
        {
            self.window.pop_front();
        }
        self.waiting = 0;
        let mut due = Vec::new();
        let mut unique = BTreeSet::new();
        for (key, finding) in findings {
            let Some(repair) = finding.repair.as_ref() else {
                continue;
            };
            // A resync by itself is the recovery manager's part: it counts the attempts.
            let own = matches!(repair, Repair::Resync { .. });
            if !asked && (own || !finding.is_repaired()) {
                continue;
            }
            let tried = self.last.get(key);
            if !asked && tried.is_some_and(|at| now.since(*at) < AGAIN_AFTER) {
                continue;
            }
            if unique.contains(repair) {
                self.last.insert(key.clone(), now);
                continue;
            }
            let reread = *repair == Repair::Reread;
            let rests = reread && self.reread_at.is_some_and(|at| now.since(at) < REREAD_EVERY);
            let spent = self.window.len() >= config.repair_budget as usize;
            if rests || (spent && !asked) {
                self.waiting += 1;
                continue;
            }
            if reread {
                self.reread_at = Some(now);
            }
            unique.insert(repair.clone());
            self.last.insert(key.clone(), now);
            self.remember(now, finding, repair, asked);
            due.push(repair.clone());
        }
        // Reading all again drops what waits, so it comes last.
        due.sort_by_key(|repair| *repair == Repair::Reread);
        due
    }

    fn remember(&mut self, now: Timestamp, finding: &Finding, repair: &Repair, asked: bool) {
        self.window.push_back(now);
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(Proposed {
            at: now,
            kind: finding.kind,
            repair: repair.clone(),
            asked,
        });
    }
}
