//! The sessions before this one, all proven dead, of which the leader may not know.

use streamkeeper_protocol::SessionId;

/// Which former session the heartbeats name.
#[derive(Debug)]
pub(super) struct Former {
    /// The one that a leader knew last comes first.
    sessions: Vec<SessionId>,
    /// The one that is named.
    at: usize,
    /// Whether one is named: until a leader has accepted this session, and again when one refuses it.
    naming: bool,
    /// The first heartbeat that names the present one.
    since_seq: u64,
}

impl Former {
    pub(super) fn new(sessions: impl IntoIterator<Item = SessionId>) -> Self {
        Self {
            sessions: sessions.into_iter().collect(),
            at: 0,
            naming: true,
            since_seq: 1,
        }
    }

    /// What the next heartbeat names.
    pub(super) fn named(&self) -> Option<SessionId> {
        self.sessions.get(self.at).copied().filter(|_| self.naming)
    }

    /// A leader accepted this session: it needs no more proof.
    pub(super) const fn accepted(&mut self) {
        self.naming = false;
        self.at = 0;
    }

    /// A leader refused heartbeat `ack_seq`, because a session that it knows has the worker's place. It may be
    /// another one of these: what was saved of the acknowledgements may be older than what the leader knows. Answers
    /// whether there is one to try that was not tried yet.
    pub(super) fn refused(&mut self, ack_seq: u64, last_seq: u64) -> bool {
        if self.sessions.is_empty() || ack_seq < self.since_seq || ack_seq > last_seq {
            return false;
        }
        self.since_seq = last_seq + 1;
        if !std::mem::replace(&mut self.naming, true) {
            return true;
        }
        self.at += 1;
        let untried = self.at < self.sessions.len();
        if !untried {
            self.at = 0;
        }
        untried
    }
}
