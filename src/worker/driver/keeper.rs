//! Saves the session's streams beside the driver's work, a moment after they change.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::Identity;
use super::saved;
use super::state::StateFolder;
use crate::session::{SavedSet, Session};

/// Changes of so long a time are saved at once.
const DELAY: Duration = Duration::from_secs(1);
/// Longest wait for the disk at the end of the process.
const LAST_SAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Saves one session's streams.
pub(super) struct Keeper {
    folder: PathBuf,
    identity: Identity,
    /// Held by each write, so that it ends before the next process begins, also where this one is dropped.
    lock: Arc<File>,
    /// The revision that is saved or being saved.
    seen: u64,
    due: Option<Instant>,
    task: Option<JoinHandle<std::io::Result<()>>>,
    told: bool,
}

impl Keeper {
    pub(super) fn new(state: &StateFolder, identity: Identity) -> Self {
        Self {
            folder: state.path().to_path_buf(),
            identity,
            lock: state.lock(),
            seen: 0,
            due: None,
            task: None,
            told: false,
        }
    }

    /// Looks what changed, and begins to save it when it is time.
    pub(super) fn look(&mut self, session: &Session) {
        if session.plan_revision() != self.seen {
            self.due.get_or_insert_with(|| Instant::now() + DELAY);
        }
        if self.task.is_none() && self.due.is_some_and(|due| due <= Instant::now()) {
            self.save(session);
        }
    }

    fn save(&mut self, session: &Session) {
        self.due = None;
        self.seen = session.plan_revision();
        if let Some(plan) = session.plan() {
            self.task = Some(self.write(plan));
        }
    }

    fn write(&self, plan: SavedSet) -> JoinHandle<std::io::Result<()>> {
        let (folder, identity, lock) = (self.folder.clone(), self.identity.clone(), self.lock.clone());
        tokio::task::spawn_blocking(move || {
            let written = saved::write(&folder, &identity, plan);
            drop(lock);
            written
        })
    }

    /// Completes when there is something to do or done.
    pub(super) async fn wake(&mut self) {
        match (&mut self.task, self.due) {
            (Some(task), _) => {
                let done = task.await;
                self.task = None;
                self.written(done.unwrap_or_else(|error| Err(std::io::Error::other(error))));
            }
            (None, Some(due)) => sleep_until(due).await,
            (None, None) => std::future::pending().await,
        }
    }

    fn written(&mut self, done: std::io::Result<()>) {
        match done {
            Ok(()) => self.told = false,
            // A full disk is no reason to end streams, nor to fill the log as well.
            Err(error) if !self.told => {
                self.told = true;
                let (worker, folder) = (&self.identity.worker, self.folder.display());
                warn!(%worker, %folder, %error, "the streams are not saved; a restart without a leader starts what was saved before");
            }
            Err(_) => {}
        }
    }

    /// Saves what is not saved yet; the process is about to end its streams.
    pub(super) async fn finish(&mut self, session: &Session) {
        let finish = async {
            if self.task.is_some() {
                self.wake().await;
            }
            if session.plan_revision() != self.seen {
                self.save(session);
                if self.task.is_some() {
                    self.wake().await;
                }
            }
        };
        // The blocking write goes on by itself where the disk is that slow.
        let _ = timeout(LAST_SAVE_TIMEOUT, finish).await;
    }

    /// A leader heard the end of this session and gives its streams to others.
    pub(super) async fn forget(&self) {
        let (folder, lock) = (self.folder.clone(), self.lock.clone());
        let cleared = tokio::task::spawn_blocking(move || {
            let cleared = saved::clear(&folder);
            drop(lock);
            cleared
        });
        if let Ok(Ok(Err(error))) = timeout(LAST_SAVE_TIMEOUT, cleared).await {
            let folder = self.folder.display();
            warn!(%folder, %error, "the saved streams are not removed; a restart without a leader starts them");
        }
    }
}
