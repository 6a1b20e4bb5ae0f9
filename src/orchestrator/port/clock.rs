//! Time as the shell reads it.

use chrono::{DateTime, Utc};
use streamkeeper_core::time::Timestamp;

/// The clocks of the machine.
pub trait Clock: Send + Sync + 'static {
    /// Now, on the clock that counts while the machine sleeps (CLOCK_BOOTTIME).
    fn now(&self) -> Timestamp;

    /// Which moment of the calendar `at` was or will be, as the wall clock says now. For people only: no decision
    /// reads it.
    fn wall(&self, at: Timestamp) -> DateTime<Utc>;
}
