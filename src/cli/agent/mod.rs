//! `agent`: a worker that runs one command per stream, or reads streams itself.

mod nats;
mod values;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use streamkeeper_agent::{AgentConfig, CommandTemplate, Limits, OutputMode, Runner};
use streamkeeper_worker::{Capacity, WorkerId};

use crate::failure::Failure;
use crate::logging::LogArgs;
use crate::{settings, shutdown};
use nats::NatsArgs;
use values::{BuiltIn, Output, Strictness};

/// The orchestrator's data folder, where nobody names one.
const DEFAULT_DATA: &str = "streamkeeper-data";
/// Wait before a restart that the leader ordered, so that no order can make this process spin.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// See `--stall-after`.
const DEFAULT_STALL: Duration = Duration::from_secs(10);
/// Threads of the runtime.
const THREADS: usize = 2;
/// Longest id.
const MAX_ID: usize = 64;

const EXAMPLES: &str = "\
The command is split into words as a shell would do, but no shell runs it. {source}, {stream}, {epoch} and {label.KEY} \
are replaced; the environment has STREAMKEEPER_SOURCE, _STREAM, _EPOCH, _WORKER and _LABEL_KEY. A command that ends is \
started again with growing delays; it gets SIGTERM when its stream goes elsewhere, then SIGKILL. What it writes is \
logged line by line (target stream), 20 lines a second and 200 at once.

A stream counts as running when its command is started or, with --ready-line, when that was written. Give it where a \
command needs time before it reads: a stream that moves is ended at its old place only when it runs at the new one.

With --runner http there is no command: the agent itself reads each source, a live HTTP or Icecast stream.

Examples:
  streamkeeper agent --exec 'ffmpeg -nostdin -i {source} -f null -'
  streamkeeper agent --id w-2 --data /var/lib/streamkeeper --exec 'record {source} /rec/{stream}'
  streamkeeper agent --nats nats://nats-1:4222 --label gpu=yes --exec './transcode {source}'
  streamkeeper agent --nats tls://nats-1 --nats-credentials-file /etc/streamkeeper/agent.creds --exec './rip {source}'
  streamkeeper agent --exec './scrape {source}' --memory-max 200M --cpu-max 0.5 --output discard
  streamkeeper agent --exec 'ffmpeg -nostdin -progress pipe:1 -i {source} -f null -' --ready-line progress=
  streamkeeper agent --runner http --stall-after 10s";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgentArgs {
    /// The command of every stream
    #[arg(
        long,
        value_name = "COMMAND",
        required_unless_present = "runner",
        conflicts_with = "runner"
    )]
    exec: Option<String>,
    /// A stream runs when its command has written a line with this in it, among its first 200 lines; needs --output log
    #[arg(long, value_name = "TEXT", conflicts_with = "runner", value_parser = values::text)]
    ready_line: Option<String>,
    /// What runs streams instead of a command
    #[arg(long, value_enum, value_name = "RUNNER")]
    runner: Option<BuiltIn>,
    /// After so long without a byte a stream that the agent reads itself has failed [default: 10s]
    #[arg(long, value_name = "TIME", conflicts_with = "exec", value_parser = values::patience)]
    stall_after: Option<Duration>,
    /// Where the output of commands goes
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHERE",
        conflicts_with = "runner"
    )]
    output: Output,
    /// Most memory of each command, such as 200M or 1G; one that needs more is killed and started again
    #[arg(long, value_name = "BYTES", value_parser = values::bytes, conflicts_with = "runner")]
    memory_max: Option<u64>,
    /// Most processors of each command, such as 0.5; one that wants more has to wait
    #[arg(long, value_name = "COUNT", value_parser = values::above_zero, conflicts_with = "runner")]
    cpu_max: Option<f64>,
    /// Where --memory-max and --cpu-max cannot be had (they need a control group that the agent may divide): warn, or refuse to start
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "HOW",
        conflicts_with = "runner"
    )]
    limits: Strictness,
    /// The worker's id: letters, digits, - and _, at most 64 [default: the name of this machine]
    #[arg(long)]
    id: Option<String>,
    /// Data folder of an orchestrator on this machine, for its connect.json [default: streamkeeper-data]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["connect", "nats"])]
    data: Option<PathBuf>,
    /// A copy of connect.json
    #[arg(long, value_name = "FILE", conflicts_with = "nats")]
    connect: Option<PathBuf>,
    #[command(flatten)]
    nats: NatsArgs,
    /// Folder for locks and what must survive a restart [default: DATA/agents/ID]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Most streams at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_streams: u32,
    /// Sum of stream weights that counts as full; compared with other workers' to balance
    #[arg(long, default_value_t = 100.0, value_parser = values::above_zero)]
    weight: f64,
    /// Label that streams may require; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = settings::assignment)]
    label: Vec<(String, String)>,
    /// Failure zone
    #[arg(long)]
    zone: Option<String>,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    stop_grace: Duration,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(args: AgentArgs) -> Result<(), Failure> {
    args.log.start()?;
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let ordered = runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        streamkeeper_agent::run(config, shutdown.clone())
            .await
            .map_err(|error| Failure::failed(format!("agent: {}", chain(&error))))?;
        // Not told to end: the leader wants this worker to start anew.
        let ordered = !shutdown.is_cancelled();
        if ordered {
            tracing::info!("starting anew, as the leader ordered");
            tokio::select! {
                () = tokio::time::sleep(RESTART_DELAY) => {}
                () = shutdown.cancelled() => return Ok(false),
            }
        }
        Ok::<_, Failure>(ordered)
    })?;
    drop(runtime);
    if ordered { start_anew() } else { Ok(()) }
}

