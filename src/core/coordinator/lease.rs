//! Leases of sessions: how long a session that is silent may still run its exclusive streams (OWNERSHIP rules 3 and 8).
//!
//! A session counts a lease from the moment when it *sent* the heartbeat that is answered, the leader from the moment when
//! it *received* it, with a margin for clocks of unlike rate. So the leader's view always ends later, and nothing needs to
//! be delivered for an exclusive stream to become free: silence is enough.

use std::collections::BTreeMap;
use std::time::Duration;

use streamkeeper_protocol::mutant::{self, Mutant};
use streamkeeper_protocol::{SessionId, WorkerId};

use super::Coordinator;
use crate::graveyard::Key;
use crate::time::Timestamp;

/// Who may still run what it holds, and until when.
#[derive(Debug, Default)]
pub(super) struct Leases {
    until: BTreeMap<Key, Timestamp>,
    /// Sessions that are gone for the failure detector and have streams that wait, and when they are looked at again.
    waiting: BTreeMap<Key, Timestamp>,
}

impl Leases {
    /// Looks at the session's streams again at that time.
    pub(super) fn wait(&mut self, key: Key, until: Timestamp) {
        let at = self.waiting.entry(key).or_insert(until);
        *at = until.min(*at);
    }

    /// The session is heard again: nothing of it is to be taken.
    pub(super) fn returned(&mut self, key: &Key) {
        self.waiting.remove(key);
    }

    /// A term that begins reads everything anew, and looks for itself who is gone. The leases go on.
    pub(super) fn new_term(&mut self, now: Timestamp) {
        self.waiting.clear();
        self.until.retain(|_, until| *until > now);
    }

    /// Another session speaks for the worker: leases of its former ones that are over need no memory.
    pub(super) fn forget_former(&mut self, now: Timestamp, worker: &WorkerId) {
        let first = (worker.clone(), SessionId::from_u128(0));
        let last = (worker.clone(), SessionId::from_u128(u128::MAX));
        let former = self.until.range(first..=last);
        let over: Vec<Key> = former
            .filter(|(_, until)| **until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.until.remove(&key);
        }
    }
}

impl Coordinator {
    /// A heartbeat of the session is about to be answered: noted before the answer is sent.
    pub(super) fn renew_lease(&mut self, now: Timestamp, key: Key) {
        let until = now + self.longest(self.config.lease);
        self.leases.until.insert(key, until);
    }

    /// How long a lease may last on another clock than this one.
    pub(super) fn longest(&self, lease: Duration) -> Duration {
        lease.mul_f64(1.0 + self.config.drift) + self.config.margin
    }

    /// Until when the session may run exclusive streams, if it is not proven dead. After a takeover any session may have a
    /// lease of a predecessor.
    pub(super) fn leased_until(&self, key: &Key) -> Timestamp {
        let own = self.leases.until.get(key).copied().unwrap_or_default();
        own.max(self.cluster.leadership.grace_until)
    }

    /// Whether the session may still run what it holds exclusively.
    pub(super) fn may_hold(&self, now: Timestamp, key: &Key) -> bool {
        !self.dead.contains(key) && now < self.leased_until(key) && !mutant::on(Mutant::LeaseNotAwaited)
    }

    /// When the next wait ends.
    pub(super) fn next_lease_end(&self) -> Option<Timestamp> {
        self.leases.waiting.values().min().copied()
    }

    /// Frees the streams of every session that is gone, as far as they wait no longer.
    pub(super) fn end_leases(&mut self, now: Timestamp) {
        let over: Vec<Key> = self
            .leases
            .waiting
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.leases.waiting.remove(&key);
            self.orphan_session(now, &key.0, key.1);
        }
    }
}
