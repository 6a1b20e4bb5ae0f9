//! Where the message server is: given addresses, or the `connect.json` that an orchestrator with a managed server
//! writes, read again at each reconnect.

use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use streamkeeper_access::{Access, Address, FileError, Trouble, without_login};
use streamkeeper_protocol::Subjects;
use streamkeeper_protocol::connect::{CONNECT_FILE, Connect};

/// Where to find the message server. Its debug output has no passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum ConnectSource {
    /// These server URLs (`nats://user:password@host:4222`, `tls://…`), subjects below `prefix`.
    Urls {
        /// Server URLs.
        urls: Vec<String>,
        /// Prefix of all subjects, `sk` by default.
        prefix: String,
        /// Login and certificates; the default is what the URLs say.
        access: Box<Access>,
    },
    /// A `connect.json`, or the folder that holds it.
    File(PathBuf),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file is not there (yet): an orchestrator writes it when its server is up.
    #[error("{path} is not there; start the orchestrator that writes it, or correct the path")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or understood.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An address or the prefix is unusable.
    #[error("{value:?}: {problem}")]
    Address {
        /// The value, without password.
        value: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// Login and certificates contradict each other.
    #[error("login: {problem}")]
    Login {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file with a secret or a certificate cannot be used.
    #[error(transparent)]
    Access(#[from] FileError),
    /// The server does not answer or refuses.
    #[error("message server {urls}: {problem}")]
    Server {
        /// The addresses, without passwords.
        urls: String,
        /// What it said.
        problem: String,
    },
}

/// All that is needed to connect.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) servers: Vec<Address>,
    pub(crate) access: Access,
    pub(crate) subjects: Subjects,
    /// The `connect.json` that says all this, if one does.
    pub(crate) file: Option<PathBuf>,
}

impl Target {
    /// What happened at a server that refused `who`, and what to do.
    pub(crate) fn explain(&self, trouble: Trouble, who: &str, reason: String) -> String {
        if let (Trouble::Refused, Some(file)) = (trouble, &self.file) {
            let file = file.display();
            return format!("refuses {who}; take a new copy of connect.json from the orchestrator to {file}");
        }
        self.access.explain(trouble, who, &reason).unwrap_or(reason)
    }

    /// Whether the files with secrets and certificates can be used now.
    pub(crate) async fn check(&self) -> Result<(), ConnectError> {
        for server in &self.servers {
            self.access.login(server).await?;
        }
        self.access.certify(ConnectOptions::new()).await?;
        Ok(())
    }
}

impl std::fmt::Debug for ConnectSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Urls { urls, prefix, access } => {
                let urls: Vec<String> = urls.iter().map(|url| without_login(url)).collect();
                f.debug_struct("Urls")
                    .field("urls", &urls)
                    .field("prefix", prefix)
                    .field("access", access)
                    .finish()
            }
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl ConnectSource {
    /// Reads and checks the settings as they are now.
    pub(crate) async fn resolve(&self) -> Result<Target, ConnectError> {
        match self {
            Self::Urls { urls, prefix, access } => target(urls, prefix, (**access).clone()),
            Self::File(path) => {
                let connect = read(path).await?;
                let mut target = target(&connect.urls, &connect.prefix, login(&connect))?;
                target.file = Some(path.clone());
                Ok(target)
            }
        }
    }

    /// Warnings about files with secrets that others may read.
    pub(crate) fn warnings(&self) -> Vec<String> {
        match self {
            Self::Urls { access, .. } => access.warnings(),
            Self::File(_) => Vec::new(),
        }
    }
}

async fn read(path: &Path) -> Result<Connect, ConnectError> {
    let is_folder = tokio::fs::metadata(path).await.is_ok_and(|found| found.is_dir());
    let path = if is_folder {
        path.join(CONNECT_FILE)
    } else {
        path.to_path_buf()
    };
    match tokio::fs::read(&path).await {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| ConnectError::File {
            path,
            problem: format!(
                "{error}; an orchestrator with a managed server writes this file, do not edit it"
            ),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ConnectError::Missing { path }),
        Err(error) => Err(ConnectError::File {
            path,
            problem: format!(
                "{error}; run the worker as the orchestrator's user or give it the right to read"
            ),
        }),
    }
}

/// The login that the file names beside the URLs.
fn login(connect: &Connect) -> Access {
    Access {
        user: connect.user.clone(),
        password: connect
            .user
            .is_some()
            .then(|| connect.password.clone().unwrap_or_default()),
        ..Access::default()
    }
}

fn target(urls: &[String], prefix: &str, access: Access) -> Result<Target, ConnectError> {
    let subjects = Subjects::new(prefix).map_err(|error| ConnectError::Address {
        value: prefix.to_owned(),
        problem: format!("no prefix of subjects: {error}"),
    })?;
    let servers = urls.iter().map(|url| {
        Address::parse(url).map_err(|problem| ConnectError::Address {
            value: without_login(url),
            problem,
        })
    });
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(ConnectError::Address {
            value: String::new(),
            problem: "no server URL is given; write one such as nats://127.0.0.1:4222".to_owned(),
        });
    }
    let problems = access.problems(urls);
    if !problems.is_empty() {
        let texts: Vec<String> = problems.into_iter().map(|problem| problem.text).collect();
        let problem = texts.join("; ");
        return Err(ConnectError::Login { problem });
    }
    Ok(Target {
        servers,
        access,
        subjects,
        file: None,
    })
}