/// The same command in the same process, with nothing kept.
fn start_anew() -> Result<(), Failure> {
    let error = std::process::Command::new(crate::program()?)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(Failure::failed(format!("agent: cannot start anew: {error}")))
}

/// What a command writes when its stream runs.
fn ready_line(text: Option<String>, output: Output) -> Result<Option<String>, Failure> {
    match output {
        Output::Log => Ok(text),
        Output::Discard | Output::Inherit if text.is_none() => Ok(None),
        Output::Discard | Output::Inherit => Err(Failure::usage(
            "--ready-line: the agent reads lines with --output log alone; leave one of the two out",
        )),
    }
}

fn config(args: AgentArgs) -> Result<AgentConfig, Failure> {
    let worker = worker_id(args.id.as_deref())?;
    let runner = match &args.exec {
        Some(command) => Runner::Exec {
            command: CommandTemplate::parse(command)
                .map_err(|error| Failure::usage(format!("--exec: {error}")))?,
            ready_line: ready_line(args.ready_line, args.output)?,
        },
        None => Runner::Http {
            stall_after: args.stall_after.unwrap_or(DEFAULT_STALL),
        },
    };
    let data = args.data.unwrap_or_else(|| DEFAULT_DATA.into());
    let state_dir = args
        .state
        .unwrap_or_else(|| data.join("agents").join(worker.as_str()));
    let file = args.connect.unwrap_or(data);
    let connect = args.nats.source(|name| std::env::var_os(name), file)?;
    Ok(AgentConfig {
        worker,
        connect,
        state_dir,
        capacity: Capacity {
            max_streams: args.max_streams,
            weight: args.weight,
        },
        labels: args.label.into_iter().collect(),
        zone: args.zone,
        runner,
        output: match args.output {
            Output::Log => OutputMode::Log,
            Output::Discard => OutputMode::Discard,
            Output::Inherit => OutputMode::Inherit,
        },
        limits: Limits {
            memory_max: args.memory_max,
            cpu_max: args.cpu_max,
            required: args.limits == Strictness::Required,
        },
        stop_grace: args.stop_grace,
        heartbeat_interval: None,
        restart_backoff: None,
        program: crate::program()?.into(),
    })
}

fn worker_id(given: Option<&str>) -> Result<WorkerId, Failure> {
    match given {
        Some(id) => WorkerId::new(id).map_err(|error| Failure::usage(format!("--id {id:?}: {error}"))),
        None => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let id = id_of_host(host.trim());
            WorkerId::new(&id).map_err(|error| {
                Failure::usage(format!(
                    "the name of this machine, {host:?}, gives no id: {error}; give one with --id"
                ))
            })
        }
    }
}

