//! Programs that the demo needs, and the packages that bring them.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Folders that are often not on a user's path.
const MORE_FOLDERS: &[&str] = &[
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/sbin",
];

/// (program, package of Debian).
const NEEDED: &[(&str, &str)] = &[("ffmpeg", "ffmpeg"), ("nats-server", "nats-server")];

/// Refuses to begin where something is missing.
pub(super) fn check() -> Result<(), Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .chain(MORE_FOLDERS.iter().map(PathBuf::from))
        .collect();
    match missing(&folders) {
        None => Ok(()),
        Some(text) => Err(Failure::failed(text)),
    }
}

fn missing(folders: &[PathBuf]) -> Option<String> {
    let missing: Vec<&(&str, &str)> = NEEDED
        .iter()
        .filter(|(program, _)| !folders.iter().any(|folder| is_program(&folder.join(program))))
        .collect();
    if missing.is_empty() {
        return None;
    }
    let list = |pick: fn(&(&'static str, &'static str)) -> &'static str, joint: &str| {
        missing
            .iter()
            .map(|entry| pick(entry))
            .collect::<Vec<_>>()
            .join(joint)
    };
    Some(format!(
        "demo needs {}: install with `apt-get install {}` and try again",
        list(|entry| entry.0, " and "),
        list(|entry| entry.1, " ")
    ))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_path_buf()];
        let text = missing(&folders).unwrap();
        assert_eq!(
            text,
            "demo needs ffmpeg and nats-server: install with `apt-get install ffmpeg nats-server` and try again"
        );
        let program = folder.path().join("ffmpeg");
        fs::write(&program, "").unwrap();
        assert!(missing(&folders).unwrap().contains("ffmpeg"), "it cannot be run");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        assert!(!missing(&folders).unwrap().contains("ffmpeg"));
    }
}
