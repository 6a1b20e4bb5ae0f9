//! What a worker keeps over restarts: the lock that lets only one process run, the last sessions, the highest term.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use streamkeeper_protocol::{SessionId, Term};
use tracing::warn;

use super::{Identity, WorkerError};

const LOCK_FILE: &str = "worker.lock";
const SESSION_FILE: &str = "session.json";
const CORRUPT_FILE: &str = "session.json.corrupt";
/// Most former sessions that are remembered: of a worker that restarts over and over without a leader, the one that
/// a leader knew last and the newest ones.
const MAX_FORMER: usize = 8;

/// Contents of `session.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    worker: streamkeeper_protocol::WorkerId,
    session: SessionId,
    boot_id: String,
    highest_term: Term,
    /// Whether a leader has answered this session. It knows then that the former ones are dead.
    #[serde(default = "known")]
    acknowledged: bool,
    /// Sessions before this one that no later acknowledged one has replaced, the oldest first.
    #[serde(default)]
    former: Vec<SessionId>,
}

/// A file of a version that did not note it: then the leader knew the session, as it mostly does.
const fn known() -> bool {
    true
}

/// The state folder, locked as long as this lives.
#[derive(Debug)]
pub(super) struct StateFolder {
    folder: PathBuf,
    record: Record,
    lock: Arc<File>,
}

/// What a former life left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Former {
    /// The sessions that the lock proves to be dead, the one that a leader knew last first.
    pub(super) sessions: Vec<SessionId>,
    /// The highest term that was accepted.
    pub(super) highest_term: Term,
}

impl StateFolder {
    /// Locks the folder and makes `identity` its session.
    pub(super) fn open(folder: &Path, identity: &Identity) -> Result<(Self, Former), WorkerError> {
        create(folder).map_err(|error| problem(folder, format!("{error}; it cannot be created")))?;
        let lock = take_lock(&folder.join(LOCK_FILE))?;
        let former = load(&folder.join(SESSION_FILE))?;
        // The folder may have belonged to another worker; terms hold for the whole fleet.
        let highest_term = former.as_ref().map_or(Term::ZERO, |record| record.highest_term);
        let sessions = former
            .filter(|record| record.worker == identity.worker)
            // A lock says nothing of other boots: a folder may lie on a disk that two machines mount.
            .filter(|record| record.boot_id == identity.boot_id)
            .map_or_else(Vec::new, |record| proven_dead(record, identity.session));
        let state = Self {
            folder: folder.to_path_buf(),
            record: Record {
                worker: identity.worker.clone(),
                session: identity.session,
                boot_id: identity.boot_id.clone(),
                highest_term,
                acknowledged: false,
                former: sessions.clone(),
            },
            lock: Arc::new(lock),
        };
        state.save().map_err(|error| {
            problem(
                &folder.join(SESSION_FILE),
                format!("{error}; it cannot be written"),
            )
        })?;
        let former = Former {
            sessions,
            highest_term,
        };
        Ok((state, former))
    }

    /// Saves the highest accepted term.
    pub(super) fn remember(&mut self, highest_term: Term) -> io::Result<()> {
        self.record.highest_term = highest_term;
        self.save()
    }

    /// Saves that a leader has answered this session: the next one names it, and no older one.
    pub(super) fn acknowledged(&mut self) -> io::Result<()> {
        self.record.acknowledged = true;
        self.record.former.clear();
        self.save()
    }

    pub(super) const fn is_acknowledged(&self) -> bool {
        self.record.acknowledged
    }

    pub(super) fn path(&self) -> &Path {
        &self.folder
    }

    /// The lock. Who still writes into the folder holds it.
    pub(super) fn lock(&self) -> Arc<File> {
        self.lock.clone()
    }

    fn save(&self) -> io::Result<()> {
        replace(&self.folder, SESSION_FILE, |file| {
            serde_json::to_writer_pretty(&mut *file, &self.record)?;
            file.write_all(b"\n")
        })
    }
}

/// The sessions before `present`: all are dead, since the lock was free.
fn proven_dead(record: Record, present: SessionId) -> Vec<SessionId> {
    let mut sessions = if record.acknowledged {
        Vec::new()
    } else {
        record.former
    };
    sessions.push(record.session);
    sessions.retain(|session| *session != present);
    if sessions.len() > MAX_FORMER {
        sessions.drain(1..=sessions.len() - MAX_FORMER);
    }
    sessions
}

