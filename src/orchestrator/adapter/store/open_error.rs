//! Why a database could not be opened, and whether waiting helps.

use sea_orm::{ConnAcquireErr, DbErr, sqlx};

use super::fault;
use super::redact::redact_url;

const PROTOCOL_VIOLATION: &str = "08P01";

/// Why a database could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database that can be used.
    #[error("database {url}: {reason}; write sqlite://<file> or postgres://<user>@<host>/<database>")]
    Unsupported {
        /// The URL without password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody answers, or not yet: it may come by itself.
    #[error("database {url}: {reason}")]
    Unreachable {
        /// The URL without password.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The database answers and says no: somebody has to change something.
    #[error("database {url}: {reason}; {suggestion}")]
    Refused {
        /// The URL without password.
        url: String,
        /// What the database said.
        reason: String,
        /// What to do.
        suggestion: &'static str,
    },
    /// A file that the URL names cannot be used.
    #[error("{0}")]
    File(String),
    /// The schema could not be brought up to date.
    #[error("database {url}: updating its schema failed: {reason}; {suggestion}")]
    Migrate {
        /// The URL without password.
        url: String,
        /// What the database said.
        reason: String,
        /// What to do.
        suggestion: &'static str,
    },
    /// A newer version of the program has changed the schema.
    #[error(
        "database {url}: its schema is newer than this program, which does not know {unknown:?}; \
         install the newer version or restore a backup from before the update"
    )]
    NewerSchema {
        /// The URL without password.
        url: String,
        /// Schema changes that this version does not know.
        unknown: Vec<String>,
    },
}

impl OpenError {
    /// Whether it may pass by itself, so that waiting helps.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// What a first connection said.
    pub(super) fn of_driver(url: &str, error: &sqlx::Error) -> Self {
        let reason = shown(url, error);
        let url = redact_url(url);
        if fault::driver_is_transient(error) && !is_protocol_violation(error) && distrust(error).is_none() {
            return Self::Unreachable { url, reason };
        }
        let suggestion = suggestion(error);
        Self::Refused {
            url,
            reason,
            suggestion,
        }
    }

    /// What the pool said.
    pub(super) fn of_open(url: &str, error: &DbErr) -> Self {
        match (fault::driver(error), error) {
            (Some(error), _) => Self::of_driver(url, error),
            (None, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) => Self::Unreachable {
                url: redact_url(url),
                reason: fault::explain(error),
            },
            (None, _) => Self::Refused {
                url: redact_url(url),
                reason: shown(url, error),
                suggestion: "correct database.url",
            },
        }
    }

    /// What the schema change said.
    pub(super) fn of_migration(url: &str, error: &DbErr) -> Self {
        let waited = matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        let reason = shown(url, error);
        let url = redact_url(url);
        if waited || fault::is_transient(error) {
            let reason = format!("updating its schema: {reason}");
            return Self::Unreachable { url, reason };
        }
        Self::Migrate {
            url,
            reason,
            suggestion: fault::driver(error).map_or("nothing was changed", suggestion),
        }
    }
}

/// What the driver said; it may quote the URL.
fn shown(url: &str, error: &impl ToString) -> String {
    error.to_string().replace(url, &redact_url(url))
}

/// A pooler that does not know our settings says so in the class of connections that break.
fn is_protocol_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(answer) if answer.code().as_deref() == Some(PROTOCOL_VIOLATION))
}

/// What TLS says where one side does not trust the other. The driver reports it as any other failure to read.
fn distrust(error: &sqlx::Error) -> Option<&rustls::Error> {
    let sqlx::Error::Io(error) = error else {
        return None;
    };
    error.get_ref()?.downcast_ref()
}

fn suggestion_for_tls(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Certificate;

    match error {
        rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => {
            "write the host in database.url as the server's certificate names it, or give the server a certificate for \
             this host"
        }
        rustls::Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "name the authority of the server's certificate in database.url (?sslmode=verify-full&sslrootcert=FILE)"
        }
        rustls::Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "renew the server's certificate, or correct the clock"
        }
        rustls::Error::AlertReceived(_) => {
            "the server does not take our certificate: name one that its authority vouches for in database.url \
             (?sslcert=FILE&sslkey=FILE)"
        }
        _ => "correct the server's certificate, or sslmode, sslrootcert, sslcert and sslkey in database.url",
    }
}

fn suggestion(error: &sqlx::Error) -> &'static str {
    if let Some(error) = distrust(error) {
        return suggestion_for_tls(error);
    }
    let code = match error {
        sqlx::Error::Database(answer) => answer.code().unwrap_or_default(),
        sqlx::Error::Tls(_) => {
            return "offer TLS on the server (ssl = on in postgresql.conf), or write sslmode=disable";
        }
        _ => return "correct database.url: does PostgreSQL answer at this address?",
    };
    match code.as_ref() {
        "28P01" => "correct user and password in database.url",
        "28000" => {
            "correct the user, let it in (pg_hba.conf on the server), or come as it asks: with a certificate \
             (?sslcert=FILE&sslkey=FILE in database.url), or encrypted (sslmode=verify-full)"
        }
        PROTOCOL_VIOLATION => {
            "a pooler in between has to pass the setting on (PgBouncer: ignore_startup_parameters = options), or name \
             the server itself"
        }
        "3D000" => "create the database (CREATE DATABASE), or correct its name in database.url",
        "42501" => {
            "let the user make tables there, as owner of the database or with GRANT CREATE ON SCHEMA public"
        }
        "14" => "name a file in a folder that exists and is writable in database.url",
        "8" => "make the file and its folder writable for this user",
        "26" => "the file is something else; name another one in database.url",
        "11" => "the file is damaged; restore it from a backup",
        "13" | "53100" => "make room on the disk of the database",
        _ => "correct this in the database, or name another one in database.url",
    }
}
