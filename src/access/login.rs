//! How one connection is opened: the login, read from the settings and their files at every connect, so that a changed
//! password, key or certificate needs no restart.

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::address::Address;
use crate::file::{self, FileError, Pem};
use crate::key::{self, Credentials};
use crate::settings::Access;

/// Who we are towards one server.
pub struct Login(Kind);

enum Kind {
    Nobody,
    User { name: String, password: Option<String> },
    Token(String),
    Key(Box<KeyPair>),
    Credentials(Box<Credentials>),
}

impl Access {
    /// The login for one server. A login in its URL comes before the settings.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub async fn login(&self, address: &Address) -> Result<Login, FileError> {
        let kind = match (&address.user, &self.user) {
            (Some(user), _) => match self.password_for(address).await? {
                // The convention of NATS: a name alone is a token.
                None => Kind::Token(user.clone()),
                password => Kind::User {
                    name: user.clone(),
                    password,
                },
            },
            (None, Some(user)) => Kind::User {
                name: user.clone(),
                password: self.password_for(address).await?,
            },
            (None, None) => self.without_user().await?,
        };
        Ok(Login(kind))
    }

    async fn password_for(&self, address: &Address) -> Result<Option<String>, FileError> {
        match (&address.password, &self.password, &self.password_file) {
            (Some(password), ..) | (None, Some(password), _) => Ok(Some(password.clone())),
            (None, None, Some(path)) => {
                let secret = file::read_secret(&self.naming.of("nats.password_file"), path).await?;
                Ok(Some(secret))
            }
            (None, None, None) => Ok(None),
        }
    }

    async fn without_user(&self) -> Result<Kind, FileError> {
        let name = |setting| self.naming.of(setting);
        if let Some(token) = &self.token {
            return Ok(Kind::Token(token.clone()));
        }
        if let Some(path) = &self.token_file {
            let token = file::read_secret(&name("nats.token_file"), path).await?;
            return Ok(Kind::Token(token));
        }
        if let Some(path) = &self.credentials_file {
            let found = key::read_credentials(&name("nats.credentials_file"), path).await?;
            return Ok(Kind::Credentials(Box::new(found)));
        }
        if let Some(path) = &self.nkey_seed_file {
            let found = key::read_seed(&name("nats.nkey_seed_file"), path).await?;
            return Ok(Kind::Key(Box::new(found)));
        }
        Ok(Kind::Nobody)
    }

    /// Adds the certificates, after a look at their files: TLS itself would not say which of them is wrong. Where one is
    /// named, TLS is a must.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub async fn certify(&self, mut options: ConnectOptions) -> Result<ConnectOptions, FileError> {
        let check = async |setting, path, kind| file::check_pem(&self.naming.of(setting), path, kind).await;
        if let Some(ca) = &self.tls_ca_file {
            check("nats.tls_ca_file", ca, Pem::Certificate).await?;
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        let (cert, key) = match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(cert), Some(key)) => (cert, key),
            (None, None) => return Ok(options),
            (Some(alone), None) | (None, Some(alone)) => {
                let [cert, key] =
                    ["nats.tls_cert_file", "nats.tls_key_file"].map(|name| self.naming.of(name));
                let setting = format!("{cert} and {key}");
                return Err(FileError::new(&setting, alone, "stands alone; set both or none"));
            }
        };
        check("nats.tls_cert_file", cert, Pem::Certificate).await?;
        check("nats.tls_key_file", key, Pem::PrivateKey).await?;
        Ok(options
            .add_client_certificate(cert.clone(), key.clone())
            .require_tls(true))
    }
}

