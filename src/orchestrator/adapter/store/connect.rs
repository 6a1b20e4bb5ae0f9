//! Opening a database: connection settings and schema.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{self, Connection};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqlxPostgresConnector,
    SqlxSqliteConnector,
};
use streamkeeper_migration::{Migrator, MigratorTrait};

use super::open_error::OpenError;
use super::options::{Kind, StoreOptions};
use super::pool::{Pool, millis};
use super::redact::redact_url;
use super::tls::{self, Tls};

/// How long SQLite waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Names the lock under which orchestrators migrate one after the other; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x5354_524b_4545_5052;
/// How the server's list of connections names ours.
const APPLICATION_NAME: &str = "streamkeeper";

/// What a URL names.
enum Target {
    Postgres(Box<PgConnectOptions>, Tls),
    Sqlite(Box<SqliteConnectOptions>),
}

impl Target {
    async fn of(url: &str) -> Result<Self, OpenError> {
        let bad = |error: sqlx::Error| OpenError::Unsupported {
            url: redact_url(url),
            reason: format!(
                "cannot be read ({})",
                error.to_string().replace(url, &redact_url(url))
            ),
        };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            // First, because the driver would only log what it does not know.
            tls::check_parameters(url)?;
            let options: PgConnectOptions = url.parse().map_err(bad)?;
            let tls = Tls::of(url, &options).await?;
            return Ok(Self::Postgres(Box::new(options.ssl_mode(tls.mode)), tls));
        }
        let reason = if !url.starts_with("sqlite:") {
            "is not supported"
        } else if url.contains(":memory:") || url.contains("mode=memory") {
            "would forget what it acknowledged"
        } else {
            return url.parse().map(Box::new).map(Self::Sqlite).map_err(bad);
        };
        Err(OpenError::Unsupported {
            url: redact_url(url),
            reason: reason.to_owned(),
        })
    }

    /// Makes one connection and closes it. A pool would only say that it had none in time.
    async fn reach(&self, url: &str, timeout: Duration) -> Result<(), OpenError> {
        if let Self::Sqlite(options) = self {
            check_log(url, options.get_filename())?;
        }
        let reached = tokio::time::timeout(timeout, async {
            match self {
                Self::Postgres(options, _) => PgConnection::connect_with(options).await?.close().await,
                // Whoever only looks makes no file.
                Self::Sqlite(options) if !options.get_filename().exists() => Ok(()),
                Self::Sqlite(options) => {
                    let mut connection = SqliteConnection::connect_with(options).await?;
                    sqlx::query("SELECT count(*) FROM sqlite_master")
                        .execute(&mut connection)
                        .await?;
                    connection.close().await
                }
            }
        });
        match reached.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(OpenError::of_driver(url, &error)),
            Err(_) => Err(OpenError::Unreachable {
                url: redact_url(url),
                reason: format!("no answer within {timeout:?}"),
            }),
        }
    }
}

/// Whether the database can be reached, without changing anything in it.
///
/// # Errors
/// When it cannot be reached, or refuses.
pub async fn probe(url: &str, timeout: Duration) -> Result<(), OpenError> {
    Target::of(url).await?.reach(url, timeout).await
}

/// Connects and brings the schema up to date.
pub(super) async fn open(url: &str, options: &StoreOptions) -> Result<Pool, OpenError> {
    let (database, target) = connect(url, options, true).await?;
    let file = match &target {
        Target::Postgres(..) => None,
        Target::Sqlite(sqlite) => Some(sqlite.get_filename()),
    };
    let pool = Pool::new(database, options.clone(), file);
    let migrated = migrate(&pool).await;
    let unknown = migrated.map_err(|error| OpenError::of_migration(url, &error))?;
    if unknown.is_empty() {
        Ok(pool)
    } else {
        let url = redact_url(url);
        Err(OpenError::NewerSchema { url, unknown })
    }
}

/// Connects to a database that is there, whatever is in it.
pub(super) async fn existing(url: &str, options: &StoreOptions) -> Result<DatabaseConnection, OpenError> {
    connect(url, options, false).await.map(|(database, _)| database)
}

/// The file that the URL names; none where it names a server.
pub(super) fn sqlite_file(url: &str) -> Result<Option<PathBuf>, OpenError> {
    if !url.starts_with("sqlite:") {
        return Ok(None);
    }
    let options: SqliteConnectOptions = url.parse().map_err(|error| OpenError::of_driver(url, &error))?;
    Ok(Some(options.get_filename().to_owned()))
}

