//! The tokio driver of a [`crate::Session`]: clock, randomness, connection, tasks.

mod bus;
mod clock;
mod drive;
mod farewell;
mod identity;
mod jobs;
mod keeper;
mod link;
mod logs;
mod orders;
mod performance;
mod refusals;
mod saved;
mod state;

use std::path::PathBuf;
use std::sync::Arc;

use streamkeeper_protocol::codec::Message;
use streamkeeper_protocol::{HostMetrics, SessionId, Term};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use clock::now;
pub use farewell::send_farewell;
pub use identity::Identity;

pub(crate) use clock::wall_ms;

use crate::connect::{ConnectError, ConnectSource};
use crate::handler::StreamHandler;
use crate::session::{Command, Event, Millis, SavedSet, Session, SessionConfig};
use drive::Driver;
use state::{Former, StateFolder};

/// How a worker is run.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Id, capacity, labels, intervals.
    pub session: SessionConfig,
    /// Where the message server is.
    pub connect: ConnectSource,
    /// Folder for what must survive a restart: the lock, the last sessions, the highest term, the streams. Only one
    /// process may use it at a time. Without one, a restarted worker waits until its former session counts as lost,
    /// and starts nothing while no leader answers.
    pub state_dir: Option<PathBuf>,
    /// This life of the worker; a fresh random one if none is given.
    pub session_id: Option<SessionId>,
    /// The newest load of the machine, sent with every heartbeat, where somebody measures it.
    pub host: Option<watch::Receiver<Option<HostMetrics>>>,
}

/// Why a worker could not run.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// No usable connection settings.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The state folder cannot be used.
    #[error("state folder {path}: {problem}")]
    State {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A leader would refuse every heartbeat with these settings.
    #[error("settings of worker {worker}: {problem}")]
    Settings {
        /// The worker.
        worker: streamkeeper_protocol::WorkerId,
        /// Which setting, and what is wrong with it.
        problem: String,
    },
}

/// A worker, ready to run.
pub struct Worker {
    options: WorkerOptions,
    handler: Arc<dyn StreamHandler>,
}

impl Worker {
    /// A worker that runs streams with `handler`.
    #[must_use]
    pub fn new(options: WorkerOptions, handler: Arc<dyn StreamHandler>) -> Self {
        Self { options, handler }
    }

    /// Runs until `shutdown` is cancelled (or the leader orders a restart) and every stream has ended. Dropping the
    /// future aborts the tasks of all streams.
    ///
    /// # Errors
    /// When the connection settings or the state folder are unusable. A server that is away is no error, nor is a
    /// `connect.json` that is not there yet: the worker goes on trying.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        let Self { mut options, handler } = self;
        options.session.guarded = handler.guard().is_some();
        check(&options.session)?;
        for warning in options.connect.warnings() {
            tracing::warn!("{warning}");
        }
        match options.connect.resolve().await {
            Ok(target) => target.check().await?,
            Err(ConnectError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let mut identity = Identity::new(options.session.worker.clone());
        if let Some(session) = options.session_id {
            identity.session = session;
        }
        let (state, former, saved) = match options.state_dir {
            Some(folder) => {
                let (state, former, saved) = open_state(folder, identity.clone()).await?;
                (Some(state), former, saved)
            }
            None => (None, Former::default(), None),
        };
        tracing::info!(worker = %identity.worker, session = %identity.session,
            supersedes = former.sessions.first().map(tracing::field::display),
            saved_streams = saved.as_ref().map(|saved| saved.streams.len()), "worker starts");
        let mut session = Session::new(
            options.session,
            identity.session,
            identity.boot_id.clone(),
            former.sessions,
            former.highest_term,
        );
        if let Some(saved) = saved {
            session.restore(clock::now(), saved);
        }
        let driver = Driver::new(identity, session, handler, state, options.host);
        driver.run(options.connect, shutdown).await;
        Ok(())
    }
}

/// Tries the settings on a heartbeat: one that every leader refuses would leave the worker unseen.
fn check(config: &SessionConfig) -> Result<(), WorkerError> {
    let mut session = Session::new(
        config.clone(),
        SessionId::from_u128(0),
        String::new(),
        None,
        Term::ZERO,
    );
    for command in session.handle(Millis(0), 0, Event::Connected) {
        if let Command::Heartbeat(heartbeat) = command {
            heartbeat.check().map_err(|error| WorkerError::Settings {
                worker: config.worker.clone(),
                problem: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// What a state folder gives to a new life.
type Opened = (StateFolder, Former, Option<SavedSet>);

async fn open_state(folder: PathBuf, identity: Identity) -> Result<Opened, WorkerError> {
    let shown = folder.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let (state, former) = StateFolder::open(&folder, &identity)?;
        let saved = saved::load(&folder, &identity.worker);
        Ok((state, former, saved))
    });
    let opened = opened.await;
    opened.unwrap_or_else(|error| {
        Err(WorkerError::State {
            path: shown,
            problem: format!("opening it failed: {error}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use streamkeeper_protocol::{Capacity, WorkerId};

    use super::*;

    #[test]
    fn settings_that_every_leader_refuses_are_an_error() {
        let capacity = |weight| Capacity {
            max_streams: 1,
            weight,
        };
        let worker = WorkerId::new("w").unwrap();
        assert!(check(&SessionConfig::new(worker.clone(), capacity(1.0))).is_ok());
        let error = check(&SessionConfig::new(worker.clone(), capacity(f64::NAN))).unwrap_err();
        assert!(error.to_string().contains("capacity.weight"), "{error}");
        let mut config = SessionConfig::new(worker, capacity(1.0));
        config.zone = Some("z".repeat(2_000));
        assert!(check(&config).unwrap_err().to_string().contains("zone"));
    }
}
