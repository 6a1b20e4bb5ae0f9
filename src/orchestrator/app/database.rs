//! The start's database phase: waits for a database that is not there yet.

use std::path::Path;
use std::time::Duration;

use streamkeeper_resilience::Backoff;
use tokio::time::Instant;

use super::settings;
use crate::adapter::store::{OpenError, SeaStore, StoreOptions, redact_url};
use crate::config::Config;

/// Delays between the attempts.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// Why the start ends here.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    /// Waiting would not help.
    #[error(transparent)]
    Open(OpenError),
    /// It was waited for long enough.
    #[error(
        "{last}; it was waited for {timeout:?} (database.start_timeout): start the database, correct database.url, or \
         raise database.start_timeout"
    )]
    GaveUp {
        /// What the last attempt said.
        last: OpenError,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Opens the database of the settings; while it cannot be reached, tries again until the settings' time is over.
/// `waits` is told why it is not there yet.
pub(super) async fn open(
    config: &Config,
    data_dir: &Path,
    waits: impl Fn(&OpenError),
) -> Result<SeaStore, DatabaseError> {
    let url = settings::database_url(config, data_dir);
    let options = settings::store(config);
    wait_for(&url, &options, config.database.start_timeout, waits).await
}

async fn wait_for(
    url: &str,
    options: &StoreOptions,
    timeout: Duration,
    waits: impl Fn(&OpenError),
) -> Result<SeaStore, DatabaseError> {
    let start = Instant::now();
    let mut attempt = 0;
    loop {
        let error = match SeaStore::open(url, options).await {
            Ok(store) => return Ok(store),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(DatabaseError::Open(error)),
        };
        waits(&error);
        let delay = RETRY.delay(attempt, rand::random());
        if start.elapsed() + delay >= timeout {
            return Err(DatabaseError::GaveUp { last: error, timeout });
        }
        if attempt == 0 {
            tracing::warn!(
                address = redact_url(url),
                reason = %error,
                wait = ?timeout,
                "the database cannot be reached; waiting for it"
            );
        } else {
            tracing::debug!(attempt, reason = %error, "the database still cannot be reached");
        }
        tokio::time::sleep(delay).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn it_gives_up_with_address_reason_and_what_to_do() {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = format!("postgres://u:secret@127.0.0.1:{port}/d");
        let timeout = Duration::from_millis(300);
        let reasons = std::cell::RefCell::new(Vec::new());
        let waits = |error: &OpenError| reasons.borrow_mut().push(error.to_string());
        let error = wait_for(&url, &StoreOptions::default(), timeout, waits)
            .await
            .unwrap_err();
        let told = reasons.into_inner();
        assert!(
            !told.is_empty() && told.iter().all(|reason| reason.contains("refused")),
            "{told:?}"
        );
        let text = error.to_string();
        let shown = format!("postgres://u:***@127.0.0.1:{port}/d");
        for part in [shown.as_str(), "refused", "300ms", "database.start_timeout"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("secret"), "{text}");
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_waited_for() {
        let url = "mysql://u:secret@h/d";
        let error = wait_for(url, &StoreOptions::default(), Duration::MAX, |_| {})
            .await
            .unwrap_err();
        assert!(
            matches!(&error, DatabaseError::Open(OpenError::Unsupported { url, .. }) if url == "mysql://u:***@h/d"),
            "{error}"
        );
    }
}
