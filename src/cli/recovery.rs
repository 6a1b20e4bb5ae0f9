//! `workers recover`, `workers emergency`, `workers recoveries`: attempts to bring workers in line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, ServerArgs};
use crate::failure::Failure;
use crate::http::encode;
use crate::screen::{self, Format, OutputArgs};
use crate::suggest::{self, Kind};

const RECOVER_EXAMPLES: &str = "\
Examples:
  streamkeeper workers recover w-1
  streamkeeper workers recover w-1 --level hard --reason 'it leaks memory'

It fails (exit code 1) where the attempt does not help.";

const EMERGENCY_EXAMPLES: &str = "\
Examples:
  streamkeeper workers emergency w-1 --reason 'it does not follow any more'

It fails (exit code 1) where the attempt does not help. What fits on no other worker goes on where it is.";

const LIST_EXAMPLES: &str = "\
Examples:
  streamkeeper workers recoveries
  streamkeeper workers recoveries -o json";

/// Time between two looks at an attempt.
const POLL: Duration = Duration::from_millis(250);

/// How strong an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Asks it for everything that it runs
    Soft,
    /// Moves its streams elsewhere, then lets it get some again
    Medium,
    /// Has its process end; whatever started it starts it again
    Hard,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Medium => "medium",
            Self::Hard => "hard",
        }
    }
}

#[derive(Debug, Args)]
struct WaitArgs {
    /// Only orders it
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for its end
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = RECOVER_EXAMPLES)]
pub(crate) struct RecoverArgs {
    /// The worker's id
    id: String,
    /// How strong the attempt is
    #[arg(long, value_enum, default_value_t = Level::Soft)]
    level: Level,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = EMERGENCY_EXAMPLES)]
pub(crate) struct EmergencyArgs {
    /// The worker's id
    id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct RecoveriesArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is shown of an attempt.
#[derive(Debug, Deserialize)]
struct Attempt {
    worker: String,
    level: String,
    asked: bool,
    reason: String,
    began: String,
    outcome: String,
    detail: String,
}

#[derive(Debug, Deserialize)]
struct Ordered {
    attempt: String,
}

/// What is shown of `GET /api/v1/recovery`.
#[derive(Debug, Deserialize)]
struct Recovery {
    rates: Vec<Rate>,
    running: Vec<Attempt>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Rate {
    level: String,
    tried: u64,
    succeeded: u64,
}

pub(crate) async fn recover(args: &RecoverArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let reason = args.reason.iter();
    let reason: String = reason
        .map(|reason| format!("&reason={}", encode(reason)))
        .collect();
    let target = format!(
        "/api/v1/workers/{}/recover?level={}{reason}",
        encode(&args.id),
        args.level.as_str()
    );
    ordered(&api, &args.id, &target, &args.wait, args.output.output).await
}

pub(crate) async fn emergency(args: &EmergencyArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let target = format!(
        "/api/v1/workers/{}/emergency?reason={}",
        encode(&args.id),
        encode(&args.reason)
    );
    ordered(&api, &args.id, &target, &args.wait, args.output.output).await
}

/// Orders an attempt and waits for its end.
async fn ordered(api: &Api, id: &str, target: &str, wait: &WaitArgs, format: Format) -> Result<(), Failure> {
    let answer: Value = match api.post(target, &Value::Null).await {
        Ok(answer) => answer,
        Err(error) => {
            let typed = [id.to_owned()];
            return Err(suggest::failure(api, Kind::Worker, &typed, error).await);
        }
    };
    let attempt = read::<Ordered>(&answer)?.attempt;
    if wait.no_wait {
        return match format {
            Format::Json => screen::json(&answer),
            Format::Table => screen::line(&format!("attempt {attempt} on worker {id} is ordered")),
        };
    }
    let ended = tokio::time::timeout(wait.timeout, ended(api, &attempt)).await;
    let raw = ended.map_err(|_| {
        Failure::failed(format!(
            "the attempt did not end within {}; `streamkeeper workers recoveries` shows how it goes",
            humantime::format_duration(wait.timeout)
        ))
    })??;
    let found = read::<Attempt>(&raw)?;
    match format {
        Format::Json => screen::json(&raw)?,
        Format::Table => screen::line(&format!("{} {}: {}", found.level, found.outcome, found.detail))?,
    }
    if found.outcome == "succeeded" {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{} recovery of worker {id} {}: {}",
        found.level, found.outcome, found.detail
    )))
}

/// The attempt, once it has ended.
async fn ended(api: &Api, attempt: &str) -> Result<Value, Failure> {
    loop {
        let list: Value = api.get("/api/v1/recovery").await?;
        let all = list["attempts"].as_array();
        let found = all.and_then(|all| all.iter().find(|found| found["attempt"] == attempt));
        if let Some(found) = found {
            return Ok(found.clone());
        }
        tokio::time::sleep(POLL).await;
    }
}

pub(crate) async fn list(args: &RecoveriesArgs) -> Result<(), Failure> {
    let raw: Value = args.server.api()?.get("/api/v1/recovery").await?;
    if args.output.output == Format::Json {
        return screen::json(&raw);
    }
    let recovery = read::<Recovery>(&raw)?;
    let tried = recovery.rates.iter().filter(|rate| rate.tried > 0);
    let rates: Vec<String> = tried
        .map(|rate| format!("{} {} of {}", rate.level, rate.succeeded, rate.tried))
        .collect();
    if rates.is_empty() && recovery.running.is_empty() && recovery.attempts.is_empty() {
        return screen::line("nothing was tried since this leader began");
    }
    screen::line(&format!("helped: {}", rates.join(", ")))?;
    let mut table = screen::table(&["WORKER", "LEVEL", "OUTCOME", "BEGAN", "BY", "REASON", "DETAIL"]);
    for attempt in recovery.running.into_iter().chain(recovery.attempts) {
        let by = if attempt.asked { "operator" } else { "itself" };
        table.add_row(vec![
            attempt.worker,
            attempt.level,
            attempt.outcome,
            attempt.began,
            by.to_owned(),
            attempt.reason,
            attempt.detail,
        ]);
    }
    screen::print_table(&table)
}

fn read<'a, T: Deserialize<'a>>(raw: &'a Value) -> Result<T, Failure> {
    T::deserialize(raw).map_err(|error| {
        Failure::failed(format!(
            "the server describes its recovery in another way: {error}; try -o json"
        ))
    })
}
