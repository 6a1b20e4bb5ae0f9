//! The database: reachable, understood, quick, with room, and nobody in the way.

use streamkeeper_orchestrator::adapter::store::admin::{AdminError, Inspection, inspect};
use streamkeeper_orchestrator::adapter::store::redact_url;
use streamkeeper_orchestrator::app;
use streamkeeper_orchestrator::config::Config;

use super::Finding;

const AREA: &str = "database";
/// The oldest PostgreSQL that its makers still look after.
const OLDEST_POSTGRESQL: u32 = 14;
/// A database that takes longer for nothing slows every change.
const SLOW_MS: f64 = 50.0;
/// Clocks that differ by more make times in tables useless to people.
const CLOCK_MS: f64 = 2_000.0;

pub(super) async fn look(config: &Config) -> Vec<Finding> {
    let url = app::database_url(config, &config.data_dir);
    let is_own = config.database.url.is_empty();
    if is_own && !config.data_dir.join("streamkeeper.db").exists() {
        return vec![Finding::ok(
            AREA,
            "the file in the data folder is not there yet; `serve` makes it",
        )];
    }
    match inspect(&url, &app::store_options(config)).await {
        Ok(found) => judge(&redact_url(&url), &found, config),
        Err(AdminError::Open(error)) => vec![Finding::error(
            AREA,
            error.to_string(),
            "start it, or correct database.url; `serve` waits for database.start_timeout",
        )],
        Err(error) => vec![Finding::error(AREA, error.to_string(), "look at its log")],
    }
}

fn judge(url: &str, found: &Inspection, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let answers = format!(
        "{url} answers in {:.1} ms ({} {})",
        found.latency_ms, found.backend, found.version
    );
    findings.push(if found.latency_ms > SLOW_MS {
        Finding::warning(AREA, answers, "bring the database nearer, or look at its load")
    } else {
        Finding::ok(AREA, answers)
    });
    let major = found
        .version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    if found.backend == "postgres" && major.is_some_and(|major| major < OLDEST_POSTGRESQL) {
        findings.push(Finding::warning(
            AREA,
            format!("PostgreSQL {} is old", found.version),
            "update it; streamkeeper is tested with version 15",
        ));
    }
    findings.push(schema(found));
    if let Some(connections) = found.connections {
        let wanted = i64::from(config.database.connections);
        let text = format!(
            "{} of {} connections are in use, and `serve` takes up to {wanted}",
            connections.used, connections.most
        );
        findings.push(if connections.used + wanted > connections.most {
            Finding::warning(
                AREA,
                text,
                "raise max_connections of the server, or lower database.connections",
            )
        } else {
            Finding::ok(AREA, text)
        });
    }
    if let Some(ahead) = found.clock_ahead_ms.filter(|ahead| ahead.abs() > CLOCK_MS) {
        findings.push(Finding::warning(
            "clocks",
            format!("the database's clock is {ahead:.0} ms ahead of this machine's"),
            "let both follow a time server; no decision depends on it, but times shown to people do",
        ));
    }
    findings.extend(found.blocked.iter().map(|blocked| {
        Finding::warning(
            AREA,
            format!(
                "process {} ({}) waits for a lock of process {}: {}",
                blocked.pid, blocked.application, blocked.blocked_by, blocked.query
            ),
            "end what holds the lock: SELECT pg_terminate_backend(PROCESS)",
        )
    }));
    findings.extend(found.long_transactions.iter().map(|long| {
        Finding::warning(
            AREA,
            format!(
                "process {} ({}) has a transaction open for {:.0} s ({})",
                long.pid,
                long.application,
                long.age_ms / 1_000.0,
                long.state
            ),
            "end it where nobody needs it: SELECT pg_terminate_backend(PROCESS)",
        )
    }));
    findings
}

fn schema(found: &Inspection) -> Finding {
    if !found.unknown.is_empty() {
        return Finding::error(
            AREA,
            format!(
                "its schema is newer than this program: {}",
                found.unknown.join(", ")
            ),
            "install the newer version, or restore a backup from before the update",
        );
    }
    if found.missing.is_empty() {
        return Finding::ok(AREA, "its schema is up to date");
    }
    Finding::warning(
        AREA,
        format!("{} changes of the schema are missing", found.missing.len()),
        "the next start of `serve` applies them, as `streamkeeper db migrate` does",
    )
}
