//! Settings of the message server.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamkeeper_access::{Access, Naming, without_login};

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
    /// Credentials file (`.creds`): a user's JWT and the seed of its nkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of a user's nkey, on a server that knows the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nkey_seed_file: Option<PathBuf>,
    /// Authorities that may vouch for the server (PEM); the system's where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// The own certificate (PEM), for a server that asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_cert_file: Option<PathBuf>,
    /// The private key of `tls_cert_file` (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_key_file: Option<PathBuf>,
    /// User of the server's system account, which tells which workers' connections end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_user: Option<String>,
    /// Password of that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_password: Option<Secret>,
    /// File with that password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_password_file: Option<PathBuf>,
    /// Credentials file (`.creds`) of a user of the system account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_credentials_file: Option<PathBuf>,
    /// File with the seed of an nkey of the system account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_nkey_seed_file: Option<PathBuf>,
    /// First tokens of every subject.
    pub prefix: String,
    /// The `nats-server` program for the managed one; found on the usual paths where it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<PathBuf>,
    /// How long the managed server waits for a successor of an orchestrator that was killed; then it ends.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// How long to wait for the server at the start.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
}

/// Settings that are never shown.
pub(super) const SECRETS: &[&str] = &[
    "nats.password",
    "nats.token",
    "nats.system_password",
    "alerts.webhook.url",
    "alerts.webhook.secret",
];
/// Who we are in the system account.
const SYSTEM: &[&str] = &[
    "nats.system_user",
    "nats.system_password",
    "nats.system_password_file",
    "nats.system_credentials_file",
    "nats.system_nkey_seed_file",
];
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

impl Nats {
    /// Login and certificates.
    #[must_use]
    pub fn access(&self) -> Access {
        Access {
            user: self.user.clone(),
            password: reveal(self.password.as_ref()),
            password_file: self.password_file.clone(),
            token: reveal(self.token.as_ref()),
            token_file: self.token_file.clone(),
            credentials_file: self.credentials_file.clone(),
            nkey_seed_file: self.nkey_seed_file.clone(),
            tls_ca_file: self.tls_ca_file.clone(),
            tls_cert_file: self.tls_cert_file.clone(),
            tls_key_file: self.tls_key_file.clone(),
            naming: Naming::Setting,
        }
    }

    /// Login to the system account, with the same certificates; none where it is not given.
    #[must_use]
    pub fn system_access(&self) -> Option<Access> {
        let login = self.system_login();
        let none = Access {
            naming: Naming::System,
            ..Access::default()
        };
        (login != none).then(|| Access {
            tls_ca_file: self.tls_ca_file.clone(),
            tls_cert_file: self.tls_cert_file.clone(),
            tls_key_file: self.tls_key_file.clone(),
            ..login
        })
    }

    fn system_login(&self) -> Access {
        Access {
            user: self.system_user.clone(),
            password: reveal(self.system_password.as_ref()),
            password_file: self.system_password_file.clone(),
            credentials_file: self.system_credentials_file.clone(),
            nkey_seed_file: self.system_nkey_seed_file.clone(),
            naming: Naming::System,
            ..Access::default()
        }
    }
}

fn reveal(secret: Option<&Secret>) -> Option<String> {
    secret.map(|secret| secret.reveal().to_owned())
}

/// Logins and certificates that contradict each other.
pub(super) fn check(nats: &Nats, broken: &mut Vec<Broken>) {
    let problems = nats.access().problems(&nats.urls).into_iter();
    broken.extend(problems.map(|problem| (problem.settings, problem.text)));
    // A login in the URL is that of another account.
    let urls: Vec<String> = nats.urls.iter().map(|url| without_login(url)).collect();
    let problems = nats.system_login().problems(&urls).into_iter();
    broken.extend(problems.map(|problem| (SYSTEM, problem.text)));
}
