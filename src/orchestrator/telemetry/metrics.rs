//! Names, help texts and the recorder of the metrics. An adapter names metrics of its own in its own `metrics.rs`.

use std::sync::{Mutex, OnceLock, PoisonError};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use streamkeeper_core::invariant::Invariant;

/// Declared streams by `state`.
pub const STREAMS: &str = "streamkeeper_streams";
/// Known workers by `availability`.
pub const WORKERS: &str = "streamkeeper_workers";
/// Whether this orchestrator leads: 0 or 1.
pub const LEADER: &str = "streamkeeper_leader";
/// The own term.
pub const TERM: &str = "streamkeeper_term";
/// Terms that were heard and are too far ahead to be believed.
pub const IMPLAUSIBLE_TERMS: &str = "streamkeeper_implausible_terms_total";
/// Streams that count on a `worker`.
pub const WORKER_STREAMS: &str = "streamkeeper_worker_streams";
/// Load of a `worker` as a share of its capacity; not a number while its capacity is unknown.
pub const WORKER_LOAD_RATIO: &str = "streamkeeper_worker_load_ratio";
/// Processors that all streams use together, as far as it is measured.
pub const STREAMS_CPU_CORES: &str = "streamkeeper_streams_cpu_cores";
/// Memory that all streams use together, as far as it is measured.
pub const STREAMS_MEMORY_BYTES: &str = "streamkeeper_streams_memory_bytes";
/// What comes from the sources of all streams together, as far as it is measured.
pub const STREAMS_BYTES_PER_SECOND: &str = "streamkeeper_streams_bytes_per_second";
/// Restarts of an `actor` after a panic.
pub const ACTOR_RESTARTS: &str = "streamkeeper_actor_restarts_total";
/// Heartbeats that were taken.
pub const HEARTBEATS: &str = "streamkeeper_heartbeats_total";
/// Assignments given, by `reason`.
pub const MOVES: &str = "streamkeeper_moves_total";
/// Time from the moment when a stream's loss was known until it ran again.
pub const FAILOVER_SECONDS: &str = "streamkeeper_failover_seconds";
/// How long nobody ran a stream that changed its worker, by `kind`: planned or emergency.
pub const MIGRATION_GAP_SECONDS: &str = "streamkeeper_migration_gap_seconds";
/// How long two workers ran a stream that was handed over, by `kind`: planned.
pub const MIGRATION_OVERLAP_SECONDS: &str = "streamkeeper_migration_overlap_seconds";
/// Planned moves of running streams that ended, by `way` and `outcome`.
pub const MIGRATIONS: &str = "streamkeeper_migrations_total";
/// Sessions that were found lost or dead, by `way`.
pub const LOSSES: &str = "streamkeeper_losses_total";
/// Guarantees that were seen broken, by `invariant`: must stay 0.
pub const INVARIANT_VIOLATIONS: &str = "streamkeeper_invariant_violations_total";
/// Inconsistencies that were confirmed, by `kind`.
pub const FINDINGS: &str = "streamkeeper_findings_total";
/// Inconsistencies that last, by `kind`.
pub const FINDINGS_PRESENT: &str = "streamkeeper_findings";
/// Share of the streams, 0 to 1, about which memory, database and workers agree.
pub const CONSISTENCY_SCORE: &str = "streamkeeper_consistency_score";
/// Repairs that were begun, by `repair`.
pub const REPAIRS: &str = "streamkeeper_repairs_total";
/// Attempts to recover a worker that ended, by `level` and `outcome`.
pub const RECOVERIES: &str = "streamkeeper_recoveries_total";
/// How long a transaction of the coordinator took.
pub const PERSIST_SECONDS: &str = "streamkeeper_persist_seconds";
/// Messages that were dropped, because an `actor` had too many waiting.
pub const DROPPED_MESSAGES: &str = "streamkeeper_dropped_messages_total";
/// Changes of alerts, by `rule` and `status`.
pub const ALERTS: &str = "streamkeeper_alerts_total";
/// Attempts to tell a `sink` of a change, by `outcome`: delivered, failed (it is tried again), refused, or dropped (nobody is told: too
/// many waited).
pub const ALERT_DELIVERIES: &str = "streamkeeper_alert_deliveries_total";
/// Changes of alerts that wait for a `sink`.
pub const ALERTS_WAITING: &str = "streamkeeper_alerts_waiting";
/// Messages from the message server that were refused, by `reason`.
pub const MESSAGES_REFUSED: &str = "streamkeeper_messages_refused_total";
/// Messages to the message server that were given up, by `reason`.
pub const MESSAGES_UNSENT: &str = "streamkeeper_messages_unsent_total";
/// Whether there is a connection to the message server: 0 or 1.
pub const NATS_CONNECTED: &str = "streamkeeper_nats_connected";
/// Connections to the message server that came to stand.
pub const NATS_CONNECTS: &str = "streamkeeper_nats_connects_total";
/// Times that incoming messages were dropped because they were read too slowly.
pub const NATS_SLOW_CONSUMER: &str = "streamkeeper_nats_slow_consumer_total";
/// Times that the managed message server ended by itself and was started again.
pub const NATS_SERVER_RESTARTS: &str = "streamkeeper_nats_server_restarts_total";

