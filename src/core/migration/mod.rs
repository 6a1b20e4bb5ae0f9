//! Gradual migration: how far each planned move has come, how many may be under way at once, and when one is due to be
//! undone. The coordinator, which alone changes slots, tells what happened and asks what is due.
//!
//! An `exclusive` stream stops before it starts elsewhere, so there is a gap; an `available` one that runs is handed over:
//! the target runs it before the source is told to stop, so both run it for a moment. How far a move is, is not stored: its
//! target's epoch is of the leader's own term, so no other leadership can give it to anybody, and a new leader finds both
//! copies in the inventories and goes on (OWNERSHIP rule 14). That somebody asked for it is stored until it ends, and so are
//! the last moves that ended, for people (`crate::kept`).

mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, Vector};
use streamkeeper_protocol::{StreamId, WorkerId};

pub use record::{Earlier, Migration, State, Way};

use crate::time::Timestamp;

/// Most moves that ended and are remembered.
pub const MAX_RECENT: usize = 1_000;
/// Most moves that were asked for and wait to begin.
pub const MAX_PLANNED: usize = 10_000;
/// Most workers on which streams failed after a move and that are remembered.
const MAX_BARRED: usize = 1_000;

/// So long it is at first; it doubles with each failure.
const FIRST_BAR: Duration = Duration::from_secs(60);
const MAX_DOUBLINGS: u32 = 16;

/// How many moves may be under way, and how long each part of one may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Most moves away from one worker at once.
    pub max_per_source: usize,
    /// Most moves to one worker at once.
    pub max_per_target: usize,
    /// Most moves at once.
    pub max_in_fleet: usize,
    /// The target has to run the stream after this time, or the move is undone.
    pub start_timeout: Duration,
    /// So long both may run an `available` stream while the move is stored; zero: it stops first, as an exclusive one.
    pub overlap_limit: Duration,
    /// So long a moved stream has to run where it went, or it goes back.
    pub verify_for: Duration,
    /// A stream that went back is not moved there again for the sake of balance for at most so long.
    pub bar_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_per_source: 4,
            max_per_target: 4,
            max_in_fleet: 32,
            start_timeout: Duration::from_secs(30),
            overlap_limit: Duration::from_secs(10),
            verify_for: Duration::from_secs(5),
            bar_for: Duration::from_secs(600),
        }
    }
}

/// What is to be done about a move whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The target does not run it, or the move was not stored in time: it is to be undone.
    Undo,
    /// The source did not say that it stopped; whether it did is the consistency checker's business.
    Unconfirmed,
    /// It runs well.
    Verified,
}

/// A stream failed on a worker after a move.
#[derive(Debug, Clone)]
struct Bar {
    stream: StreamId,
    worker: WorkerId,
    /// It is not moved there again until then.
    until: Timestamp,
    /// How often that was so.
    failures: u32,
}

/// All moves.
#[derive(Debug, Clone, Default)]
pub struct Migrations {
    active: OrdMap<StreamId, Arc<Migration>>,
    /// Asked for, and not begun.
    planned: OrdMap<StreamId, Arc<Migration>>,
    recent: Vector<Arc<Migration>>,
    /// Where streams failed after a move.
    barred: Vector<Bar>,
}

impl Migrations {
    /// Moves that are under way, by stream.
    pub fn active(&self) -> impl Iterator<Item = &Migration> {
        self.active.values().map(|migration| &**migration)
    }

    /// The move that a stream is under way with.
    #[must_use]
    pub fn of(&self, stream: &StreamId) -> Option<&Migration> {
        self.active.get(stream).map(|migration| &**migration)
    }

    /// Moves that were asked for and have not begun, by stream.
    pub fn planned(&self) -> impl Iterator<Item = &Migration> {
        self.planned.values().map(|migration| &**migration)
    }

    /// The move that was asked for of a stream, and has not begun.
    #[must_use]
    pub fn planned_of(&self, stream: &StreamId) -> Option<&Migration> {
        self.planned.get(stream).map(|migration| &**migration)
    }

    /// One was asked for; what was asked before for its stream is forgotten.
    pub(crate) fn plan(&mut self, migration: Migration) {
        self.planned.insert(migration.stream.clone(), Arc::new(migration));
    }

