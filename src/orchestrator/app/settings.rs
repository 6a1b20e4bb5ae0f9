//! From the configuration to the settings of each part.

use std::ffi::OsString;
use std::path::Path;

use streamkeeper_access::without_login;
use streamkeeper_core::consistency_checker::{FindingKind, Policies, Policy};
use streamkeeper_core::recovery_manager::Level;
use streamkeeper_core::{
    alert_manager, balancer, blame, consistency_checker, coordinator, election, heartbeat_tracker, migration,
    recovery_manager,
};
use streamkeeper_protocol::OrchestratorId;

use crate::actor::{Settings, Supervision};
use crate::adapter::http::{HttpSettings, TimeLimits};
use crate::adapter::nats::{ManagedNats, ManagedOptions, NatsSettings};
use crate::adapter::store::StoreOptions;
use crate::config::{Backend, Config, Consistency, Leadership, Recovery, RecoveryLevel};

/// The database in the data folder, where none is named.
const DATABASE_FILE: &str = "streamkeeper.db";

/// The database that these settings name: the file in the data folder, where they name none.
#[must_use]
pub fn database_url(config: &Config, data_dir: &Path) -> String {
    if config.database.url.is_empty() {
        format!("sqlite://{}", data_dir.join(DATABASE_FILE).display())
    } else {
        config.database.url.clone()
    }
}

/// How the connections to the database are limited.
#[must_use]
pub const fn store(config: &Config) -> StoreOptions {
    StoreOptions {
        connections: config.database.connections,
        connect_timeout: config.database.connect_timeout,
        acquire_timeout: config.database.acquire_timeout,
        idle_timeout: config.database.idle_timeout,
        max_lifetime: config.database.max_lifetime,
        read_timeout: config.database.read_timeout,
        operation_timeout: config.database.operation_timeout,
        bulk_timeout: config.database.bulk_timeout,
        migration_timeout: config.database.migration_timeout,
        long_transaction: config.database.long_transaction,
    }
}

pub(super) fn http(config: &Config) -> HttpSettings {
    HttpSettings {
        bind: config.http.bind,
        probe_bind: config.http.probe_bind,
        fault_injection: config.http.fault_injection,
        time_limits: TimeLimits::default(),
    }
}

pub(super) fn managed_nats(config: &Config, data_dir: &Path, linger: Vec<OsString>) -> ManagedOptions {
    ManagedOptions {
        data_dir: data_dir.to_owned(),
        server: config.nats.server.clone(),
        prefix: config.nats.prefix.clone(),
        api_url: Some(format!("http://{}", config.http.bind)),
        linger,
        linger_for: config.nats.linger,
        start_timeout: config.nats.connect_timeout,
    }
}

pub(super) fn nats(config: &Config, managed: Option<&ManagedNats>, id: &OrchestratorId) -> NatsSettings {
    let name = format!("streamkeeper {id}");
    let connect_timeout = config.nats.connect_timeout;
    match managed {
        Some(managed) => managed.settings(name, connect_timeout),
        None => NatsSettings {
            urls: config.nats.urls.clone(),
            access: config.nats.access(),
            prefix: config.nats.prefix.clone(),
            name,
            connect_timeout,
        },
    }
}

/// How the ends of connections are heard; nothing where nobody tells them, or nobody wants to know.
pub(super) fn advisories(
    config: &Config,
    managed: Option<&ManagedNats>,
    id: &OrchestratorId,
) -> Option<NatsSettings> {
    let name = format!("streamkeeper {id} advisories");
    match managed {
        _ if !config.heartbeat.advisories => None,
        Some(managed) => Some(managed.system_settings(name)),
        None => config.nats.system_access().map(|access| NatsSettings {
            // A login in the URL is that of another account.
            urls: config.nats.urls.iter().map(|url| without_login(url)).collect(),
            access,
            prefix: config.nats.prefix.clone(),
            name,
            connect_timeout: config.nats.connect_timeout,
        }),
    }
}

pub(super) fn actors(config: &Config) -> Settings {
    Settings {
        election: election(config),
        coordinator: coordinator::Config {
            timeout: config.heartbeat.timeout,
            lease: config.lease.duration,
            drift: config.lease.drift,
            margin: config.lease.margin,
            stop_budget: config.lease.stop_budget,
            kill_margin: config.lease.kill_margin,
            silent_after: config.database.silent_after,
            // The store gives up first, so that this one is only for answers that never come.
            persist_timeout: config.database.operation_timeout * 3,
            balancer: balancer(config),
            migration: migration_limits(config),
            blame: blame::Config {
                failing_after: config.blame.failing_after,
                workers: config.blame.workers,
                quarantine_for: config.blame.quarantine_for,
                max_quarantine: config.blame.max_quarantine,
                streams: config.blame.streams,
                ..blame::Config::default()
            },
            ..coordinator::Config::default()
        },
        heartbeat_tracker: heartbeat_tracker::Config {
            warning: config.heartbeat.warning,
            timeout: config.heartbeat.timeout,
            emergency: config.heartbeat.emergency,
            ping_after: config.heartbeat.ping_after,
            disconnect_grace: config.heartbeat.disconnect_grace,
            check_interval: config.heartbeat.check_interval,
            mass_failure_share: config.heartbeat.mass_failure_share,
            mass_failure_count: config.heartbeat.mass_failure_count,
            mass_failure_max_hold: config.heartbeat.mass_failure_max_hold,
        },
        balancer: balancer(config),
        consistency_checker: consistency(&config.consistency),
        recovery_manager: recovery(&config.recovery),
        alert_manager: alert_manager::Config {
            unplaced_after: config.alerts.unplaced_after,
            failing_after: config.alerts.failing_after,
            database_after: config.alerts.database_after,
            rival_for: config.alerts.rival_for,
            ..alert_manager::Config::default()
        },
        alert_retention: config.alerts.retention,
        supervision: Supervision {
            max_restarts: config.supervision.max_restarts,
            window: config.supervision.window,
            restart_delay: config.supervision.restart_delay,
            stuck_after: config.supervision.stuck_after,
        },
        change_timeout: config.http.change_timeout,
    }
}

