//! Files that only we may read: the server's folder, its passwords, `connect.json`.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use streamkeeper_protocol::Connect;
use tokio::time::Instant;

use super::ManagedError;
use super::config::{Credentials, PORTS_FOLDER};

const FOLDER: &str = "nats";
const LOCK_FILE: &str = "lock";
const CREDENTIALS_FILE: &str = "credentials.json";
/// How long the lock may be taken: who only looks whether it is held takes it for a moment.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Between attempts to take it.
const LOCK_RETRY: Duration = Duration::from_millis(20);

pub(super) fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> ManagedError {
    let path = path.to_path_buf();
    move |source| ManagedError::File { path, action, source }
}

/// Makes the server's folder below the data folder, mode 0700, and returns its absolute path.
pub(super) fn prepare(data_dir: &Path) -> Result<PathBuf, ManagedError> {
    let make = |path: &Path| {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(failed(path, "make the folder"))
    };
    make(data_dir)?;
    let data_dir = data_dir
        .canonicalize()
        .map_err(failed(data_dir, "resolve the path"))?;
    let folder = data_dir.join(FOLDER);
    make(&folder.join(PORTS_FOLDER))?;
    // A folder from before, or a wide umask, may have left more than that.
    let set = std::fs::set_permissions(&folder, Permissions::from_mode(0o700));
    set.map_err(failed(&folder, "set the permissions"))?;
    Ok(folder)
}

/// The file whose lock says that an orchestrator runs a server here.
pub(super) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(LOCK_FILE)
}

/// Takes the lock. It is held as long as the file is open.
pub(super) async fn lock(folder: &Path) -> Result<File, ManagedError> {
    let path = lock_file(folder);
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path);
    let file = opened.map_err(failed(&path, "open the file"))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => return Err(ManagedError::InUse { path }),
            Err(TryLockError::Error(error)) => return Err(failed(&path, "lock the file")(error)),
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
}

/// The passwords from before, or fresh ones, which are then kept.
pub(super) fn credentials(folder: &Path) -> Result<Credentials, ManagedError> {
    let path = folder.join(CREDENTIALS_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Credentials>(&bytes) {
            Ok(credentials) if credentials.are_sound() => return Ok(credentials),
            _ => tracing::warn!(
                "{}: holds no passwords; new ones are made, workers read them in connect.json",
                path.display()
            ),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&path, "read the file")(error)),
    }
    let credentials = Credentials::random();
    write_json(&path, &credentials)?;
    Ok(credentials)
}

/// The port that a former `connect.json` names.
pub(super) fn former_port(connect_file: &Path) -> Option<u16> {
    let bytes = std::fs::read(connect_file).ok()?;
    let connect: Connect = serde_json::from_slice(&bytes).ok()?;
    let url = connect.urls.first()?;
    url.strip_prefix("nats://127.0.0.1:")?.parse().ok()
}

/// Writes JSON, as [`write_private`] does.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ManagedError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(path, "encode")(error.into()))?;
    write_private(path, &text)
}

/// Writes a file, mode 0600, whole or not at all, and so that it survives a power failure.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), ManagedError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        // Temporary files have mode 0600 from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed(path, "write the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_kept_and_replaced_when_broken() {
        let data = tempfile::tempdir().unwrap();
        let folder = prepare(data.path()).unwrap();
        let first = credentials(&folder).unwrap();
        assert_eq!(credentials(&folder).unwrap(), first);
        std::fs::write(folder.join(CREDENTIALS_FILE), "{}").unwrap();
        let second = credentials(&folder).unwrap();
        assert_ne!(second, first);
        assert_eq!(credentials(&folder).unwrap(), second);
    }

    #[test]
    fn a_wide_folder_is_closed() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(FOLDER);
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        prepare(data.path()).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn only_a_loopback_port_is_taken_over() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("connect.json");
        for (text, port) in [
            (r#"{"urls":["nats://127.0.0.1:4300"],"prefix":"sk"}"#, Some(4_300)),
            (r#"{"urls":["nats://other:4300"],"prefix":"sk"}"#, None),
            (r#"{"urls":[],"prefix":"sk"}"#, None),
            ("garbage", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(former_port(&path), port, "{text}");
        }
        assert_eq!(former_port(&data.path().join("none")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn two_cannot_run_a_server_in_one_folder() {
        let data = tempfile::tempdir().unwrap();
        let folder = prepare(data.path()).unwrap();
        let held = lock(&folder).await.unwrap();
        assert!(matches!(lock(&folder).await, Err(ManagedError::InUse { .. })));
        // Somebody only looked.
        let (taken, ()) = tokio::join!(lock(&folder), async {
            tokio::time::sleep(LOCK_PATIENCE / 2).await;
            drop(held);
        });
        taken.unwrap();
    }
}
