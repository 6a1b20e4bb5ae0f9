//! The transaction monitor: which transactions are open, for how long, and what for. Long ones are reported. What this
//! process still does ends with its own limit, which rolls it back; what nobody waits for any more (on PostgreSQL: also
//! of a process that is frozen, or of another orchestrator of this database) is ended on the server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use super::options::{Kind, StoreOptions};
use super::pool::Pool;
use crate::port::LongTransaction;
use crate::telemetry::metrics::{
    DATABASE_CONNECTIONS, DATABASE_LEAKS, DATABASE_LONG_TRANSACTIONS, DATABASE_TRANSACTIONS_ENDED,
};

/// Time between two looks at what this process holds.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two questions to the server.
const LOOKS_PER_QUESTION: u32 = 5;
/// Most transactions in the history of the longest.
const MAX_LONGEST: usize = 20;
/// Most sessions of the server that are looked at in one question.
const MAX_SESSIONS: usize = 100;

/// The open transactions of one store, and the longest that ended.
#[derive(Debug)]
pub(super) struct Monitor {
    options: StoreOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// The longest first.
    longest: Vec<LongTransaction>,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    operation: &'static str,
    since: Instant,
    warned: bool,
    leaked: bool,
}

/// One open transaction.
#[derive(Debug)]
pub(super) struct Held {
    monitor: Arc<Monitor>,
    number: u64,
    operation: &'static str,
    since: Instant,
}

impl Held {
    pub(super) const fn since(&self) -> Instant {
        self.since
    }

    pub(super) const fn operation(&self) -> &'static str {
        self.operation
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        let mut state = self.monitor.state();
        state.open.remove(&self.number);
        if took >= self.monitor.options.long_transaction {
            let at = state.longest.partition_point(|longer| longer.took >= took);
            let operation = self.operation;
            let ended = chrono::Utc::now();
            state.longest.insert(
                at,
                LongTransaction {
                    operation,
                    took,
                    ended: Some(ended),
                },
            );
            state.longest.truncate(MAX_LONGEST);
        }
    }
}

