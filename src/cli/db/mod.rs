//! `db`: the database without an orchestrator.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use streamkeeper_orchestrator::adapter::store::admin::{self, AdminError, Copied};
use streamkeeper_orchestrator::adapter::store::{OpenError, SeaStore, StoreOptions, redact_url};
use streamkeeper_orchestrator::adapter::system::DataDir;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::config::{self, Config};

use crate::failure::{Exit, Failure};
use crate::screen::{self, Format, OutputArgs};
use crate::settings::{self, SettingsArgs};

const WHICH: &str = "\
The database is the one of `serve`: the same --config, environment and flags.

Examples:
";

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Brings the schema up to date, as the start of `serve` does
    #[command(after_help = format!("{WHICH}  streamkeeper db migrate --database postgres://keeper@db/keeper"))]
    Migrate(PlainArgs),
    /// Shows what is stored, which schema it has, and who waits for whom
    #[command(after_help = format!("{WHICH}  streamkeeper db status\n  streamkeeper db status -o json"))]
    Status(PlainArgs),
    /// Writes everything into a file, while orchestrators go on
    #[command(after_help = format!("{WHICH}  streamkeeper db export streams.jsonl"))]
    Export(FileArgs),
    /// Fills an empty database with an export, of SQLite or PostgreSQL
    #[command(after_help = format!(
        "{WHICH}  streamkeeper db import streams.jsonl --database postgres://keeper@db/keeper"
    ))]
    Import(FileArgs),
    /// Copies a SQLite file and checks the copy, while `serve` goes on
    #[command(after_help = format!("{WHICH}  streamkeeper db backup /backup/streamkeeper.db"))]
    Backup(FileArgs),
    /// Puts a checked copy in the place of a SQLite file; `serve` must not run
    #[command(after_help = format!("{WHICH}  streamkeeper db restore /backup/streamkeeper.db"))]
    Restore(FileArgs),
    /// To be run once after PostgreSQL was put back to an older copy, before `serve`: no epoch is given again
    #[command(after_help = format!("{WHICH}  streamkeeper db raise-term --database postgres://keeper@db/keeper"))]
    RaiseTerm(PlainArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PlainArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The database of the settings.
struct Place {
    config: Config,
    url: String,
    options: StoreOptions,
}

impl Place {
    fn of(args: &SettingsArgs) -> Result<Self, Failure> {
        let config = config::load(&args.layers()?).map_err(|errors| settings::refused(&errors))?;
        Ok(Self {
            url: app::database_url(&config, &config.data_dir),
            options: app::store_options(&config),
            config,
        })
    }
}

pub(crate) fn run(command: DbCommand) -> Result<(), Failure> {
    match command {
        DbCommand::Migrate(args) => migrate(&args),
        DbCommand::Status(args) => status(&args),
        DbCommand::Export(args) => export(&args),
        DbCommand::Import(args) => import(&args),
        DbCommand::Backup(args) => backup(&args),
        DbCommand::Restore(args) => restore(&args),
        DbCommand::RaiseTerm(args) => raise_term(&args),
    }
}

fn refused(verb: &str, error: &AdminError) -> Failure {
    let exit = match error {
        AdminError::Open(error) => return unopened(verb, error),
        AdminError::File { .. } => Exit::Usage,
        AdminError::Refused(_) => Exit::Refused,
        AdminError::Database { .. } => Exit::Failed,
    };
    Failure::new(exit, format!("db {verb}: {error}"))
}

fn unopened(verb: &str, error: &OpenError) -> Failure {
    let exit = if error.may_pass() {
        Exit::Unreachable
    } else {
        Exit::Refused
    };
    Failure::new(exit, format!("db {verb}: {error}"))
}

/// One line for people, or an object.
fn say(output: &OutputArgs, line: &str, object: &serde_json::Value) -> Result<(), Failure> {
    match output.output {
        Format::Table => screen::line(line),
        Format::Json => screen::json(object),
    }
}

/// The data folder, where the database lies in it: made where it is missing, and closed for orchestrators meanwhile.
fn own_folder(verb: &str, config: &Config) -> Result<Option<DataDir>, Failure> {
    if !config.database.url.is_empty() {
        return Ok(None);
    }
    let locked = DataDir::lock(&config.data_dir);
    locked
        .map(Some)
        .map_err(|error| Failure::new(Exit::Refused, format!("db {verb}: {error}")))
}

fn migrate(args: &PlainArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let _data = own_folder("migrate", &place.config)?;
    let found = crate::runtime()?.block_on(async {
        let opened = SeaStore::open(&place.url, &place.options).await;
        let store = opened.map_err(|error| unopened("migrate", &error))?;
        // What is written is written; an error here changes nothing.
        let _ = store.close().await;
        let found = admin::inspect(&place.url, &place.options).await;
        found.map_err(|error| refused("migrate", &error))
    })?;
    let count = found.applied.len();
    say(
        &args.output,
        &format!("the schema is up to date: {count} changes"),
        &json!({ "applied": found.applied }),
    )
}

fn status(args: &PlainArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let found = crate::runtime()?
        .block_on(admin::inspect(&place.url, &place.options))
        .map_err(|error| refused("status", &error))?;
    let shown = serde_json::to_value(&found)
        .map_err(|error| Failure::failed(format!("db status: no JSON: {error}")))?;
    if args.output.output == Format::Json {
        return screen::json(&shown);
    }
    let text = |count: Option<i64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let schema = match (found.missing.is_empty(), found.unknown.is_empty()) {
        (true, true) => "up to date".to_owned(),
        (false, _) => format!(
            "{} changes are missing: streamkeeper db migrate",
            found.missing.len()
        ),
        (_, false) => format!("newer than this program: {}", found.unknown.join(", ")),
    };
    let mut lines = vec![
        format!("database     {}", redact_url(&place.url)),
        format!(
            "version      {} {} ({:.1} ms)",
            found.backend, found.version, found.latency_ms
        ),
        format!("schema       {schema}"),
        format!("term         {}", text(found.term)),
        format!("streams      {}", text(found.streams)),
        format!("assignments  {}", text(found.assignments)),
        format!(
            "size         {}",
            screen::bytes(u64::try_from(found.size_bytes).unwrap_or_default())
        ),
    ];
    if let Some(connections) = found.connections {
        lines.push(format!(
            "connections  {} of {}",
            connections.used, connections.most
        ));
    }
    for blocked in &found.blocked {
        lines.push(format!(
            "blocked      process {} ({}) waits for process {}: {}",
            blocked.pid, blocked.application, blocked.blocked_by, blocked.query
        ));
    }
    for long in &found.long_transactions {
        lines.push(format!(
            "long         process {} ({}), {}, for {:.0} s",
            long.pid,
            long.application,
            long.state,
            long.age_ms / 1_000.0
        ));
    }
    screen::line(&lines.join("\n"))
}

fn rows(copied: &Copied) -> String {
    let tables: Vec<String> = copied
        .iter()
        .map(|(table, rows)| format!("{table} {rows}"))
        .collect();
    tables.join(", ")
}

fn export(args: &FileArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let wrong =
        |error: std::io::Error| Failure::usage(format!("db export: file {}: {error}", args.file.display()));
    // Never over something that somebody may still need.
    let file = File::create_new(&args.file).map_err(wrong)?;
    let mut out = BufWriter::new(file);
    let exported = crate::runtime()?.block_on(admin::export(&place.url, &place.options, &mut out));
    let copied = exported.map_err(|error| {
        // Half an export is none.
        let _ = std::fs::remove_file(&args.file);
        refused("export", &error)
    })?;
    out.flush()
        .and_then(|()| out.get_ref().sync_all())
        .map_err(wrong)?;
    say(
        &args.output,
        &format!("exported: {}", rows(&copied)),
        &json!({ "rows": copied }),
    )
}

fn import(args: &FileArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let name = args.file.display().to_string();
    let file =
        File::open(&args.file).map_err(|error| Failure::usage(format!("db import: file {name}: {error}")))?;
    let lines = BufReader::new(file);
    let _data = own_folder("import", &place.config)?;
    let imported = crate::runtime()?.block_on(admin::import(&place.url, &place.options, &name, lines));
    let copied = imported.map_err(|error| refused("import", &error))?;
    say(
        &args.output,
        &format!("imported: {}", rows(&copied)),
        &json!({ "rows": copied }),
    )
}

fn backup(args: &FileArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let size = crate::runtime()?
        .block_on(admin::backup(&place.url, &place.options, &args.file))
        .map_err(|error| refused("backup", &error))?;
    let (name, bytes) = (args.file.display(), screen::bytes(size));
    say(
        &args.output,
        &format!("copied and checked: {name} ({bytes})"),
        &json!({ "file": args.file, "bytes": size }),
    )
}

fn restore(args: &FileArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    // As long as it is held, no orchestrator starts on this folder.
    let _data = DataDir::lock(&place.config.data_dir)
        .map_err(|error| Failure::new(Exit::Refused, format!("db restore: {error}")))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs()).to_string();
    let kept = crate::runtime()?
        .block_on(admin::restore(&place.url, &place.options, &args.file, &now))
        .map_err(|error| refused("restore", &error))?;
    let aside = match &kept {
        Some(kept) => format!("; what was there is {}", kept.display()),
        None => String::new(),
    };
    say(
        &args.output,
        &format!(
            "restored from {}, and the term is raised{aside}",
            args.file.display()
        ),
        &json!({ "restored": args.file, "kept": kept }),
    )
}

fn raise_term(args: &PlainArgs) -> Result<(), Failure> {
    let place = Place::of(&args.settings)?;
    let term = crate::runtime()?
        .block_on(admin::raise_term(&place.url, &place.options))
        .map_err(|error| refused("raise-term", &error))?;
    say(
        &args.output,
        &format!("the term is {term} now"),
        &json!({ "term": term }),
    )
}
