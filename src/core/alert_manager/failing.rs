//! Which streams are restarted in vain: those that failed and have not run steadily since.
//!
//! A stream whose process ends at once is reported as running for a moment in every round, so one report of "running"
//! ends no trouble.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use streamkeeper_protocol::{StreamId, WorkerId};

use super::{ActiveAlert, Rule};
use crate::cluster::{ClusterState, StreamRecord, StreamState};
use crate::time::Timestamp;

/// A stream runs steadily when it did so for this fraction of the time after which failing is an alert.
const STEADY_FRACTION: u32 = 6;

/// One stream in trouble.
#[derive(Debug)]
pub(super) struct Trouble {
    /// When it was first seen failing.
    pub(super) since: Timestamp,
    /// Since when it runs without a restart, with the count of restarts.
    pub(super) running: Option<(Timestamp, u32)>,
    pub(super) worker: Option<WorkerId>,
    pub(super) restarts: u32,
    pub(super) reason: Option<String>,
}

impl Trouble {
    const fn new(since: Timestamp) -> Self {
        Self {
            since,
            running: None,
            worker: None,
            restarts: 0,
            reason: None,
        }
    }
}

/// All streams in trouble; at most one entry for each declared stream.
#[derive(Debug, Default)]
pub(super) struct Failing {
    pub(super) streams: BTreeMap<StreamId, Trouble>,
    /// All streams as they were looked at last.
    seen: OrdMap<StreamId, Arc<StreamRecord>>,
}

impl Failing {
    /// Goes on with a stored alert's stream, as one that has been failing for long.
    pub(super) fn restore(&mut self, alert: &ActiveAlert) {
        if alert.rule == Rule::StreamFailing.as_str()
            && let Some(stream) = alert
                .labels
                .get("stream")
                .and_then(|name| StreamId::new(name).ok())
        {
            let trouble = Trouble::new(Timestamp::ZERO);
            self.streams.entry(stream).or_insert(trouble);
        }
    }

    /// Looks at what is in trouble in a new state, and at every stream that changed since the last one: most do not.
    pub(super) fn update(&mut self, now: Timestamp, cluster: &ClusterState) {
        let before = std::mem::replace(&mut self.seen, cluster.streams.clone());
        for item in before.diff(&cluster.streams) {
            let (DiffItem::Add(name, record)
            | DiffItem::Update {
                new: (name, record), ..
            }) = item
            else {
                continue;
            };
            if record.state() == StreamState::Failing {
                self.streams
                    .entry(name.clone())
                    .or_insert_with(|| Trouble::new(now));
            }
        }
        let troubled: Vec<StreamId> = self.streams.keys().cloned().collect();
        for name in troubled {
            match cluster.streams.get(&name) {
                None => drop(self.streams.remove(&name)),
                Some(record) => self.note(now, &name, record),
            }
        }
    }

    fn note(&mut self, now: Timestamp, name: &StreamId, record: &StreamRecord) {
        match record.state() {
            StreamState::Failing => {
                if let Some(trouble) = self.streams.get_mut(name) {
                    trouble.failed(record);
                }
            }
            StreamState::Running => {
                let restarts = record.observed.as_ref().map_or(0, |observed| observed.restarts);
                if let Some(trouble) = self.streams.get_mut(name)
                    && trouble.running.is_none_or(|(_, before)| before != restarts)
                {
                    trouble.running = Some((now, restarts));
                }
            }
            // Nobody tries to run it any more, or that is another alert's business.
            StreamState::Disabled | StreamState::Unplaced | StreamState::Stopping | StreamState::Waiting => {
                self.streams.remove(name);
            }
            StreamState::Placing | StreamState::Starting | StreamState::Moving | StreamState::Orphaned => {
                if let Some(trouble) = self.streams.get_mut(name) {
                    trouble.running = None;
                }
            }
        }
    }

    /// Forgets streams that run steadily.
    pub(super) fn prune(&mut self, now: Timestamp, failing_after: Duration) {
        self.streams.retain(|_, trouble| {
            let running = trouble.running;
            running.is_none_or(|(since, _)| now.since(since) < steady_after(failing_after))
        });
    }
}

impl Trouble {
    fn failed(&mut self, record: &StreamRecord) {
        self.running = None;
        self.worker = record.slot.worker().cloned();
        if let Some(observed) = &record.observed {
            self.restarts = observed.restarts;
            self.reason = observed.reason.as_deref().map(ToOwned::to_owned);
        }
    }
}

/// How long a stream has to run to be out of trouble.
pub(super) fn steady_after(failing_after: Duration) -> Duration {
    failing_after / STEADY_FRACTION
}