impl Login {
    /// What the server is answered. A key signs the server's nonce, so that it never leaves this process.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn auth(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match &self.0 {
            Kind::Nobody => {}
            Kind::User { name, password } => {
                auth.username = Some(name.clone());
                auth.password.clone_from(password);
            }
            Kind::Token(token) => auth.token = Some(token.clone()),
            Kind::Key(key) => {
                auth.nkey = Some(key.public_key());
                auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
            }
            Kind::Credentials(credentials) => {
                auth.jwt = Some(credentials.jwt.clone());
                auth.signature = Some(credentials.key.sign(nonce).map_err(AuthError::new)?);
            }
        }
        Ok(auth)
    }

    /// As whom we come, for people.
    #[must_use]
    pub fn who(&self) -> String {
        match &self.0 {
            Kind::Nobody => "a client without user".to_owned(),
            Kind::User { name, .. } => format!("user {name:?}"),
            Kind::Token(_) => "the token".to_owned(),
            Kind::Key(key) => format!("the nkey {}", key.public_key()),
            Kind::Credentials(credentials) => {
                format!("the credentials of user {}", credentials.key.public_key())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn login(access: &Access, url: &str) -> Result<Login, FileError> {
        access.login(&Address::parse(url).unwrap()).await
    }

    async fn auth(access: &Access, url: &str) -> Auth {
        login(access, url).await.unwrap().auth(b"nonce").unwrap()
    }

    #[tokio::test]
    async fn the_url_comes_before_the_settings() {
        let access = Access {
            user: Some("set".to_owned()),
            password: Some("p1".to_owned()),
            ..Access::default()
        };
        let found = auth(&access, "nats://url:p2@host").await;
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("url"), Some("p2"))
        );
        let found = auth(&access, "nats://url@host").await;
        assert_eq!(
            (found.username.as_deref(), found.password.as_deref()),
            (Some("url"), Some("p1"))
        );
        let found = login(&access, "nats://host").await.unwrap();
        assert_eq!(found.who(), "user \"set\"");
        let found = auth(&Access::default(), "nats://t0ken@host").await;
        assert_eq!((found.username, found.token.as_deref()), (None, Some("t0ken")));
        let nobody = login(&Access::default(), "nats://host").await.unwrap();
        assert_eq!(nobody.who(), "a client without user");
    }

    #[tokio::test]
    async fn secrets_are_read_from_files_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let access = Access {
            token_file: Some(file.path().to_owned()),
            ..Access::default()
        };
        let empty = login(&access, "nats://host").await.err().unwrap();
        assert_eq!(
            (empty.setting.as_str(), empty.path.as_path()),
            ("token_file", file.path())
        );
        for token in ["one", "two"] {
            std::fs::write(file.path(), format!("{token}\r\n")).unwrap();
            let found = auth(&access, "nats://host").await;
            assert_eq!(found.token.as_deref(), Some(token));
        }
    }

    #[tokio::test]
    async fn keys_sign_the_nonce() {
        let user = KeyPair::new_user();
        let file = tempfile::NamedTempFile::new().unwrap();
        let seed = user.seed().unwrap();
        let text =
            format!("-----BEGIN NATS USER JWT-----\na.b.c\n---\n-----BEGIN USER NKEY SEED-----\n{seed}\n");
        let credentials = Access {
            credentials_file: Some(file.path().to_owned()),
            ..Access::default()
        };
        let key = Access {
            nkey_seed_file: Some(file.path().to_owned()),
            ..Access::default()
        };
        for (access, text, jwt, nkey) in [
            (credentials, text, Some("a.b.c"), None),
            (key, seed, None, Some(user.public_key())),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let found = login(&access, "nats://host").await.unwrap();
            assert!(found.who().contains(&user.public_key()), "{}", found.who());
            let auth = found.auth(b"nonce").unwrap();
            assert_eq!((auth.jwt.as_deref(), auth.nkey), (jwt, nkey));
            assert!(user.verify(b"nonce", &auth.signature.unwrap()).is_ok());
        }
    }

    #[tokio::test]
    async fn certificates_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let wrong = folder.path().join("wrong.pem");
        std::fs::write(&wrong, "-----BEGIN CERTIFICATE-----\n").unwrap();
        let cases = [
            (Some(&missing), None, None, "tls_ca_file", "missing"),
            (
                None,
                Some(&wrong),
                Some(&wrong),
                "tls_key_file",
                "kind PRIVATE KEY",
            ),
            (None, Some(&wrong), None, "tls_key_file", "both or none"),
        ];
        for (ca, cert, key, setting, problem) in cases {
            let access = Access {
                tls_ca_file: ca.cloned(),
                tls_cert_file: cert.cloned(),
                tls_key_file: key.cloned(),
                ..Access::default()
            };
            let outcome = access.certify(ConnectOptions::new()).await;
            let error = outcome.err().unwrap().to_string();
            assert!(error.contains(setting) && error.contains(problem), "{error}");
        }
    }
}
