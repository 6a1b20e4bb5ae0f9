//! Clocks of machines: each has its own origin and its own rate, and goes on while processes are paused.

use crate::random::Random;

/// Two rates differ by at most one percent, as the protocol assumes: each by half of it from true time.
const MAX_RATE: u64 = 5_000;

/// The clock of one machine, as a function of true time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: u64,
    /// Parts per million by which it is faster than true time.
    rate: i64,
}

impl Clock {
    /// Every third clock is at one end of what is allowed: that is where rules about drift are tested.
    pub(crate) fn new(random: &mut Random) -> Self {
        let limit = i64::try_from(MAX_RATE).unwrap_or(0);
        let rate = match random.between(0, 5) {
            0 => limit,
            1 => -limit,
            _ => i64::try_from(random.between(0, 2 * MAX_RATE)).unwrap_or(0) - limit,
        };
        Self {
            origin: random.between(1, 10_000_000),
            rate,
        }
    }

    /// What it shows.
    pub(crate) fn read(self, now: u64) -> u64 {
        let drift = i64::try_from(now).unwrap_or(i64::MAX / 1_000_000) * self.rate / 1_000_000;
        self.origin + now.saturating_add_signed(drift)
    }

    /// The first true moment at which it shows at least `local`.
    pub(crate) fn when(self, local: u64) -> u64 {
        let passed = local.saturating_sub(self.origin);
        let scale = 1_000_000_u64.saturating_add_signed(self.rate);
        let mut now = passed.saturating_mul(1_000_000) / scale;
        while self.read(now) < local {
            now += 1;
        }
        while now > 0 && self.read(now - 1) >= local {
            now -= 1;
        }
        now
    }
}

#[test]
fn a_clock_shows_what_it_was_asked_for() {
    let mut random = Random::new(1);
    for _ in 0..100 {
        let clock = Clock::new(&mut random);
        for _ in 0..100 {
            let now = random.between(0, 1_000_000);
            let local = clock.read(now);
            assert_eq!(clock.read(clock.when(local)), local);
            assert!(clock.when(local) <= now);
        }
    }
}