/// Answers to heartbeats that were handed to the message server.
pub const ACKS: &str = "streamkeeper_acks_total";
/// Whether the database answered the last sign of life: 0 or 1.
pub const DATABASE_UP: &str = "streamkeeper_database_up";
/// Where the circuit breaker of a `dependency` stands: 0 closed, 1 half-open, 2 open.
pub const BREAKER_STATE: &str = "streamkeeper_breaker_state";
/// Connections to the database, by `state`: `in_use` or `idle`.
pub const DATABASE_CONNECTIONS: &str = "streamkeeper_database_connections";
/// How long a transaction waited for its connection and its begin.
pub const DATABASE_ACQUIRE_SECONDS: &str = "streamkeeper_database_acquire_seconds";
/// How long transactions that were committed took, by `operation`.
pub const DATABASE_TRANSACTION_SECONDS: &str = "streamkeeper_database_transaction_seconds";
/// What was ended because it took too long, by `kind`: `acquire`, `read`, `write`, `bulk`, `migration`.
pub const DATABASE_TIMEOUTS: &str = "streamkeeper_database_timeouts_total";
/// Transactions that were tried again, by `reason`: `collision` or `unavailable`.
pub const DATABASE_RETRIES: &str = "streamkeeper_database_retries_total";
/// Transactions that were open for long, by `operation`.
pub const DATABASE_LONG_TRANSACTIONS: &str = "streamkeeper_database_long_transactions_total";
/// Connections that were held longer than their operation may last, by `operation`.
pub const DATABASE_LEAKS: &str = "streamkeeper_database_leaks_total";
/// Abandoned transactions that the server was told to end.
pub const DATABASE_TRANSACTIONS_ENDED: &str = "streamkeeper_database_transactions_ended_total";
/// How many failovers there were: a part of [`FAILOVER_SECONDS`].
pub const FAILOVER_COUNT: &str = "streamkeeper_failover_seconds_count";
/// How long all failovers took together: a part of [`FAILOVER_SECONDS`].
pub const FAILOVER_SUM: &str = "streamkeeper_failover_seconds_sum";
/// Moments whose samples were dropped, because too many waited for the database.
pub const SAMPLES_DROPPED: &str = "streamkeeper_samples_dropped_total";
/// Events that were stored.
pub const EVENTS_STORED: &str = "streamkeeper_events_stored_total";
/// Events that were dropped, because too many waited for the database.
pub const EVENTS_DROPPED: &str = "streamkeeper_events_dropped_total";
/// Always 1; its `version` is the program's.
pub const BUILD_INFO: &str = "streamkeeper_build_info";

