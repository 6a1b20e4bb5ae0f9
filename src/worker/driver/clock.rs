//! Time that goes on while the machine is suspended, and never back; and the time of day.

use std::time::SystemTime;

use rustix::time::{ClockId, clock_gettime};

use crate::session::Millis;

// `Instant` stands still while a machine is suspended; leases do not.
#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Milliseconds since the machine's start, suspension included: the clock of [`crate::Lease`].
#[must_use]
pub fn now() -> Millis {
    let time = clock_gettime(CLOCK);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    Millis(seconds.saturating_mul(1_000).saturating_add(millis))
}

/// Milliseconds since 1970 by the wall clock: for people, never for decisions.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