/// The first part of a machine's name with what no id may have replaced.
fn id_of_host(host: &str) -> String {
    host.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '_' {
                letter
            } else {
                '-'
            }
        })
        .take(MAX_ID)
        .collect()
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use streamkeeper_worker::{Access, ConnectSource, Naming};

    use super::*;
    use crate::failure::Exit;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        agent: AgentArgs,
    }

    fn parse(words: &[&str]) -> Result<AgentConfig, Failure> {
        parse_whole(&[&["--exec", "cat {source}"], words].concat())
    }

    fn parse_whole(words: &[&str]) -> Result<AgentConfig, Failure> {
        let words = ["agent"].iter().chain(words);
        let line = Line::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
        config(line.agent)
    }

    #[test]
    fn the_connection_comes_from_one_place() {
        let file = |path: &str| ConnectSource::File(path.into());
        assert_eq!(parse(&["--id", "w"]).unwrap().connect, file(DEFAULT_DATA));
        let given = parse(&["--id", "w", "--data", "/d"]).unwrap();
        assert_eq!(given.connect, file("/d"));
        assert_eq!(given.state_dir, PathBuf::from("/d/agents/w"));
        assert_eq!(parse(&["--connect", "/c.json"]).unwrap().connect, file("/c.json"));
        let urls = parse(&["--nats", "nats://a", "--nats", "nats://b", "--prefix", "x"]).unwrap();
        assert_eq!(
            urls.connect,
            ConnectSource::Urls {
                urls: vec!["nats://a".into(), "nats://b".into()],
                prefix: "x".into(),
                access: Box::new(Access {
                    naming: Naming::Variable,
                    ..Access::default()
                }),
            }
        );
    }

    #[test]
    fn wrong_usage_is_named() {
        for (words, part) in [
            (&["--id", "a b"][..], "--id"),
            (&["--data", "/d", "--nats", "nats://a"], "--nats"),
            (&["--weight", "0"], "above 0"),
            (&["--label", "gpu"], "KEY=VALUE"),
            (&["--stop-grace", "soon"], "--stop-grace"),
            (&["--max-streams", "0"], "--max-streams"),
            (&["--runner", "http"], "cannot be used with"),
            (&["--stall-after", "3s"], "cannot be used with"),
            (&["--memory-max", "200MB"], "such as 200M"),
            (&["--memory-max", "99999999999G"], "such as 200M"),
            (&["--memory-max", "1023K"], "at least 1M"),
            (&["--cpu-max", "0"], "above 0"),
            (&["--ready-line", " "], "such as progress="),
            (&["--ready-line", "up", "--output", "discard"], "--output log"),
        ] {
            let failure = parse(words).err().unwrap();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
    }

    #[test]
    fn streams_are_run_by_a_command_or_by_the_agent() {
        assert!(matches!(
            parse(&["--id", "w"]).unwrap().runner,
            Runner::Exec { .. }
        ));
        for (words, seconds) in [(&[][..], 10), (&["--stall-after", "3s"], 3)] {
            let config = parse_whole(&[&["--id", "w", "--runner", "http"], words].concat()).unwrap();
            let stall_after = Duration::from_secs(seconds);
            assert_eq!(config.runner, Runner::Http { stall_after });
        }
        for words in [
            &["--id", "w"][..],
            &["--id", "w", "--runner", "http", "--stall-after", "0s"],
            &["--id", "w", "--runner", "http", "--memory-max", "1G"],
            &["--id", "w", "--runner", "http", "--ready-line", "up"],
        ] {
            assert_eq!(parse_whole(words).err().unwrap().exit, Exit::Usage);
        }
    }

    #[test]
    fn limits_and_output_are_as_given() {
        let config = parse(&["--id", "w"]).unwrap();
        assert_eq!(
            (config.output, config.limits),
            (OutputMode::Log, Limits::default())
        );
        let words = "--id w --memory-max 200M --cpu-max 0.5 --limits required --output discard";
        let config = parse(&words.split(' ').collect::<Vec<_>>()).unwrap();
        let limits = Limits {
            memory_max: Some(200 * 1024 * 1024),
            cpu_max: Some(0.5),
            required: true,
        };
        assert_eq!((config.output, config.limits), (OutputMode::Discard, limits));
    }

    #[test]
    fn names_of_machines_become_ids() {
        for (host, expected) in [("web-1", "web-1"), ("a.example.org", "a-example-org"), ("ü", "-")] {
            assert_eq!(id_of_host(host), expected);
        }
        assert_eq!(id_of_host(&"x".repeat(99)).len(), 64);
    }
}