/// Upper bounds of [`PERSIST_SECONDS`]: from a local SQLite file to a database in trouble.
const PERSIST_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Upper bounds of [`FAILOVER_SECONDS`], gaps and overlaps.
const FAILOVER_BUCKETS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// Another library of this process has installed its recorder.
    #[error("metrics: the recorder cannot be installed; only one may be set in a process")]
    Install(#[source] BuildError),
}

static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// Installs the recorder of this process and describes every metric. Later calls answer the same handle.
///
/// # Errors
/// When another recorder is installed.
pub fn install_metrics() -> Result<PrometheusHandle, MetricsError> {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = INSTALLED.get() {
        return Ok(handle.clone());
    }
    let handle = builder()
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(MetricsError::Install)?;
    describe();
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(INSTALLED.get_or_init(|| handle).clone())
}

pub(super) fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(PERSIST_SECONDS.to_owned()), &PERSIST_BUCKETS)?
        .set_buckets_for_metric(
            Matcher::Full(DATABASE_ACQUIRE_SECONDS.to_owned()),
            &PERSIST_BUCKETS,
        )?
        .set_buckets_for_metric(
            Matcher::Full(DATABASE_TRANSACTION_SECONDS.to_owned()),
            &PERSIST_BUCKETS,
        )?
        .set_buckets_for_metric(Matcher::Full(FAILOVER_SECONDS.to_owned()), &FAILOVER_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(MIGRATION_GAP_SECONDS.to_owned()), &FAILOVER_BUCKETS)?
        .set_buckets_for_metric(
            Matcher::Full(MIGRATION_OVERLAP_SECONDS.to_owned()),
            &FAILOVER_BUCKETS,
        )
}

/// Gives every metric its help text.
fn describe() {
    describe_gauge!(STREAMS, "Declared streams by state");
    describe_gauge!(
        STREAMS_CPU_CORES,
        "Processors that all streams use together, as far as it is measured"
    );
    describe_gauge!(
        STREAMS_MEMORY_BYTES,
        "Memory that all streams use together, as far as it is measured"
    );
    describe_gauge!(
        STREAMS_BYTES_PER_SECOND,
        "Bytes per second from the sources of all streams together, as far as it is measured"
    );
    describe_gauge!(WORKERS, "Known workers by availability");
    describe_gauge!(LEADER, "Whether this orchestrator leads (0 or 1)");
    describe_gauge!(
        TERM,
        "Leadership number of this orchestrator, 0 while it has none"
    );
    describe_counter!(
        IMPLAUSIBLE_TERMS,
        "Terms that were heard and are too far ahead to be believed"
    );
    describe_gauge!(WORKER_STREAMS, "Streams that count on the worker");
    describe_gauge!(
        WORKER_LOAD_RATIO,
        "Load of the worker as a share of its capacity; NaN while its capacity is unknown"
    );
    describe_counter!(ACTOR_RESTARTS, "Restarts of an actor after a panic");
    describe_counter!(HEARTBEATS, "Heartbeats that were taken");
    describe_counter!(MOVES, "Assignments given, by reason");
    describe_histogram!(
        FAILOVER_SECONDS,
        Unit::Seconds,
        "Time from the moment when a stream's loss was known until it ran again"
    );
    describe_counter!(
        LOSSES,
        "Sessions of workers found lost or dead, by way (proof, advisory, ping, timeout)"
    );
    describe_counter!(
        INVARIANT_VIOLATIONS,
        "Guarantees that this orchestrator saw broken, by invariant; must stay 0"
    );
    // There from the start, so that an alert on its change needs no first value.
    for invariant in Invariant::ALL {
        counter!(INVARIANT_VIOLATIONS, "invariant" => invariant.as_str()).increment(0);
    }
    describe_counter!(FINDINGS, "Inconsistencies that were confirmed, by kind");
    describe_gauge!(FINDINGS_PRESENT, "Inconsistencies that last, by kind");
    describe_gauge!(
        CONSISTENCY_SCORE,
        "Share of the streams (0 to 1) about which memory, database and workers agree"
    );
    describe_counter!(REPAIRS, "Repairs that were begun, by repair");
    describe_counter!(
        RECOVERIES,
        "Attempts to recover a worker that ended, by level and outcome"
    );
    describe_histogram!(
        PERSIST_SECONDS,
        Unit::Seconds,
        "Time that a transaction of the coordinator took"
    );
    describe_counter!(
        DROPPED_MESSAGES,
        "Messages dropped because an actor had too many waiting"
    );
    describe_counter!(ALERTS, "Changes of alerts, by rule and status");
    describe_counter!(
        ALERT_DELIVERIES,
        "Attempts to tell a sink of a change of an alert, by outcome (delivered, failed, refused, dropped)"
    );
    describe_gauge!(ALERTS_WAITING, "Changes of alerts that wait for the sink");
    describe_counter!(
        ACKS,
        "Answers to heartbeats that were handed to the message server"
    );
    describe_gauge!(
        DATABASE_UP,
        "Whether the database answered the last sign of life (0 or 1)"
    );
    describe_gauge!(
        BREAKER_STATE,
        "Where the circuit breaker of a dependency stands (0 closed, 1 half-open, 2 open)"
    );
    describe_gauge!(BUILD_INFO, "Always 1; its version is the program's");
    describe_bus();
    describe_database();
}

