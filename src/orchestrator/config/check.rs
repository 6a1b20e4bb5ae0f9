//! What only shows between settings, or in their values: order of thresholds, ranges, tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_core::consistency_checker::FindingKind;
use streamkeeper_protocol::Subjects;

use super::layer::DEFAULTS;
use super::load::{ConfigError, mask};
use super::{Config, Consistency, Database, Heartbeat, Http, Nats};

/// One rule that does not hold: the settings that it is about, and what to do.
pub(super) type Broken = (&'static [&'static str], String);

/// Every rule that does not hold. A rule about a setting that is faulty already is left out.
pub(super) fn check(
    config: &Config,
    origins: &BTreeMap<String, String>,
    faulty: &BTreeSet<String>,
) -> Vec<ConfigError> {
    let mut broken = Vec::new();
    durations(config, &mut broken);
    shares(config, &mut broken);
    counts(config, &mut broken);
    order(config, &mut broken);
    http(&config.http, &mut broken);
    nats(&config.nats, &mut broken);
    super::nats::check(&config.nats, &mut broken);
    super::leadership::check(config, &mut broken);
    database(&config.database, &mut broken);
    kinds(&config.consistency, &mut broken);
    super::sinks::check(&config.alerts, &mut broken);
    if config.data_dir.as_os_str().is_empty() {
        broken.push((&["data_dir"], "is empty; name a folder".to_owned()));
    }
    broken
        .into_iter()
        .filter(|(keys, _)| !keys.iter().any(|key| faulty.contains(*key)))
        .map(|(keys, problem)| {
            // Who set one of them wants to hear about that one.
            let set = keys.iter().find(|key| origins.contains_key(**key));
            let key = set.or(keys.first()).copied().unwrap_or_default();
            ConfigError {
                place: origins.get(key).cloned().unwrap_or_else(|| DEFAULTS.to_owned()),
                key: key.to_owned(),
                problem,
            }
        })
        .collect()
}

fn durations(config: &Config, broken: &mut Vec<Broken>) {
    let above_zero: [(&'static [&'static str], Duration); 31] = [
        (&["http.change_timeout"], config.http.change_timeout),
        (&["nats.connect_timeout"], config.nats.connect_timeout),
        (&["database.start_timeout"], config.database.start_timeout),
        (&["database.connect_timeout"], config.database.connect_timeout),
        (&["database.acquire_timeout"], config.database.acquire_timeout),
        (&["database.idle_timeout"], config.database.idle_timeout),
        (&["database.max_lifetime"], config.database.max_lifetime),
        (&["database.read_timeout"], config.database.read_timeout),
        (&["database.operation_timeout"], config.database.operation_timeout),
        (&["database.silent_after"], config.database.silent_after),
        (&["database.bulk_timeout"], config.database.bulk_timeout),
        (&["database.migration_timeout"], config.database.migration_timeout),
        (&["database.long_transaction"], config.database.long_transaction),
        (&["heartbeat.warning"], config.heartbeat.warning),
        (&["heartbeat.ping_after"], config.heartbeat.ping_after),
        (&["heartbeat.check_interval"], config.heartbeat.check_interval),
        (&["lease.duration"], config.lease.duration),
        (&["balancer.round_interval"], config.balancer.round_interval),
        (&["migration.start_timeout"], config.migration.start_timeout),
        (&["blame.failing_after"], config.blame.failing_after),
        (&["blame.quarantine_for"], config.blame.quarantine_for),
        (&["consistency.check_interval"], config.consistency.check_interval),
        (
            &["consistency.database_interval"],
            config.consistency.database_interval,
        ),
        (&["consistency.stale_after"], config.consistency.stale_after),
        (&["recovery.control_timeout"], config.recovery.control_timeout),
        (&["history.keep_events"], config.history.keep_events),
        (&["history.keep_metrics"], config.history.keep_metrics),
        (&["recovery.step_timeout"], config.recovery.step_timeout),
        (&["recovery.hard_window"], config.recovery.hard_window),
        (&["supervision.window"], config.supervision.window),
        (&["supervision.stuck_after"], config.supervision.stuck_after),
    ];
    for (keys, value) in above_zero {
        if value.is_zero() {
            broken.push((keys, "is 0; write a time above 0, such as \"1s\"".to_owned()));
        }
    }
}

fn shares(config: &Config, broken: &mut Vec<Broken>) {
    let shares: [(&'static [&'static str], f64); 7] = [
        (
            &["heartbeat.mass_failure_share"],
            config.heartbeat.mass_failure_share,
        ),
        (&["lease.drift"], config.lease.drift),
        (&["balancer.band_relative"], config.balancer.band_relative),
        (&["balancer.band_absolute"], config.balancer.band_absolute),
        (&["balancer.min_gain"], config.balancer.min_gain),
        (&["balancer.damping"], config.balancer.damping),
        (
            &["balancer.max_share_per_round"],
            config.balancer.max_share_per_round,
        ),
    ];
    for (keys, value) in shares {
        if !(0.0..=1.0).contains(&value) {
            broken.push((
                keys,
                format!("is {value}; write a share from 0 to 1, such as 0.1"),
            ));
        }
    }
}

