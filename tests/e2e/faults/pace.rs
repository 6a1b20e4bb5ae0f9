//! How long things take: short settings for every check, the defaults for a soak.

use std::time::Duration;

/// Times of faults, and the settings that fit them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Settings of the orchestrators that differ from the defaults.
    pub(crate) settings: &'static [&'static str],
    /// Shorter than every time-out: nothing may move.
    pub(crate) short: Duration,
    /// Longer than a worker's lease.
    pub(crate) long: Duration,
    /// A server that is away for much longer than that.
    pub(crate) away: Duration,
    /// Nothing moves any more when nothing moved for so long.
    pub(crate) quiet: Duration,
    /// Longest wait for a fleet that recovers.
    pub(crate) patience: Duration,
}

/// The least lease that fits heartbeats every two seconds and a change of the leader (OWNERSHIP rule 4).
const BRIEF: &[&str] = &[
    "leadership.lease=1500ms",
    "leadership.renew_every=500ms",
    "lease.duration=10s",
    "lease.stop_budget=1s",
    "lease.kill_margin=500ms",
    "heartbeat.warning=2600ms",
    "heartbeat.timeout=5s",
    "heartbeat.emergency=8s",
    "heartbeat.mass_failure_max_hold=8s",
    "recovery.retry_delay=1s",
    // What is evened out, is evened out soon.
    "balancer.stream_cooldown=2s",
    "balancer.probation=100ms",
    "balancer.max_share_per_round=1",
];

impl Pace {
    /// For every check.
    pub(crate) const fn brief() -> Self {
        Self {
            settings: BRIEF,
            short: Duration::from_millis(1_300),
            long: Duration::from_secs(11),
            away: Duration::from_secs(15),
            quiet: Duration::from_secs(3),
            patience: Duration::from_secs(120),
        }
    }

    /// With the defaults.
    pub(crate) const fn full() -> Self {
        Self {
            settings: &[],
            short: Duration::from_secs(5),
            long: Duration::from_secs(30),
            away: Duration::from_secs(60),
            quiet: Duration::from_secs(5),
            patience: Duration::from_secs(240),
        }
    }
}
