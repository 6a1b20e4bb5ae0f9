//! Whether a leader hears this session and is heard. Each direction may be dead for itself: both show as heartbeats
//! without an answer.

use super::{Millis, SessionConfig};

/// Each reconnection in vain doubles the heartbeats that the next one waits for, so often: without any leader a
/// worker would else connect anew for ever, and the whole fleet with it.
const MAX_DOUBLINGS: u32 = 5;

/// When a leader spoke last.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// It accepted this session.
    accepted: Option<Millis>,
    /// It answered at all, and be it with a refusal.
    answered: Option<Millis>,
    /// Heartbeats since, on this connection; a burst counts once, since it leaves no time for an answer.
    unanswered: u32,
    counted_at: Option<Millis>,
    /// Connections that were given up since.
    given_up: u32,
}

impl Contact {
    /// A leader answered this session.
    pub(super) fn answer(&mut self, now: Millis, accepts: bool) {
        self.answered = Some(now);
        if accepts {
            self.accepted = Some(now);
        }
        self.unanswered = 0;
        self.given_up = 0;
    }

    /// A new connection has everything before it.
    pub(super) fn connected(&mut self) {
        self.unanswered = 0;
        self.counted_at = None;
    }

    /// A heartbeat is due. Answers the unanswered ones, and whether it is the first time, when there are so many
    /// that the connection is not worth another one.
    pub(super) fn beat(&mut self, now: Millis, config: &SessionConfig) -> Option<(u32, bool)> {
        let burst = self
            .counted_at
            .is_some_and(|at| now.since(at) < config.interval_ms / 2);
        if burst {
            return None;
        }
        let limit = config.unanswered_limit.max(1);
        let patience = limit.saturating_mul(1 << self.given_up.min(MAX_DOUBLINGS));
        if self.unanswered >= patience {
            let first = self.given_up == 0;
            self.given_up = self.given_up.saturating_add(1);
            return Some((std::mem::take(&mut self.unanswered), first));
        }
        self.unanswered += 1;
        self.counted_at = Some(now);
        None
    }

    /// Whether a leader that accepts this session is heard.
    pub(super) fn hears(&self, now: Millis, config: &SessionConfig) -> bool {
        let silent = self.given_up > 0 || self.unanswered > config.unanswered_limit.max(1);
        let lately = self
            .accepted
            .is_some_and(|at| now.since(at) < config.local_after_ms);
        lately && !silent
    }

    /// When a leader answered last.
    pub(super) const fn answered(&self) -> Option<Millis> {
        self.answered
    }
}
