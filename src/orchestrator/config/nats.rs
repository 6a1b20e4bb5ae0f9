//! Settings of the message server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Broken;

/// The message server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// URLs of a server that somebody else runs; empty: a managed one is started.
    pub urls: Vec<String>,
    /// User on that server, where its URL names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// File with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Token, on a server that asks for one in place of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// File with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Authorities that may vouch for the server (PEM); the system's where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// The own certificate (PEM), for a server that asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,
    /// The private key of `tls_cert_file` (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// First tokens of every subject.
    pub prefix: String,
    /// The `nats-server` program for the managed one; found on the usual paths where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<PathBuf>,
    /// How long to wait for the server at the start.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
}

/// Settings that are never shown.
pub(super) const SECRETS: &[&str] = &["nats.password", "nats.token"];
/// What is shown in place of a secret.
const HIDDEN: &str = "***";

/// A secret setting. It cannot be shown or written by accident.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// Logins and certificates that contradict each other.
pub(super) fn check(nats: &Nats, broken: &mut Vec<Broken>) {
    let both = |first: bool, second: bool| first && second;
    let has_password = nats.password.is_some() || nats.password_file.is_some();
    let has_token = nats.token.is_some() || nats.token_file.is_some();
    let mut says = |keys: &'static [&'static str], wrong: bool, problem: &str| {
        if wrong {
            broken.push((keys, problem.to_owned()));
        }
    };
    says(
        &["nats.password", "nats.password_file"],
        both(nats.password.is_some(), nats.password_file.is_some()),
        "nats.password and nats.password_file are both set; keep one",
    );
    says(
        &["nats.token", "nats.token_file"],
        both(nats.token.is_some(), nats.token_file.is_some()),
        "nats.token and nats.token_file are both set; keep one",
    );
    says(
        &["nats.token", "nats.token_file", "nats.user"],
        both(has_token, nats.user.is_some()),
        "a user and a token are both set; a server asks for one of them",
    );
    says(
        &["nats.user"],
        nats.user.is_some() && !has_password,
        "a user needs a password; set nats.password_file or nats.password",
    );
    says(
        &["nats.tls_cert_file", "nats.tls_key_file"],
        nats.tls_cert_file.is_some() != nats.tls_key_file.is_some(),
        "nats.tls_cert_file and nats.tls_key_file belong together; set both or none",
    );
    let has_tls = nats.tls_ca_file.is_some() || nats.tls_cert_file.is_some();
    says(
        &[
            "nats.user",
            "nats.password",
            "nats.password_file",
            "nats.token",
            "nats.token_file",
            "nats.tls_ca_file",
            "nats.tls_cert_file",
        ],
        nats.urls.is_empty() && (nats.user.is_some() || has_password || has_token || has_tls),
        "logins and certificates are for a server that somebody else runs; name it in nats.urls",
    );
}
