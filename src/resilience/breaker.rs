//! A circuit breaker: after some failures in a row nothing is tried for a while, then one probe decides.

use std::time::Duration;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls are made.
    Closed,
    /// Calls are refused until the open time is over.
    Open,
    /// The open time is over: one probe at a time is let through.
    HalfOpen,
}

impl BreakerState {
    /// Name in metrics, health and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Inner {
    Closed { failures: u32 },
    Open { until: Duration },
    HalfOpen { probe: bool },
}

/// A circuit breaker. `now` is the time since any fixed origin, the same for all calls.
///
/// Every call that [`Self::allow`] lets through must be reported by [`Self::succeeded`] or [`Self::failed`];
/// an unreported probe would keep the breaker half-open for ever.
#[derive(Debug, Clone)]
pub struct Breaker {
    threshold: u32,
    open_time: Duration,
    inner: Inner,
}

impl Breaker {
    /// A closed breaker that opens for `open_time` after `threshold` failures in a row (at least one).
    #[must_use]
    pub fn new(threshold: u32, open_time: Duration) -> Self {
        Self {
            threshold: threshold.max(1),
            open_time,
            inner: Inner::Closed { failures: 0 },
        }
    }

    /// Whether a call may be made now. In the half-open state this reserves the one probe.
    pub fn allow(&mut self, now: Duration) -> bool {
        match self.inner {
            Inner::Closed { .. } => true,
            Inner::Open { until } if now < until => false,
            Inner::HalfOpen { probe: true } => false,
            Inner::Open { .. } | Inner::HalfOpen { probe: false } => {
                self.inner = Inner::HalfOpen { probe: true };
                true
            }
        }
    }

    /// A call succeeded. One that began before the breaker opened says nothing about the time after it, so an open
    /// breaker stays open; `now` is taken so that both reports have one form.
    pub fn succeeded(&mut self, _now: Duration) {
        if !matches!(self.inner, Inner::Open { .. }) {
            self.inner = Inner::Closed { failures: 0 };
        }
    }

    /// A call failed.
    pub fn failed(&mut self, now: Duration) {
        match self.inner {
            Inner::Closed { failures } if failures + 1 < self.threshold => {
                self.inner = Inner::Closed {
                    failures: failures + 1,
                };
            }
            Inner::Closed { .. } | Inner::HalfOpen { .. } => {
                let until = now.saturating_add(self.open_time);
                self.inner = Inner::Open { until };
            }
            // Late failures of calls made before must not prolong the open time without end.
            Inner::Open { .. } => {}
        }
    }

    /// Where the breaker stands. It goes half-open only by a call, so an open one stays open until then.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        match self.inner {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { .. } => BreakerState::Open,
            Inner::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(2, at(10));
        breaker.failed(at(0));
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.failed(at(0));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn a_success_forgets_failures() {
        let mut breaker = Breaker::new(2, at(10));
        for second in 0..9 {
            breaker.failed(at(second));
            breaker.succeeded(at(second));
            assert!(breaker.allow(at(second)));
        }
    }

    #[test]
    fn an_open_breaker_lets_one_probe_through_after_its_time() {
        let mut breaker = opened();
        assert!(!breaker.allow(at(9)));
        assert!(breaker.allow(at(10)));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.allow(at(10)), "a second probe");
        breaker.succeeded(at(11));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_again_for_the_whole_time() {
        let mut breaker = opened();
        assert!(breaker.allow(at(12)));
        breaker.failed(at(13));
        assert!(!breaker.allow(at(22)));
        assert!(breaker.allow(at(23)));
    }

    #[test]
    fn late_reports_change_no_open_breaker() {
        let mut breaker = opened();
        breaker.succeeded(at(5));
        breaker.failed(at(6));
        assert!(!breaker.allow(at(9)));
        assert!(breaker.allow(at(10)));
    }

    #[test]
    fn the_end_of_time_does_not_overflow() {
        let mut breaker = Breaker::new(0, Duration::MAX);
        breaker.failed(Duration::MAX);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}
