//! How to come to a message server, as it was set, and what in it contradicts itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::Trouble;
use crate::file;

/// How errors name the settings: as they are called where they were set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// `password_file`, as the field of [`Access`].
    #[default]
    Field,
    /// `nats.password_file`, as in the orchestrator's configuration.
    Setting,
    /// `nats.system_password_file`: the orchestrator's login to the server's system account. What is not of the login has
    /// its usual name.
    System,
    /// `STREAMKEEPER_NATS_PASSWORD_FILE`, as the agent's variable.
    Variable,
}

impl Naming {
    /// The name of a setting, given as `nats.password_file`.
    #[must_use]
    pub fn of(self, setting: &str) -> String {
        let field = setting.rsplit('.').next().unwrap_or(setting);
        match self {
            Self::Field => field.to_owned(),
            Self::Setting => setting.to_owned(),
            Self::System if LOGINS.contains(&setting) || PASSWORDS.contains(&setting) => {
                format!("nats.system_{field}")
            }
            Self::System => setting.to_owned(),
            Self::Variable => format!("STREAMKEEPER_NATS_{}", field.to_uppercase()),
        }
    }

    fn all(self, settings: &[&str]) -> String {
        let names: Vec<String> = settings.iter().map(|setting| self.of(setting)).collect();
        match names.as_slice() {
            [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }
}

/// Login and certificates for a message server that somebody else runs. The default is nobody, without TLS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// User, where the URL names none.
    pub user: Option<String>,
    /// Password of the user.
    pub password: Option<String>,
    /// File with the password. Files are read anew at every connect.
    pub password_file: Option<PathBuf>,
    /// Token, on a server that asks for one in place of a user.
    pub token: Option<String>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// Credentials file (`.creds`): a user's JWT and the seed of its nkey.
    pub credentials_file: Option<PathBuf>,
    /// File with the seed of a user's nkey, on a server that knows the public key.
    pub nkey_seed_file: Option<PathBuf>,
    /// Authorities that may vouch for the server (PEM), in place of the system's. Makes TLS a must.
    pub tls_ca_file: Option<PathBuf>,
    /// The own certificate (PEM), for a server that asks for one. Makes TLS a must.
    pub tls_cert_file: Option<PathBuf>,
    /// The private key of `tls_cert_file` (PEM).
    pub tls_key_file: Option<PathBuf>,
    /// How errors name these settings.
    pub naming: Naming,
}

impl fmt::Debug for Access {
    /// Leaves password and token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("user", &self.user)
            .field("password_file", &self.password_file)
            .field("token_file", &self.token_file)
            .field("credentials_file", &self.credentials_file)
            .field("nkey_seed_file", &self.nkey_seed_file)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("tls_cert_file", &self.tls_cert_file)
            .field("tls_key_file", &self.tls_key_file)
            .finish_non_exhaustive()
    }
}

/// A contradiction between settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The settings that it may be about, such as `nats.password`.
    pub settings: &'static [&'static str],
    /// What is wrong, and what to do.
    pub text: String,
}

const PASSWORDS: &[&str] = &["nats.password", "nats.password_file"];
const TOKENS: &[&str] = &["nats.token", "nats.token_file"];
/// Logins that are keys.
const KEYS: &[&str] = &["nats.credentials_file", "nats.nkey_seed_file"];
/// Whatever says by itself who we are.
const LOGINS: &[&str] = &[
    "nats.user",
    "nats.token",
    "nats.token_file",
    "nats.credentials_file",
    "nats.nkey_seed_file",
];
const CERTIFICATE: &[&str] = &["nats.tls_cert_file", "nats.tls_key_file"];
const ALL: &[&str] = &[
    "nats.user",
    "nats.password",
    "nats.password_file",
    "nats.token",
    "nats.token_file",
    "nats.credentials_file",
    "nats.nkey_seed_file",
    "nats.tls_ca_file",
    "nats.tls_cert_file",
    "nats.tls_key_file",
];

