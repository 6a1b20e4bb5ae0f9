//! Ready-made worker: one command per stream, every command a child of a guard process that outlives the agent; or,
//! instead of commands, a built-in reader of live HTTP streams.
//!
//! The agent is the SDK's [`streamkeeper_worker::Worker`] with a handler that runs a command or reads. The commands are not its
//! own children: a guard process ([`guard_main`]) starts them, so that they can be ended, reaped and reported as gone
//! even when the agent is killed. `docs/ARCHITECTURE.md` says where the rest lives.

mod client;
mod guard;
mod handler;
mod host;
mod http;
mod process;
mod settings;
mod supervisor;
mod template;
mod tether;
mod text;
mod usage;
mod watched;
mod wire;

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_worker::{
    Capacity, ConnectSource, HostMetrics, Identity, SessionConfig, SessionId, StreamHandler, Worker,
    WorkerError, WorkerId, WorkerOptions,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use client::{Guard, GuardError, GuardSettings, Launch, Run, RunEvent};
pub use guard::guard_main;
pub use settings::{Limits, OutputMode};
pub use template::{CommandTemplate, TemplateError};
pub use tether::tether_main;
pub use wire::Fd;

/// Between SIGTERM and SIGKILL, unless the configuration says otherwise.
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(5);

/// Name of the guard's lock in the state folder.
const GUARD_LOCK: &str = "guard.lock";

/// How an agent is run.
#[derive(Clone)]
pub struct AgentConfig {
    /// The worker's id.
    pub worker: WorkerId,
    /// Where the message server is.
    pub connect: ConnectSource,
    /// Folder for locks and for what must survive a restart; made if it is not there.
    pub state_dir: PathBuf,
    /// What the worker can carry.
    pub capacity: Capacity,
    /// Labels that streams may require.
    pub labels: BTreeMap<String, String>,
    /// Failure zone.
    pub zone: Option<String>,
    /// How streams are run.
    pub runner: Runner,
    /// Where the output of commands goes.
    pub output: OutputMode,
    /// What each command may use.
    pub limits: Limits,
    /// Between SIGTERM and SIGKILL, [`DEFAULT_STOP_GRACE`] by default.
    pub stop_grace: Duration,
    /// Time between two heartbeats, the SDK's default if none is given.
    pub heartbeat_interval: Option<Duration>,
    /// First and longest window of the delay before a stream that ended by itself is started again.
    pub restart_backoff: Option<(Duration, Duration)>,
    /// The program that runs this: `PROGRAM guard` must call [`guard_main`], `PROGRAM tether …` [`tether_main`].
    pub program: PathBuf,
}

/// How streams are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// The same command, filled with its own values, for every stream.
    Exec {
        /// The command.
        command: CommandTemplate,
        /// A stream runs when its command has written a line with this in it; as soon as it is started if none is given.
        /// Lines are read with [`OutputMode::Log`] alone.
        ready_line: Option<String>,
    },
    /// The agent itself holds a connection to each source, a live HTTP or Icecast stream, and reads it.
    Http {
        /// After so long without a byte a stream has failed.
        stall_after: Duration,
    },
}

/// Why an agent could not run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder cannot be made.
    #[error("state folder {path}: cannot be made; give a folder that this user may write")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No guard, so that no stream may be started.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The built-in reader cannot work on this machine.
    #[error("the HTTP reader cannot start: {0}")]
    Http(String),
    /// The worker itself.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Runs an agent until `shutdown` is cancelled (or the leader orders a restart) and every stream has ended.
///
/// The process becomes a child subreaper. It has to be a process of its own: when the guard dies, every child of this
/// process that was not there at the start is taken for a leftover of a stream, and killed.
///
/// # Errors
/// When the state folder, the guard, the connection settings are unusable. A message server that is away is no error.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), AgentError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.state_dir)
        .map_err(|source| AgentError::StateDir {
            path: config.state_dir.clone(),
            source,
        })?;
    let identity = Identity::new(config.worker.clone());
    let settings = GuardSettings {
        program: config.program.clone(),
        lock: config.state_dir.join(GUARD_LOCK),
        identity: identity.clone(),
        connect: config.connect.clone(),
        stop_grace: config.stop_grace,
        output: config.output,
        limits: config.limits,
    };
    // First the guard: its lock proves that nothing of the worker's former life runs any more. Only after that may
    // the SDK say that this session supersedes the former one.
    let guard = tokio::select! {
        started = Guard::start(settings) => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let result = work(&guard, config, identity.session, &shutdown).await;
    guard.end().await;
    result
}

/// Runs the worker as long as it and its guard's supervision live.
async fn work(
    guard: &Guard,
    config: AgentConfig,
    session: SessionId,
    shutdown: &CancellationToken,
) -> Result<(), AgentError> {
    let (usage, looking) = usage::Usage::measure();
    let _looking = AbortOnDropHandle::new(looking);
    let handler: Arc<dyn StreamHandler> = match &config.runner {
        Runner::Exec { command, ready_line } => Arc::new(handler::ExecHandler {
            guard: guard.clone(),
            worker: config.worker.clone(),
            command: command.clone(),
            ready_line: ready_line.clone(),
            stop_grace: config.stop_grace,
            usage,
        }),
        Runner::Http { stall_after } => {
            Arc::new(http::HttpHandler::new(*stall_after).map_err(AgentError::Http)?)
        }
    };
    let (host, measuring) = host::measure();
    // Ends with this function, however it ends.
    let _measuring = AbortOnDropHandle::new(measuring);
    let options = options(config, session, host);
    let stop = shutdown.child_token();
    let mut worker = Box::pin(Worker::new(options, handler).run(stop.clone()));
    tokio::select! {
        result = &mut worker => Ok(result?),
        // Without supervision the guard takes this agent for dead and tells the leader so: the session is over.
        () = guard.closed() => {
            stop.cancel();
            worker.await?;
            Err(GuardError::Unsupervised.into())
        }
    }
}

fn options(
    config: AgentConfig,
    session_id: SessionId,
    host: watch::Receiver<Option<HostMetrics>>,
) -> WorkerOptions {
    let mut session = SessionConfig::new(config.worker, config.capacity);
    session.labels = config.labels;
    session.zone = config.zone;
    if let Some(interval) = config.heartbeat_interval {
        session.interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    }
    if let Some((base, max)) = config.restart_backoff {
        session.backoff.base = base;
        session.backoff.max = max;
    }
    WorkerOptions {
        session,
        connect: config.connect,
        state_dir: Some(config.state_dir),
        session_id: Some(session_id),
        host: Some(host),
    }
}
