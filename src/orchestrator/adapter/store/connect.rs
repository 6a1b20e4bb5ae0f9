//! Opening a database: connection settings and schema.

use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr};
use streamkeeper_migration::{Migrator, MigratorTrait};

use super::begin;

/// How long SQLite waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Names the lock under which orchestrators migrate one after the other; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x5354_524b_4545_5052;

/// Settings of the connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// Most connections at a time; at least two.
    pub connections: u32,
    /// How long making or getting a connection may take.
    pub connect_timeout: Duration,
    /// How long one operation may take before its outcome counts as unknown or failed.
    pub operation_timeout: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 4,
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
        }
    }
}

/// Why a database could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that is supported.
    #[error("database {url}: is not supported; write sqlite://<file> or postgres://<user>@<host>/<database>")]
    Unsupported {
        /// The URL without password.
        url: String,
    },
    /// The database cannot be reached, or refused.
    #[error("database {url}: {reason}")]
    Connect {
        /// The URL without password.
        url: String,
        /// What the database said.
        reason: String,
    },
    /// The schema could not be brought up to date.
    #[error("database {url}: updating its schema failed: {reason}")]
    Migrate {
        /// The URL without password.
        url: String,
        /// What the database said.
        reason: String,
    },
    /// A newer version of the program has changed the schema.
    #[error(
        "database {url}: its schema is newer than this program, which does not know {unknown:?}; \
         install the newer version or restore a backup from before the update"
    )]
    NewerSchema {
        /// The URL without password.
        url: String,
        /// Schema changes that this version does not know.
        unknown: Vec<String>,
    },
}

/// Connects and brings the schema up to date.
pub(super) async fn open(url: &str, options: &StoreOptions) -> Result<DatabaseConnection, OpenError> {
    let shown = redact_url(url);
    let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    // A database in memory forgets acknowledged writes.
    let sqlite = url.starts_with("sqlite:") && !url.contains(":memory:") && !url.contains("mode=memory");
    if !(postgres || sqlite) {
        return Err(OpenError::Unsupported { url: shown });
    }
    let database = Database::connect(settings(url, options))
        .await
        .map_err(|error| OpenError::Connect {
            url: shown.clone(),
            reason: without_secret(url, &error),
        })?;
    let migrated = migrate(&database).await.map_err(|error| OpenError::Migrate {
        url: shown.clone(),
        reason: without_secret(url, &error),
    });
    let unknown = migrated?;
    if unknown.is_empty() {
        Ok(database)
    } else {
        Err(OpenError::NewerSchema { url: shown, unknown })
    }
}

fn settings(url: &str, options: &StoreOptions) -> ConnectOptions {
    let mut settings = ConnectOptions::new(url);
    settings
        .max_connections(options.connections.max(2))
        .connect_timeout(options.connect_timeout)
        .acquire_timeout(options.connect_timeout)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // NORMAL would lose acknowledged writes in a power failure.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
        });
    settings
}

/// Applies what is missing, and returns the schema changes that this version does not know; then nothing was applied.
/// One transaction, because programs that start together would otherwise create the same tables.
async fn migrate(database: &DatabaseConnection) -> Result<Vec<String>, DbErr> {
    let transaction = begin(database).await?;
    if database.get_database_backend() == DbBackend::Postgres {
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        transaction.execute_unprepared(&lock).await?;
    }
    Migrator::install(&transaction).await?;
    let applied = Migrator::get_migration_models(&transaction).await?;
    let known = Migrator::get_migration_files();
    let unknown: Vec<String> = applied
        .into_iter()
        .map(|model| model.version)
        .filter(|version| !known.iter().any(|migration| migration.name() == version))
        .collect();
    if unknown.is_empty() {
        Migrator::up(&transaction, None).await?;
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(unknown)
}

/// The URL with `***` in place of every password, for logs and errors.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return redact_query(url);
    };
    // The last @, because a password that was not escaped may hold one too.
    let shown = match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    redact_query(&shown)
}

fn redact_query(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let shown: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", shown.join("&"))
}

/// What the driver said; it may quote the URL.
fn without_secret(url: &str, error: &DbErr) -> String {
    error.to_string().replace(url, &redact_url(url))
}
