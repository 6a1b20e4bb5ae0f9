//! Who we are towards the server: login and certificates. Files are read at every connect, so that a changed password
//! or certificate needs no restart.

use std::path::Path;

use async_nats::{Auth, ConnectOptions};

use super::address::{Endpoint, NatsSettings, NatsTls};

/// Largest file with a secret or a certificate, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A secret as it was set: itself, or the file that holds it.
#[derive(Clone)]
enum Secret {
    Text(String),
    /// The setting and its path.
    File(&'static str, std::path::PathBuf),
}

/// How we identify ourselves to any server.
pub(super) struct Access {
    user: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    tls: NatsTls,
}

/// What one connection is opened with.
pub(super) struct Login {
    pub(super) auth: Auth,
    /// As whom we come, for people.
    pub(super) who: String,
}

impl Access {
    /// What the settings say.
    pub(super) fn new(settings: &NatsSettings) -> Self {
        Self {
            user: settings.user.clone(),
            password: secret(
                settings.password.as_ref(),
                "nats.password_file",
                settings.password_file.as_deref(),
            ),
            token: secret(
                settings.token.as_ref(),
                "nats.token_file",
                settings.token_file.as_deref(),
            ),
            tls: settings.tls.clone(),
        }
    }

    /// The login for one server. A user in its URL comes before the settings, a user before a token.
    pub(super) async fn login(&self, endpoint: &Endpoint) -> Result<Login, String> {
        let mut auth = Auth::new();
        let user = endpoint.user.as_ref().or(self.user.as_ref());
        let who = if let Some(user) = user {
            auth.username = Some(user.clone());
            auth.password = match &endpoint.password {
                Some(password) => Some(password.clone()),
                None => read_secret(self.password.as_ref()).await?,
            };
            format!("user {user:?}")
        } else if self.token.is_some() {
            auth.token = read_secret(self.token.as_ref()).await?;
            "the token".to_owned()
        } else {
            "a client without user".to_owned()
        };
        Ok(Login { auth, who })
    }

