//! Measurements over time: the leader samples a chosen list of its metrics, rolls them up and forgets what is old. Samples of
//! some minutes wait in memory while the database is away; a crash loses at most what was measured last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use metrics_exporter_prometheus::PrometheusHandle;
use streamkeeper_core::cluster::Role;

use crate::port::samples::{LEVELS, Level, Sample, kept};
use crate::port::{SampleLog, StoreError, View};
use crate::telemetry::{self, metrics as names};

/// Most moments that wait for the database: 5 minutes.
const MAX_WAITING: usize = 30;
/// Most spans that are rolled up at one moment: a leader that comes late goes on step by step.
const MAX_ROLL_UPS: usize = 20;
/// Most rows that one transaction deletes, about.
const MAX_FORGET: u32 = 2_000;
/// Most of them at one moment.
const MAX_DELETES: usize = 5;

/// What is measured, and for how long it is kept at each level.
pub(super) struct History {
    pub(super) log: Arc<dyn SampleLog>,
    pub(super) view: View,
    pub(super) metrics: PrometheusHandle,
    /// For how long, at the coarsest level.
    pub(super) keep: Duration,
}

/// Samples for as long as the process lives.
pub(super) async fn sample(history: History) {
    let mut interval = tokio::time::interval(LEVELS[0].0);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut waiting = VecDeque::new();
    loop {
        interval.tick().await;
        let cluster = history.view.cluster.borrow().clone();
        if cluster.leadership.role != Role::Leading {
            waiting.clear();
            continue;
        }
        telemetry::record_snapshot(&cluster);
        telemetry::record_findings(&history.view.findings.borrow(), cluster.streams.len());
        let now = Utc::now();
        waiting.push_back((now, telemetry::samples(&history.metrics.render())));
        if waiting.len() > MAX_WAITING {
            waiting.pop_front();
            metrics::counter!(names::SAMPLES_DROPPED).increment(1);
        }
        if let Err(error) = history.keep_up(&mut waiting, now).await {
            tracing::debug!(%error, waiting = waiting.len(), "samples wait for the database");
        }
    }
}

impl History {
    /// Stores what waits, in its order, so that what is rolled up after it is whole.
    async fn keep_up(
        &self,
        waiting: &mut VecDeque<(DateTime<Utc>, Vec<Sample>)>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        while let Some((at, samples)) = waiting.front() {
            self.log.append_samples(*at, samples).await?;
            waiting.pop_front();
        }
        for to in 1..LEVELS.len() {
            for _ in 0..MAX_ROLL_UPS {
                if !self.log.roll_up(to, now).await? {
                    break;
                }
            }
        }
        for (level, keep) in LEVELS.into_iter().zip(kept(self.keep)) {
            let Some(before) = before(now, keep, level) else {
                continue;
            };
            for _ in 0..MAX_DELETES {
                let gone = self.log.forget_samples(level, before, MAX_FORGET).await?;
                if gone < u64::from(MAX_FORGET) {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn before(now: DateTime<Utc>, keep: Duration, level: Level) -> Option<DateTime<Utc>> {
    // What is not rolled up yet stays.
    let keep = TimeDelta::from_std(keep.max(level.0 * 100)).ok()?;
    now.checked_sub_signed(keep)
}
