//! What operators ordered and what stands until they take it back: stored, so that it outlives the leader.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use crate::time::Timestamp;

/// Most directives that may stand at once.
pub const MAX_DIRECTIVES: usize = 10_000;
/// Longest time for which evening out may be paused.
pub const MAX_PAUSE: Duration = Duration::from_secs(30 * 86_400);
/// The reason of a cordon begins so where the leader itself ordered it.
pub const SUSPECTED: &str = "suspected:";
/// The reason of a cordon or a drain begins so where the recovery of the worker ordered it.
pub const RECOVERING: &str = "recovery:";
/// What a pause is about.
const FLEET: &str = "fleet";

/// Kinds of directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A worker gets no streams.
    Cordon,
    /// A worker's streams move elsewhere.
    Drain,
    /// A stream is not moved for the sake of balance.
    Freeze,
    /// No stream is moved for the sake of balance.
    Pause,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Cordon, Self::Drain, Self::Freeze, Self::Pause];

    /// Name in the database, the API and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cordon => "cordon",
            Self::Drain => "drain",
            Self::Freeze => "freeze",
            Self::Pause => "pause",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a directive is about: at most one stands for each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What is ordered.
    pub kind: Kind,
    /// The worker or the stream; a pause is about the whole fleet.
    pub subject: String,
}

impl Key {
    /// No stream for this worker.
    #[must_use]
    pub fn cordon(worker: &WorkerId) -> Self {
        Self::new(Kind::Cordon, worker.as_str())
    }

    /// This worker's streams go elsewhere.
    #[must_use]
    pub fn drain(worker: &WorkerId) -> Self {
        Self::new(Kind::Drain, worker.as_str())
    }

    /// This stream stays where it is.
    #[must_use]
    pub fn freeze(stream: &StreamId) -> Self {
        Self::new(Kind::Freeze, stream.as_str())
    }

    /// All streams stay where they are.
    #[must_use]
    pub fn pause() -> Self {
        Self::new(Kind::Pause, FLEET)
    }

    fn new(kind: Kind, subject: &str) -> Self {
        let subject = subject.to_owned();
        Self { kind, subject }
    }
}

/// One change of what stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectiveWrite {
    /// It stands from now on.
    Put {
        /// What it is about.
        key: Key,
        /// Why, as the operator said.
        reason: String,
        /// How much longer it stands; none: until it is taken back.
        lasts: Option<Duration>,
    },
    /// It is taken back, or over.
    Delete(Key),
}

impl DirectiveWrite {
    /// What it is about.
    #[must_use]
    pub const fn key(&self) -> &Key {
        match self {
            Self::Put { key, .. } | Self::Delete(key) => key,
        }
    }
}

/// A directive that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Why, as the operator said.
    pub reason: String,
    /// Since when, as far as this leader knows.
    pub since: Timestamp,
    /// Until when; none: until it is taken back.
    pub until: Option<Timestamp>,
}

/// Everything that stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directives(BTreeMap<Key, Standing>);

impl Directives {
    /// The one about this, if one stands.
    #[must_use]
    pub fn get(&self, now: Timestamp, key: &Key) -> Option<&Standing> {
        self.0
            .get(key)
            .filter(|standing| standing.until.is_none_or(|until| now < until))
    }

    /// Those of one kind, by their subject.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&str, &Standing)> {
        let all = self.0.iter().filter(move |(key, _)| key.kind == kind);
        all.map(|(key, standing)| (key.subject.as_str(), standing))
    }

    /// How many stand.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Takes a change that is stored.
    pub(crate) fn apply(&mut self, now: Timestamp, write: DirectiveWrite) {
        match write {
            DirectiveWrite::Put { key, reason, lasts } => {
                let until = lasts.map(|lasts| now + lasts);
                let since = now;
                self.0.insert(key, Standing { reason, since, until });
            }
            DirectiveWrite::Delete(key) => drop(self.0.remove(&key)),
        }
        self.0
            .retain(|_, standing| standing.until.is_none_or(|until| now < until));
    }
}
