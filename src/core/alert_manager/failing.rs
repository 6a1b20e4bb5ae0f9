//! Which streams are restarted in vain: those that failed and have not run steadily since.
//!
//! A stream whose process ends at once is reported as running for a moment in every round, so one report of "running"
//! ends no trouble.

use std::collections::BTreeMap;
use std::time::Duration;

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

    /// Looks through all streams of a new state.
    pub(super) fn update(&mut self, now: Timestamp, cluster: &ClusterState) {
        self.streams
            .retain(|stream, _| cluster.streams.contains_key(stream));
        for (name, record) in &cluster.streams {
            let state = record.state();
            if state == StreamState::Failing {
                let trouble = self
                    .streams
                    .entry(name.clone())
                    .or_insert_with(|| Trouble::new(now));
                trouble.failed(record);
            } else if !self.streams.is_empty() {
                self.note(now, name, record, state);
            }
        }
    }

    fn note(&mut self, now: Timestamp, name: &StreamId, record: &StreamRecord, state: StreamState) {
        match state {
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
            StreamState::Failing
            | StreamState::Placing
            | StreamState::Starting
            | StreamState::Moving
            | StreamState::Orphaned => {
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
