//! A database of either kind, and short words for what is stored.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::{Store, TakenOver};
use streamkeeper_protocol::{Epoch, SessionId, StreamId, Term, WorkerId};
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::wait;
use tempfile::TempDir;

pub(crate) const LEASE: Duration = Duration::from_secs(15);

/// A new database that ends with its test.
pub(crate) enum Backend {
    Sqlite(TempDir),
    Postgres(Box<Postgres>),
}

impl Backend {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(TempDir::with_prefix("streamkeeper-store-").unwrap())
    }

    pub(crate) async fn postgres() -> Self {
        Self::Postgres(Box::new(Postgres::start().await))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite://{}", folder.path().join("test.db").display()),
            Self::Postgres(server) => server.url(),
        }
    }

    pub(crate) async fn open(&self) -> SeaStore {
        SeaStore::open(&self.url(), &StoreOptions::default())
            .await
            .unwrap()
    }

    /// Runs SQL past the store.
    pub(crate) async fn sql(&self, sql: &str) {
        match self {
            Self::Sqlite(_) => {
                let database = sea_orm::Database::connect(self.url()).await.unwrap();
                database.execute_unprepared(sql).await.unwrap();
                database.close().await.unwrap();
            }
            Self::Postgres(server) => {
                server.sql(sql);
            }
        }
    }
}

/// Makes each case a test on SQLite and one on PostgreSQL.
macro_rules! on_both {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::store::backend::Backend::sqlite()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$case(&crate::store::backend::Backend::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

pub(crate) fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

pub(crate) fn fence(number: u32) -> Fence {
    Fence {
        term: term(number),
        // The highest bit is set, as in half of all random numbers.
        nonce: u64::MAX - u64::from(number),
    }
}

pub(crate) fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

pub(crate) fn assignment(worker: &str, epoch: Epoch) -> Assignment {
    Assignment {
        worker: WorkerId::new(worker).unwrap(),
        session: SessionId::from_u128(7),
        epoch,
    }
}

pub(crate) fn put(name: &str, worker: &str, epoch: Epoch) -> AssignmentWrite {
    AssignmentWrite::Put {
        stream: stream(name),
        assignment: assignment(worker, epoch),
    }
}

pub(crate) fn clear(name: &str, epoch: Epoch) -> AssignmentWrite {
    AssignmentWrite::Clear {
        stream: stream(name),
        epoch,
    }
}

pub(crate) fn assignments(writes: Vec<AssignmentWrite>) -> WriteBatch {
    WriteBatch {
        assignments: writes,
        ..WriteBatch::default()
    }
}

pub(crate) fn streams(writes: Vec<StreamWrite>) -> WriteBatch {
    WriteBatch {
        streams: writes,
        ..WriteBatch::default()
    }
}

pub(crate) fn committed() -> Persisted {
    Persisted::Committed { refused: Vec::new() }
}

pub(crate) async fn lead(store: &SeaStore, number: u32) -> TakenOver {
    store.take_over(fence(number), LEASE).await.unwrap()
}

/// A lock of PostgreSQL at which a trigger makes writers wait.
pub(crate) struct Gate {
    held: sea_orm::DatabaseTransaction,
}

impl Gate {
    /// Closes the gate: whoever does `event` (such as `BEFORE INSERT ON stream`) waits.
    pub(crate) async fn close(server: &Postgres, event: &str) -> Self {
        server.sql(
            "CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$",
        );
        let kind = if event.contains("DEFERRABLE") {
            "CONSTRAINT TRIGGER"
        } else {
            "TRIGGER"
        };
        server.sql(&format!(
            "CREATE {kind} gate {event} FOR EACH ROW EXECUTE FUNCTION gate()"
        ));
        let held = session(server, "").await;
        held.execute_unprepared("SELECT pg_advisory_xact_lock(7)")
            .await
            .unwrap();
        Self { held }
    }

    pub(crate) async fn open(self) {
        self.held.rollback().await.unwrap();
    }
}

/// A transaction of somebody else.
pub(crate) async fn session(server: &Postgres, query: &str) -> sea_orm::DatabaseTransaction {
    let url = format!("{}{query}", server.url());
    let database = sea_orm::Database::connect(url).await.unwrap();
    database.begin().await.unwrap()
}

/// Waits until exactly `count` sessions wait for a lock.
pub(crate) async fn waiting(server: &Postgres, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let waiting = wait::until(wait::GENEROUS, async || match server.sql(sql) {
        found if found == count.to_string() => Ok(()),
        found => Err(format!("{found} sessions wait, not {count}")),
    });
    waiting.await.unwrap();
}
