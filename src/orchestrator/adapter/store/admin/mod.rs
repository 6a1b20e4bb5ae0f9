//! What operators do with a database, besides running an orchestrator on it.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use streamkeeper_migration::{Migrator, MigratorTrait};

use super::connect;
use super::open_error::OpenError;
use super::options::StoreOptions;
use super::redact::redact_url;

mod backup;
mod copy;
mod inspect;

pub use backup::{backup, raise_term, restore};
pub use copy::{Copied, export, import};
pub use inspect::{Blocked, Connections, Inspection, Session, inspect};

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database refused something.
    #[error("{what}: {reason}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// What the database said.
        reason: String,
    },
    /// A file cannot be used.
    #[error("file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// It would do harm, or makes no sense.
    #[error("{0}")]
    Refused(String),
}

/// Raised by so much after an older copy has taken the place of a database: no leadership that came after the copy had a
/// term as high, so that none of its epochs is given a second time. Far below what counts as implausible.
pub(super) const TERM_STEP: i64 = 1 << 16;

const RAISE: &str = "UPDATE leadership SET term = term + $1 WHERE id = 1";

fn failed(what: &'static str) -> impl Fn(DbErr) -> AdminError {
    move |error| AdminError::Database {
        what,
        reason: super::fault::explain(&error),
    }
}

/// Connections to a database that exists, whatever its schema.
async fn plain(url: &str, options: &StoreOptions) -> Result<DatabaseConnection, OpenError> {
    connect::existing(url, options).await
}

/// The schema changes that were applied: none in a database that nobody has used yet.
async fn applied(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let there = match backend {
        DbBackend::Postgres => "SELECT to_regclass('seaql_migrations')::text AS name",
        _ => "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'",
    };
    let there = connection
        .query_one_raw(Statement::from_string(backend, there))
        .await?
        .and_then(|row| row.try_get::<Option<String>>("", "name").ok().flatten());
    if there.is_none() {
        return Ok(Vec::new());
    }
    let all = Statement::from_string(backend, "SELECT version FROM seaql_migrations ORDER BY version");
    let rows = connection.query_all_raw(all).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// The schema changes that this version knows.
fn known() -> Vec<String> {
    let files = Migrator::get_migration_files();
    files
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect()
}

/// Refuses a schema that is not exactly this version's.
async fn check_schema(connection: &impl ConnectionTrait, url: &str) -> Result<(), AdminError> {
    let applied = applied(connection).await.map_err(failed("read the schema"))?;
    let known = known();
    let unknown: Vec<String> = applied
        .iter()
        .filter(|name| !known.contains(name))
        .cloned()
        .collect();
    let url = redact_url(url);
    if !unknown.is_empty() {
        return Err(OpenError::NewerSchema { url, unknown }.into());
    }
    if applied != known {
        return Err(AdminError::Refused(format!(
            "database {url}: its schema is older than this program; bring it up to date with `streamkeeper db migrate`"
        )));
    }
    Ok(())
}

/// One number.
async fn number(connection: &impl ConnectionTrait, sql: &str) -> Result<i64, DbErr> {
    let question = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(question).await?;
    row.map_or(Ok(0), |row| row.try_get_by_index(0))
}
