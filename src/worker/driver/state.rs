//! What a worker keeps over restarts: the lock that lets only one process run, the last session, the highest term.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use streamkeeper_protocol::{SessionId, Term};
use tracing::warn;

use super::{Identity, WorkerError};

const LOCK_FILE: &str = "worker.lock";
const SESSION_FILE: &str = "session.json";
const CORRUPT_FILE: &str = "session.json.corrupt";

/// Contents of `session.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    worker: streamkeeper_protocol::WorkerId,
    session: SessionId,
    boot_id: String,
    highest_term: Term,
}

/// The state folder, locked as long as this lives.
#[derive(Debug)]
pub(super) struct StateFolder {
    folder: PathBuf,
    record: Record,
    _lock: File,
}

/// What a former life left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Former {
    /// The session that the lock proves to be dead.
    pub(super) supersedes: Option<SessionId>,
    /// The highest term that was accepted.
    pub(super) highest_term: Term,
}

impl StateFolder {
    /// Locks the folder and makes `identity` its session.
    pub(super) fn open(folder: &Path, identity: &Identity) -> Result<(Self, Former), WorkerError> {
        create(folder).map_err(|error| problem(folder, format!("{error}; it cannot be created")))?;
        let lock = lock(&folder.join(LOCK_FILE))?;
        let former = load(&folder.join(SESSION_FILE))?;
        // The folder may have belonged to another worker; terms hold for the whole fleet.
        let highest_term = former.as_ref().map_or(Term::ZERO, |record| record.highest_term);
        let supersedes = former
            .filter(|record| record.worker == identity.worker)
            // A lock says nothing of other boots: a folder may lie on a disk that two machines mount.
            .filter(|record| record.boot_id == identity.boot_id && record.session != identity.session)
            .map(|record| record.session);
        let state = Self {
            folder: folder.to_path_buf(),
            record: Record {
                worker: identity.worker.clone(),
                session: identity.session,
                boot_id: identity.boot_id.clone(),
                highest_term,
            },
            _lock: lock,
        };
        state.save().map_err(|error| {
            problem(
                &folder.join(SESSION_FILE),
                format!("{error}; it cannot be written"),
            )
        })?;
        let former = Former {
            supersedes,
            highest_term,
        };
        Ok((state, former))
    }

    /// Saves the highest accepted term.
    pub(super) fn remember(&mut self, highest_term: Term) -> io::Result<()> {
        self.record.highest_term = highest_term;
        self.save()
    }

    /// Writes a new file beside the old one and puts it in its place: after a crash there is one of the two, whole.
    fn save(&self) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer_pretty(&mut file, &self.record)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(SESSION_FILE))?;
        File::open(&self.folder)?.sync_all()
    }
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

fn lock(path: &Path) -> Result<File, WorkerError> {
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
    fn a_former_session_of_the_same_boot_is_superseded() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let term = Term::new(9).unwrap();
        for (worker, session, boot, supersedes, highest_term) in [
            ("w", 1, "boot", None, Term::ZERO),
            ("w", 2, "boot", Some(1), term),
            ("w", 2, "boot", None, term),
            ("w", 3, "later", None, term),
            ("x", 4, "later", None, term),
            ("x", 5, "later", Some(4), term),
        ] {
            let (mut state, former) = StateFolder::open(&folder, &identity(worker, session, boot)).unwrap();
            let supersedes = supersedes.map(SessionId::from_u128);
            let expected = Former {
                supersedes,
                highest_term,
            };
            assert_eq!(former, expected, "session {session}");
            state.remember(term).unwrap();
        }
        let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
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
        assert_eq!(former.supersedes, Some(SessionId::from_u128(1)));
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
        assert_eq!(former.supersedes, Some(SessionId::from_u128(1)));
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