impl Access {
    /// Everything in these settings that contradicts itself or the servers' URLs.
    #[must_use]
    pub fn problems(&self, urls: &[String]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut says = |wrong: bool, settings: &'static [&'static str], text: String| {
            if wrong {
                problems.push(Problem { settings, text });
            }
        };
        let set = |settings: &[&'static str]| self.set(settings);
        let names = |settings: &[&str]| self.naming.all(settings);
        for pair in [PASSWORDS, TOKENS] {
            let text = format!("{} are both set; keep one", names(pair));
            says(set(pair).len() > 1, pair, text);
        }
        let mut logins = set(LOGINS);
        // The pair is named above.
        logins.retain(|login| *login != "nats.token_file" || self.token.is_none());
        let text = format!(
            "{} are set, but a server takes one login; keep one of them",
            names(&logins)
        );
        says(logins.len() > 1, LOGINS, text);
        let (has_user, has_password) = (self.user.is_some(), !set(PASSWORDS).is_empty());
        let text = format!("a user needs a password; set {}", names(&["nats.password_file"]));
        says(has_user && !has_password, &["nats.user"], text);
        let url_login = urls.iter().any(|url| url.contains('@'));
        let text = format!("a password needs a user; set {}", names(&["nats.user"]));
        says(
            has_password && !has_user && !url_login && !urls.is_empty(),
            PASSWORDS,
            text,
        );
        let keys = set(KEYS);
        let text = format!(
            "a login in {} and {} are set; keep one of them",
            names(&["nats.urls"]),
            names(&keys)
        );
        says(!keys.is_empty() && url_login, KEYS, text);
        let text = format!("{} belong together; set both or none", names(CERTIFICATE));
        says(set(CERTIFICATE).len() == 1, CERTIFICATE, text);
        let text = format!(
            "logins and certificates are for a server that somebody else runs; name it in {}",
            names(&["nats.urls"])
        );
        says(urls.is_empty() && !set(ALL).is_empty(), ALL, text);
        problems
    }

    /// Those of the settings that are set.
    fn set(&self, settings: &[&'static str]) -> Vec<&'static str> {
        let is_set = |setting: &&str| match *setting {
            "nats.user" => self.user.is_some(),
            "nats.password" => self.password.is_some(),
            "nats.password_file" => self.password_file.is_some(),
            "nats.token" => self.token.is_some(),
            "nats.token_file" => self.token_file.is_some(),
            "nats.credentials_file" => self.credentials_file.is_some(),
            "nats.nkey_seed_file" => self.nkey_seed_file.is_some(),
            "nats.tls_ca_file" => self.tls_ca_file.is_some(),
            "nats.tls_cert_file" => self.tls_cert_file.is_some(),
            "nats.tls_key_file" => self.tls_key_file.is_some(),
            _ => false,
        };
        settings.iter().copied().filter(is_set).collect()
    }

    /// Warnings about files with secrets that others may read.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let secrets = [
            ("nats.password_file", &self.password_file),
            ("nats.token_file", &self.token_file),
            ("nats.credentials_file", &self.credentials_file),
            ("nats.nkey_seed_file", &self.nkey_seed_file),
            ("nats.tls_key_file", &self.tls_key_file),
        ];
        let warn = |(setting, path): (&str, &Option<PathBuf>)| {
            file::open_to_others(&self.naming.of(setting), path.as_deref()?)
        };
        secrets.into_iter().filter_map(warn).collect()
    }

