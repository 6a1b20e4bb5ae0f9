//! The machine's clocks.

use chrono::{DateTime, Utc};
use rustix::time::{ClockId, clock_gettime};
use streamkeeper_core::time::Timestamp;

use crate::port::Clock;

/// CLOCK_BOOTTIME for decisions, because it counts while the machine sleeps; the wall clock for people.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec / 1_000_000).unwrap_or(0);
        Timestamp::from_ms(seconds * 1_000 + millis)
    }

    fn wall(&self, at: Timestamp) -> DateTime<Utc> {
        let now = self.now();
        let offset = |duration: std::time::Duration| {
            chrono::TimeDelta::from_std(duration).unwrap_or(chrono::TimeDelta::zero())
        };
        Utc::now() - offset(now.since(at)) + offset(at.since(now))
    }
}
