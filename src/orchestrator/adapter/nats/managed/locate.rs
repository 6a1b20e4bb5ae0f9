//! Finds the nats-server program.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ManagedError;

const PROGRAM: &str = "nats-server";
/// Where packages put it; some of these are not on a user's PATH.
const FOLDERS: &[&str] = &[
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
];

/// The given program, or the first one found.
///
/// # Errors
/// When it is no program, or none is found.
pub fn locate(given: Option<&Path>) -> Result<PathBuf, ManagedError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match given {
        // A bare name is searched for on the PATH, as in a shell.
        Some(given) if given.components().count() == 1 => {
            let named = std::env::split_paths(&path).map(|folder| folder.join(given));
            named.chain([given.to_path_buf()]).find(|file| is_program(file))
        }
        Some(given) => Some(given.to_path_buf()).filter(|file| is_program(file)),
        None => return search(std::env::split_paths(&path).collect()),
    }
    .and_then(|file| std::path::absolute(file).ok())
    .ok_or_else(|| ManagedError::NoProgram {
        path: given.map(Path::to_path_buf).unwrap_or_default(),
    })
}

fn search(mut folders: Vec<PathBuf>) -> Result<PathBuf, ManagedError> {
    folders.extend(FOLDERS.iter().map(PathBuf::from));
    let found = folders
        .iter()
        .map(|folder| folder.join(PROGRAM))
        .find(|file| is_program(file));
    found
        .and_then(|file| std::path::absolute(file).ok())
        .ok_or_else(|| ManagedError::Missing {
            looked: format!("PATH, {}", FOLDERS.join(", ")),
        })
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_program_must_be_one() {
        assert_eq!(
            locate(Some(Path::new("/bin/sh"))).unwrap(),
            PathBuf::from("/bin/sh")
        );
        assert!(locate(Some(Path::new("sh"))).unwrap().ends_with("sh"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let no_program = file.path().display().to_string();
        for bad in [no_program.as_str(), "/bin", "/no/such/file", "no-such-program"] {
            let error = locate(Some(Path::new(bad))).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("nats.server"), "{error}");
        }
    }

    #[test]
    fn the_first_program_on_the_path_wins() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(PROGRAM);
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(search(vec![folder.path().to_path_buf()]).unwrap(), program);
    }
}
