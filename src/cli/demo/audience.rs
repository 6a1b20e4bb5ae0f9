//! The radio's own log: who listened to which channel, from when to when. It knows nothing of streamkeeper.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;

/// Most visits that are kept; what is over is dropped, the oldest that have ended first.
const MAX_VISITS: usize = 100_000;
/// Longest name of a listener, in characters.
const MAX_NAME: usize = 64;

/// One connection to one channel. Times are microseconds since the radio's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Visit {
    /// From 1; each number is given once, in the order in which the connections came.
    pub(super) connection: u64,
    pub(super) channel: u16,
    /// What the listener calls itself: its `User-Agent`.
    pub(super) listener: String,
    pub(super) from_us: u64,
    /// None while it listens.
    pub(super) to_us: Option<u64>,
}

#[derive(Debug, Default)]
struct Log {
    visits: VecDeque<Visit>,
    connections: u64,
}

/// The log, shared by all who write and read it.
#[derive(Debug, Clone)]
pub(super) struct Audience {
    channels: u16,
    start: Instant,
    log: Arc<Mutex<Log>>,
}

impl Audience {
    pub(super) fn new(channels: u16) -> Self {
        Self {
            channels,
            start: Instant::now(),
            log: Arc::default(),
        }
    }

    /// How many channels there are.
    pub(super) fn channels(&self) -> u16 {
        self.channels
    }

    /// Now, on the clock of the log.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Everything that is kept, in the order in which it began.
    pub(super) fn visits(&self) -> Vec<Visit> {
        self.lock().visits.iter().cloned().collect()
    }

    /// Begins a visit; none where there is no such channel.
    pub(super) fn join(&self, channel: u16, listener: &str) -> Option<Listening> {
        if channel == 0 || channel > self.channels {
            return None;
        }
        let mut log = self.lock();
        log.connections += 1;
        let connection = log.connections;
        if log.visits.len() >= MAX_VISITS {
            let ended = log.visits.iter().position(|visit| visit.to_us.is_some());
            log.visits.remove(ended.unwrap_or_default());
        }
        log.visits.push_back(Visit {
            connection,
            channel,
            listener: listener.chars().take(MAX_NAME).collect(),
            // Read under the lock, so that the order of the log is the order of time.
            from_us: self.now_us(),
            to_us: None,
        });
        drop(log);
        Some(Listening {
            audience: self.clone(),
            channel,
            connection,
        })
    }

    fn leave(&self, connection: u64) {
        let mut log = self.lock();
        let now = self.now_us();
        // Sorted by number.
        if let Ok(index) = log
            .visits
            .binary_search_by_key(&connection, |visit| visit.connection)
            && let Some(visit) = log.visits.get_mut(index)
        {
            visit.to_us = Some(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that listens; dropped, it has left.
#[derive(Debug)]
pub(super) struct Listening {
    audience: Audience,
    pub(super) channel: u16,
    connection: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.audience.leave(self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_begin_and_end_in_order() {
        let audience = Audience::new(2);
        assert!(audience.join(0, "x").is_none());
        assert!(audience.join(3, "x").is_none());
        let first = audience.join(1, "agent-1").unwrap();
        let second = audience.join(1, &"y".repeat(100)).unwrap();
        drop(first);
        let visits = audience.visits();
        assert_eq!((visits[0].connection, visits[1].connection), (1, 2));
        assert_eq!(visits[0].listener, "agent-1");
        assert_eq!(visits[1].listener.len(), MAX_NAME);
        assert!(visits[0].to_us.unwrap() >= visits[1].from_us);
        assert_eq!(visits[1].to_us, None);
        drop(second);
        assert!(audience.visits()[1].to_us.is_some());
    }

    #[test]
    fn the_log_has_a_limit_and_keeps_those_who_listen() {
        let audience = Audience::new(1);
        let stays = audience.join(1, "stays").unwrap();
        for _ in 0..MAX_VISITS + 5 {
            audience.join(1, "goes");
        }
        let visits = audience.visits();
        assert_eq!(visits.len(), MAX_VISITS);
        assert_eq!(visits[0].listener, "stays");
        drop(stays);
        assert!(audience.visits()[0].to_us.is_some());
    }
}
