//! What the election is told, and what it wants done.

use std::time::Duration;

use streamkeeper_protocol::{LeaderRecord, OrchestratorId, Term};

use crate::time::Timestamp;

/// How the election behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Number of this orchestrator within its fleet, 0 to 15: two never take the same term.
    pub number: u32,
    /// How long a leader leads after it sent the write that made or kept it one.
    pub lease: Duration,
    /// Time between two renewals; also between two looks of one who waits.
    pub renew_every: Duration,
    /// Highest difference of clock rates, as a share.
    pub drift: f64,
    /// Added to every wait for a lease to end.
    pub margin: Duration,
    /// After this time an operation without an answer has an unknown outcome.
    pub answer_timeout: Duration,
    /// Pause after an operation that failed.
    pub retry_delay: Duration,
    /// How long one who stepped down does not stand, so that another may.
    pub rest: Duration,
    /// Whether others may hold the key. False where a lock proves that every predecessor is dead: then nothing is waited
    /// for.
    pub observe: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            number: 0,
            lease: Duration::from_secs(6),
            renew_every: Duration::from_secs(2),
            drift: 0.01,
            margin: Duration::from_millis(500),
            answer_timeout: Duration::from_millis(1_500),
            retry_delay: Duration::from_millis(250),
            rest: Duration::from_secs(6),
            observe: true,
        }
    }
}

/// What a look at the key found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record {
        /// The key's revision.
        revision: u64,
        /// What it holds.
        record: LeaderRecord,
    },
    /// Something that is no record of this version.
    Garbled {
        /// The key's revision.
        revision: u64,
    },
    /// Nothing.
    Absent {
        /// The revision of the deletion; 0 when there never was a key.
        revision: u64,
    },
    /// No answer.
    Failed,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The key holds it.
    Stored {
        /// The key's new revision.
        revision: u64,
    },
    /// The key's revision was another one.
    Conflict,
    /// No answer: it may be stored, or be stored yet.
    Unknown,
}

/// What the election is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It begins. Nothing is done before.
    Begin {
        /// The highest term that this orchestrator remembers.
        remembered: Term,
    },
    /// The key may have changed, or can be reached again: a reason to look at once, no fact.
    Changed,
    /// The connection to the message server was lost, or is new.
    Connection,
    /// A read ended.
    Read {
        /// Which one.
        attempt: u64,
        /// What it found.
        found: Found,
    },
    /// A write ended.
    Written {
        /// Which one.
        attempt: u64,
        /// How.
        outcome: WriteOutcome,
    },
    /// A term was remembered durably, or was not.
    Remembered {
        /// The term.
        term: Term,
        /// Whether it will be there after a crash.
        durable: bool,
    },
    /// A term that somebody unproven speaks of: a worker, another orchestrator's beacon.
    Heard(Term),
    /// The coordinator needs a term above this one (of the database, or the one that it lost).
    NeedTerm {
        /// The highest term that is of no use.
        above: Term,
    },
    /// Give the role up, so that another takes it.
    StepDown {
        /// Whether this process ends: it does not stand again.
        for_good: bool,
    },
    /// The coordinator does nothing under this term any more.
    Vacated {
        /// The term that it gave up.
        term: Term,
    },
    /// Time passed.
    Tick,
}

/// What an orchestrator may lead by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lead {
    /// The leadership.
    pub term: Term,
    /// When it ends, unless it is said again.
    pub until: Timestamp,
    /// Until when another may have led, and renewed leases of sessions, without this one having heard of it: the message
    /// server may have gone back to an older state. A time that is over: nobody.
    pub rivals_until: Timestamp,
}

/// What the election wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Look at the key and report as [`Event::Read`].
    Read {
        /// Names the look.
        attempt: u64,
    },
    /// Write the key if it still has the expected revision, and report as [`Event::Written`].
    Write {
        /// Names the write.
        attempt: u64,
        /// What to write.
        record: LeaderRecord,
        /// The key's revision; 0: there must never have been one.
        expect: u64,
    },
    /// Remember a term durably and report as [`Event::Remembered`]; it is used only then.
    Remember(Term),
    /// This orchestrator may lead. Said again with every renewal.
    Elected(Lead),
    /// The leadership is over: nothing may be sent or written any more. To be answered with [`Event::Vacated`].
    Resigned {
        /// The leadership that is over.
        term: Term,
    },
    /// How the election stands, for readers.
    Publish(Status),
    /// A term was heard that no honest fleet can have reached; it is not believed.
    Implausible(Term),
}

/// How the election stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// What this orchestrator does.
    pub stage: Stage,
    /// Its term while it leads, else the highest that it knows.
    pub term: Term,
    /// Who wrote the key last, as far as is known; none when it was given up or is not there.
    pub leader: Option<OrchestratorId>,
    /// Whether the last look or write got an answer.
    pub reachable: bool,
}

/// What an orchestrator does in the election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// Another leads, or nobody; it stands when the key is free.
    #[default]
    Waiting,
    /// It holds the key.
    Holding,
    /// It gives the role up.
    Leaving,
    /// It gave the role up and lets others go first.
    Resting,
}

impl Stage {
    /// Name in the API, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Holding => "holding",
            Self::Leaving => "leaving",
            Self::Resting => "resting",
        }
    }
}