/// Writes a new file beside the old one and puts it in its place: after a crash there is one of the two, whole.
pub(super) fn replace(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn problem(path: &Path, problem: String) -> WorkerError {
    WorkerError::State {
        path: path.to_path_buf(),
        problem,
    }
}

fn create(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn take_lock(path: &Path) -> Result<File, WorkerError> {
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = opened.map_err(|error| problem(path, format!("{error}; it cannot be opened to write")))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(problem(
            path,
            "another worker process uses this folder; stop it, or give each worker a folder of its own"
                .to_owned(),
        )),
        Err(TryLockError::Error(error)) => Err(problem(
            path,
            format!("{error}; it cannot be locked, use a folder on a local file system"),
        )),
    }
}

fn load(path: &Path) -> Result<Option<Record>, WorkerError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(problem(path, format!("{error}; it cannot be read"))),
    };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(error) => {
            let aside = path.with_file_name(CORRUPT_FILE);
            warn!(path = %path.display(), aside = %aside.display(), %error,
                "the last session is unreadable and moved aside; the leader waits until it counts as lost");
            std::fs::rename(path, &aside)
                .map_err(|error| problem(path, format!("{error}; it is corrupt, move it aside")))?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use streamkeeper_protocol::WorkerId;

    use super::*;

    fn identity(worker: &str, session: u128, boot_id: &str) -> Identity {
        Identity {
            worker: WorkerId::new(worker).unwrap(),
            session: SessionId::from_u128(session),
            boot_id: boot_id.to_owned(),
        }
    }

    #[test]
    fn former_sessions_of_the_same_boot_are_superseded() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let term = Term::new(9).unwrap();
        for (worker, session, boot, acknowledged, former, highest_term) in [
            ("w", 1, "boot", true, &[][..], Term::ZERO),
            ("w", 2, "boot", false, &[1], term),
            ("w", 3, "boot", false, &[1, 2], term),
            ("w", 3, "boot", false, &[1, 2], term),
            ("w", 4, "boot", true, &[1, 2, 3], term),
            ("w", 5, "boot", false, &[4], term),
            ("w", 6, "later", false, &[], term),
            ("x", 7, "later", false, &[], term),
            ("x", 8, "later", false, &[7], term),
        ] {
            let (mut state, found) = StateFolder::open(&folder, &identity(worker, session, boot)).unwrap();
            let sessions = former.iter().copied().map(SessionId::from_u128).collect();
            let expected = Former {
                sessions,
                highest_term,
            };
            assert_eq!(found, expected, "session {session}");
            state.remember(term).unwrap();
            if acknowledged {
                state.acknowledged().unwrap();
            }
        }
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn of_many_former_sessions_the_known_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Former::default();
        for session in 1..=20 {
            let (mut state, former) = StateFolder::open(folder.path(), &identity("w", session, "b")).unwrap();
            if session == 3 {
                state.acknowledged().unwrap();
            }
            found = former;
        }
        let expected: Vec<SessionId> = [3, 13, 14, 15, 16, 17, 18, 19].map(SessionId::from_u128).into();
        assert_eq!(found.sessions, expected);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let session = SessionId::from_u128(1);
        let text = format!(r#"{{"worker":"w","session":"{session}","boot_id":"b","highest_term":9}}"#);
        std::fs::write(folder.path().join(SESSION_FILE), text).unwrap();
        let (_, former) = StateFolder::open(folder.path(), &identity("w", 2, "b")).unwrap();
        assert_eq!(
            (former.sessions, former.highest_term),
            (vec![session], Term::new(9).unwrap())
        );
    }

    #[test]
    fn a_folder_in_use_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let first = StateFolder::open(folder.path(), &identity("w", 1, "b")).unwrap();
        let error = StateFolder::open(folder.path(), &identity("w", 2, "b")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&*folder.path().to_string_lossy()) && text.contains("another worker process"),
            "{text}"
        );
        drop(first);
        let (_, former) = StateFolder::open(folder.path(), &identity("w", 2, "b")).unwrap();
        assert_eq!(former.sessions, [SessionId::from_u128(1)]);
    }

    #[test]
    fn a_corrupt_file_is_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(SESSION_FILE), "{\"worker\":").unwrap();
        let (state, former) = StateFolder::open(folder.path(), &identity("w", 1, "b")).unwrap();
        assert_eq!(former, Former::default());
        assert!(folder.path().join(CORRUPT_FILE).exists());
        drop(state);
        let (_, former) = StateFolder::open(folder.path(), &identity("w", 2, "b")).unwrap();
        assert_eq!(former.sessions, [SessionId::from_u128(1)]);
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = StateFolder::open(&file, &identity("w", 1, "b")).unwrap_err();
        assert!(
            matches!(&error, WorkerError::State { path, .. } if *path == file),
            "{error}"
        );
    }
}
