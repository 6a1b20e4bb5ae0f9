//! Faults in the middle of a transaction: which are tried again, and which never.

use std::time::Duration;

use sea_orm::{ConnectionTrait, TransactionTrait};
use streamkeeper_core::record::{Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_protocol::Epoch;
use streamkeeper_tests::postgres::Postgres;

use super::backend::{
    Backend, Gate, assignments, committed, fence, lead, put, session, stream, streams, term, waiting,
};

/// The first attempt and its retries.
const ATTEMPTS: u32 = 4;

async fn open(server: &Postgres) -> SeaStore {
    SeaStore::open(&server.url(), &StoreOptions::default())
        .await
        .unwrap()
}

fn one_stream() -> WriteBatch {
    streams(vec![StreamWrite::Put(StreamSpec::new(stream("a"), "x"))])
}

/// Makes the first `times` writes of streams fail. The sequence counts attempts, because nothing rolls it back.
fn fail(server: &Postgres, code: &str, times: u32) {
    server.sql(&format!(
        "CREATE SEQUENCE IF NOT EXISTS attempts; ALTER SEQUENCE attempts RESTART; \
         GRANT USAGE ON SEQUENCE attempts TO keeper; \
         CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') <= {times} THEN RAISE EXCEPTION 'provoked' USING ERRCODE = '{code}'; END IF; \
         RETURN NEW; END $$; \
         CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON stream FOR EACH ROW EXECUTE FUNCTION fail()"
    ));
}

fn attempts(server: &Postgres) -> String {
    server.sql("SELECT last_value FROM attempts")
}

#[tokio::test]
async fn what_passes_by_itself_is_tried_again_and_not_for_ever() {
    let server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    for code in [
        "40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300", "08006", "25006",
    ] {
        // Each has its own budget of retries.
        let store = open(&server).await;
        fail(&server, code, ATTEMPTS - 1);
        let outcome = store.persist(fence(1), &one_stream()).await;
        assert_eq!(outcome, committed(), "{code}");
        assert_eq!(attempts(&server), ATTEMPTS.to_string(), "{code}");
    }
    for (code, expected) in [("40001", ATTEMPTS), ("23514", 1), ("53100", 1)] {
        fail(&server, code, u32::MAX);
        let outcome = store.persist(fence(1), &one_stream()).await;
        let Persisted::Failed { reason } = outcome else {
            panic!("{code}: {outcome:?}");
        };
        assert!(reason.contains("provoked"), "{code}: {reason}");
        assert_eq!(attempts(&server), expected.to_string(), "{code}");
    }
}

#[tokio::test]
async fn retries_have_a_budget() {
    const WRITES: u32 = 15;
    let server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    fail(&server, "40001", u32::MAX);
    for _ in 0..WRITES {
        let outcome = store.persist(fence(1), &one_stream()).await;
        assert!(matches!(outcome, Persisted::Failed { .. }), "{outcome:?}");
    }
    let attempts: u32 = attempts(&server).parse().unwrap();
    assert!(
        attempts < WRITES * ATTEMPTS,
        "every write was tried {ATTEMPTS} times"
    );
    assert!(attempts > WRITES, "nothing was tried again");
}

#[tokio::test]
async fn the_victim_of_a_deadlock_is_tried_again() {
    let server = Postgres::start().await;
    // Long enough for the second half of the circle to be closed before anybody looks for circles.
    server.sql("ALTER ROLE keeper SET deadlock_timeout = '3s'");
    let store = open(&server).await;
    lead(&store, 1).await;
    let at = |counter| Epoch::new(term(1), counter);
    let both = |epoch| assignments(vec![put("a", "w", epoch), put("b", "w", epoch)]);
    assert_eq!(store.persist(fence(1), &both(at(1))).await, committed());

    server.sql("ALTER ROLE keeper SET deadlock_timeout = '10min'");
    let other = session(&server, "").await;
    let touch = |name: &str| format!("UPDATE assignment SET updated_at = 1 WHERE stream = '{name}'");
    other.execute_unprepared(&touch("b")).await.unwrap();
    let persist = tokio::spawn(async move { store.persist(fence(1), &both(at(2))).await });
    waiting(&server, 1).await;
    other.execute_unprepared(&touch("a")).await.unwrap();
    other.commit().await.unwrap();
    assert_eq!(persist.await.unwrap(), committed());
    assert_eq!(
        server.sql("SELECT count(*) FROM assignment WHERE updated_at <> 1"),
        "2"
    );
    let log = server.process().output();
    assert!(log.contains("deadlock detected"), "{log}");
}

#[tokio::test]
async fn a_connection_that_ends_before_the_commit_is_replaced() {
    let server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    let gate = Gate::close(&server, "BEFORE INSERT ON stream").await;
    let persist = tokio::spawn(async move { store.persist(fence(1), &one_stream()).await });
    waiting(&server, 1).await;
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    gate.open().await;
    assert_eq!(persist.await.unwrap(), committed());
    assert_eq!(server.sql("SELECT count(*) FROM stream"), "1");
    assert!(server.process().output().contains("terminating connection"));
}

#[tokio::test]
async fn a_commit_without_an_answer_is_never_tried_again() {
    let mut server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    let event = "AFTER INSERT ON stream DEFERRABLE INITIALLY DEFERRED";
    let gate = Gate::close(&server, event).await;
    let persist = tokio::spawn(async move { store.persist(fence(1), &one_stream()).await });
    waiting(&server, 1).await;
    server.kill();
    let outcome = persist.await.unwrap();
    assert!(matches!(outcome, Persisted::Ambiguous { .. }), "{outcome:?}");
    drop(gate);
    server.start_again().await;
    assert_eq!(server.sql("SELECT count(*) FROM stream"), "0");

    // The same store goes on with new connections.
    server.sql("DROP TRIGGER gate ON stream");
    let store = open(&server).await;
    lead(&store, 2).await;
    server.stop().await;
    server.start_again().await;
    assert_eq!(store.persist(fence(2), &one_stream()).await, committed());
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_has_failed() {
    let server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    server.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'provoked' USING ERRCODE = '23514'; END $$; \
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON stream DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let outcome = store.persist(fence(1), &one_stream()).await;
    assert!(
        matches!(&outcome, Persisted::Failed { reason } if reason.contains("commit")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_file_that_is_locked_for_long_is_waited_for() {
    let backend = Backend::sqlite();
    let store = backend.open().await;
    lead(&store, 1).await;
    let database = sea_orm::Database::connect(backend.url()).await.unwrap();
    let other = database.begin().await.unwrap();
    other
        .execute_unprepared("UPDATE leadership SET id = 1")
        .await
        .unwrap();
    let persist = tokio::spawn(async move { store.persist(fence(1), &one_stream()).await });
    // Longer than SQLite itself waits, so that one attempt is not enough.
    tokio::time::sleep(Duration::from_secs(4)).await;
    other.rollback().await.unwrap();
    assert_eq!(persist.await.unwrap(), committed());
}
