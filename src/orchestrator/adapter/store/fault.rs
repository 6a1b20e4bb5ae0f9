//! What the drivers' errors mean: whether they pass by themselves, and what became of a commit.

use std::time::Duration;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};
use streamkeeper_core::record::Persisted;
use streamkeeper_resilience::Backoff;

/// SQLSTATEs after which the same transaction may well succeed: serialization failure, deadlock, lock not available,
/// shutdown and start of the server, too many connections, a server that is read-only for the moment of a failover.
const TRANSIENT_STATES: [&str; 8] = [
    "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", "25006",
];
/// The class of connection exceptions, transient as a whole.
const CONNECTION_CLASS: &str = "08";
/// SQLite: busy, locked, busy during recovery, snapshot too old.
const TRANSIENT_SQLITE: [&str; 4] = ["5", "6", "261", "517"];
/// Those of them where two transactions met, and the other one goes on: serialization failure, deadlock; SQLite: snapshot
/// too old.
const COLLISIONS: [&str; 3] = ["40001", "40P01", "517"];
/// SQLSTATEs have this length, and no code of SQLite has.
const STATE_LENGTH: usize = 5;

/// After a collision the next attempt comes at once; the random part keeps two that met from meeting again.
const AT_ONCE: Backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(20));
/// Who is away needs time to come back.
const LATER: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// What helps where the next attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Two transactions collided, and one of them has gone.
    AtOnce,
    /// The database is away, or busy, for a moment.
    Later,
}

impl Remedy {
    /// Label of metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "collision",
            Self::Later => "unavailable",
        }
    }

    /// How long to wait before retry number `retry`, from 0.
    pub(super) fn delay(self, retry: u32, random: u64) -> Duration {
        match self {
            Self::AtOnce => AT_ONCE.delay(retry, random),
            Self::Later => LATER.delay(retry, random),
        }
    }
}

/// What helps against what failed, where trying again soon does. Only for what certainly was not committed.
pub(super) fn remedy(error: &DbErr) -> Option<Remedy> {
    if !is_transient(error) {
        return None;
    }
    let code = match driver(error) {
        Some(sqlx::Error::Database(answer)) => answer.code().unwrap_or_default().into_owned(),
        _ => String::new(),
    };
    Some(if COLLISIONS.contains(&code.as_str()) {
        Remedy::AtOnce
    } else {
        Remedy::Later
    })
}

/// What the driver said, where it was the driver.
pub(super) fn driver(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => Some(inner),
        _ => None,
    }
}

/// Whether what failed may be tried again soon. Only for what happened before a commit.
pub(super) fn is_transient(error: &DbErr) -> bool {
    // No connection in time is not among them: the waiting was the trying.
    driver(error).is_some_and(driver_is_transient)
}

/// See [`is_transient`].
pub(super) fn driver_is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(answer) => code_is_transient(&answer.code().unwrap_or_default()),
        _ => false,
    }
}

fn code_is_transient(code: &str) -> bool {
    if code.len() == STATE_LENGTH {
        TRANSIENT_STATES.contains(&code) || code.starts_with(CONNECTION_CLASS)
    } else {
        TRANSIENT_SQLITE.contains(&code)
    }
}

/// A commit that the database itself refused has failed; where the answer is missing, nobody knows.
pub(super) fn commit_failed(error: &DbErr) -> Persisted {
    let reason = format!("commit: {error}");
    let Some(sqlx::Error::Database(answer)) = driver(error) else {
        return Persisted::Ambiguous { reason };
    };
    // Connection exceptions, unknown completion and shutdowns: the commit may have come before them.
    let code = answer.code().unwrap_or_default();
    let unknown = code.len() == STATE_LENGTH
        && [CONNECTION_CLASS, "40003", "57P0"]
            .iter()
            .any(|prefix| code.starts_with(prefix));
    if unknown {
        Persisted::Ambiguous { reason }
    } else {
        Persisted::Failed { reason }
    }
}

/// The error for people.
pub(super) fn explain(error: &DbErr) -> String {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => {
            "no connection in time (database.acquire_timeout); the database does not answer, or all connections \
             (database.connections) are busy"
                .to_owned()
        }
        // Our own words.
        DbErr::Custom(reason) => reason.clone(),
        other => match driver(other).and_then(advice) {
            Some(advice) => format!("{other}; {advice}"),
            None => other.to_string(),
        },
    }
}

/// What to do about what does not pass by itself: writing stops until somebody did it, and goes on then.
fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let sqlx::Error::Database(answer) = error else {
        return None;
    };
    match answer.code().unwrap_or_default().as_ref() {
        "13" | "53100" => Some("make room on the disk of the database"),
        "25006" => {
            Some("the database is read-only: name the primary server in database.url, or let it take writes")
        }
        "8" | "1032" => Some("make the file and its folder writable for this user, where they were before"),
        "14" | "10" | "522" | "1802" | "4618" => Some("look at the disk of the database and at its file"),
        "11" | "26" | "XX001" | "XX002" => Some("the database is damaged; restore it from a backup"),
        "53300" => Some("raise max_connections of the server, or lower database.connections"),
        "55P03" | "5" | "261" => Some("another program holds a lock on it: `streamkeeper doctor` names it"),
        "42501" => Some("give the user of database.url the right to write the tables"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::ConnectionTrait;

    use super::*;

    #[test]
    fn the_transient_codes_are_the_measured_ones() {
        for code in [
            "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", "08006", "08P01", "25006", "5",
            "6", "261", "517",
        ] {
            assert!(code_is_transient(code), "{code}");
        }
        for code in [
            "", "1", "14", "25", "08", "23505", "25P03", "28P01", "42501", "57014", "53100", "40003",
        ] {
            assert!(!code_is_transient(code), "{code}");
        }
    }

    #[tokio::test]
    async fn a_commit_without_an_answer_is_ambiguous() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let lost = DbErr::Query(RuntimeErr::SqlxError(lost.into()));
        assert!(matches!(commit_failed(&lost), Persisted::Ambiguous { .. }));

        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display());
        let database = sea_orm::Database::connect(url).await.unwrap();
        let refused = database.execute_unprepared("COMMIT").await.unwrap_err();
        assert!(
            matches!(commit_failed(&refused), Persisted::Failed { .. }),
            "{refused}"
        );
    }
}