fn counts(config: &Config, broken: &mut Vec<Broken>) {
    let above_zero: [(&'static [&'static str], bool); 12] = [
        (
            &["heartbeat.mass_failure_count"],
            config.heartbeat.mass_failure_count == 0,
        ),
        (
            &["balancer.max_moves_per_round"],
            config.balancer.max_moves_per_round == 0,
        ),
        (
            &["migration.max_per_source"],
            config.migration.max_per_source == 0,
        ),
        (
            &["migration.max_per_target"],
            config.migration.max_per_target == 0,
        ),
        (&["migration.max_in_fleet"], config.migration.max_in_fleet == 0),
        (&["blame.workers"], config.blame.workers == 0),
        (&["blame.streams"], config.blame.streams == 0),
        (
            &["consistency.confirmations"],
            config.consistency.confirmations == 0,
        ),
        (&["recovery.max_attempts"], config.recovery.max_attempts == 0),
        (&["recovery.max_parallel"], config.recovery.max_parallel == 0),
        (
            &["database.breaker_threshold"],
            config.database.breaker_threshold == 0,
        ),
        (
            &["supervision.max_restarts"],
            config.supervision.max_restarts == 0,
        ),
    ];
    for (keys, is_zero) in above_zero {
        if is_zero {
            broken.push((keys, "is 0; write a number from 1".to_owned()));
        }
    }
}

/// The first must be the shorter one.
fn shorter(
    keys: &'static [&'static str; 2],
    (first, second): (Duration, Duration),
    equal_is_fine: bool,
    broken: &mut Vec<Broken>,
) {
    if first > second || (first == second && !equal_is_fine) {
        let [name, other] = keys;
        broken.push((
            keys,
            format!(
                "{name} ({first:?}) must be {} {other} ({second:?}); raise {other} or lower {name}",
                if equal_is_fine { "at most" } else { "shorter than" }
            ),
        ));
    }
}

fn order(config: &Config, broken: &mut Vec<Broken>) {
    let Heartbeat {
        warning,
        timeout,
        emergency,
        check_interval,
        ..
    } = config.heartbeat;
    shorter(
        &["heartbeat.warning", "heartbeat.timeout"],
        (warning, timeout),
        false,
        broken,
    );
    shorter(
        &["heartbeat.timeout", "heartbeat.emergency"],
        (timeout, emergency),
        false,
        broken,
    );
    shorter(
        &["heartbeat.check_interval", "heartbeat.timeout"],
        (check_interval, timeout),
        false,
        broken,
    );
    let blame = &config.blame;
    shorter(
        &["blame.quarantine_for", "blame.max_quarantine"],
        (blame.quarantine_for, blame.max_quarantine),
        true,
        broken,
    );
    let recovery = &config.recovery;
    shorter(
        &["recovery.retry_delay", "recovery.max_delay"],
        (recovery.retry_delay, recovery.max_delay),
        true,
        broken,
    );
}

fn http(http: &Http, broken: &mut Vec<Broken>) {
    let is_url = |url: &str| {
        ["http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
    };
    if let Some(url) = http
        .api_url
        .as_deref()
        .filter(|url| !is_url(url) || url.ends_with('/'))
    {
        broken.push((
            &["http.api_url"],
            format!(
                "{:?} is no address of an API; write \"http://HOST:8001\", without a / at its end",
                mask(url)
            ),
        ));
    }
    if http.probe_bind == Some(http.bind) && http.bind.port() != 0 {
        broken.push((
            &["http.probe_bind", "http.bind"],
            format!(
                "http.bind and http.probe_bind are both {}; choose another port for one",
                http.bind
            ),
        ));
    }
}

fn nats(nats: &Nats, broken: &mut Vec<Broken>) {
    if Subjects::new(&nats.prefix).is_err() {
        broken.push((
            &["nats.prefix"],
            format!(
                "{:?} is no prefix; write one or more names of letters, digits, - and _, parted by dots, such as \
                 \"sk\" or \"radio.eu\"",
                nats.prefix
            ),
        ));
    }
    for url in &nats.urls {
        if !["nats://", "tls://"].iter().any(|scheme| url.starts_with(scheme)) {
            broken.push((
                &["nats.urls"],
                format!(
                    "{:?} is no URL of a server; write \"nats://HOST:4222\" or \"tls://HOST:4222\"",
                    mask(url)
                ),
            ));
        }
    }
}

fn database(database: &Database, broken: &mut Vec<Broken>) {
    if database.connections < 2 {
        broken.push((
            &["database.connections"],
            format!(
                "is {}; write 2 or more: a reader would wait for the writer",
                database.connections
            ),
        ));
    }
    let schemes = ["sqlite:", "postgres://", "postgresql://"];
    if !database.url.is_empty() && !schemes.iter().any(|scheme| database.url.starts_with(scheme)) {
        broken.push((
            &["database.url"],
            format!(
                "{:?} is no database; write \"sqlite://FILE\" or \"postgres://USER@HOST/DATABASE\", or leave it empty",
                mask(&database.url)
            ),
        ));
    }
}

fn kinds(consistency: &Consistency, broken: &mut Vec<Broken>) {
    let lists: [(&'static [&'static str], &[String]); 2] = [
        (&["consistency.propose"], &consistency.propose),
        (&["consistency.alert_only"], &consistency.alert_only),
    ];
    for (keys, kinds) in lists {
        for kind in kinds {
            if !FindingKind::ALL.iter().any(|known| known.as_str() == kind) {
                let known: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.as_str()).collect();
                let problem = format!(
                    "{kind:?} is no kind of finding; write some of {}",
                    known.join(", ")
                );
                broken.push((keys, problem));
            }
        }
    }
    let both = |kind: &&String| consistency.alert_only.contains(kind);
    if let Some(kind) = consistency.propose.iter().find(both) {
        broken.push((
            &["consistency.propose", "consistency.alert_only"],
            format!("consistency.propose and consistency.alert_only both name {kind:?}; take it out of one"),
        ));
    }
}
