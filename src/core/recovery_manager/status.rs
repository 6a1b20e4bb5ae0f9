//! What was tried, how strong it was, and how it went.

use std::collections::VecDeque;

use streamkeeper_protocol::WorkerId;

use crate::time::Timestamp;

/// Attempts that ended and are remembered.
pub const REMEMBERED: usize = 200;

/// How strong an attempt is. The stronger one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Everything is exchanged with the worker.
    Soft,
    /// Its streams move elsewhere, then it gets some again.
    Medium,
    /// Its process is restarted.
    Hard,
    /// Its streams are taken from it, whether it obeys or not; the whole is checked; it begins anew.
    Emergency,
}

impl Level {
    /// All levels, the gentlest first.
    pub const ALL: [Self; 4] = [Self::Soft, Self::Medium, Self::Hard, Self::Emergency];

    /// Name in the configuration, the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Medium => "medium",
            Self::Hard => "hard",
            Self::Emergency => "emergency",
        }
    }

    /// What is tried when this did not help.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Soft => Some(Self::Medium),
            Self::Medium => Some(Self::Hard),
            Self::Hard => Some(Self::Emergency),
            Self::Emergency => None,
        }
    }
}

/// How an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It goes on.
    Running,
    /// It helped.
    Succeeded,
    /// It did not; what it ordered was taken back.
    Failed,
    /// It was not begun, because it could not have helped.
    Refused,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Running, Self::Succeeded, Self::Failed, Self::Refused];

    /// Name in the API, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// One attempt on one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Names it.
    pub id: u64,
    /// The worker.
    pub worker: WorkerId,
    /// How strong it is.
    pub level: Level,
    /// Whether an operator asked for it.
    pub asked: bool,
    /// Why.
    pub reason: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it is.
    pub outcome: Outcome,
    /// What was seen, in words.
    pub detail: String,
}

/// How often one level was tried since this orchestrator leads, and how often it helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rate {
    /// Attempts that ended, without those that were refused.
    pub tried: u64,
    /// Those that helped.
    pub succeeded: u64,
}

impl Rate {
    /// Share of the attempts that helped, from 0 to 1; none before the first.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        (self.tried > 0).then(|| self.succeeded as f64 / self.tried as f64)
    }
}

/// Everything that was tried, for readers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Attempts that go on, by worker.
    pub running: Vec<Attempt>,
    /// Workers that wait for their turn, with the level that they wait for.
    pub waiting: Vec<(WorkerId, Level)>,
    /// Workers for which people are needed.
    pub exhausted: Vec<WorkerId>,
    /// The attempts that ended last, oldest first.
    pub ended: VecDeque<Attempt>,
    /// How often each level helped, in the order of [`Level::ALL`].
    pub rates: [Rate; Level::ALL.len()],
}

impl Status {
    /// How often this level helped.
    #[must_use]
    pub fn rate(&self, level: Level) -> Rate {
        self.rates.get(level as usize).copied().unwrap_or_default()
    }

    /// The attempt of this name.
    #[must_use]
    pub fn attempt(&self, id: u64) -> Option<&Attempt> {
        let all = self.running.iter().chain(self.ended.iter().rev());
        all.into_iter().find(|attempt| attempt.id == id)
    }

    /// Remembers an attempt that ended.
    pub(super) fn remember(&mut self, attempt: Attempt) {
        if let Some(rate) = self.rates.get_mut(attempt.level as usize)
            && attempt.outcome != Outcome::Refused
        {
            rate.tried += 1;
            rate.succeeded += u64::from(attempt.outcome == Outcome::Succeeded);
        }
        if self.ended.len() >= REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(attempt);
    }
}
