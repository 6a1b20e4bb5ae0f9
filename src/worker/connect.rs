//! Where the message server is: given addresses, or the `connect.json` that an orchestrator with a managed server
//! writes, read again at each reconnect.

use std::path::{Path, PathBuf};

use async_nats::{Auth, ServerAddr};
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
    /// The server does not answer or refuses.
    #[error("message server {urls}: {problem}")]
    Server {
        /// The addresses, without passwords.
        urls: String,
        /// What it said.
        problem: String,
    },
}

/// One server and how to log in there.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: ServerAddr,
    pub(crate) auth: Auth,
    /// The address as it may be logged.
    pub(crate) shown: String,
}

/// All that is needed to connect.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) servers: Vec<Server>,
    pub(crate) subjects: Subjects,
}

impl std::fmt::Debug for ConnectSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Urls { urls, prefix } => {
                let urls: Vec<String> = urls.iter().map(|url| without_login(url)).collect();
                f.debug_struct("Urls")
                    .field("urls", &urls)
                    .field("prefix", prefix)
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
            Self::Urls { urls, prefix } => target(urls, prefix, None),
            Self::File(path) => {
                let connect = read(path).await?;
                target(&connect.urls, &connect.prefix, login(&connect))
            }
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
fn login(connect: &Connect) -> Option<Auth> {
    let user = connect.user.clone()?;
    Some(user_and_password(
        user,
        connect.password.clone().unwrap_or_default(),
    ))
}

fn user_and_password(user: String, password: String) -> Auth {
    let mut auth = Auth::new();
    auth.username = Some(user);
    auth.password = Some(password);
    auth
}

fn target(urls: &[String], prefix: &str, login: Option<Auth>) -> Result<Target, ConnectError> {
    let subjects = Subjects::new(prefix).map_err(|error| ConnectError::Address {
        value: prefix.to_owned(),
        problem: format!("no prefix of subjects: {error}"),
    })?;
    let servers = urls.iter().map(|url| server(url, login.as_ref()));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    if servers.is_empty() {
        return Err(ConnectError::Address {
            value: String::new(),
            problem: "no server URL is given; write one such as nats://127.0.0.1:4222".to_owned(),
        });
    }
    Ok(Target { servers, subjects })
}

fn server(url: &str, login: Option<&Auth>) -> Result<Server, ConnectError> {
    let shown = without_login(url);
    let bad = |problem: String| ConnectError::Address {
        value: shown.clone(),
        problem,
    };
    let address: ServerAddr = url
        .parse()
        .map_err(|error| bad(format!("{error}; write nats://host:4222 or tls://host:4222")))?;
    if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
        return Err(bad(
            "no server URL; write nats://host:4222 or tls://host:4222".to_owned()
        ));
    }
    let auth = match (address.username(), address.password()) {
        (Some(user), Some(password)) => user_and_password(decoded(user), decoded(password)),
        // The convention of NATS: a name alone is a token.
        (Some(token), None) => {
            let mut auth = Auth::new();
            auth.token = Some(decoded(token));
            auth
        }
        (None, _) => login.cloned().unwrap_or_default(),
    };
    Ok(Server { address, auth, shown })
}

/// The URL without user and password, also where it cannot be parsed.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}://{host}")
}

/// Resolves `%41` and the like, which a URL needs for the special characters of a password.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = (*byte == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                out.push(value);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(urls: &[&str], prefix: &str) -> Result<Target, ConnectError> {
        let source = ConnectSource::Urls {
            urls: urls.iter().map(ToString::to_string).collect(),
            prefix: prefix.to_owned(),
        };
        source.resolve().await
    }

    #[tokio::test]
    async fn the_login_comes_from_the_url_or_the_file() {
        let target = resolve(&["nats://us%65r:p%40ss@h:1", "t0ken@h", "tls://[::1]:9"], "sk")
            .await
            .unwrap();
        let seen: Vec<_> = target
            .servers
            .iter()
            .map(|server| {
                let auth = server.auth.clone();
                (server.shown.as_str(), auth.username, auth.password, auth.token)
            })
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            seen,
            [
                ("nats://h:1", text("user"), text("p@ss"), None),
                ("nats://h", None, None, text("t0ken")),
                ("tls://[::1]:9", None, None, None),
            ]
        );

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(CONNECT_FILE);
        let json = r#"{"urls":["nats://127.0.0.1:4"],"user":"w","password":"x","prefix":"radio.eu"}"#;
        std::fs::write(&file, json).unwrap();
        for path in [folder.path(), file.as_path()] {
            let target = ConnectSource::File(path.to_path_buf()).resolve().await.unwrap();
            assert_eq!(target.subjects.leader(), "radio.eu.v1.leader");
            let auth = &target.servers[0].auth;
            assert_eq!((&auth.username, &auth.password), (&text("w"), &text("x")));
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
            let Err(error) = resolve(urls, prefix).await else {
                panic!("{urls:?} was accepted");
            };
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(
                matches!(&error, ConnectError::Address { value: named, .. } if named == value),
                "{error}"
            );
        }
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
