//! Small files with secrets and certificates.

use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::io::AsyncReadExt;

/// Largest file with a secret or a certificate, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Permissions that nobody should have on a secret: to change it as a member of the group, anything as anybody else.
const TOO_OPEN: u32 = 0o027;

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {path}: {problem}")]
pub struct FileError {
    /// The setting that names it.
    pub setting: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

impl FileError {
    pub(crate) fn new(setting: &str, path: &Path, problem: impl Into<String>) -> Self {
        Self {
            setting: setting.to_owned(),
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

/// What a PEM file has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pem {
    /// One or more certificates.
    Certificate,
    /// A private key without passphrase.
    PrivateKey,
}

impl Pem {
    const fn label(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::PrivateKey => "PRIVATE KEY",
        }
    }
}

/// Looks whether a file holds PEM blocks of a kind. The libraries that use it would not say which file is wrong.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub async fn check_pem(setting: &str, path: &Path, kind: Pem) -> Result<(), FileError> {
    let text = read(setting, path).await?;
    let label = kind.label();
    let ending = format!("{label}-----");
    let found = |begins: &str, ends: &str| {
        text.lines()
            .any(|line| line.starts_with(begins) && line.trim_end().ends_with(ends))
    };
    if kind == Pem::PrivateKey && found("-----BEGIN ENCRYPTED", &ending) {
        return Err(FileError::new(
            setting,
            path,
            "the key is encrypted, and nobody is there to type its passphrase; write it without one (openssl pkey -in \
             OLD -out NEW) and let nobody else read it",
        ));
    }
    if found("-----BEGIN ", &ending) {
        Ok(())
    } else {
        let problem = format!("holds no PEM block of kind {label}; name the right file");
        Err(FileError::new(setting, path, problem))
    }
}

/// Reads a secret that stands alone in its file.
pub(crate) async fn read_secret(setting: &str, path: &Path) -> Result<String, FileError> {
    let text = read(setting, path).await?;
    // Editors end the last line; a password ends before that.
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(FileError::new(
            setting,
            path,
            "is empty; write the secret into it",
        ));
    }
    Ok(text.to_owned())
}

/// Reads a small file of text.
pub(crate) async fn read(setting: &str, path: &Path) -> Result<String, FileError> {
    let wrong = |problem: String| {
        FileError::new(
            setting,
            path,
            format!("{problem}; check path, owner and permissions"),
        )
    };
    let unreadable = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    // A pipe could be read once only, and without end.
    if !tokio::fs::metadata(path).await.map_err(unreadable)?.is_file() {
        return Err(wrong("is no regular file".to_owned()));
    }
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut text = String::new();
    let taken = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).await;
    taken.map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(format!("has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// A warning about a secret that more people can get at than should. A file that cannot be looked at is none: whoever
/// reads it says so.
#[must_use]
pub fn open_to_others(setting: &str, path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).as_ref().map(mode).ok()?;
    (mode & TOO_OPEN != 0).then(|| {
        let path = path.display();
        format!("{setting}: {path}: others may read or change it (mode {mode:04o}); run  chmod 600 {path}")
    })
}

fn mode(file: &Metadata) -> u32 {
    file.permissions().mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    #[tokio::test]
    async fn pem_files_are_looked_at_before_they_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.pem");
        let cases = [
            ("-----BEGIN CERTIFICATE-----\r\n", Pem::Certificate, None),
            (
                "text before\n-----BEGIN EC PRIVATE KEY-----\n",
                Pem::PrivateKey,
                None,
            ),
            (
                "-----BEGIN PRIVATE KEY-----\n",
                Pem::Certificate,
                Some("kind CERTIFICATE"),
            ),
            ("", Pem::PrivateKey, Some("kind PRIVATE KEY")),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
                Pem::PrivateKey,
                Some("openssl pkey"),
            ),
        ];
        for (text, kind, problem) in cases {
            write(&file, text).unwrap();
            let outcome = check_pem("tls_file", &file, kind).await;
            match problem {
                None => outcome.unwrap(),
                Some(problem) => {
                    let text = outcome.unwrap_err().to_string();
                    let begin = format!("tls_file: {}: ", file.display());
                    assert!(text.starts_with(&begin) && text.contains(problem), "{text}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_small_file_of_text_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let large = folder.path().join("large");
        write(&large, "x".repeat(MAX_FILE_BYTES as usize + 1)).unwrap();
        let binary = folder.path().join("binary");
        write(&binary, [0xff, 0xfe]).unwrap();
        for (path, problem) in [
            (folder.path().join("missing"), "No such file"),
            (folder.path().to_path_buf(), "no regular file"),
            ("/dev/zero".into(), "no regular file"),
            (large, "1048576 bytes"),
            (binary, "utf-8"),
        ] {
            let error = read("password_file", &path).await.unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("check path"), "{error}");
        }
    }

    #[test]
    fn secrets_that_others_may_read_are_warned_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, warned) in [
            (0o600, false),
            (0o640, false),
            (0o644, true),
            (0o660, true),
            (0o604, true),
        ] {
            set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            let warning = open_to_others("token_file", file.path());
            assert_eq!(warning.is_some(), warned, "{mode:o}");
            if let Some(warning) = warning {
                assert!(
                    warning.contains("token_file") && warning.contains("chmod 600"),
                    "{warning}"
                );
            }
        }
        assert_eq!(open_to_others("token_file", Path::new("/nowhere/token")), None);
    }
}