/// Help texts of what the connections to the database count.
fn describe_database() {
    describe_gauge!(
        DATABASE_CONNECTIONS,
        "Connections to the database by state (in_use, idle)"
    );
    describe_histogram!(
        DATABASE_ACQUIRE_SECONDS,
        Unit::Seconds,
        "Time that a transaction waited for its connection and its begin"
    );
    describe_histogram!(
        DATABASE_TRANSACTION_SECONDS,
        Unit::Seconds,
        "Time that committed transactions took, by operation"
    );
    describe_counter!(
        DATABASE_TIMEOUTS,
        "What was ended because it took too long, by kind (acquire, read, write, bulk, migration)"
    );
    describe_counter!(
        DATABASE_RETRIES,
        "Transactions tried again, by reason (collision, unavailable)"
    );
    describe_counter!(
        DATABASE_LONG_TRANSACTIONS,
        "Transactions that were open for long, by operation"
    );
    describe_counter!(
        DATABASE_LEAKS,
        "Connections held longer than their operation may last, by operation"
    );
    describe_counter!(
        DATABASE_TRANSACTIONS_ENDED,
        "Abandoned transactions that the server was told to end"
    );
    describe_counter!(
        SAMPLES_DROPPED,
        "Moments whose samples were dropped because too many waited for the database"
    );
    describe_counter!(EVENTS_STORED, "Events that were stored");
    describe_counter!(
        EVENTS_DROPPED,
        "Events dropped because too many waited for the database"
    );
    describe_moves();
}

/// Help texts of moves.
fn describe_moves() {
    describe_histogram!(
        MIGRATION_GAP_SECONDS,
        Unit::Seconds,
        "Time for which nobody ran a stream that changed its worker, by kind (planned, emergency)"
    );
    describe_histogram!(
        MIGRATION_OVERLAP_SECONDS,
        Unit::Seconds,
        "Time for which two workers ran a stream that was handed over, by kind (planned)"
    );
    describe_counter!(
        MIGRATIONS,
        "Planned moves of running streams that ended, by way and outcome"
    );
}

/// Help texts of what the connection to the message server counts.
fn describe_bus() {
    describe_counter!(
        MESSAGES_REFUSED,
        "Messages from the message server that were refused, by reason"
    );
    describe_counter!(
        MESSAGES_UNSENT,
        "Messages to the message server that were given up, by reason"
    );
    describe_gauge!(
        NATS_CONNECTED,
        "Whether there is a connection to the message server (0 or 1)"
    );
    describe_counter!(
        NATS_CONNECTS,
        "Connections to the message server that came to stand"
    );
    describe_counter!(
        NATS_SLOW_CONSUMER,
        "Times that incoming messages were dropped because they were read too slowly"
    );
    describe_counter!(
        NATS_SERVER_RESTARTS,
        "Times that the managed message server ended by itself and was started again"
    );
}