impl Monitor {
    pub(super) fn new(options: StoreOptions) -> Self {
        Self {
            options,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(self: &Arc<Self>, kind: Kind, operation: &'static str) -> Held {
        let since = Instant::now();
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.open.insert(
            number,
            Open {
                kind,
                operation,
                since,
                warned: false,
                leaked: false,
            },
        );
        Held {
            monitor: Arc::clone(self),
            number,
            operation,
            since,
        }
    }

    /// Transactions that are open for long, and the longest that ended, the longest first.
    pub(super) fn long(&self) -> Vec<LongTransaction> {
        let state = self.state();
        let mut long: Vec<LongTransaction> = state
            .open
            .values()
            .map(|open| LongTransaction {
                operation: open.operation,
                took: open.since.elapsed(),
                ended: None,
            })
            .filter(|open| open.took >= self.options.long_transaction)
            .chain(state.longest.iter().cloned())
            .collect();
        long.sort_by_key(|long| std::cmp::Reverse(long.took));
        long
    }

    /// Reports what is open for long, each once, and what nobody can be waiting for any more.
    pub(super) fn look(&self) {
        for open in self.state().open.values_mut() {
            let age = open.since.elapsed();
            let (operation, kind) = (open.operation, open.kind.as_str());
            if age >= self.options.long_transaction && !open.warned {
                open.warned = true;
                metrics::counter!(DATABASE_LONG_TRANSACTIONS, "operation" => operation).increment(1);
                let limit = self.options.limit(open.kind);
                tracing::warn!(
                    operation,
                    kind,
                    ?age,
                    ?limit,
                    "a transaction is open for long; at its limit it is rolled back"
                );
            }
            if age >= self.options.end_of_life(open.kind) && !open.leaked {
                open.leaked = true;
                metrics::counter!(DATABASE_LEAKS, "operation" => operation).increment(1);
                tracing::error!(
                    operation,
                    kind,
                    ?age,
                    "a connection is held longer than its operation may last; please report this as a fault of streamkeeper"
                );
            }
        }
    }
}

/// Looks every second, until the store is gone.
pub(super) async fn watch(pool: Weak<Pool>) {
    let mut interval = tokio::time::interval(LOOK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks: u32 = 0;
    loop {
        interval.tick().await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let (open, idle) = pool.connections();
        metrics::gauge!(DATABASE_CONNECTIONS, "state" => "in_use").set(f64::from(open - idle));
        metrics::gauge!(DATABASE_CONNECTIONS, "state" => "idle").set(f64::from(idle));
        pool.monitor.look();
        looks = looks.wrapping_add(1);
        if pool.backend() == DbBackend::Postgres && looks.is_multiple_of(LOOKS_PER_QUESTION) {
            let asked = tokio::time::timeout(pool.options.read_timeout, end_abandoned(&pool)).await;
            if let Ok(Err(error)) = asked {
                tracing::debug!(%error, "the server was not asked for long transactions");
            }
        }
    }
}

/// Sessions of ours, in any process, whose transaction is older than any living owner's could be. Changes of the schema
/// are left alone: they take as long as they take.
const ABANDONED: &str = "\
    SELECT pid, application_name, state, extract(epoch FROM now() - xact_start)::float8 AS age, left(query, 80) AS query \
    FROM pg_stat_activity \
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND xact_start < now() - \
    CASE application_name WHEN $1 THEN make_interval(secs => $2) WHEN $1 || ' read' THEN make_interval(secs => $3) \
    WHEN $1 || ' bulk' THEN make_interval(secs => $4) END \
    ORDER BY xact_start LIMIT $5";

/// Ends what [`ABANDONED`] finds; the server rolls it back.
async fn end_abandoned(pool: &Pool) -> Result<(), DbErr> {
    let name = application_name(pool).await?;
    let seconds = |kind| pool.options.end_of_life(kind).as_secs_f64();
    let values = [
        name.into(),
        seconds(Kind::Write).into(),
        seconds(Kind::Read).into(),
        seconds(Kind::Bulk).into(),
        i64::try_from(MAX_SESSIONS).unwrap_or(i64::MAX).into(),
    ];
    let question = Statement::from_sql_and_values(DbBackend::Postgres, ABANDONED, values);
    for session in pool.database.query_all_raw(question).await? {
        let pid: i32 = session.try_get("", "pid")?;
        let age: f64 = session.try_get("", "age")?;
        let state: Option<String> = session.try_get("", "state")?;
        let query: Option<String> = session.try_get("", "query")?;
        tracing::error!(
            pid,
            age_seconds = age,
            state,
            query,
            "a transaction of ours is abandoned; the server is told to end it"
        );
        let end = format!("SELECT pg_terminate_backend({pid})");
        pool.database.execute_unprepared(&end).await?;
        metrics::counter!(DATABASE_TRANSACTIONS_ENDED).increment(1);
    }
    Ok(())
}

/// How our connections are named; the URL may choose it.
async fn application_name(pool: &Pool) -> Result<String, DbErr> {
    let question = "SELECT current_setting('application_name') AS name";
    let question = Statement::from_string(DbBackend::Postgres, question);
    let found = pool.database.query_one_raw(question).await?;
    found.map_or_else(
        || Err(DbErr::RecordNotFound("application_name".to_owned())),
        |row| row.try_get("", "name"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(long: Duration) -> Arc<Monitor> {
        Arc::new(Monitor::new(StoreOptions {
            long_transaction: long,
            ..StoreOptions::default()
        }))
    }

    #[test]
    fn what_is_open_for_long_is_known_with_what_it_is_for() {
        let monitor = monitor(Duration::ZERO);
        let held = monitor.hold(Kind::Write, "write a batch");
        let long = monitor.long();
        assert_eq!(long.len(), 1);
        assert_eq!((long[0].operation, long[0].ended), ("write a batch", None));
        drop(held);
        let long = monitor.long();
        assert_eq!(long.len(), 1, "it is history now: {long:?}");
        assert!(long[0].ended.is_some());
    }

    #[test]
    fn the_history_keeps_the_longest_only() {
        let monitor = monitor(Duration::ZERO);
        let first = monitor.hold(Kind::Bulk, "take over");
        for _ in 0..2 * MAX_LONGEST {
            drop(monitor.hold(Kind::Write, "write a batch"));
        }
        drop(first);
        let long = monitor.long();
        assert_eq!(long.len(), MAX_LONGEST);
        assert_eq!(long[0].operation, "take over", "{long:?}");
        assert!(long.is_sorted_by(|a, b| a.took >= b.took));
    }

    #[test]
    fn what_is_short_is_forgotten() {
        let monitor = monitor(Duration::from_secs(60));
        drop(monitor.hold(Kind::Read, "read the term"));
        assert_eq!(monitor.long(), []);
    }

    #[test]
    fn each_is_reported_once() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let options = StoreOptions {
            long_transaction: Duration::ZERO,
            ..StoreOptions::default()
        };
        let monitor = Arc::new(Monitor::new(options));
        let _held = monitor.hold(Kind::Write, "write a batch");
        metrics::with_local_recorder(&recorder, || {
            monitor.look();
            monitor.look();
        });
        let text = recorder.handle().render();
        let line = "streamkeeper_database_long_transactions_total{operation=\"write a batch\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("leaks"), "{text}");
    }
}
