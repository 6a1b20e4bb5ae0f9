//! A whole database as lines of JSON, and back into another one, of the other kind too.
//!
//! The first line says what it is and which schema it has, the last one how many rows there are: a file that was cut off is
//! noticed. Between them, one line for each row of each table.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, Statement,
    TransactionTrait,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AdminError, RAISE, TERM_STEP, check_schema, failed, known, number, plain};
use crate::adapter::store::StoreOptions;
use crate::adapter::store::connect;
use crate::adapter::store::options::Kind;
use crate::adapter::store::redact::redact_url;

/// Rows that are read, or written, at a time.
const PAGE: usize = 5_000;
/// What the first line says.
const FORMAT: &str = "streamkeeper-export-1";

/// How many rows of which table.
pub type Copied = BTreeMap<String, u64>;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: String,
    schema: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Foot {
    rows: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    table: &'a str,
    #[serde(borrow)]
    row: &'a RawValue,
}

/// Writes everything that is stored at one moment; orchestrators may go on meanwhile.
///
/// # Errors
/// When the database cannot be read, or the file not be written.
pub async fn export(
    url: &str,
    options: &StoreOptions,
    out: &mut (dyn Write + Send),
) -> Result<Copied, AdminError> {
    let database = plain(url, options).await?;
    check_schema(&database, url).await?;
    let reads = failed("read the database");
    // One snapshot for all tables.
    let isolation = Some(IsolationLevel::RepeatableRead);
    let snapshot = match database.get_database_backend() {
        DbBackend::Postgres => {
            database
                .begin_with_config(isolation, Some(AccessMode::ReadOnly))
                .await
        }
        _ => database.begin().await,
    };
    let snapshot = snapshot.map_err(&reads)?;
    let head = Head {
        format: FORMAT.to_owned(),
        schema: known(),
    };
    line(out, &head)?;
    let mut copied = Copied::new();
    for table in tables(&snapshot).await.map_err(&reads)? {
        let mut pages = Pages::of(&snapshot, &table).await.map_err(&reads)?;
        let mut count = 0;
        loop {
            let rows = pages.next(&snapshot).await.map_err(&reads)?;
            let read = rows.len();
            for row in rows {
                let row = RawValue::from_string(row).map_err(|error| bad_file("the export", &error))?;
                let table = table.as_str();
                line(out, &Row { table, row: &row })?;
            }
            count += read as u64;
            if read < PAGE {
                break;
            }
        }
        pages.end(&snapshot).await.map_err(&reads)?;
        copied.insert(table, count);
    }
    let rows = copied.values().sum();
    line(out, &Foot { rows })?;
    out.flush().map_err(|error| bad_file("the export", &error))?;
    snapshot.rollback().await.map_err(&reads)?;
    Ok(copied)
}

fn line(out: &mut (dyn Write + Send), value: &impl Serialize) -> Result<(), AdminError> {
    let text = serde_json::to_string(value).map_err(|error| bad_file("the export", &error))?;
    writeln!(out, "{text}").map_err(|error| bad_file("the export", &error))
}

fn bad_file(path: &str, reason: &impl ToString) -> AdminError {
    AdminError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Our tables, by name.
async fn tables(connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema() \
             AND table_type = 'BASE TABLE' AND table_name <> 'seaql_migrations' ORDER BY 1"
        }
        _ => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name <> 'seaql_migrations' ORDER BY 1"
        }
    };
    let rows = connection
        .query_all_raw(Statement::from_string(backend, sql))
        .await?;
    rows.iter().map(|row| row.try_get("", "name")).collect()
}

async fn columns(connection: &impl ConnectionTrait, table: &str) -> Result<Vec<String>, DbErr> {
    let backend = connection.get_database_backend();
    let sql = "SELECT name FROM pragma_table_info(?) ORDER BY cid";
    let question = Statement::from_sql_and_values(backend, sql, [table.into()]);
    let rows = connection.query_all_raw(question).await?;
    rows.iter().map(|row| row.try_get("", "name")).collect()
}

/// All rows of a table as JSON, some at a time, in one pass.
struct Pages {
    /// Of SQLite; PostgreSQL has a cursor.
    sql: Option<String>,
    last: i64,
}

impl Pages {
    async fn of(connection: &impl ConnectionTrait, table: &str) -> Result<Self, DbErr> {
        if connection.get_database_backend() == DbBackend::Postgres {
            let cursor = format!(
                "DECLARE pages NO SCROLL CURSOR FOR SELECT row_to_json(stored)::text AS row FROM \"{table}\" AS stored"
            );
            connection.execute_unprepared(&cursor).await?;
            return Ok(Self { sql: None, last: 0 });
        }
        let columns = columns(connection, table).await?;
        let pairs: Vec<String> = columns
            .iter()
            .map(|column| format!("'{column}', \"{column}\""))
            .collect();
        let sql = format!(
            "SELECT json_object({}) AS row, rowid AS place FROM \"{table}\" WHERE rowid > ? ORDER BY rowid LIMIT {PAGE}",
            pairs.join(", ")
        );
        Ok(Self {
            sql: Some(sql),
            last: i64::MIN,
        })
    }

