//! The message server of an agent: where it is, and who the agent is there.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use streamkeeper_worker::{Access, ConnectSource, Naming};

use crate::failure::Failure;

/// Secrets are no flags, because every user of the machine may read the flags of a process.
const PASSWORD: &str = "STREAMKEEPER_NATS_PASSWORD";
const TOKEN: &str = "STREAMKEEPER_NATS_TOKEN";

#[derive(Debug, Args)]
pub(super) struct NatsArgs {
    /// URL of a NATS server; may be given several times
    #[arg(
        long,
        value_name = "URL",
        env = "STREAMKEEPER_NATS_URLS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(super) nats: Vec<String>,
    /// First tokens of every subject
    #[arg(long, default_value = "sk", requires = "nats")]
    prefix: String,
    /// User on that server, where its URL names none; the password comes from a file or STREAMKEEPER_NATS_PASSWORD
    #[arg(long, value_name = "NAME", env = "STREAMKEEPER_NATS_USER")]
    nats_user: Option<String>,
    /// File with the password
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_PASSWORD_FILE")]
    nats_password_file: Option<PathBuf>,
    /// File with a token, in place of a user; the token may also come from STREAMKEEPER_NATS_TOKEN
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_TOKEN_FILE")]
    nats_token_file: Option<PathBuf>,
    /// Credentials file (.creds), with JWT and nkey
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_CREDENTIALS_FILE")]
    nats_credentials_file: Option<PathBuf>,
    /// File with the seed of an nkey
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_NKEY_SEED_FILE")]
    nats_nkey_seed_file: Option<PathBuf>,
    /// Authorities that may vouch for the server (PEM) [default: the system's]
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_TLS_CA_FILE")]
    nats_tls_ca_file: Option<PathBuf>,
    /// The agent's certificate (PEM), for a server that asks for one
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_TLS_CERT_FILE")]
    nats_tls_cert_file: Option<PathBuf>,
    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", env = "STREAMKEEPER_NATS_TLS_KEY_FILE")]
    nats_tls_key_file: Option<PathBuf>,
}

impl NatsArgs {
    /// The servers, or else the `connect.json` at `file`.
    pub(super) fn source(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
        file: PathBuf,
    ) -> Result<ConnectSource, Failure> {
        let secret = |name: &str| match variable(name).map(OsString::into_string) {
            // Compose files set what they do not know to nothing.
            None => Ok(None),
            Some(Ok(text)) if text.is_empty() => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Failure::usage(format!("{name}: is not UTF-8; write it in UTF-8"))),
        };
        let access = Access {
            user: self.nats_user,
            password: secret(PASSWORD)?,
            password_file: self.nats_password_file,
            token: secret(TOKEN)?,
            token_file: self.nats_token_file,
            credentials_file: self.nats_credentials_file,
            nkey_seed_file: self.nats_nkey_seed_file,
            tls_ca_file: self.nats_tls_ca_file,
            tls_cert_file: self.nats_tls_cert_file,
            tls_key_file: self.nats_tls_key_file,
            naming: Naming::Variable,
        };
        let problems = access.problems(&self.nats);
        if !problems.is_empty() {
            let lines: Vec<String> = problems
                .into_iter()
                .map(|problem| format!("  {}", problem.text))
                .collect();
            return Err(Failure::usage(format!(
                "the login at the message server (flags --nats-…, variables STREAMKEEPER_NATS_…):\n{}",
                lines.join("\n")
            )));
        }
        Ok(if self.nats.is_empty() {
            ConnectSource::File(file)
        } else {
            ConnectSource::Urls {
                urls: self.nats,
                prefix: self.prefix,
                access: Box::new(access),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::failure::Exit;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        nats: NatsArgs,
    }

    fn source(words: &str, variables: &[(&str, &str)]) -> Result<ConnectSource, Failure> {
        let words = ["agent"].into_iter().chain(words.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        line.nats.source(variable, "/data".into())
    }

    #[test]
    fn logins_come_from_flags_and_secrets_from_variables() {
        let found = source(
            "--nats tls://a,tls://b --nats-user u --nats-tls-ca-file /ca --nats-tls-cert-file /cert --nats-tls-key-file /key",
            &[(PASSWORD, "s3cret"), (TOKEN, "")],
        );
        let expected = Access {
            user: Some("u".to_owned()),
            password: Some("s3cret".to_owned()),
            tls_ca_file: Some("/ca".into()),
            tls_cert_file: Some("/cert".into()),
            tls_key_file: Some("/key".into()),
            naming: Naming::Variable,
            ..Access::default()
        };
        let Ok(ConnectSource::Urls { urls, prefix, access }) = found else {
            panic!("{found:?}");
        };
        assert_eq!(urls, ["tls://a", "tls://b"]);
        assert_eq!((prefix.as_str(), *access), ("sk", expected));
        for (flag, is_set) in [
            (
                "password-file",
                (|access| access.password_file) as fn(Access) -> Option<PathBuf>,
            ),
            ("token-file", |access| access.token_file),
            ("credentials-file", |access| access.credentials_file),
            ("nkey-seed-file", |access| access.nkey_seed_file),
        ] {
            let found = source(&format!("--nats nats://u@h --nats-{flag} /file"), &[]);
            // Keys need no login in the URL, and say so.
            let found = found.or_else(|_| source(&format!("--nats nats://h --nats-{flag} /file"), &[]));
            let Ok(ConnectSource::Urls { access, .. }) = found else {
                panic!("{flag}: {found:?}");
            };
            assert_eq!(is_set(*access), Some("/file".into()), "{flag}");
        }
        assert_eq!(source("", &[]).unwrap(), ConnectSource::File("/data".into()));
    }

    #[test]
    fn contradictions_are_told_all_at_once_as_variables() {
        let words = "--nats nats://h --nats-user u --nats-credentials-file /c --nats-tls-key-file /k";
        let failure = source(words, &[(TOKEN, "s3cret")]).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        for part in [
            "STREAMKEEPER_NATS_USER, STREAMKEEPER_NATS_TOKEN and STREAMKEEPER_NATS_CREDENTIALS_FILE are set",
            "set STREAMKEEPER_NATS_PASSWORD_FILE",
            "STREAMKEEPER_NATS_TLS_CERT_FILE and STREAMKEEPER_NATS_TLS_KEY_FILE belong together",
        ] {
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
        assert!(!failure.text.contains("s3cret"), "{}", failure.text);
        let alone = source("", &[(PASSWORD, "s3cret")]).unwrap_err();
        assert!(
            alone.text.contains("name it in STREAMKEEPER_NATS_URLS"),
            "{}",
            alone.text
        );
    }
}
