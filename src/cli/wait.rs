//! `wait`: until what the orchestrator needs, or the orchestrator itself, is there. For the entrypoints of containers.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};
use streamkeeper_orchestrator::adapter::store::{OpenError, probe, redact_url};
use streamkeeper_orchestrator::config::{self, Config};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::api::{Api, ServerArgs};
use crate::failure::{Exit, Failure};
use crate::screen::{self, Format, OutputArgs};
use crate::settings::{self, SettingsArgs};

/// Time between two looks at one of them.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a NATS server listens if its URL does not say.
const NATS_PORT: u16 = 4222;
/// Longest greeting of a NATS server, in bytes.
const MAX_GREETING: u64 = 64 * 1024;

const EXAMPLES: &str = "\
Addresses come from the same settings as those of `serve`: --config, the environment, flags. A SQLite file and a \
managed message server belong to `serve` itself: the file needs no waiting, the server is there when `serve` has \
started it. Exit code 0: all are there; 3: not within the time; 4: one of them answers and refuses.

Examples:
  streamkeeper wait --for db,nats --timeout 60s && streamkeeper serve
  streamkeeper wait --for api --server http://orchestrator:8001 -o json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    /// What to wait for, parted by commas
    #[arg(
        long = "for",
        value_enum,
        value_delimiter = ',',
        value_name = "WHAT",
        default_value = "db,nats,api"
    )]
    targets: Vec<Target>,
    /// How long to wait for all of them
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Target {
    /// The database
    Db,
    /// The message server
    Nats,
    /// The orchestrator's API, ready to take changes
    Api,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Db => "db",
            Self::Nats => "nats",
            Self::Api => "api",
        })
    }
}

/// Why one of them is not there.
struct Missing {
    reason: String,
    /// It answers, and waiting does not change its mind.
    refused: bool,
}

impl From<String> for Missing {
    fn from(reason: String) -> Self {
        Self {
            reason,
            refused: false,
        }
    }
}

/// What became of the waiting for one of them.
struct Outcome {
    target: Target,
    address: String,
    waited: Duration,
    missing: Option<Missing>,
}

pub(crate) fn run(args: &WaitArgs) -> Result<(), Failure> {
    let config = config::load(&args.settings.layers()?).map_err(|errors| settings::refused(&errors))?;
    let api = args.server.api()?;
    let mut targets = args.targets.clone();
    targets.sort_unstable();
    targets.dedup();
    let outcomes = crate::runtime()?.block_on(async {
        let waits = targets
            .into_iter()
            .map(|target| wait(target, args, &config, &api));
        let mut outcomes = Vec::new();
        // One time for all: whoever is looked at later has been waited for all the same.
        let start = Instant::now();
        for wait in waits {
            outcomes.push(wait.until(start, args.timeout).await);
        }
        outcomes
    });
    show(args, &outcomes)
}

/// The waiting for one of them.
struct Wait<'a> {
    target: Target,
    address: String,
    config: &'a Config,
    api: &'a Api,
}

fn wait<'a>(target: Target, args: &WaitArgs, config: &'a Config, api: &'a Api) -> Wait<'a> {
    let address = match target {
        Target::Db if config.database.url.is_empty() => "a file in the data folder".to_owned(),
        Target::Db => redact_url(&config.database.url),
        Target::Nats if config.nats.urls.is_empty() => connect_file(config).display().to_string(),
        Target::Nats => config
            .nats
            .urls
            .iter()
            .map(|url| host_of(url))
            .collect::<Vec<_>>()
            .join(", "),
        Target::Api => args.server.server.clone(),
    };
    Wait {
        target,
        address,
        config,
        api,
    }
}

impl Wait<'_> {
    async fn until(self, start: Instant, timeout: Duration) -> Outcome {
        let missing = loop {
            let look = tokio::time::timeout(LOOK_TIMEOUT, self.look());
            let missing = match look.await {
                Ok(Ok(())) => break None,
                Ok(Err(missing)) => missing,
                Err(_) => format!("no answer within {LOOK_TIMEOUT:?}").into(),
            };
            if missing.refused || start.elapsed() + PAUSE > timeout {
                break Some(missing);
            }
            tokio::time::sleep(PAUSE).await;
        };
        Outcome {
            target: self.target,
            address: self.address,
            waited: start.elapsed(),
            missing,
        }
    }

    async fn look(&self) -> Result<(), Missing> {
        match self.target {
            Target::Db => database(&self.config.database.url).await,
            Target::Nats => nats(self.config).await.map_err(Missing::from),
            Target::Api => {
                let ready = self.api.get::<Value>("/readyz").await;
                ready.map(drop).map_err(|error| error.to_string().into())
            }
        }
    }
}

async fn database(url: &str) -> Result<(), Missing> {
    if url.is_empty() {
        return Ok(());
    }
    probe(url, LOOK_TIMEOUT).await.map_err(|error| Missing {
        refused: !error.may_pass(),
        reason: match error {
            // The address stands beside it already.
            OpenError::Unreachable { reason, .. } => reason,
            other => other.to_string(),
        },
    })
}

