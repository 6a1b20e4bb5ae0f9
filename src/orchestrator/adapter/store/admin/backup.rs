//! Copies of a SQLite file, and what has to be done after an older copy took the place of a database.

use std::fs::File;
use std::path::{Path, PathBuf};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use super::{AdminError, RAISE, TERM_STEP, applied, check_schema, failed, known, plain};
use crate::adapter::store::connect::sqlite_file;
use crate::adapter::store::{OpenError, StoreOptions};

/// What SQLite keeps beside its file.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

fn file_error(path: &Path, reason: impl ToString) -> AdminError {
    AdminError::File {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn url_of(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Copies the database while orchestrators go on, and checks the copy. Returns its size in bytes.
///
/// # Errors
/// When the database is no SQLite, or the copy cannot be made or is not right.
pub async fn backup(url: &str, options: &StoreOptions, to: &Path) -> Result<u64, AdminError> {
    sqlite(url)?;
    if to.exists() {
        return Err(file_error(to, "it is there already; name another one"));
    }
    let database = plain(url, options).await?;
    let copied = vacuum_into(&database, to).await;
    let _ = database.close().await;
    copied?;
    sound(to, options).await?;
    persist(to)
}

/// The file that the URL names.
fn sqlite(url: &str) -> Result<PathBuf, AdminError> {
    sqlite_file(url)?.ok_or_else(|| {
        AdminError::Refused(
            "this is for SQLite files; copy PostgreSQL with pg_dump, restore it with pg_restore, and then run \
             `streamkeeper db raise-term` (docs/STORE.md)"
                .to_owned(),
        )
    })
}

async fn vacuum_into(database: &DatabaseConnection, to: &Path) -> Result<(), AdminError> {
    let path = to
        .to_str()
        .ok_or_else(|| file_error(to, "its name is not UTF-8; choose another one"))?;
    let copy = Statement::from_sql_and_values(DbBackend::Sqlite, "VACUUM INTO ?", [path.into()]);
    let copied = database.execute_raw(copy).await;
    copied.map(drop).map_err(failed("copy the database"))
}

/// Checks every page and index of a copy, and that this version understands it.
async fn sound(path: &Path, options: &StoreOptions) -> Result<(), AdminError> {
    let url = url_of(path);
    let database = plain(&url, options).await?;
    let question = Statement::from_string(DbBackend::Sqlite, "PRAGMA integrity_check(1)");
    let answer = database.query_one_raw(question).await;
    let answer = answer.map_err(failed("check the copy"))?;
    let said: String = answer
        .map_or(Ok("no answer".to_owned()), |row| row.try_get_by_index(0))
        .map_err(failed("check the copy"))?;
    let applied = applied(&database).await.map_err(failed("check the copy"))?;
    let _ = database.close().await;
    if said != "ok" {
        return Err(file_error(
            path,
            format!("it is damaged: {said}; use another backup"),
        ));
    }
    if applied.is_empty() {
        return Err(file_error(path, "this is no database of streamkeeper"));
    }
    let known = known();
    let unknown: Vec<String> = applied.into_iter().filter(|name| !known.contains(name)).collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(OpenError::NewerSchema { url, unknown }.into())
    }
}

/// Brings file and folder to the disk, and says how large the file is.
fn persist(path: &Path) -> Result<u64, AdminError> {
    let synced = File::open(path).and_then(|file| {
        file.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        file.metadata().map(|found| found.len())
    });
    synced.map_err(|error| file_error(path, error))
}

/// Puts a checked copy in the place of the database, with a raised term. Nobody may use the database meanwhile. What was
/// there is kept beside it; the answer is its new name, where there was something.
///
/// # Errors
/// When the backup is not right, or a file cannot be moved.
pub async fn restore(
    url: &str,
    options: &StoreOptions,
    from: &Path,
    now: &str,
) -> Result<Option<PathBuf>, AdminError> {
    let file = sqlite(url)?;
    if !from.exists() {
        return Err(file_error(from, "it is not there"));
    }
    sound(from, options).await?;
    let with = |end: &str| {
        let mut name = file.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    // Made beside its place, so that it gets there by one rename.
    let copy = with(".restoring");
    if copy.exists() {
        std::fs::remove_file(&copy).map_err(|error| file_error(&copy, error))?;
    }
    let source = plain(&url_of(from), options).await?;
    let copied = vacuum_into(&source, &copy).await;
    let _ = source.close().await;
    copied?;
    raise(&url_of(&copy), options).await?;
    persist(&copy)?;
    let aside = with(&format!(".before-{now}"));
    let was_there = file.exists();
    let mut moves = vec![(file.clone(), aside.clone())];
    moves.extend(BESIDE.map(|end| (with(end), with(&format!(".before-{now}{end}")))));
    for (old, new) in moves.into_iter().filter(|(old, _)| old.exists()) {
        std::fs::rename(&old, &new).map_err(|error| file_error(&old, error))?;
    }
    std::fs::rename(&copy, &file).map_err(|error| file_error(&copy, error))?;
    persist(&file)?;
    Ok(was_there.then_some(aside))
}

/// Raises the term after an older copy took the place of a database. Returns the new one.
///
/// # Errors
/// When the database refuses, or its schema is not this version's.
pub async fn raise_term(url: &str, options: &StoreOptions) -> Result<i64, AdminError> {
    let database = plain(url, options).await?;
    check_schema(&database, url).await?;
    let _ = database.close().await;
    raise(url, options).await
}

async fn raise(url: &str, options: &StoreOptions) -> Result<i64, AdminError> {
    let database = plain(url, options).await?;
    let raises = failed("raise the term");
    let step = [TERM_STEP.into()];
    let raise = Statement::from_sql_and_values(database.get_database_backend(), RAISE, step);
    let raised = database.execute_raw(raise).await.map_err(&raises)?;
    let term = super::number(&database, "SELECT term FROM leadership WHERE id = 1").await;
    let _ = database.close().await;
    match raised.rows_affected() {
        1 => term.map_err(raises),
        _ => Err(AdminError::Refused(
            "the row of table leadership is missing; use another backup".to_owned(),
        )),
    }
}
