//! TLS towards PostgreSQL, by the parameters of the URL that libpq knows too. Where the driver is laxer than libpq, what
//! it would leave unchecked is refused here.

use std::path::PathBuf;

use sea_orm::sqlx::ConnectOptions;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode};
use streamkeeper_access::{Pem, check_pem, open_to_others};

use super::open_error::OpenError;
use super::redact::redact_url;

/// What may stand in the URL; the driver would ignore everything else, a mistyped `sslmode` too.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// How the driver shows a certificate that is a file.
const FILE: &str = "file: ";

/// How connections to PostgreSQL are secured.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) mode: PgSslMode,
    key: Option<PathBuf>,
}

impl Tls {
    /// Reads the parameters, and looks at their files.
    pub(super) async fn of(url: &str, options: &PgConnectOptions) -> Result<Self, OpenError> {
        let refused = |reason: String, suggestion| {
            let url = redact_url(url);
            OpenError::Refused {
                url,
                reason,
                suggestion,
            }
        };
        // Nobody listens in on a socket of the machine itself, and the server offers no TLS there.
        let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
        let mode = if is_socket {
            PgSslMode::Disable
        } else {
            options.get_ssl_mode()
        };
        let normal = options.to_url_lossy();
        let set = |name: &str| {
            let mut pairs = normal.query_pairs();
            pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
        };
        let (root, cert, key) = (set("sslrootcert"), set("sslcert"), set("sslkey"));
        let mode = match (mode, &root) {
            (PgSslMode::Disable, _) => return Ok(Self { mode, key: None }),
            (PgSslMode::Allow, _) => {
                return Err(refused(
                    "sslmode=allow would talk in the clear to every server that lets it".to_owned(),
                    "write sslmode=verify-full, or prefer, or disable",
                ));
            }
            (PgSslMode::Prefer, Some(_)) => {
                return Err(refused(
                    "sslrootcert is set, but sslmode=prefer checks no certificate".to_owned(),
                    "write sslmode=verify-full",
                ));
            }
            // As libpq does it: whoever names an authority wants it to be asked.
            (PgSslMode::Require, Some(_)) => PgSslMode::VerifyCa,
            (mode, _) => mode,
        };
        if cert.is_some() != key.is_some() {
            return Err(refused(
                "sslcert and sslkey belong together".to_owned(),
                "set both or none",
            ));
        }
        let files = [
            ("database.url: sslrootcert", &root, Pem::Certificate),
            ("database.url: sslcert", &cert, Pem::Certificate),
            ("database.url: sslkey", &key, Pem::PrivateKey),
        ];
        for (setting, value, kind) in files {
            if let Some(path) = value.as_deref().and_then(|value| value.strip_prefix(FILE)) {
                let checked = check_pem(setting, path.as_ref(), kind).await;
                checked.map_err(|error| OpenError::File(error.to_string()))?;
            }
        }
        let key = key.and_then(|key| key.strip_prefix(FILE).map(PathBuf::from));
        Ok(Self { mode, key })
    }

    /// What should be better, though it works.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if matches!(self.mode, PgSslMode::VerifyCa) {
            warnings.push(
                "database.url: without its name, any server is trusted that sslrootcert or a public authority vouches for; \
                 write sslmode=verify-full"
                    .to_owned(),
            );
        }
        if let Some(key) = &self.key {
            warnings.extend(open_to_others("database.url: sslkey", key));
        }
        warnings
    }
}