    /// Adds the certificates, after a look at their files: TLS itself would not say which of them is wrong.
    pub(super) async fn certify(&self, mut options: ConnectOptions) -> Result<ConnectOptions, String> {
        let NatsTls {
            ca_file,
            cert_file,
            key_file,
        } = &self.tls;
        if let Some(file) = ca_file {
            check_pem("nats.tls_ca_file", file, "CERTIFICATE").await?;
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        match (cert_file, key_file) {
            (Some(cert), Some(key)) => {
                check_pem("nats.tls_cert_file", cert, "CERTIFICATE").await?;
                check_pem("nats.tls_key_file", key, "PRIVATE KEY").await?;
                options = options
                    .add_client_certificate(cert.clone(), key.clone())
                    .require_tls(true);
            }
            (None, None) => {}
            _ => {
                return Err("nats.tls_cert_file and nats.tls_key_file: name both or none of them".to_owned());
            }
        }
        Ok(options)
    }
}

fn secret(text: Option<&String>, setting: &'static str, file: Option<&Path>) -> Option<Secret> {
    match (text, file) {
        (Some(text), _) => Some(Secret::Text(text.clone())),
        (None, Some(file)) => Some(Secret::File(setting, file.to_owned())),
        (None, None) => None,
    }
}

async fn read_secret(secret: Option<&Secret>) -> Result<Option<String>, String> {
    match secret {
        None => Ok(None),
        Some(Secret::Text(text)) => Ok(Some(text.clone())),
        Some(Secret::File(setting, path)) => {
            let text = read(setting, path).await?;
            // Editors end the last line; a password ends before that.
            let text = text.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                return Err(format!(
                    "{setting}: {} is empty; write the secret into it",
                    path.display()
                ));
            }
            Ok(Some(text.to_owned()))
        }
    }
}

async fn check_pem(setting: &str, path: &Path, kind: &str) -> Result<(), String> {
    let text = read(setting, path).await?;
    let found = text
        .lines()
        .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{kind}-----")));
    if found {
        Ok(())
    } else {
        Err(format!(
            "{setting}: {} holds no PEM block of kind {kind}; name the right file",
            path.display()
        ))
    }
}

/// Reads a small file of text.
async fn read(setting: &str, path: &Path) -> Result<String, String> {
    let shown = path.display();
    let wrong = |problem: String| format!("{setting}: {shown}: {problem}; check path, owner and permissions");
    let size = tokio::fs::metadata(path).await.map(|file| file.len());
    match size {
        Ok(size) if size > MAX_FILE_BYTES => {
            Err(wrong(format!("has {size} bytes, the limit is {MAX_FILE_BYTES}")))
        }
        Ok(_) => tokio::fs::read_to_string(path)
            .await
            .map_err(|error| wrong(format!("cannot be read: {error}"))),
        Err(error) => Err(wrong(format!("cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::endpoints;
    use super::*;

    async fn login(settings: &NatsSettings) -> Result<Login, String> {
        let found = endpoints(settings).unwrap();
        Access::new(settings).login(&found[0]).await
    }

    fn settings(url: &str) -> NatsSettings {
        NatsSettings {
            urls: vec![url.to_owned()],
            ..NatsSettings::default()
        }
    }

    #[tokio::test]
    async fn the_url_comes_before_the_settings_and_a_user_before_a_token() {
        let set = NatsSettings {
            user: Some("set".to_owned()),
            password: Some("p1".to_owned()),
            token: Some("t".to_owned()),
            ..settings("nats://url:p2@host")
        };
        let found = login(&set).await.unwrap();
        assert_eq!(found.auth.username.as_deref(), Some("url"));
        assert_eq!(found.auth.password.as_deref(), Some("p2"));
        let elsewhere = NatsSettings {
            urls: vec!["nats://url@host".to_owned()],
            ..set.clone()
        };
        let found = login(&elsewhere).await.unwrap();
        assert_eq!(found.auth.password.as_deref(), Some("p1"));
        let bare = NatsSettings {
            urls: vec!["nats://host".to_owned()],
            ..set
        };
        let found = login(&bare).await.unwrap();
        assert_eq!(found.auth.username.as_deref(), Some("set"));
        assert_eq!(found.auth.token, None);
        assert_eq!(found.who, "user \"set\"");
    }

    #[tokio::test]
    async fn secrets_are_read_from_files_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = NatsSettings {
            token_file: Some(file.path().to_owned()),
            ..settings("nats://host")
        };
        let empty = login(&set).await.err().unwrap();
        assert!(
            empty.contains("nats.token_file") && empty.contains("is empty"),
            "{empty}"
        );
        for token in ["one", "two"] {
            std::fs::write(file.path(), format!("{token}\r\n")).unwrap();
            let found = login(&set).await.unwrap();
            assert_eq!(found.auth.token.as_deref(), Some(token));
            assert_eq!(found.who, "the token");
        }
    }

    #[tokio::test]
    async fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let wrong = folder.path().join("wrong.pem");
        std::fs::write(&wrong, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let cases = [
            (Some(&missing), None, None, "nats.tls_ca_file", "missing"),
            (
                None,
                Some(&wrong),
                Some(&wrong),
                "nats.tls_key_file",
                "kind PRIVATE KEY",
            ),
            (None, Some(&wrong), None, "nats.tls_key_file", "both or none"),
        ];
        for (ca, cert, key, setting, problem) in cases {
            let set = NatsSettings {
                tls: NatsTls {
                    ca_file: ca.cloned(),
                    cert_file: cert.cloned(),
                    key_file: key.cloned(),
                },
                ..settings("tls://host")
            };
            let outcome = Access::new(&set).certify(ConnectOptions::new()).await;
            let error = outcome.err().unwrap();
            assert!(error.contains(setting) && error.contains(problem), "{error}");
        }
    }
}