/// The part of `connect.json` that is of interest here.
#[derive(Deserialize)]
struct Connect {
    urls: Vec<String>,
}

pub(crate) fn connect_file(config: &Config) -> std::path::PathBuf {
    config.data_dir.join("connect.json")
}

async fn nats(config: &Config) -> Result<(), String> {
    let managed;
    let urls = if config.nats.urls.is_empty() {
        managed = managed_urls(&connect_file(config)).await?;
        &managed
    } else {
        &config.nats.urls
    };
    let mut reasons = Vec::new();
    for url in urls {
        let host = host_of(url);
        match greeting(&host).await {
            // One server of a cluster is enough.
            Ok(_) => return Ok(()),
            // A single one stands beside it already.
            Err(reason) if config.nats.urls.len() == 1 => reasons.push(reason),
            Err(reason) => reasons.push(format!("{host}: {reason}")),
        }
    }
    Err(reasons.join("; "))
}

pub(crate) async fn managed_urls(file: &Path) -> Result<Vec<String>, String> {
    let bytes = tokio::fs::read(file)
        .await
        .map_err(|error| format!("no managed server yet: {error}"))?;
    let connect: Connect = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok(connect.urls)
}

/// Host and port of a URL; what stands before the host may be a password.
pub(crate) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', '?']).next().unwrap_or(host);
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        host.to_owned()
    } else {
        format!("{host}:{NATS_PORT}")
    }
}

/// A NATS server speaks first: one line of INFO, which is returned.
pub(crate) async fn greeting(host: &str) -> Result<Value, String> {
    let connection = TcpStream::connect(host)
        .await
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    BufReader::new(connection.take(MAX_GREETING))
        .read_line(&mut line)
        .await
        .map_err(|error| error.to_string())?;
    let info = line
        .strip_prefix("INFO ")
        .and_then(|info| serde_json::from_str::<Value>(info).ok())
        .ok_or("something answers there that is no NATS server")?;
    if info["ldm"] == true {
        return Err("the server is shutting down".to_owned());
    }
    Ok(info)
}

fn show(args: &WaitArgs, outcomes: &[Outcome]) -> Result<(), Failure> {
    match args.output.output {
        Format::Json => {
            let targets: Vec<Value> = outcomes.iter().map(view).collect();
            let ready = outcomes.iter().all(|outcome| outcome.missing.is_none());
            screen::json(&json!({"ready": ready, "targets": targets}))?;
        }
        Format::Table => {
            for outcome in outcomes.iter().filter(|outcome| outcome.missing.is_none()) {
                let Outcome {
                    target,
                    address,
                    waited,
                    ..
                } = outcome;
                screen::line(&format!(
                    "{target}: ready after {:.1}s ({address})",
                    waited.as_secs_f64()
                ))?;
            }
        }
    }
    let mut lines = Vec::new();
    let mut exit = None;
    for outcome in outcomes {
        if let Some(missing) = &outcome.missing {
            lines.push(format!(
                "  {}: {}: {}",
                outcome.target, outcome.address, missing.reason
            ));
            // What has to be changed by somebody is the worse news.
            if missing.refused || exit.is_none() {
                exit = Some(if missing.refused {
                    Exit::Refused
                } else {
                    Exit::Unreachable
                });
            }
        }
    }
    match exit {
        None => Ok(()),
        Some(exit) => Err(Failure::new(
            exit,
            format!("wait: not ready within {:?}\n{}", args.timeout, lines.join("\n")),
        )),
    }
}

fn view(outcome: &Outcome) -> Value {
    json!({
        "name": outcome.target.to_string(),
        "address": outcome.address,
        "ready": outcome.missing.is_none(),
        "waited_ms": u64::try_from(outcome.waited.as_millis()).unwrap_or(u64::MAX),
        "problem": outcome.missing.as_ref().map(|missing| missing.reason.as_str()),
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn hosts_are_shown_without_what_stands_before_them() {
        for (url, host) in [
            ("nats://h", "h:4222"),
            ("nats://u:secret@h:4300", "h:4300"),
            ("tls://[::1]:9", "[::1]:9"),
            ("tls://[::1]", "[::1]:4222"),
            ("h:1/", "h:1"),
        ] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }

    async fn greeted(with: &'static str) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.write_all(with.as_bytes()).await.unwrap();
        });
        greeting(&host).await.map(drop)
    }

    #[tokio::test]
    async fn only_a_nats_server_that_stays_counts() {
        greeted("INFO {\"port\":4222} \r\n").await.unwrap();
        for (with, expected) in [
            ("INFO {\"ldm\":true}\r\n", "shutting down"),
            ("HTTP/1.1 400 Bad Request\r\n", "no NATS server"),
            ("", "no NATS server"),
        ] {
            let reason = greeted(with).await.unwrap_err();
            assert!(reason.contains(expected), "{with}: {reason}");
        }
    }
}