/// Whether every parameter of the URL is one that the driver takes, and `sslmode` says something.
pub(super) fn check_parameters(url: &str) -> Result<(), OpenError> {
    let refused = |reason: String, suggestion| {
        let url = redact_url(url);
        Err(OpenError::Refused {
            url,
            reason,
            suggestion,
        })
    };
    let Some((_, query)) = url.split_once('?') else {
        return Ok(());
    };
    // It may be the end of a password.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if !is_option && (!name.bytes().all(is_plain) || url.rfind('@') > url.find('?')) {
            return refused(
                "its parameters cannot be read".to_owned(),
                "write special characters, those of the password above all, as %3F and the like",
            );
        }
        if !is_option && !PARAMETERS.contains(&name) {
            return refused(
                format!("its parameter {name:?} is not known"),
                "write sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, password, application_name or \
                 options; time limits are settings (database.connect_timeout)",
            );
        }
        if matches!(name, "sslmode" | "ssl-mode") && value.parse::<PgSslMode>().is_err() {
            return refused(
                format!("{name}={value} is not known"),
                "write disable, prefer, require, verify-ca or verify-full",
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn tls(url: &str) -> Result<Tls, OpenError> {
        check_parameters(url)?;
        Tls::of(url, &url.parse().unwrap()).await
    }

    #[tokio::test]
    async fn parameters_mean_what_they_mean_to_libpq() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n",
        )
        .unwrap();
        let path = file.path().display();
        for (query, mode) in [
            (String::new(), "Prefer"),
            ("?sslmode=disable&sslrootcert=/nowhere".to_owned(), "Disable"),
            ("?sslmode=require&application_name=x".to_owned(), "Require"),
            (format!("?sslmode=require&sslrootcert={path}"), "VerifyCa"),
            (
                "?sslmode=verify-full&options[lock_timeout]=1s".to_owned(),
                "VerifyFull",
            ),
            (
                format!("?sslmode=verify-full&sslcert={path}&sslkey={path}"),
                "VerifyFull",
            ),
            ("?host=/run/postgresql&sslmode=require".to_owned(), "Disable"),
        ] {
            let found = tls(&format!("postgres://u@h/d{query}")).await.unwrap();
            assert_eq!(format!("{:?}", found.mode), mode, "{query}");
        }
    }

    #[tokio::test]
    async fn what_would_go_unchecked_is_refused() {
        for (query, parts) in [
            ("sslmod=verify-full", &["\"sslmod\"", "sslmode"][..]),
            (
                "connect_timeout=3",
                &["\"connect_timeout\"", "database.connect_timeout"],
            ),
            (
                "sslmode=verify-ful",
                &["sslmode=verify-ful is not known", "verify-full"],
            ),
            ("sslmode=allow", &["sslmode=allow", "verify-full"]),
            ("sslrootcert=/ca", &["sslmode=prefer checks no", "verify-full"]),
            ("sslmode=verify-full&sslcert=/c", &["sslkey", "both"]),
            (
                "sslmode=verify-full&sslrootcert=/nowhere/ca",
                &["database.url: sslrootcert: /nowhere/ca: cannot be read"],
            ),
            (
                "sslmode=verify-ca&sslrootcert=/etc/hostname",
                &["sslrootcert: /etc/hostname", "CERTIFICATE"],
            ),
        ] {
            let error = tls(&format!("postgres://u:s3cret@h/d?{query}"))
                .await
                .unwrap_err();
            let text = error.to_string();
            assert!(!error.may_pass(), "{text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{query}: {text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn the_end_of_a_password_is_not_shown() {
        for url in [
            "postgres://u:s3?cret@h/d",
            "postgres://u:s3?cret&x@h/d",
            "postgres://u:s3?sslmode=cret@h/d",
            "postgres://h/d?a%20b=1",
        ] {
            let text = check_parameters(url).unwrap_err().to_string();
            assert!(!text.contains("cret") && text.contains("%3F"), "{text}");
        }
    }

    #[test]
    fn weak_settings_are_warned_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut found = Tls {
            mode: PgSslMode::VerifyFull,
            key: Some(file.path().to_owned()),
        };
        assert_eq!(found.warnings(), Vec::<String>::new());
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(found.warnings()[0].contains("sslkey"));
        found.mode = PgSslMode::VerifyCa;
        assert!(found.warnings()[0].contains("verify-full"));
    }
}
