//! A nats-server of our own, for who runs none: on loopback, with passwords of its own, orphaned for a short time at
//! most.

mod config;
mod files;
mod launch;
mod linger;
mod locate;
mod process;
mod survivor;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use streamkeeper_protocol::connect::CONNECT_FILE;
use streamkeeper_protocol::{Connect, IdError, Subjects};
use streamkeeper_resilience::Backoff;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use linger::linger_main;
pub use locate::locate as locate_server;

use self::config::Credentials;
use self::launch::Launcher;
use self::process::Running;
use streamkeeper_access::Access;

use super::address::NatsSettings;
use super::metrics;

/// How long a server may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long whoever looks after the server may take to end it.
const END_TIMEOUT: Duration = Duration::from_secs(7);
/// Between attempts to start a server that ended by itself.
const RESTART: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
/// A server that ran this long starts again without the delay of earlier failures.
const PROVEN: Duration = Duration::from_secs(60);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct ManagedOptions {
    /// The orchestrator's data folder: the server's files go below `nats`, `connect.json` beside it.
    pub data_dir: PathBuf,
    /// The `nats-server` program; searched for where it is not given.
    pub server: Option<PathBuf>,
    /// First tokens of every subject: what workers may publish and subscribe lies below it.
    pub prefix: String,
    /// Where the orchestrator's API answers, for `connect.json`.
    pub api_url: Option<String>,
    /// Put before the server's command line, with the lock and the time added (`<linger> LOCK MILLISECONDS --
    /// nats-server …`), so that somebody ends the server when this process is killed and none takes its place. Empty: the
    /// server is started directly.
    pub linger: Vec<OsString>,
    /// How long the server waits for a successor of a process that was killed.
    pub linger_for: Duration,
    /// How long the server may take to come up.
    pub start_timeout: Duration,
}

