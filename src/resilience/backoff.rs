//! Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

use std::time::Duration;

/// How long to wait before the next attempt.
///
/// Full jitter spreads the attempts of many clients over the whole window: with a fixed delay they would all come
/// back at the same moment and bring down again what has just recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The window of the first attempt.
    pub base: Duration,
    /// The window never grows above this.
    pub max: Duration,
}

impl Backoff {
    /// A backoff whose window starts at `base`, doubles with every attempt and ends at `max`.
    #[must_use]
    pub const fn new(base: Duration, max: Duration) -> Self {
        Self { base, max }
    }

    /// The longest delay of attempt number `attempt`, counted from 0.
    #[must_use]
    pub fn window(&self, attempt: u32) -> Duration {
        // Shifting far beyond any real maximum is the same as reaching it; a zero base stays zero.
        let grown = self
            .base
            .as_nanos()
            .saturating_mul(1_u128.checked_shl(attempt).unwrap_or(u128::MAX));
        u64::try_from(grown).map_or(self.max, |nanos| Duration::from_nanos(nanos).min(self.max))
    }

    /// The delay before attempt number `attempt` (from 0): uniform between zero and [`Self::window`], at the place
    /// that `random` (all 64 bits uniform) picks.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let window = u64::try_from(self.window(attempt).as_nanos()).unwrap_or(u64::MAX);
        // The high half of the 128-bit product scales without a remainder's bias and cannot overflow.
        let nanos = (u128::from(random) * (u128::from(window) + 1)) >> 64;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

    #[test]
    fn the_window_doubles_up_to_the_maximum() {
        for (attempt, seconds) in [
            (0, 1),
            (1, 2),
            (4, 16),
            (5, 30),
            (31, 30),
            (32, 30),
            (u32::MAX, 30),
        ] {
            assert_eq!(BACKOFF.window(attempt), Duration::from_secs(seconds), "{attempt}");
        }
    }

    #[test]
    fn the_delay_covers_the_whole_window() {
        assert_eq!(BACKOFF.delay(3, 0), Duration::ZERO);
        assert_eq!(BACKOFF.delay(3, u64::MAX), Duration::from_secs(8));
        assert_eq!(BACKOFF.delay(0, 1 << 63), Duration::from_millis(500));
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        let huge = Backoff::new(Duration::MAX, Duration::MAX);
        assert!(huge.delay(u32::MAX, u64::MAX) <= Duration::MAX);
        let none = Backoff::new(Duration::ZERO, Duration::MAX);
        assert_eq!(none.delay(u32::MAX, u64::MAX), Duration::ZERO);
    }
}