#[cfg(test)]
mod tests {
    use async_nats::Auth;

    use super::*;

    async fn resolve(urls: &[&str], prefix: &str, access: Access) -> Result<Target, ConnectError> {
        let source = ConnectSource::Urls {
            urls: urls.iter().map(ToString::to_string).collect(),
            prefix: prefix.to_owned(),
            access: Box::new(access),
        };
        assert!(!format!("{source:?}").contains("secret"), "{source:?}");
        source.resolve().await
    }

    async fn auth(target: &Target) -> Auth {
        let login = target.access.login(&target.servers[0]).await.unwrap();
        login.auth(b"").unwrap()
    }

    #[tokio::test]
    async fn the_login_comes_from_the_url_the_settings_or_the_file() {
        let text = |text: &str| Some(text.to_owned());
        let settings = Access {
            user: text("u"),
            password: text("secret"),
            ..Access::default()
        };
        for (url, access, shown, user, password, token) in [
            (
                "nats://us%65r:p%40ss@h:1",
                Access::default(),
                "nats://h:1",
                text("user"),
                text("p@ss"),
                None,
            ),
            ("t0ken@h", Access::default(), "h", None, None, text("t0ken")),
            (
                "tls://[::1]:9",
                settings,
                "tls://[::1]:9",
                text("u"),
                text("secret"),
                None,
            ),
        ] {
            let target = resolve(&[url], "sk", access).await.unwrap();
            assert_eq!(target.servers[0].shown, shown);
            let auth = auth(&target).await;
            assert_eq!(
                (auth.username, auth.password, auth.token),
                (user, password, token)
            );
        }

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CONNECT_FILE);
        let json = r#"{"urls":["nats://127.0.0.1:4"],"user":"w","password":"x","prefix":"radio.eu"}"#;
        std::fs::write(&file, json).unwrap();
        for path in [folder.path(), file.as_path()] {
            let target = ConnectSource::File(path.to_path_buf()).resolve().await.unwrap();
            assert_eq!(target.subjects.leader(), "radio.eu.v1.leader");
            let auth = auth(&target).await;
            assert_eq!((auth.username, auth.password), (text("w"), text("x")));
        }
    }

    #[tokio::test]
    async fn what_is_unusable_is_named_without_password() {
        for (urls, prefix, value) in [
            (&["nats://h"][..], "a b", "a b"),
            (&[], "sk", ""),
            (&["nats://u:secret@h:x"], "sk", "nats://h:x"),
            (&["http://u:secret@h"], "sk", "http://h"),
        ] {
            let Err(error) = resolve(urls, prefix, Access::default()).await else {
                panic!("{urls:?} was accepted");
            };
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(
                matches!(&error, ConnectError::Address { value: named, .. } if named == value),
                "{error}"
            );
        }
        let contradiction = Access {
            user: Some("u".to_owned()),
            credentials_file: Some("/c".into()),
            ..Access::default()
        };
        let Err(ConnectError::Login { problem }) = resolve(&["nats://h"], "sk", contradiction).await else {
            panic!("a contradiction was accepted");
        };
        assert!(problem.contains("user and credentials_file are set"), "{problem}");
        assert!(problem.contains("; a user needs a password"), "{problem}");
        let folder = tempfile::tempdir().unwrap();
        let source = ConnectSource::File(folder.path().join("none.json"));
        assert!(matches!(
            source.resolve().await,
            Err(ConnectError::Missing { .. })
        ));
        std::fs::write(folder.path().join(CONNECT_FILE), "{").unwrap();
        let source = ConnectSource::File(folder.path().to_path_buf());
        assert!(matches!(source.resolve().await, Err(ConnectError::File { .. })));
    }
}
