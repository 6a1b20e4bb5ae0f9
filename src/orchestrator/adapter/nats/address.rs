//! Where NATS is and who we are there; what is shown never holds a password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;
use streamkeeper_protocol::IdError;

/// How to reach NATS.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// Server URLs: `nats://host:4222`, `tls://user:password@host`; any one of them is enough.
    pub urls: Vec<String>,
    /// User, where the URL names none.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<String>,
    /// File with the password, read anew at every connect.
    pub password_file: Option<PathBuf>,
    /// Token, on a server that asks for one in place of a user.
    pub token: Option<String>,
    /// File with the token, read anew at every connect.
    pub token_file: Option<PathBuf>,
    /// Certificates.
    pub tls: NatsTls,
    /// First tokens of every subject.
    pub prefix: String,
    /// Name of the connection, as the server lists it.
    pub name: String,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
}

/// Certificates towards the server; files are read anew at every connect. Where one is named, TLS is a must.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NatsTls {
    /// Authorities that may vouch for the server (PEM), in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The own certificate (PEM), for a server that asks for one.
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file` (PEM).
    pub key_file: Option<PathBuf>,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            user: None,
            password: None,
            password_file: None,
            token: None,
            token_file: None,
            tls: NatsTls::default(),
            prefix: "sk".to_owned(),
            name: "streamkeeper".to_owned(),
            connect_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for NatsSettings {
    /// Leaves password and token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_credentials(url)).collect();
        f.debug_struct("NatsSettings")
            .field("urls", &urls)
            .field("user", &self.user)
            .field("password_file", &self.password_file)
            .field("token_file", &self.token_file)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No URL at all.
    #[error("nats.urls is empty; name at least one server, such as nats://127.0.0.1:4222")]
    NoUrl,
    /// An URL cannot be read.
    #[error("nats.urls: {url}: {problem}; write nats://host:4222 or tls://host:4222")]
    Url {
        /// The URL without password.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The prefix cannot stand in subjects.
    #[error("nats.prefix: {prefix:?} cannot begin a subject; write tokens of A-Z a-z 0-9 _ - joined by dots")]
    Prefix {
        /// The prefix.
        prefix: String,
        /// What is wrong.
        #[source]
        source: IdError,
    },
    /// No server answers.
    #[error(
        "NATS at {urls}: no connection within {timeout:?} ({reason}); start the server, correct nats.urls, \
         or leave nats.urls empty for a managed server"
    )]
    Unreachable {
        /// The URLs without passwords.
        urls: String,
        /// How long was tried.
        timeout: Duration,
        /// What happened last.
        reason: String,
    },
    /// The server does not want us.
    #[error(
        "NATS at {urls}: refuses {user}; correct nats.user with nats.password or nats.password_file, nats.token or \
         nats.token_file, or the login in nats.urls (nats://user:password@host:4222)"
    )]
    Refused {
        /// The URL without password.
        urls: String,
        /// As whom we came.
        user: String,
    },
    /// Server and orchestrator do not trust each other's certificates.
    #[error(
        "NATS at {urls}: no trust over TLS ({reason}); name the authority of the server's certificate in \
         nats.tls_ca_file, write the host in nats.urls as the certificate names it, and give nats.tls_cert_file and \
         nats.tls_key_file where the server asks for a certificate"
    )]
    Untrusted {
        /// The URL without password.
        urls: String,
        /// What TLS says.
        reason: String,
    },
    /// A file with a secret or a certificate cannot be used.
    #[error("{problem}")]
    File {
        /// Setting, path, problem and what to do.
        problem: String,
    },
}

/// One server, and who we are there where its URL says so.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) address: ServerAddr,
    pub(super) shown: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

/// Reads every URL of the settings.
pub(super) fn endpoints(settings: &NatsSettings) -> Result<Vec<Endpoint>, NatsError> {
    if settings.urls.is_empty() {
        return Err(NatsError::NoUrl);
    }
    settings.urls.iter().map(|url| endpoint(url, settings)).collect()
}

fn endpoint(url: &str, settings: &NatsSettings) -> Result<Endpoint, NatsError> {
    let shown = without_credentials(url);
    let wrong = |problem: String| NatsError::Url {
        url: shown.clone(),
        problem,
    };
    let address: ServerAddr = url
        .parse()
        .map_err(|error: std::io::Error| wrong(error.to_string()))?;
    if address.is_websocket() {
        return Err(wrong("websockets are not supported".to_owned()));
    }
    if address.host().is_empty() {
        return Err(wrong("no host".to_owned()));
    }
    let password = address.password().map(decoded);
    let has_password = password.is_some() || settings.password.is_some() || settings.password_file.is_some();
    // It may be a token, which some clients write there: it is not shown.
    if address.username().is_some() && !has_password {
        return Err(wrong(
            "it names a user without password; set nats.password_file, or write a token into nats.token_file"
                .to_owned(),
        ));
    }
    Ok(Endpoint {
        user: address.username().map(decoded),
        password,
        address,
        shown,
    })
}

/// The URL without what stands before its host. It also works for text that is no URL, because errors quote that.
fn without_credentials(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{host}")
}

/// Undoes the percent encoding of a user or password.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All servers, for people.
pub(super) fn shown(endpoints: &[Endpoint]) -> String {
    let all: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.shown.as_str()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str]) -> NatsSettings {
        NatsSettings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            user: Some("setting".to_owned()),
            password: Some("secret-setting".to_owned()),
            token: Some("secret-token".to_owned()),
            ..NatsSettings::default()
        }
    }

    #[test]
    fn urls_are_read_and_shown_without_their_login() {
        let found = endpoints(&settings(&["nats://a%40b:p%3Ass%zz@host", "host:4300"])).unwrap();
        assert_eq!(found[0].user.as_deref(), Some("a@b"));
        assert_eq!(found[0].password.as_deref(), Some("p:ss%zz"));
        assert_eq!(found[1].user, None);
        assert_eq!((found[1].address.host(), found[1].address.port()), ("host", 4300));
        assert_eq!(shown(&found), "nats://host, host:4300");
    }

    #[test]
    fn bad_urls_are_named_without_their_password() {
        let cases = [
            ("http://u:secret@host", "http"),
            ("nats://u:secret@ho st", "host"),
            ("ws://u:secret@host", "websockets"),
            ("nats://u:se@cret@host:99999", "port"),
        ];
        for (url, expected) in cases {
            let error = endpoints(&settings(&[url])).err().unwrap().to_string();
            assert!(error.contains(expected) || error.contains("invalid"), "{error}");
            assert!(!error.contains("secret") && !error.contains("cret@"), "{error}");
        }
        assert!(matches!(endpoints(&settings(&[])), Err(NatsError::NoUrl)));
    }

    #[test]
    fn a_user_needs_a_password_and_is_not_shown_without_one() {
        let mut bare = settings(&["nats://secret-token@host"]);
        assert!(endpoints(&bare).is_ok());
        bare.password = None;
        let error = endpoints(&bare).err().unwrap().to_string();
        assert!(
            error.contains("nats.token_file") && !error.contains("secret"),
            "{error}"
        );
        bare.password_file = Some("/p".into());
        assert!(endpoints(&bare).is_ok());
    }

    #[test]
    fn debug_shows_no_password() {
        let text = format!("{:?}", settings(&["nats://u:secret-url@host"]));
        assert!(text.contains("host") && !text.contains("secret"), "{text}");
    }
}