async fn connect(
    url: &str,
    options: &StoreOptions,
    create: bool,
) -> Result<(DatabaseConnection, Target), OpenError> {
    let target = Target::of(url).await?;
    target.reach(url, options.connect_timeout).await?;
    if let (Target::Sqlite(sqlite), true) = (&target, create) {
        make_file(sqlite.get_filename());
    }
    let mut settings = settings(url, options);
    if let Target::Postgres(_, tls) = &target {
        let (mode, timeouts) = (tls.mode, session_timeouts(options));
        settings.map_sqlx_postgres_opts(move |postgres| session(postgres.ssl_mode(mode), &timeouts));
        for warning in tls.warnings() {
            tracing::warn!("{warning}");
        }
    }
    let database = match &target {
        Target::Postgres(..) => SqlxPostgresConnector::connect(settings).await,
        Target::Sqlite(_) => SqlxSqliteConnector::connect(settings).await,
    };
    let database = database.map_err(|error| OpenError::of_open(url, &error))?;
    Ok((database, target))
}

/// A log without its database holds what was committed to a file that was moved away: SQLite would delete it with the first
/// look at a new one.
fn check_log(url: &str, path: &Path) -> Result<(), OpenError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log = PathBuf::from(log);
    let holds = log.metadata().is_ok_and(|found| found.len() > 0);
    if !holds || path.metadata().is_ok_and(|found| found.len() > 0) {
        return Ok(());
    }
    Err(OpenError::Refused {
        url: redact_url(url),
        reason: format!(
            "there is a log of changes, {}, and the database that it belongs to is missing",
            log.display()
        ),
        suggestion: "put the file back that was moved away, or move the log away as well to begin anew",
    })
}

/// An empty file is a database without tables. Not left to the pool: a connection that it makes later, while the file is moved
/// away, would begin a new one in its place, and SQLite would delete the log of the old one, with what was committed to it.
fn make_file(path: &Path) {
    let made = std::fs::OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = made {
        // Connecting says what is wrong with it.
        tracing::debug!(path = %path.display(), %error, "the database file was not made");
    }
}

fn settings(url: &str, options: &StoreOptions) -> ConnectOptions {
    let mut settings = ConnectOptions::new(url);
    settings
        .max_connections(options.connections.max(2))
        .connect_timeout(options.connect_timeout)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(options.idle_timeout)
        .max_lifetime(options.max_lifetime)
        .sqlx_logging(false)
        .map_sqlx_sqlite_pool_opts(|pool| {
            // A commit that fails, of a full disk say, ends the transaction, and the driver goes on to count it as open. It
            // would make a savepoint of each later one, and of the first that is rolled back a transaction that nobody
            // commits: whatever was acknowledged then would be gone with the process.
            pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        })
        .map_sqlx_sqlite_opts(|sqlite| {
            sqlite
                .create_if_missing(false)
                .journal_mode(SqliteJournalMode::Wal)
                // NORMAL would lose acknowledged writes in a power failure.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(BUSY_TIMEOUT)
        });
    settings
}

/// What the server itself ends, because a program that is paused cannot: otherwise its open transaction would keep the
/// lock on the fence row, and no successor could take over.
fn session_timeouts(options: &StoreOptions) -> [(&'static str, u128); 3] {
    [
        ("statement_timeout", millis(options.limit(Kind::Write))),
        ("lock_timeout", millis(options.lock_limit(Kind::Write))),
        (
            "idle_in_transaction_session_timeout",
            millis(options.idle_limit()),
        ),
    ]
}

/// Adds what the URL does not set itself.
fn session(mut postgres: PgConnectOptions, timeouts: &[(&'static str, u128)]) -> PgConnectOptions {
    if postgres.get_application_name().is_none() {
        postgres = postgres.application_name(APPLICATION_NAME);
    }
    let own = postgres.get_options().unwrap_or_default().to_owned();
    let missing = timeouts.iter().filter(|(name, _)| !own.contains(name)).copied();
    postgres.options(missing)
}

/// Applies what is missing, and returns the schema changes that this version does not know; then nothing was applied.
/// One transaction, because programs that start together would otherwise create the same tables.
async fn migrate(pool: &Pool) -> Result<Vec<String>, DbErr> {
    let transaction = pool.begin(Kind::Migration, "update the schema").await?;
    if pool.backend() == DbBackend::Postgres {
        let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
        transaction.execute_unprepared(&lock).await?;
    }
    Migrator::install(&*transaction).await?;
    let applied = Migrator::get_migration_models(&*transaction).await?;
    let known = Migrator::get_migration_files();
    let missing = known.len().saturating_sub(applied.len());
    let unknown: Vec<String> = applied
        .into_iter()
        .map(|model| model.version)
        .filter(|version| !known.iter().any(|migration| migration.name() == version))
        .collect();
    if unknown.is_empty() {
        Migrator::up(&*transaction, None).await?;
        transaction.commit().await?;
        if missing > 0 {
            tracing::info!(applied = missing, "the schema is brought up to date");
        }
    } else {
        transaction.rollback().await?;
    }
    Ok(unknown)
}
