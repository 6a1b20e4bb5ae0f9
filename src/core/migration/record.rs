//! One move.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Config, Due};
use crate::cluster::{MoveReason, Slot};
use crate::kept::EndedMove;
use crate::spec::StreamSpec;
use crate::time::Timestamp;

/// How a stream moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// The target runs it before the source stops.
    MakeBeforeBreak,
    /// The source stops before the target starts.
    BreakBeforeMake,
    /// The source was lost.
    Emergency,
}

impl Way {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::MakeBeforeBreak, Self::BreakBeforeMake, Self::Emergency];

    /// Name in the API, logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MakeBeforeBreak => "make_before_break",
            Self::BreakBeforeMake => "break_before_make",
            Self::Emergency => "emergency",
        }
    }
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It was asked for, and waits until it can begin.
    Planned,
    /// The target is told; where the source stops first, its new assignment is being stored.
    Preparing,
    /// The source is told to stop, and has not said that it did.
    Releasing,
    /// The target starts it.
    Starting,
    /// The target runs it, and is watched for a moment.
    Verifying,
    /// It runs where it went.
    Done,
    /// It runs where it came from, or goes back there.
    RolledBack,
    /// Something else became of the stream.
    Cancelled,
}

impl State {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Planned,
        Self::Preparing,
        Self::Releasing,
        Self::Starting,
        Self::Verifying,
        Self::Done,
        Self::RolledBack,
        Self::Cancelled,
    ];

    /// Name in the API, logs and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Releasing => "releasing",
            Self::Starting => "starting",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Cancelled)
    }
}

/// One move of a stream from one worker to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// The stream.
    pub stream: StreamId,
    /// Where it came from.
    pub from: WorkerId,
    /// Where it goes.
    pub to: WorkerId,
    /// Why.
    pub reason: MoveReason,
    /// How.
    pub way: Way,
    /// How far it is.
    pub state: State,
    /// When it began.
    pub began: Timestamp,
    /// Since when its state is this one.
    pub since: Timestamp,
    /// The spec with which the target was told to start it.
    pub spec: Arc<StreamSpec>,
    /// Somebody asked for its restart meanwhile.
    pub restart: bool,
    /// Since when both run it, or since when nobody does.
    pub mark: Option<Timestamp>,
    /// How long nobody ran it.
    pub gap: Option<Duration>,
    /// How long both ran it.
    pub overlap: Option<Duration>,
    /// What went wrong, in words.
    pub detail: Option<String>,
    /// Where a leader before this one led it: when it was, which may be before this machine was started.
    pub earlier: Option<Earlier>,
}

/// How long before it was read from the database a move began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// When it was read.
    pub read: Timestamp,
    /// How long before that it began.
    pub began: Duration,
    /// How long before that it ended.
    pub ended: Duration,
}

impl Migration {
    /// A move that begins.
    #[must_use]
    pub fn new(
        now: Timestamp,
        spec: Arc<StreamSpec>,
        (from, to): (WorkerId, WorkerId),
        reason: MoveReason,
        way: Way,
    ) -> Self {
        let state = match way {
            Way::MakeBeforeBreak | Way::Emergency => State::Preparing,
            Way::BreakBeforeMake => State::Releasing,
        };
        Self {
            stream: spec.name.clone(),
            from,
            to,
            reason,
            way,
            state,
            began: now,
            since: now,
            spec,
            restart: false,
            mark: None,
            gap: None,
            overlap: None,
            detail: None,
            earlier: None,
        }
    }

    /// One that ended under a leader before this one.
    pub(crate) fn of_kept(now: Timestamp, kept: EndedMove) -> Self {
        // Nobody reads the spec of a move that is over.
        let spec = Arc::new(StreamSpec::new(kept.stream, ""));
        let ends = (kept.from, kept.to);
        Self {
            state: kept.state,
            began: now - kept.began,
            since: now - kept.ended,
            gap: kept.gap,
            overlap: kept.overlap,
            detail: kept.detail,
            earlier: Some(Earlier {
                read: now,
                began: kept.began,
                ended: kept.ended,
            }),
            ..Self::new(now, spec, ends, kept.reason, kept.way)
        }
    }

    /// One that was asked for, and begins when it can.
    pub(crate) fn planned(mut self) -> Self {
        self.state = State::Planned;
        self
    }

    /// Its state changes.
    pub fn turn(&mut self, now: Timestamp, state: State) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }

    /// Whether it counts against the limits.
    pub(super) const fn takes_room(&self) -> bool {
        !matches!(self.state, State::Verifying) && !self.state.is_over()
    }

    /// When something has to be done about it, and what.
    pub(super) fn deadline(&self, config: &Config) -> Option<(Timestamp, Due)> {
        Some(match (self.way, self.state) {
            (Way::Emergency, _) => return None,
            (Way::MakeBeforeBreak, State::Preparing | State::Starting) => match self.mark {
                Some(both) => (both + config.overlap_limit, Due::Undo),
                None => (self.began + config.start_timeout, Due::Undo),
            },
            (Way::MakeBeforeBreak, State::Releasing) => (self.since + config.overlap_limit, Due::Unconfirmed),
            (Way::BreakBeforeMake, State::Starting) => (self.since + config.start_timeout, Due::Undo),
            (_, State::Verifying) => (self.since + config.verify_for, Due::Verified),
            // A source that does not stop keeps the stream: nobody else may run it.
            (Way::BreakBeforeMake, State::Preparing | State::Releasing)
            | (_, State::Planned | State::Done | State::RolledBack | State::Cancelled) => return None,
        })
    }

    /// Whether its source runs it no more.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        matches!(self.state, State::Verifying) || matches!(self.way, Way::Emergency)
    }

    /// Whether the stream's new slot is a step of this move.
    pub(crate) fn fits(&self, slot: &Slot) -> bool {
        match (self.way, slot) {
            (Way::MakeBeforeBreak, Slot::Handing { from, to }) => {
                from.worker == self.from && to.worker == self.to
            }
            (Way::BreakBeforeMake, Slot::Releasing { from, to: Some(to) }) => {
                from.worker == self.from && *to == self.to
            }
            (Way::BreakBeforeMake, Slot::Orphaned { last }) => {
                last.worker == self.from && self.state == State::Releasing
            }
            (Way::BreakBeforeMake, Slot::Committing { next, .. }) => next.worker == self.to,
            (_, Slot::Held(owner)) => owner.worker == self.to,
            _ => false,
        }
    }
}