    async fn next(&mut self, connection: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
        let backend = connection.get_database_backend();
        let question = match &self.sql {
            None => Statement::from_string(backend, format!("FETCH {PAGE} FROM pages")),
            Some(sql) => Statement::from_sql_and_values(backend, sql, [self.last.into()]),
        };
        let rows = connection.query_all_raw(question).await?;
        if let (Some(last), Some(_)) = (rows.last(), &self.sql) {
            self.last = last.try_get("", "place")?;
        }
        rows.iter().map(|row| row.try_get("", "row")).collect()
    }

    async fn end(self, connection: &impl ConnectionTrait) -> Result<(), DbErr> {
        match self.sql {
            None => connection.execute_unprepared("CLOSE pages").await.map(drop),
            Some(_) => Ok(()),
        }
    }
}

/// Fills an empty database with an export, and raises the term, so that no epoch is given a second time.
///
/// # Errors
/// When the database is not empty or refuses, or the file is not a whole export of this version.
pub async fn import(
    url: &str,
    options: &StoreOptions,
    file: &str,
    lines: impl BufRead,
) -> Result<Copied, AdminError> {
    let pool = connect::open(url, options).await?;
    let writes = failed("fill the database");
    let transaction = pool.begin(Kind::Migration, "import").await.map_err(&writes)?;
    let used = "SELECT (SELECT count(*) FROM stream) + (SELECT count(*) FROM assignment) \
                + (SELECT term FROM leadership WHERE id = 1)";
    if number(&*transaction, used).await.map_err(&writes)? != 0 {
        return Err(AdminError::Refused(format!(
            "database {}: it is in use already; import into an empty one",
            redact_url(url)
        )));
    }
    let tables = tables(&*transaction).await.map_err(&writes)?;
    for table in &tables {
        let sql = format!("DELETE FROM \"{table}\"");
        transaction.execute_unprepared(&sql).await.map_err(&writes)?;
    }
    let copied = read_lines(&transaction, &tables, file, lines).await?;
    let step = [TERM_STEP.into()];
    let raise = Statement::from_sql_and_values(pool.backend(), RAISE, step);
    let raised = transaction.execute_raw(raise).await.map_err(&writes)?;
    if raised.rows_affected() != 1 {
        return Err(bad_file(file, &"it has no row of table leadership"));
    }
    transaction.commit().await.map_err(&writes)?;
    let _ = pool.database.close_by_ref().await;
    Ok(copied)
}

async fn read_lines(
    transaction: &DatabaseTransaction,
    tables: &[String],
    file: &str,
    mut lines: impl BufRead,
) -> Result<Copied, AdminError> {
    let (mut number, mut text) = (0_u64, String::new());
    let mut copied = Copied::new();
    let mut page: Vec<String> = Vec::new();
    let mut of = String::new();
    loop {
        number += 1;
        text.clear();
        let read = lines
            .read_line(&mut text)
            .map_err(|error| bad_file(file, &error))?;
        let wrong = |reason: String| bad_file(file, &format!("line {number}: {reason}"));
        if read == 0 {
            return Err(wrong("the end is missing; export it again".to_owned()));
        }
        if number == 1 {
            check_head(&text).map_err(wrong)?;
            continue;
        }
        if let Ok(foot) = serde_json::from_str::<Foot>(&text) {
            put(transaction, &of, &mut page).await?;
            let rows: u64 = copied.values().sum();
            return match rows == foot.rows {
                true => Ok(copied),
                false => Err(wrong(format!("{rows} rows came before it, not {}", foot.rows))),
            };
        }
        let row: Row<'_> =
            serde_json::from_str(&text).map_err(|error| wrong(format!("it is no row: {error}")))?;
        if !tables.iter().any(|table| table == row.table) {
            return Err(wrong(format!("there is no table {:?}", row.table)));
        }
        if row.table != of || page.len() == PAGE {
            put(transaction, &of, &mut page).await?;
            row.table.clone_into(&mut of);
        }
        page.push(row.row.get().to_owned());
        *copied.entry(of.clone()).or_default() += 1;
    }
}

fn check_head(text: &str) -> Result<(), String> {
    let head: Head =
        serde_json::from_str(text).map_err(|_| "this is no export of streamkeeper".to_owned())?;
    if head.format != FORMAT {
        return Err(format!("the format is {:?}, not {FORMAT:?}", head.format));
    }
    if head.schema != known() {
        return Err(
            "it was exported by another version; export it with the version that imports it (its `db migrate` \
             brings the source up to date)"
                .to_owned(),
        );
    }
    Ok(())
}

/// Stores a page of rows, and empties it.
async fn put(
    transaction: &DatabaseTransaction,
    table: &str,
    page: &mut Vec<String>,
) -> Result<(), AdminError> {
    if page.is_empty() {
        return Ok(());
    }
    let writes = failed("fill the database");
    let document = format!("[{}]", page.join(","));
    page.clear();
    let backend = transaction.get_database_backend();
    let sql = if backend == DbBackend::Postgres {
        format!(
            "INSERT INTO \"{table}\" SELECT * FROM json_populate_recordset(NULL::\"{table}\", $1::text::json)"
        )
    } else {
        let columns = columns(transaction, table).await.map_err(&writes)?;
        let names: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
        let cells: Vec<String> = columns
            .iter()
            .map(|column| format!("value ->> '$.{column}'"))
            .collect();
        format!(
            "INSERT INTO \"{table}\" ({}) SELECT {} FROM json_each(?)",
            names.join(", "),
            cells.join(", ")
        )
    };
    let statement = Statement::from_sql_and_values(backend, sql, [document.into()]);
    transaction.execute_raw(statement).await.map(drop).map_err(writes)
}
