//! Measurements over time, kept in three levels of detail: every 10 seconds, minute, quarter of an hour.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::store::StoreError;

/// Levels of detail, the finest first.
pub const LEVELS: [Level; 3] = [
    Level(Duration::from_secs(10)),
    Level(Duration::from_secs(60)),
    Level(Duration::from_secs(900)),
];

/// How much time one row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub Duration);

impl Level {
    /// In milliseconds.
    #[must_use]
    pub fn ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }

    /// The beginning of the span that a moment lies in, in milliseconds since 1970.
    #[must_use]
    pub fn begin(self, at: DateTime<Utc>) -> i64 {
        at.timestamp_millis().div_euclid(self.ms()) * self.ms()
    }
}

/// For how long each level is kept; `coarsest` is the setting.
#[must_use]
pub fn kept(coarsest: Duration) -> [Duration; LEVELS.len()] {
    const HOUR: Duration = Duration::from_secs(3_600);
    [HOUR * 2, HOUR * 48, coarsest].map(|keep| keep.min(coarsest))
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric, as `/metrics` calls it.
    pub name: String,
    /// Its labels, as a JSON object whose keys are sorted.
    pub labels: String,
    /// The value.
    pub value: f64,
}

/// Which samples are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleQuery {
    /// The metric.
    pub name: String,
    /// From this moment on.
    pub from: DateTime<Utc>,
    /// Before this moment.
    pub to: DateTime<Utc>,
    /// Of this level.
    pub level: Level,
    /// Time that one point stands for: the level's or a multiple of it.
    pub step: Duration,
    /// Most points, over all series.
    pub limit: usize,
}

/// What one series was within one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where the step begins.
    pub at: DateTime<Utc>,
    /// The lowest value.
    pub low: f64,
    /// The mean.
    pub mean: f64,
    /// The highest value.
    pub high: f64,
}

/// Points of each series, by its labels.
pub type Series = BTreeMap<String, Vec<Point>>;

/// The database, as far as samples are concerned. The leader alone writes; where two did for a moment, both count.
#[async_trait]
pub trait SampleLog: Send + Sync + 'static {
    /// Stores samples of one moment at the finest level.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn append_samples(&self, at: DateTime<Utc>, samples: &[Sample]) -> Result<(), StoreError>;

    /// Makes one row of `to` for each series out of all rows of the level before it, for the next span that is over by `now`
    /// and was not rolled up yet. Answers whether there was one.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn roll_up(&self, to: usize, now: DateTime<Utc>) -> Result<bool, StoreError>;

    /// Reads points.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn samples(&self, query: &SampleQuery) -> Result<Series, StoreError>;

    /// Deletes at most `most` rows of a level that are older than `before`. Answers how many are gone.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn forget_samples(&self, level: Level, before: DateTime<Utc>, most: u32)
    -> Result<u64, StoreError>;
}
