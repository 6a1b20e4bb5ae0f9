//! The session's lease: until when it may run exclusive streams (OWNERSHIP rules 1 and 2).
//!
//! It counts from the moment when the acknowledged heartbeat was *sent*: the leader, which counts from the receipt, holds
//! it for at least as long. Counted from the receipt of the answer, a late message would extend a dead lease.

use std::collections::VecDeque;

use streamkeeper_protocol::Assign;
use streamkeeper_protocol::mutant::{self, Mutant};

use super::Millis;

/// Send times that are remembered, more than a lease of the default length can have.
const MAX_SENT: usize = 1_024;

/// When exclusive streams end, on the clock of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// They are ordered to end.
    pub stop_at: Millis,
    /// What is left of them is killed.
    pub kill_at: Millis,
}

/// A lease that has not ended.
#[derive(Debug, Clone, Copy)]
struct Live {
    deadline: Millis,
    ends: Lease,
    /// An exclusive stream is started only before: later it would be ordered to end while it is still starting.
    last_start: Millis,
}

/// What a session knows of its lease.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// When the newest heartbeats were sent, the newest last.
    sent: VecDeque<Millis>,
    newest: u64,
    live: Option<Live>,
}

impl Leases {
    /// Heartbeat `seq` is sent; each is one above the one before.
    pub(super) fn sent(&mut self, now: Millis, seq: u64) {
        self.sent.push_back(now);
        if self.sent.len() > MAX_SENT {
            self.sent.pop_front();
        }
        self.newest = seq;
    }

    /// When heartbeat `seq` was sent; unknown if it never was, or too long ago.
    fn sent_at(&self, seq: u64) -> Option<Millis> {
        let back = usize::try_from(self.newest.checked_sub(seq)?).ok()?;
        let index = self.sent.len().checked_sub(back + 1)?;
        self.sent.get(index).copied()
    }

    /// A leader answered, and what its answer speaks of is wholly applied. Answers the new ends if they moved.
    pub(super) fn renew(&mut self, now: Millis, terms: Terms) -> Option<Lease> {
        let mut anchor = self.sent_at(terms.ack_seq)?;
        if mutant::on(Mutant::LeaseAtReceipt) {
            anchor = now;
        }
        let deadline = anchor.plus(terms.lease_ms);
        let before = |ms: u64| Millis(deadline.0.saturating_sub(ms));
        // Who is to be killed before is told to end before.
        let stop_budget_ms = terms.stop_budget_ms.max(terms.kill_margin_ms);
        let ends = Lease {
            stop_at: before(stop_budget_ms),
            kill_at: before(terms.kill_margin_ms),
        };
        let shorter = self.live.is_some_and(|live| deadline <= live.deadline);
        if shorter || ends.stop_at <= now {
            return None;
        }
        let last_start = before(stop_budget_ms.saturating_add(terms.kill_margin_ms));
        self.live = Some(Live {
            deadline,
            ends,
            last_start,
        });
        Some(ends)
    }

    /// Whether the lease lapses now: once for each one that was not renewed in time.
    pub(super) fn lapses(&mut self, now: Millis) -> bool {
        self.live.take_if(|live| live.ends.stop_at <= now).is_some()
    }

    /// Whether enough is left to start an exclusive stream.
    pub(super) fn may_start(&self, now: Millis) -> bool {
        self.live.is_some_and(|live| now < live.last_start)
    }

    /// When the lease lapses, if it is not renewed before.
    pub(super) fn lapse_at(&self) -> Option<Millis> {
        self.live.map(|live| live.ends.stop_at)
    }

    /// What is left, 0 without a lease.
    pub(super) fn left_ms(&self, now: Millis) -> u64 {
        self.live.map_or(0, |live| live.deadline.since(now))
    }
}

/// What an answer says of the lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    ack_seq: u64,
    lease_ms: u64,
    stop_budget_ms: u64,
    kill_margin_ms: u64,
}

impl From<&Assign> for Terms {
    fn from(assign: &Assign) -> Self {
        Self {
            ack_seq: assign.ack_seq,
            lease_ms: assign.lease_ms,
            stop_budget_ms: assign.stop_budget_ms,
            kill_margin_ms: assign.kill_margin_ms,
        }
    }
}