    /// What happened and what to do; nothing where waiting may help.
    #[must_use]
    pub fn explain(&self, trouble: Trouble, who: &str, reason: &str) -> Option<String> {
        let name = |setting| self.naming.of(setting);
        let urls = name("nats.urls");
        match trouble {
            Trouble::Passing => None,
            Trouble::Refused if self.naming == Naming::System => Some(format!(
                "refuses {who} of the system account; give what it asks for: {} with {}, {} or {}",
                name("nats.user"),
                name("nats.password_file"),
                name("nats.nkey_seed_file"),
                name("nats.credentials_file"),
            )),
            Trouble::Refused => Some(format!(
                "refuses {who}; give what it asks for: {} with {}, {}, {}, {} (it may be expired or revoked), or a \
                 login in {urls} (nats://user:password@host:4222)",
                name("nats.user"),
                name("nats.password_file"),
                name("nats.token_file"),
                name("nats.nkey_seed_file"),
                name("nats.credentials_file"),
            )),
            Trouble::Untrusted => Some(format!(
                "no trust over TLS ({reason}); name the authority of the server's certificate in {}, write the host in \
                 {urls} as the certificate names it, and give {} where the server asks for a certificate",
                name("nats.tls_ca_file"),
                self.naming.all(&["nats.tls_cert_file", "nats.tls_key_file"]),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn path(text: &str) -> Option<PathBuf> {
        Some(text.into())
    }

    fn whole() -> Access {
        Access {
            user: text("u"),
            password: text("s3cret"),
            password_file: path("/p"),
            token: text("s3cret"),
            token_file: path("/t"),
            credentials_file: path("/c"),
            nkey_seed_file: path("/n"),
            tls_ca_file: path("/ca"),
            tls_cert_file: path("/cert"),
            tls_key_file: None,
            naming: Naming::Setting,
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", whole());
        assert!(shown.contains("/p") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn every_contradiction_is_named_at_once() {
        let urls = ["nats://a:b@h".to_owned()];
        let told: Vec<String> = whole()
            .problems(&urls)
            .into_iter()
            .map(|problem| problem.text)
            .collect();
        let expected = [
            "nats.password and nats.password_file are both set; keep one",
            "nats.token and nats.token_file are both set; keep one",
            "nats.user, nats.token, nats.credentials_file and nats.nkey_seed_file are set, but a server takes one login; \
             keep one of them",
            "a login in nats.urls and nats.credentials_file and nats.nkey_seed_file are set; keep one of them",
            "nats.tls_cert_file and nats.tls_key_file belong together; set both or none",
        ];
        assert_eq!(told, expected);
        let none = whole().problems(&[]);
        assert!(
            none.last().unwrap().text.ends_with("name it in nats.urls"),
            "{none:?}"
        );
    }

    #[test]
    fn user_and_password_need_each_other_and_are_named_as_they_were_set() {
        let urls = ["nats://h".to_owned()];
        for (naming, user, password) in [
            (Naming::Field, "user", "password_file"),
            (Naming::Setting, "nats.user", "nats.password_file"),
            (Naming::System, "nats.system_user", "nats.system_password_file"),
            (
                Naming::Variable,
                "STREAMKEEPER_NATS_USER",
                "STREAMKEEPER_NATS_PASSWORD_FILE",
            ),
        ] {
            let alone = Access {
                user: text("u"),
                naming,
                ..Access::default()
            };
            let problems = alone.problems(&urls);
            assert!(
                problems[0].text.contains(&format!("set {password}")),
                "{problems:?}"
            );
            assert_eq!((problems[0].settings, problems.len()), (&["nats.user"][..], 1));
            let alone = Access {
                password_file: path("/p"),
                naming,
                ..Access::default()
            };
            let problems = alone.problems(&urls);
            assert!(problems[0].text.ends_with(&format!("set {user}")), "{problems:?}");
            assert_eq!(problems.len(), 1);
            assert_eq!(alone.problems(&["nats://u@h".to_owned()]), []);
        }
    }

    #[test]
    fn what_fits_together_is_no_problem() {
        let urls = ["tls://h".to_owned()];
        let password = Access {
            user: text("u"),
            password_file: path("/p"),
            tls_ca_file: path("/ca"),
            ..Access::default()
        };
        let credentials = Access {
            credentials_file: path("/c"),
            tls_cert_file: path("/cert"),
            tls_key_file: path("/key"),
            ..Access::default()
        };
        for access in [Access::default(), password, credentials] {
            assert_eq!(access.problems(&urls), [], "{access:?}");
        }
        assert_eq!(Access::default().problems(&[]), []);
    }

    #[test]
    fn what_does_not_pass_is_explained() {
        let access = Access::default();
        assert_eq!(access.explain(Trouble::Passing, "user", "late"), None);
        let refused = access.explain(Trouble::Refused, "the token", "").unwrap();
        assert!(
            refused.contains("refuses the token") && refused.contains("credentials_file"),
            "{refused}"
        );
        let untrusted = access.explain(Trouble::Untrusted, "", "UnknownIssuer").unwrap();
        assert!(
            untrusted.contains("UnknownIssuer") && untrusted.contains("tls_ca_file"),
            "{untrusted}"
        );
    }
}