const fn migration_limits(config: &Config) -> migration::Config {
    migration::Config {
        max_per_source: config.migration.max_per_source,
        max_per_target: config.migration.max_per_target,
        max_in_fleet: config.migration.max_in_fleet,
        start_timeout: config.migration.start_timeout,
        overlap_limit: config.migration.overlap_limit,
        verify_for: config.migration.verify_for,
        bar_for: config.migration.bar_for,
    }
}

/// How the balancer is set, for its actor and for plans that are only shown.
pub(super) fn balancer(config: &Config) -> balancer::Config {
    balancer::Config {
        band_relative: config.balancer.band_relative,
        band_absolute: config.balancer.band_absolute,
        round_interval: config.balancer.round_interval,
        min_gain: config.balancer.min_gain,
        damping: config.balancer.damping,
        max_moves_per_round: config.balancer.max_moves_per_round,
        max_share_per_round: config.balancer.max_share_per_round,
        stream_cooldown: config.balancer.stream_cooldown,
        probation: config.balancer.probation,
        ..balancer::Config::default()
    }
}

fn election(config: &Config) -> election::Config {
    let Leadership {
        backend,
        number,
        lease,
        renew_every,
    } = config.leadership;
    election::Config {
        number: number.unwrap_or_default(),
        lease,
        renew_every,
        drift: config.lease.drift,
        margin: config.lease.margin,
        rest: lease,
        // The data folder's lock proves that every predecessor is dead.
        observe: backend == Backend::Nats,
        // An answer that takes longer leaves no time to try again.
        answer_timeout: election::Config::default().answer_timeout.min(lease / 4),
        ..election::Config::default()
    }
}

fn consistency(settings: &Consistency) -> consistency_checker::Config {
    let mut policies = Policies::default();
    for kind in FindingKind::ALL {
        let named = |list: &[String]| list.iter().any(|name| name == kind.as_str());
        let policy = if named(&settings.alert_only) {
            Policy::Alert
        } else if named(&settings.propose) {
            Policy::Propose
        } else {
            Policy::Repair
        };
        policies.set(kind, policy);
    }
    consistency_checker::Config {
        check_interval: settings.check_interval,
        confirmations: settings.confirmations,
        database_interval: settings.database_interval,
        stale_after: settings.stale_after,
        repair_budget: settings.repair_budget,
        policies,
        ..consistency_checker::Config::default()
    }
}

/// What the switches of the recovery mean for the one machine that there is.
const fn recovery(recovery: &Recovery) -> recovery_manager::Config {
    recovery_manager::Config {
        // Without an attempt to make, people are asked at once.
        max_attempts: if recovery.enabled {
            recovery.max_attempts
        } else {
            0
        },
        retry_delay: recovery.retry_delay,
        // A delay that may not grow stays what it is.
        max_delay: if recovery.exponential_backoff {
            recovery.max_delay
        } else {
            recovery.retry_delay
        },
        control_timeout: recovery.control_timeout,
        highest: match recovery.highest {
            RecoveryLevel::Soft => Level::Soft,
            RecoveryLevel::Medium => Level::Medium,
            RecoveryLevel::Hard => Level::Hard,
            RecoveryLevel::Emergency => Level::Emergency,
        },
        step_timeout: recovery.step_timeout,
        max_parallel: recovery.max_parallel,
        hard_budget: recovery.hard_budget,
        hard_window: recovery.hard_window,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_switches_of_the_recovery_take_effect() {
        let mut settings = Recovery {
            enabled: true,
            max_attempts: 3,
            exponential_backoff: true,
            retry_delay: Duration::from_secs(5),
            max_delay: Duration::from_secs(60),
            control_timeout: Duration::from_secs(2),
            highest: RecoveryLevel::Emergency,
            step_timeout: Duration::from_secs(60),
            max_parallel: 2,
            hard_budget: 3,
            hard_window: Duration::from_secs(600),
        };
        assert_eq!(recovery(&settings).highest, Level::Emergency);
        assert_eq!(recovery(&settings).max_attempts, 3);
        assert_eq!(recovery(&settings).max_delay, Duration::from_secs(60));
        settings.exponential_backoff = false;
        assert_eq!(recovery(&settings).max_delay, Duration::from_secs(5));
        settings.enabled = false;
        assert_eq!(recovery(&settings).max_attempts, 0);
    }
}
