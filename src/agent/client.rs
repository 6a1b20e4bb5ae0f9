//! The agent's side of the guard: starts commands under it, hears what becomes of them, and starts a new guard when
//! one dies.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use streamkeeper_worker::{ConnectSource, Identity, Lease};
use tokio::sync::{mpsc, oneshot, watch};

use crate::settings::{Limits, OutputMode};
use crate::supervisor::{Request, Supervisor};
use crate::watched::watched;
use crate::wire::Fd;

/// Requests that wait for the supervisor.
const MAX_REQUESTS: usize = 64;

/// How a guard is started.
#[derive(Clone)]
pub struct GuardSettings {
    /// The program whose verbs `guard` and `tether` call [`crate::guard_main`] and [`crate::tether_main`].
    pub program: PathBuf,
    /// The lock that is held as long as something of this worker may run.
    pub lock: PathBuf,
    /// Who is reported as gone when the agent dies.
    pub identity: Identity,
    /// Where that is reported.
    pub connect: ConnectSource,
    /// Between SIGTERM and SIGKILL for what runs when the agent dies.
    pub stop_grace: Duration,
    /// Where the output of commands goes.
    pub output: OutputMode,
    /// What each command may use.
    pub limits: Limits,
}

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The process was not started.
    #[error("the guard process {program} cannot be started")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The guard said no.
    #[error("guard: {0}")]
    Refused(String),
    /// The guard ended before it was ready, or said something else.
    #[error("the guard process {program} is no guard: {problem}; give the path of streamkeeper itself")]
    NotAGuard {
        /// The program.
        program: PathBuf,
        /// What it did instead.
        problem: String,
    },
    /// The supervising task ended, which is a defect.
    #[error(
        "the guard's supervision ended unexpectedly, so that every stream was stopped; start the agent again"
    )]
    Unsupervised,
}

/// A program to run under the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What it is for: letters, digits, - and _. People find it in the name of its cgroup.
    pub name: String,
    /// A path, or a name to look up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the agent's own environment.
    pub env: BTreeMap<String, String>,
    /// Whether the guard ends it with the lease ([`Guard::lease`]), and starts it only under one.
    pub exclusive: bool,
}

/// What becomes of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// The program runs.
    Started {
        /// Its process, which leads a group of its own.
        pid: i32,
    },
    /// It wrote a line, shown without passwords of URLs.
    Line {
        /// Where.
        fd: Fd,
        /// What.
        text: String,
    },
    /// It wrote more lines than are passed on.
    Dropped {
        /// So many lines are missing here.
        lines: u64,
    },
    /// It was not started, or it has ended and nothing of it is left.
    Ended {
        /// Why, in words, without passwords of URLs.
        reason: String,
    },
}

/// Starts commands under a guard process that outlives this one. Cheap to clone; when the last clone is gone, the
/// guard takes this process for dead and ends all commands.
#[derive(Clone)]
pub struct Guard {
    requests: mpsc::Sender<Request>,
    lease: watch::Sender<Option<Lease>>,
    next_key: Arc<AtomicU64>,
}

impl Guard {
    /// Starts the guard process and waits until nothing of the worker's former life is left.
    ///
    /// Makes this process a child subreaper. When the guard dies, every child that was not there now is killed, so
    /// this process should start no others.
    ///
    /// # Errors
    /// When the process cannot be started, or its lock stays with somebody else.
    pub async fn start(settings: GuardSettings) -> Result<Self, GuardError> {
        let (requests, receiver) = mpsc::channel(MAX_REQUESTS);
        let (lease, leases) = watch::channel(None);
        let supervisor = Supervisor::start(settings, receiver, leases).await?;
        tokio::spawn(supervisor.run());
        Ok(Self {
            requests,
            lease,
            next_key: Arc::default(),
        })
    }

    /// Starts a command. Whether that went well is the first event.
    pub async fn launch(&self, launch: Launch) -> Run {
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let (run, events) = watched();
        // Without a supervisor the other end is dropped, and the run reads as ended.
        let _ = self.requests.send(Request::Launch { key, launch, run }).await;
        Run {
            key,
            requests: self.requests.clone(),
            events,
        }
    }

    /// Where the guard learns until when exclusive commands may run. It ends them on a timer of its own, whatever this
    /// process does: SIGTERM to their groups, then SIGKILL to all that is left of them.
    #[must_use]
    pub fn lease(&self) -> watch::Sender<Option<Lease>> {
        self.lease.clone()
    }

    /// Ends the guard, with all that still runs. No farewell is sent.
    pub async fn end(&self) {
        let (done, ended) = oneshot::channel();
        if self.requests.send(Request::End { done }).await.is_ok() {
            let _ = ended.await;
        }
    }

    /// Returns when there is no supervision any more: after [`Guard::end`], or by a defect.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }
}

/// One start of a command. When it is dropped, the command is stopped.
pub struct Run {
    key: u64,
    requests: mpsc::Sender<Request>,
    events: mpsc::Receiver<RunEvent>,
}

impl Run {
    /// The next event; [`RunEvent::Ended`] is the last one.
    pub async fn next(&mut self) -> RunEvent {
        self.events.recv().await.unwrap_or_else(|| RunEvent::Ended {
            reason: GuardError::Unsupervised.to_string(),
        })
    }

    /// Orders the end: SIGTERM to the command's group, after `grace` SIGKILL. [`RunEvent::Ended`] tells when it is done.
    pub async fn stop(&self, grace: Duration) {
        let _ = self.requests.send(Request::Stop { key: self.key, grace }).await;
    }
}
