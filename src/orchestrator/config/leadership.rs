//! Settings of leadership and of leases, and what must hold between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamkeeper_protocol::epoch::MAX_ORCHESTRATORS;
use streamkeeper_protocol::limit::MAX_LEADER_LEASE_MS;

use super::Config;
use super::check::Broken;

/// Who leads among several orchestrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leadership {
    /// What decides who leads.
    pub backend: Backend,
    /// Number of this orchestrator within its fleet, 0 to 15: each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// How long a leader leads without a renewal.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Time between two renewals.
    #[serde(with = "humantime_serde")]
    pub renew_every: Duration,
}

/// What decides who leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The lock on the data folder: one orchestrator.
    File,
    /// A key in NATS JetStream: several orchestrators, each with a data folder of its own, on one PostgreSQL.
    Nats,
}

/// Leases of workers for their exclusive streams, and the clocks that count them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// How long a worker may run exclusive streams without a word from the leader.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
    /// How long before its lease ends a worker asks its exclusive streams to end.
    #[serde(with = "humantime_serde")]
    pub stop_budget: Duration,
    /// How long before its lease ends a worker kills what has not ended by then.
    #[serde(with = "humantime_serde")]
    pub kill_margin: Duration,
    /// Highest difference of clock rates, as a share.
    pub drift: f64,
    /// Added to every wait for a lease to end.
    #[serde(with = "humantime_serde")]
    pub margin: Duration,
}

/// How long raising the fence and reading everything may take.
const TAKEOVER: Duration = Duration::from_millis(1_500);
/// Time between two heartbeats of a worker, and by which share one may be later.
const INTERVAL: Duration = Duration::from_secs(2);
const JITTER: f64 = 0.1;
/// From a heartbeat to its answer.
const ROUND_TRIP: Duration = Duration::from_millis(500);
/// Renewals that fit into a leader's lease.
const RENEWALS: u32 = 2;

/// Every rule that does not hold.
pub(super) fn check(config: &Config, broken: &mut Vec<Broken>) {
    let leadership = &config.leadership;
    if let Some(number) = leadership.number.filter(|number| *number >= MAX_ORCHESTRATORS) {
        let highest = MAX_ORCHESTRATORS - 1;
        broken.push((
            &["leadership.number"],
            format!("is {number}; write a number from 0 to {highest}"),
        ));
    }
    if leadership.renew_every.is_zero() || leadership.renew_every * RENEWALS >= leadership.lease {
        broken.push((
            &["leadership.renew_every", "leadership.lease"],
            format!(
                "leadership.renew_every ({:?}) must be above 0 and fit {RENEWALS} times into leadership.lease ({:?}); lower \
                 leadership.renew_every or raise leadership.lease",
                leadership.renew_every, leadership.lease
            ),
        ));
    }
    if leadership.lease > Duration::from_millis(MAX_LEADER_LEASE_MS) {
        broken.push((
            &["leadership.lease"],
            format!("is {:?}; write at most 10m", leadership.lease),
        ));
    }
    if leadership.backend == Backend::Nats {
        several(config, broken);
    }
    timing(config, broken);
}

/// What several orchestrators need.
fn several(config: &Config, broken: &mut Vec<Broken>) {
    let mut needs = |keys: &'static [&'static str], there: bool, problem: &str| {
        if !there {
            broken.push((keys, problem.to_owned()));
        }
    };
    needs(
        &["leadership.number", "leadership.backend"],
        config.leadership.number.is_some(),
        "with leadership.backend = \"nats\" every orchestrator needs a number of its own; set leadership.number, from 0 to 15",
    );
    needs(
        &["leadership.backend", "nats.urls"],
        !config.nats.urls.is_empty(),
        "leadership.backend = \"nats\" needs a message server that all orchestrators share; name it in nats.urls, or write \
         leadership.backend = \"file\" for a single orchestrator",
    );
    needs(
        &["leadership.backend", "database.url"],
        config.database.url.starts_with("postgres"),
        "leadership.backend = \"nats\" needs a database that all orchestrators share; name a PostgreSQL in database.url, or \
         write leadership.backend = \"file\" for a single orchestrator",
    );
    needs(
        &["http.api_url", "http.bind"],
        !config.http.bind.ip().is_unspecified() || config.http.api_url.is_some(),
        "a standby sends callers to the leader, and http.bind names no address that they could use; set http.api_url",
    );
}

/// OWNERSHIP rule 4: a worker's lease outlasts the change of its leader. A single orchestrator only has to be heard in time.
fn timing(config: &Config, broken: &mut Vec<Broken>) {
    let Config {
        leadership, lease, ..
    } = config;
    let usable = lease
        .duration
        .saturating_sub(lease.stop_budget + lease.kill_margin);
    let two_intervals = (INTERVAL * 2).mul_f64(1.0 + JITTER);
    let heard = two_intervals + ROUND_TRIP;
    let (needed, words) = match leadership.backend {
        Backend::File => (heard, String::new()),
        Backend::Nats if (0.0..=1.0).contains(&lease.drift) => (
            leadership.lease.mul_f64(1.0 + lease.drift) + TAKEOVER + heard,
            format!(
                "leadership.lease × (1 + lease.drift) ({:?} × {}) + takeover {TAKEOVER:?} + ",
                leadership.lease,
                1.0 + lease.drift
            ),
        ),
        // Reported as what it is.
        Backend::Nats => return,
    };
    if needed >= usable {
        broken.push((
            &[
                "lease.duration",
                "lease.stop_budget",
                "lease.kill_margin",
                "leadership.lease",
            ],
            format!(
                "{words}2 heartbeats {two_intervals:?} + round trip {ROUND_TRIP:?} = {needed:?} must be less than \
                 lease.duration - lease.stop_budget - lease.kill_margin ({:?} - {:?} - {:?} = {usable:?}); raise \
                 lease.duration, or lower the others",
                lease.duration, lease.stop_budget, lease.kill_margin
            ),
        ));
    }
}
