//! The program of this crate's tests: the verbs `guard` and `tether`; `hold`, which runs a command under a guard and
//! tells what becomes of it; `agent`, a whole agent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use streamkeeper_agent::{
    AgentConfig, CommandTemplate, Guard, GuardError, GuardSettings, Launch, Limits, OutputMode, RunEvent,
    Runner,
};
use streamkeeper_worker::{Capacity, ConnectSource, Identity, SessionId, WorkerId};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

const USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next().as_deref().and_then(|verb| verb.to_str()) {
        Some("guard") => streamkeeper_agent::guard_main(),
        Some("tether") => streamkeeper_agent::tether_main(args.collect()),
        Some("agent") => agent(args.collect()),
        Some("hold") => hold(args.collect()),
        _ => ExitCode::from(USAGE),
    }
}

/// `hold LOCK TIMES PROGRAM ARGS…`: runs the program TIMES times, one after the other, then waits for its own end.
fn hold(args: Vec<OsString>) -> ExitCode {
    let Some(args) = args
        .into_iter()
        .map(|arg| arg.into_string().ok())
        .collect::<Option<Vec<_>>>()
    else {
        return ExitCode::from(USAGE);
    };
    let [lock, times, program, args @ ..] = args.as_slice() else {
        return ExitCode::from(USAGE);
    };
    let launch = Launch {
        name: "held".to_owned(),
        program: program.clone(),
        args: args.to_vec(),
        env: BTreeMap::new(),
        exclusive: false,
    };
    let held = tokio::runtime::Runtime::new()
        .map(|runtime| runtime.block_on(run(lock, times.parse().unwrap_or(1), launch)));
    match held {
        Ok(Ok(())) => ExitCode::SUCCESS,
        other => {
            say(&format!("problem {other:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(lock: &str, times: u32, launch: Launch) -> Result<(), GuardError> {
    let worker = WorkerId::new("held").map_err(|error| GuardError::Refused(error.to_string()))?;
    let guard = Guard::start(GuardSettings {
        program: "/proc/self/exe".into(),
        lock: lock.into(),
        identity: Identity {
            worker,
            session: SessionId::from_u128(1),
            boot_id: String::new(),
        },
        // Nobody listens there: the farewell fails at once.
        connect: ConnectSource::Urls {
            urls: vec!["nats://127.0.0.1:1".to_owned()],
            prefix: "sk".to_owned(),
            access: Box::default(),
        },
        stop_grace: Duration::from_secs(1),
        output: OutputMode::Log,
        limits: Limits::default(),
    })
    .await?;
    for _ in 0..times {
        let mut run = guard.launch(launch.clone()).await;
        loop {
            match run.next().await {
                RunEvent::Started { pid } => say(&format!("started {pid}")),
                RunEvent::Line { fd, text } => say(&format!("{} {text}", fd.as_str())),
                RunEvent::Dropped { lines } => say(&format!("dropped {lines}")),
                RunEvent::Ended { reason } => {
                    say(&format!("ended {reason}"));
                    break;
                }
            }
        }
    }
    guard.end().await;
    say("over");
    Ok(())
}

/// `agent STATE_DIR URL COMMAND`: a whole agent, until SIGTERM. The command `http` is the built-in reader.
fn agent(args: Vec<OsString>) -> ExitCode {
    let texts: Vec<String> = args
        .iter()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let [state, url, command] = texts.as_slice() else {
        return ExitCode::from(USAGE);
    };
    let ran = tokio::runtime::Runtime::new().map(|runtime| runtime.block_on(run_agent(state, url, command)));
    match ran {
        Ok(Ok(())) => ExitCode::SUCCESS,
        other => {
            say(&format!("problem {other:?}"));
            ExitCode::FAILURE
        }
    }
}

async fn run_agent(state: &str, url: &str, command: &str) -> Result<(), Box<dyn std::error::Error>> {
    let config = AgentConfig {
        worker: WorkerId::new("w1")?,
        connect: ConnectSource::Urls {
            urls: vec![url.to_owned()],
            prefix: "sk".to_owned(),
            access: Box::default(),
        },
        state_dir: state.into(),
        capacity: Capacity {
            max_streams: 10,
            weight: 1.0,
        },
        labels: BTreeMap::new(),
        zone: None,
        runner: match command {
            "http" => Runner::Http {
                stall_after: Duration::from_secs(3),
            },
            _ => Runner::Exec {
                command: CommandTemplate::parse(command)?,
                ready_line: None,
            },
        },
        output: OutputMode::Log,
        limits: Limits::default(),
        stop_grace: Duration::from_secs(1),
        heartbeat_interval: Some(Duration::from_millis(200)),
        restart_backoff: Some((Duration::from_millis(10), Duration::from_millis(20))),
        program: "/proc/self/exe".into(),
    };
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            terminate.recv().await;
            shutdown.cancel();
        }
    });
    streamkeeper_agent::run(config, shutdown).await?;
    Ok(())
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
