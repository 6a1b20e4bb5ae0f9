//! How large a seed's world is, and how much goes wrong in it. Small worlds with many faults find more, large ones find
//! what needs a crowd.

use crate::random::Random;

/// What a seed's faults may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Menu {
    /// Everything.
    Everything,
    /// Machines that stand still, and second processes with their ids.
    Twins,
    /// Orchestrators, their database and the leader key only, and one at a time: no stream may notice.
    OrchestratorsOnly,
}

/// The size of a world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) orchestrators: u64,
    pub(crate) workers: u64,
    pub(crate) streams: u64,
    /// Streams out of a thousand that are `exclusive`.
    pub(crate) exclusive: u64,
    /// How long faults happen.
    pub(crate) storm_ms: u64,
    /// Shortest and longest time between two faults.
    pub(crate) pause_ms: (u64, u64),
    /// Longest time between two acts of the user.
    pub(crate) user_ms: u64,
    /// Longest fault.
    pub(crate) fault_ms: u64,
    pub(crate) menu: Menu,
}

impl Shape {
    /// The shape of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed_0f51_2e57_0000);
        let exclusive = [0, 500, 1_000, 500][usize::try_from(random.between(0, 3)).unwrap_or(0)];
        let small = Self {
            orchestrators: random.between(1, 3),
            workers: random.between(1, 3),
            streams: random.between(1, 6),
            exclusive,
            storm_ms: random.between(40_000, 120_000),
            pause_ms: (20, random.between(500, 4_000)),
            user_ms: random.between(500, 8_000),
            fault_ms: random.between(3_000, 30_000),
            menu: Menu::Everything,
        };
        match random.between(0, 19) {
            0 => Self::large(exclusive),
            1..=5 => Self {
                orchestrators: random.between(1, 3),
                workers: random.between(3, 6),
                streams: random.between(5, 41),
                pause_ms: (200, 6_000),
                user_ms: 1_000,
                storm_ms: 90_000,
                fault_ms: 20_000,
                ..small
            },
            6 | 7 => Self {
                orchestrators: random.between(2, 3),
                workers: random.between(2, 4),
                streams: random.between(4, 20),
                pause_ms: (15_000, 20_000),
                storm_ms: 150_000,
                menu: Menu::OrchestratorsOnly,
                ..small
            },
            8 => Self {
                workers: random.between(2, 3),
                pause_ms: (500, 5_000),
                fault_ms: 20_000,
                exclusive: 1_000,
                menu: Menu::Twins,
                ..small
            },
            _ => small,
        }
    }

    /// Whether nothing happens to workers.
    pub(crate) fn spares_workers(&self) -> bool {
        self.menu == Menu::OrchestratorsOnly
    }

    /// The world whose speed is measured.
    pub(crate) const fn large(exclusive: u64) -> Self {
        Self {
            orchestrators: 3,
            workers: 10,
            streams: 200,
            exclusive,
            storm_ms: 60_000,
            pause_ms: (200, 6_000),
            user_ms: 1_000,
            fault_ms: 20_000,
            menu: Menu::Everything,
        }
    }
}