/// Why there is no managed server.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    /// The program is not installed.
    #[error(
        "nats-server was not found in {looked}; install it (apt-get install nats-server), name the program in \
         nats.server, or name a running server in nats.urls"
    )]
    Missing {
        /// Where it was searched.
        looked: String,
    },
    /// The given program cannot be run.
    #[error("nats.server: {path} is no program that can be run; correct the path or leave the setting out")]
    NoProgram {
        /// The path.
        path: PathBuf,
    },
    /// The prefix cannot stand in subjects.
    #[error("nats.prefix: {prefix:?} cannot begin a subject; write tokens of A-Z a-z 0-9 _ - joined by dots")]
    Prefix {
        /// The prefix.
        prefix: String,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// A file or folder cannot be used.
    #[error("{path}: cannot {action}; check its owner, its permissions and the free space")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process runs a server there.
    #[error("{path}: another orchestrator runs its message server here; stop it or use another data folder")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The program cannot be started.
    #[error("{program}: cannot be started")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server does not come up.
    #[error("nats-server did not come up: {problem}; the end of {log}:\n{tail}")]
    Start {
        /// What happened.
        problem: String,
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
}

/// A running nats-server. It is started again when it ends by itself, and stopped when this is dropped.
#[derive(Debug)]
pub struct ManagedNats {
    url: String,
    prefix: String,
    credentials: Credentials,
    running: watch::Receiver<bool>,
    stopping: CancellationToken,
    task: JoinHandle<()>,
    _stop_on_drop: DropGuard,
    _lock: File,
}

impl ManagedNats {
    /// Starts the server, or takes over the one that a killed predecessor left; waits until it listens and writes
    /// `connect.json`.
    ///
    /// # Errors
    /// When there is no program, a file cannot be written, or the server does not come up.
    pub async fn start(options: ManagedOptions) -> Result<Self, ManagedError> {
        let subjects = Subjects::new(&options.prefix).map_err(|source| ManagedError::Prefix {
            prefix: options.prefix.clone(),
            source,
        })?;
        let program = locate::locate(options.server.as_deref())?;
        let folder = files::prepare(&options.data_dir)?;
        let lock = files::lock(&folder).await?;
        let credentials = files::credentials(&folder)?;
        let connect_file = folder.parent().map(|data| data.join(CONNECT_FILE));
        let connect_file = connect_file.unwrap_or_else(|| PathBuf::from(CONNECT_FILE));
        let mut launcher = Launcher {
            program,
            linger: options.linger,
            linger_for: options.linger_for,
            folder,
            subjects,
            credentials: credentials.clone(),
            port: 0,
            timeout: options.start_timeout,
        };
        let server = match survivor::take_over(&mut launcher).await? {
            Some(server) => server,
            None => {
                launcher.port = launch::choose_port(files::former_port(&connect_file)).await;
                launcher.launch().await?
            }
        };
        let url = format!("nats://127.0.0.1:{}", launcher.port);
        let connect = Connect {
            urls: vec![url.clone()],
            user: Some(config::WORKER.to_owned()),
            password: Some(credentials.worker.clone()),
            prefix: options.prefix.clone(),
            api_url: options.api_url,
        };
        files::write_json(&connect_file, &connect)?;
        let stopping = CancellationToken::new();
        let (told, running) = watch::channel(true);
        let task = tokio::spawn(supervise(launcher, server, told, stopping.clone()));
        Ok(Self {
            url,
            prefix: options.prefix,
            credentials,
            running,
            stopping: stopping.clone(),
            task,
            _stop_on_drop: stopping.drop_guard(),
            _lock: lock,
        })
    }

    /// How the orchestrator connects to this server.
    #[must_use]
    pub fn settings(&self, name: String, connect_timeout: Duration) -> NatsSettings {
        NatsSettings {
            urls: vec![self.url.clone()],
            access: Access {
                user: Some(config::ORCHESTRATOR.to_owned()),
                password: Some(self.credentials.orchestrator.clone()),
                ..Access::default()
            },
            prefix: self.prefix.clone(),
            name,
            connect_timeout,
        }
    }

    /// How to hear which connections to this server end.
    #[must_use]
    pub fn system_settings(&self, name: String) -> NatsSettings {
        let mut settings = self.settings(name, STOP_TIMEOUT);
        settings.access.user = Some(config::SYSTEM.to_owned());
        settings.access.password = Some(self.credentials.system.clone());
        settings
    }

    /// Whether the server runs now.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.running.borrow()
    }

    /// Stops the server: SIGTERM, after some seconds SIGKILL.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!("the task that stops nats-server failed: {error}");
        }
    }
}

/// Starts the server again whenever it ends, until it is to stop.
async fn supervise(
    mut launcher: Launcher,
    mut server: Running,
    told: watch::Sender<bool>,
    stopping: CancellationToken,
) {
    let mut attempt = 0;
    loop {
        let since = Instant::now();
        let status = tokio::select! {
            () = stopping.cancelled() => {
                server.end(END_TIMEOUT).await;
                told.send_replace(false);
                return;
            }
            status = server.ended() => status,
        };
        told.send_replace(false);
        if since.elapsed() >= PROVEN {
            attempt = 0;
        }
        let tail = launcher.tail();
        tracing::error!(
            "nats-server ended by itself ({status}) and is started again; the end of its log:\n{tail}"
        );
        let Some(next) = relaunch(&mut launcher, &mut attempt, &stopping).await else {
            return;
        };
        server = next;
        told.send_replace(true);
        ::metrics::counter!(metrics::SERVER_RESTARTS).increment(1);
        tracing::info!(port = launcher.port, "nats-server runs again");
    }
}

/// Tries until the server runs again. The port stays, because everybody is connecting to it.
async fn relaunch(
    launcher: &mut Launcher,
    attempt: &mut u32,
    stopping: &CancellationToken,
) -> Option<Running> {
    loop {
        let delay = RESTART.delay(*attempt, rand::random());
        *attempt = attempt.saturating_add(1);
        let launched = async {
            tokio::time::sleep(delay).await;
            launcher.launch().await
        };
        tokio::select! {
            () = stopping.cancelled() => return None,
            launched = launched => match launched {
                Ok(server) => return Some(server),
                Err(error) => tracing::error!("{error}"),
            },
        }
    }
}
