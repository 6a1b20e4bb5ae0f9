//! Sessions that are proven dead: what they sent late is ignored. The newest are remembered.

use std::collections::{BTreeSet, VecDeque};

use streamkeeper_protocol::{SessionId, WorkerId};

/// One life of a worker.
pub type Key = (WorkerId, SessionId);

/// Most sessions that are remembered.
const MAX_DEAD_SESSIONS: usize = 10_000;

/// The dead.
#[derive(Debug, Default)]
pub struct Graveyard {
    dead: BTreeSet<Key>,
    order: VecDeque<Key>,
}

impl Graveyard {
    /// Nobody is dead.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            dead: BTreeSet::new(),
            order: VecDeque::new(),
        }
    }

    /// Remembers a session; the oldest one is forgotten where there are too many. False when it was known.
    pub fn bury(&mut self, key: Key) -> bool {
        if !self.dead.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_DEAD_SESSIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.dead.remove(&oldest);
        }
        true
    }

    /// Whether the session is proven dead.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.dead.contains(key)
    }
}