    /// One that was asked for has become one that is under way, or is wanted no more.
    pub(crate) fn unplan(&mut self, stream: &StreamId) -> Option<Arc<Migration>> {
        self.planned.remove(stream)
    }

    /// Moves that ended, the newest last.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Migration> {
        self.recent.iter().map(|migration| &**migration)
    }

    /// Whether no other may begin, wherever it goes.
    #[must_use]
    pub fn is_full(&self, config: &Config) -> bool {
        let taking = self.active().filter(|migration| migration.takes_room());
        taking.count() >= config.max_in_fleet
    }

    /// Whether one more may begin. A stream that is only watched where it went takes nobody's room.
    #[must_use]
    pub fn has_room(&self, config: &Config, from: &WorkerId, to: &WorkerId) -> bool {
        let (mut all, mut source, mut target) = (0, 0, 0);
        for migration in self.active().filter(|migration| migration.takes_room()) {
            all += 1;
            source += usize::from(migration.from == *from);
            target += usize::from(migration.to == *to);
        }
        all < config.max_in_fleet && source < config.max_per_source && target < config.max_per_target
    }

    /// Whether the stream failed there after a move, a short time ago.
    #[must_use]
    pub fn is_barred(&self, now: Timestamp, stream: &StreamId, worker: &WorkerId) -> bool {
        let mut barred = self.barred.iter();
        barred.any(|bar| bar.stream == *stream && bar.worker == *worker && bar.until > now)
    }

    /// The stream failed there after a move: the oftener that was so, the longer it is not tried again.
    pub(crate) fn bar(&mut self, now: Timestamp, config: &Config, stream: StreamId, worker: WorkerId) {
        let same = |bar: &Bar| bar.stream == stream && bar.worker == worker;
        let known = self.barred.iter().position(same);
        let failures = known.map_or(0, |index| self.barred.remove(index).failures);
        if self.barred.len() >= MAX_BARRED {
            self.barred.pop_front();
        }
        let wait = FIRST_BAR * 2_u32.saturating_pow(failures.min(MAX_DOUBLINGS));
        self.barred.push_back(Bar {
            stream,
            worker,
            until: now + wait.min(config.bar_for),
            failures: failures.saturating_add(1),
        });
    }

    /// One more is under way.
    pub fn begin(&mut self, migration: Migration) {
        self.active.insert(migration.stream.clone(), Arc::new(migration));
    }

    /// Changes a move, if the stream has one under way; answers whether it has.
    pub(crate) fn update(&mut self, stream: &StreamId, change: impl FnOnce(&mut Migration)) -> bool {
        let found = self.active.get_mut(stream);
        let known = found.is_some();
        if let Some(migration) = found {
            change(Arc::make_mut(migration));
        }
        known
    }

    /// A move has ended this way; answers it.
    pub(crate) fn finish(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        state: State,
        detail: Option<String>,
    ) -> Option<Arc<Migration>> {
        let mut migration = self.active.remove(stream)?;
        let ended = Arc::make_mut(&mut migration);
        ended.turn(now, state);
        ended.detail = detail.or_else(|| ended.detail.take());
        self.remember(Arc::clone(&migration));
        Some(migration)
    }

    /// A move that was over as soon as it began: the worker before was lost.
    pub(crate) fn remember(&mut self, migration: Arc<Migration>) {
        if self.recent.len() >= MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(migration);
    }

    /// Nothing is under way any more; what ended is remembered.
    pub(crate) fn new_term(&mut self) -> Self {
        self.active.clear();
        self.planned.clear();
        std::mem::take(self)
    }

    /// Moves whose time is over.
    pub(crate) fn due(&self, now: Timestamp, config: &Config) -> Vec<(StreamId, Due)> {
        let due = |migration: &Migration| {
            let (at, due) = migration.deadline(config)?;
            (at <= now).then(|| (migration.stream.clone(), due))
        };
        self.active().filter_map(due).collect()
    }

    /// When the next one is due.
    pub(crate) fn next_deadline(&self, config: &Config) -> Option<Timestamp> {
        let deadlines = self.active().filter_map(|migration| migration.deadline(config));
        deadlines.map(|(at, _)| at).min()
    }
}
