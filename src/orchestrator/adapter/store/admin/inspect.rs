//! A look at a database that changes nothing.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use serde::Serialize;

use super::{AdminError, applied, failed, known, number, plain};
use crate::adapter::store::StoreOptions;

/// Most sessions that are shown.
const MAX_SESSIONS: u32 = 20;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// `sqlite` or `postgres`.
    pub backend: &'static str,
    /// The database's own version.
    pub version: String,
    /// How long the shortest question took.
    pub latency_ms: f64,
    /// Schema changes that were applied.
    pub applied: Vec<String>,
    /// Schema changes that `streamkeeper db migrate`, or the next start, would apply.
    pub missing: Vec<String>,
    /// Schema changes of a newer version.
    pub unknown: Vec<String>,
    /// The term of the last leadership.
    pub term: Option<i64>,
    /// Stored streams.
    pub streams: Option<i64>,
    /// Stored assignments.
    pub assignments: Option<i64>,
    /// Room that it takes.
    pub size_bytes: i64,
    /// How far the database's clock is ahead of this machine's; none where it has none of its own.
    pub clock_ahead_ms: Option<f64>,
    /// Connections to the server.
    pub connections: Option<Connections>,
    /// Sessions that wait for a lock, and for whom.
    pub blocked: Vec<Blocked>,
    /// Transactions that are open for long, the longest first.
    pub long_transactions: Vec<Session>,
}

/// Connections to a server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Connections {
    /// Open ones.
    pub used: i64,
    /// Most that it takes.
    pub most: i64,
}

/// A session that waits for a lock.
#[derive(Debug, Clone, Serialize)]
pub struct Blocked {
    /// Its process on the server.
    pub pid: i32,
    /// Who it is, as it says itself.
    pub application: String,
    /// Processes that hold what it waits for.
    pub blocked_by: String,
    /// What it does.
    pub query: String,
}

/// A session with an open transaction.
#[derive(Debug, Clone, Serialize)]
pub struct Session {
    /// Its process on the server.
    pub pid: i32,
    /// Who it is, as it says itself.
    pub application: String,
    /// `active`, `idle in transaction` …
    pub state: String,
    /// For how long the transaction is open.
    pub age_ms: f64,
}

const BLOCKED: &str = "SELECT pid, coalesce(application_name, '') AS application, \
    array_to_string(pg_blocking_pids(pid), ', ') AS blocked_by, left(query, 80) AS query FROM pg_stat_activity \
    WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0 ORDER BY query_start LIMIT $1";
const LONG: &str = "SELECT pid, coalesce(application_name, '') AS application, coalesce(state, '') AS state, \
    (extract(epoch FROM clock_timestamp() - xact_start) * 1000)::float8 AS age_ms FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid() \
    AND xact_start < clock_timestamp() - make_interval(secs => $2) ORDER BY xact_start LIMIT $1";

/// Looks at the database.
///
/// # Errors
/// When it cannot be reached, or does not answer a question.
pub async fn inspect(url: &str, options: &StoreOptions) -> Result<Inspection, AdminError> {
    // Whoever only looks waits for nobody.
    let hurried = StoreOptions {
        operation_timeout: options.operation_timeout.min(PATIENCE),
        ..options.clone()
    };
    let database = plain(url, &hurried).await?;
    let looked = tokio::time::timeout(options.bulk_timeout, look(&database, options)).await;
    let _ = database.close().await;
    match looked {
        Ok(found) => found.map_err(failed("look at the database")),
        Err(_) => Err(AdminError::Database {
            what: "look at the database",
            reason: format!("no answer within {:?}", options.bulk_timeout),
        }),
    }
}

async fn look(database: &DatabaseConnection, options: &StoreOptions) -> Result<Inspection, DbErr> {
    let backend = database.get_database_backend();
    let is_postgres = backend == DbBackend::Postgres;
    let start = Instant::now();
    database.ping().await?;
    let latency = start.elapsed();
    let version = match is_postgres {
        true => "SELECT current_setting('server_version') AS version",
        false => "SELECT sqlite_version() AS version",
    };
    let version = database
        .query_one_raw(Statement::from_string(backend, version))
        .await?;
    let applied = applied(database).await?;
    let known = known();
    let missing: Vec<String> = known
        .iter()
        .filter(|name| !applied.contains(name))
        .cloned()
        .collect();
    let unknown = applied
        .iter()
        .filter(|name| !known.contains(name))
        .cloned()
        .collect();
    let counted = async |sql| match applied.is_empty() {
        true => None,
        // A table that somebody has locked must not hide the rest.
        false => number(database, sql).await.ok(),
    };
    Ok(Inspection {
        backend: if is_postgres { "postgres" } else { "sqlite" },
        version: version.map_or(Ok(String::new()), |row| row.try_get("", "version"))?,
        latency_ms: latency.as_secs_f64() * 1_000.0,
        term: counted("SELECT term FROM leadership WHERE id = 1").await,
        streams: counted("SELECT count(*) FROM stream").await,
        assignments: counted("SELECT count(*) FROM assignment").await,
        missing,
        unknown,
        size_bytes: match is_postgres {
            true => number(database, "SELECT pg_database_size(current_database())").await?,
            false => {
                let pages = number(database, "PRAGMA page_count").await?;
                pages * number(database, "PRAGMA page_size").await?
            }
        },
        clock_ahead_ms: match is_postgres {
            true => Some(clock_ahead(database).await?),
            false => None,
        },
        connections: match is_postgres {
            true => Some(connections(database).await?),
            false => None,
        },
        blocked: match is_postgres {
            true => blocked(database).await?,
            false => Vec::new(),
        },
        long_transactions: match is_postgres {
            true => long(database, options.long_transaction).await?,
            false => Vec::new(),
        },
        applied,
    })
}

/// The question's way is counted half to each direction.
async fn clock_ahead(database: &DatabaseConnection) -> Result<f64, DbErr> {
    let (before, start) = (chrono::Utc::now(), Instant::now());
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
    let there = number(database, sql).await?;
    let middle = before.timestamp_millis() as f64 + start.elapsed().as_secs_f64() * 500.0;
    Ok(there as f64 - middle)
}

async fn connections(database: &DatabaseConnection) -> Result<Connections, DbErr> {
    Ok(Connections {
        used: number(
            database,
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'",
        )
        .await?,
        most: number(database, "SELECT current_setting('max_connections')::bigint").await?,
    })
}

async fn blocked(database: &DatabaseConnection) -> Result<Vec<Blocked>, DbErr> {
    let most = i64::from(MAX_SESSIONS);
    let question = Statement::from_sql_and_values(DbBackend::Postgres, BLOCKED, [most.into()]);
    let rows = database.query_all_raw(question).await?;
    let read = rows.iter().map(|row| {
        Ok(Blocked {
            pid: row.try_get("", "pid")?,
            application: row.try_get("", "application")?,
            blocked_by: row.try_get("", "blocked_by")?,
            query: row.try_get("", "query")?,
        })
    });
    read.collect()
}

async fn long(database: &DatabaseConnection, long: Duration) -> Result<Vec<Session>, DbErr> {
    let values = [i64::from(MAX_SESSIONS).into(), long.as_secs_f64().into()];
    let question = Statement::from_sql_and_values(DbBackend::Postgres, LONG, values);
    let rows = database.query_all_raw(question).await?;
    let read = rows.iter().map(|row| {
        Ok(Session {
            pid: row.try_get("", "pid")?,
            application: row.try_get("", "application")?,
            state: row.try_get("", "state")?,
            age_ms: row.try_get("", "age_ms")?,
        })
    });
    read.collect()
}
