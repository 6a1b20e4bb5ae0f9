//! One worker process with its children, and what survives its restart.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Capacity, Epoch, SessionId, StreamId, Term, WorkerId};
use streamkeeper_worker::{Millis, Session, SessionConfig};

/// A child that really runs: the truth that nobody in the world sees directly.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) epoch: Epoch,
    pub(crate) stopping: bool,
}

pub(crate) struct Node {
    pub(crate) id: WorkerId,
    /// Counts the processes, so that what was meant for an earlier one is dropped.
    pub(crate) life: u64,
    pub(crate) session: Option<Session>,
    pub(crate) session_id: SessionId,
    pub(crate) children: BTreeMap<StreamId, Child>,
    pub(crate) connected: bool,
    pub(crate) paused_until: u64,
    pub(crate) hears: bool,
    pub(crate) is_heard: bool,
    /// When a fault touched it last.
    pub(crate) touched: u64,
    pub(crate) armed: Option<u64>,
    /// Its clock began so long before the world's.
    pub(crate) clock_offset: u64,
    pub(crate) boot: u64,
    /// What its state folder holds.
    saved: Option<(SessionId, u64)>,
    pub(crate) saved_term: Term,
    /// A second process with somebody's id; ends for good when it ends.
    pub(crate) twin: bool,
    /// It was told to end.
    pub(crate) leaving: bool,
    /// The highest epoch that it ever started of each stream, over all its lives.
    pub(crate) highest: BTreeMap<StreamId, Epoch>,
}

impl Node {
    pub(crate) const fn new(id: WorkerId, clock_offset: u64) -> Self {
        Self {
            id,
            life: 0,
            session: None,
            session_id: SessionId::from_u128(0),
            children: BTreeMap::new(),
            connected: false,
            paused_until: 0,
            hears: true,
            is_heard: true,
            touched: 0,
            armed: None,
            clock_offset,
            boot: 0,
            saved: None,
            saved_term: Term::ZERO,
            twin: false,
            leaving: false,
            highest: BTreeMap::new(),
        }
    }

    /// A new process. The lock of the state folder proves that the former one of the same boot is dead.
    pub(crate) fn start(&mut self, session_id: SessionId) {
        let capacity = Capacity {
            max_streams: 30,
            weight: 30.0,
        };
        let supersedes = self
            .saved
            .filter(|(_, boot)| *boot == self.boot)
            .map(|(session, _)| session);
        let config = SessionConfig::new(self.id.clone(), capacity);
        let boot_id = format!("boot-{}", self.boot);
        self.life += 1;
        self.session = Some(Session::new(
            config,
            session_id,
            boot_id,
            supersedes,
            self.saved_term,
        ));
        self.session_id = session_id;
        self.saved = Some((session_id, self.boot));
        self.leaving = false;
        self.connected = false;
        self.armed = None;
        self.paused_until = 0;
    }

    pub(crate) const fn clock(&self, now: u64) -> Millis {
        Millis(now + self.clock_offset)
    }
}
