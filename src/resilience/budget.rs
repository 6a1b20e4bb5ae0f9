//! A budget for retries: a bucket of tokens that fills slowly. When everything fails, retries would multiply the load
//! on what is in trouble; with a budget they stay a small addition to it.

use std::time::Duration;

/// A bucket of tokens. `now` is the time since any fixed origin, the same for all calls.
#[derive(Debug, Clone)]
pub struct Budget {
    capacity: f64,
    per_second: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Budget {
    /// A full bucket of `capacity` tokens that gets `per_second` of them back each second.
    #[must_use]
    pub fn new(capacity: u32, per_second: f64) -> Self {
        let capacity = f64::from(capacity);
        Self {
            capacity,
            per_second: per_second.max(0.0),
            tokens: capacity,
            filled_at: Duration::ZERO,
        }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        let since = now.saturating_sub(self.filled_at).as_secs_f64();
        self.tokens = (since.mul_add(self.per_second, self.tokens)).min(self.capacity);
        self.filled_at = self.filled_at.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let mut budget = Budget::new(3, 2.0);
        let at = Duration::from_millis;
        for _ in 0..3 {
            assert!(budget.take(at(0)));
        }
        assert!(!budget.take(at(0)));
        assert!(!budget.take(at(499)));
        assert!(budget.take(at(500)));
        assert!(!budget.take(at(500)));
    }

    #[test]
    fn it_never_holds_more_than_its_capacity() {
        let mut budget = Budget::new(2, 1_000.0);
        let late = Duration::from_secs(3_600);
        assert!(budget.take(late) && budget.take(late));
        assert!(!budget.take(late));
        // A clock that goes back gives nothing.
        assert!(!budget.take(Duration::ZERO));
    }
}
