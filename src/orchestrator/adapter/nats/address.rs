//! Where NATS is and who we are there; what is shown never holds a password.

use std::fmt;
use std::time::Duration;

use streamkeeper_access::{Access, Address, FileError, Naming, without_login};
use streamkeeper_protocol::IdError;

/// How to reach NATS.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// Server URLs: `nats://host:4222`, `tls://user:password@host`; any one of them is enough.
    pub urls: Vec<String>,
    /// Login and certificates.
    pub access: Access,
    /// First tokens of every subject.
    pub prefix: String,
    /// Name of the connection, as the server lists it.
    pub name: String,
    /// How long the first connection may take.
    pub connect_timeout: Duration,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            access: Access {
                naming: Naming::Setting,
                ..Access::default()
            },
            prefix: "sk".to_owned(),
            name: "streamkeeper".to_owned(),
            connect_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for NatsSettings {
    /// Leaves password and token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_login(url)).collect();
        f.debug_struct("NatsSettings")
            .field("urls", &urls)
            .field("access", &self.access)
            .field("prefix", &self.prefix)
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .finish()
    }
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// No URL at all.
    #[error("nats.urls is empty; name at least one server, such as nats://127.0.0.1:4222")]
    NoUrl,
    /// An URL cannot be read.
    #[error("nats.urls: {url}: {problem}")]
    Url {
        /// The URL without password.
        url: String,
        /// What is wrong, and what to write.
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
    #[error("NATS at {urls}: {problem}")]
    Refused {
        /// The URL without password.
        urls: String,
        /// As whom we came, and what to do.
        problem: String,
    },
    /// Server and orchestrator do not trust each other's certificates.
    #[error("NATS at {urls}: {problem}")]
    Untrusted {
        /// The URL without password.
        urls: String,
        /// What TLS says, and what to do.
        problem: String,
    },
    /// A file with a secret or a certificate cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads every URL of the settings.
pub(super) fn endpoints(settings: &NatsSettings) -> Result<Vec<Address>, NatsError> {
    if settings.urls.is_empty() {
        return Err(NatsError::NoUrl);
    }
    settings.urls.iter().map(|url| endpoint(url, settings)).collect()
}

fn endpoint(url: &str, settings: &NatsSettings) -> Result<Address, NatsError> {
    let wrong = |problem: String| NatsError::Url {
        url: without_login(url),
        problem,
    };
    let address = Address::parse(url).map_err(wrong)?;
    let Access {
        password,
        password_file,
        ..
    } = &settings.access;
    let has_password = address.password.is_some() || password.is_some() || password_file.is_some();
    // It may be a token, which some clients write there: the configuration would show it like a user.
    if address.user.is_some() && !has_password {
        return Err(wrong(
            "it names a user without password; set nats.password_file, or write a token into nats.token_file"
                .to_owned(),
        ));
    }
    Ok(address)
}

/// All servers, for people.
pub(super) fn shown(endpoints: &[Address]) -> String {
    let all: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.shown.as_str()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str]) -> NatsSettings {
        NatsSettings {
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
            access: Access {
                user: Some("setting".to_owned()),
                password: Some("secret-setting".to_owned()),
                token: Some("secret-token".to_owned()),
                ..Access::default()
            },
            ..NatsSettings::default()
        }
    }

    #[test]
    fn urls_are_shown_without_their_login() {
        let found = endpoints(&settings(&["nats://a:secret@host", "host:4300"])).unwrap();
        assert_eq!(shown(&found), "nats://host, host:4300");
    }

    #[test]
    fn bad_urls_are_named_without_their_password() {
        let error = endpoints(&settings(&["nats://u:se@cret@host:99999"]))
            .err()
            .unwrap();
        let text = error.to_string();
        assert!(text.starts_with("nats.urls: nats://host:99999: "), "{text}");
        assert!(!text.contains("cret@"), "{text}");
        assert!(matches!(endpoints(&settings(&[])), Err(NatsError::NoUrl)));
    }

    #[test]
    fn a_user_needs_a_password_and_is_not_shown_without_one() {
        let mut bare = settings(&["nats://secret-token@host"]);
        assert!(endpoints(&bare).is_ok());
        bare.access.password = None;
        let error = endpoints(&bare).err().unwrap().to_string();
        assert!(
            error.contains("nats.token_file") && !error.contains("secret"),
            "{error}"
        );
        bare.access.password_file = Some("/p".into());
        assert!(endpoints(&bare).is_ok());
    }

    #[test]
    fn debug_shows_no_password() {
        let text = format!("{:?}", settings(&["nats://u:secret-url@host"]));
        assert!(text.contains("host") && !text.contains("secret"), "{text}");
    }
}
