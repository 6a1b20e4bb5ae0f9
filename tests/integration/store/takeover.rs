//! Two leaders interleaved on PostgreSQL: whatever one of them is in the middle of, the other never builds on less.

use std::time::Duration;

use sea_orm::ConnectionTrait;
use streamkeeper_core::record::{Persisted, StreamWrite};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::{Store, StoreError};
use streamkeeper_tests::postgres::Postgres;

use super::backend::{Gate, LEASE, committed, fence, lead, session, stream, streams, term, waiting};

/// Locks the fence row as a leader does that is about to write.
const LOCK_FENCE: &str = "SELECT term FROM leadership WHERE id = 1 FOR SHARE";

async fn open(server: &Postgres) -> SeaStore {
    SeaStore::open(&server.url(), &StoreOptions::default())
        .await
        .unwrap()
}

fn one_stream() -> streamkeeper_core::record::WriteBatch {
    streams(vec![StreamWrite::Put(StreamSpec::new(stream("a"), "x"))])
}

#[tokio::test]
async fn a_predecessor_that_comes_during_the_takeover_is_refused() {
    let server = Postgres::start().await;
    let (old, new) = (open(&server).await, open(&server).await);
    lead(&old, 1).await;
    // The successor holds the fence row and has not committed.
    let gate = Gate::close(&server, "BEFORE UPDATE ON leadership").await;
    let successor = tokio::spawn(async move { lead(&new, 2).await });
    waiting(&server, 1).await;
    let predecessor = tokio::spawn(async move { old.persist(fence(1), &one_stream()).await });
    waiting(&server, 2).await;
    gate.open().await;
    // It has begun under a fence that was its own: what counts is the one that stands when it gets the lock.
    assert_eq!(predecessor.await.unwrap(), Persisted::Fenced { term: term(2) });
    let taken = successor.await.unwrap();
    assert_eq!(taken.loaded.streams, []);
    assert_eq!(server.sql("SELECT count(*) FROM stream"), "0");
}

#[tokio::test]
async fn a_predecessor_in_the_middle_is_waited_for_and_its_writes_are_read() {
    let server = Postgres::start().await;
    let (old, new) = (open(&server).await, open(&server).await);
    lead(&old, 1).await;
    let gate = Gate::close(&server, "BEFORE INSERT ON stream").await;
    let predecessor = tokio::spawn(async move { old.persist(fence(1), &one_stream()).await });
    waiting(&server, 1).await;
    let successor = tokio::spawn(async move { lead(&new, 2).await });
    waiting(&server, 2).await;
    gate.open().await;
    assert_eq!(predecessor.await.unwrap(), committed());
    let taken = successor.await.unwrap();
    assert_eq!(taken.loaded.streams, [StreamSpec::new(stream("a"), "x")]);
}

#[tokio::test]
async fn two_transactions_of_one_leader_do_not_wait_for_each_other() {
    let server = Postgres::start().await;
    let store = open(&server).await;
    lead(&store, 1).await;
    let other = session(&server, "").await;
    other.execute_unprepared(LOCK_FENCE).await.unwrap();
    assert_eq!(store.persist(fence(1), &one_stream()).await, committed());
}

#[tokio::test]
async fn a_predecessor_that_is_paused_for_long_is_ended_by_the_server() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        operation_timeout: Duration::from_secs(4),
        ..StoreOptions::default()
    };
    let store = SeaStore::open(&server.url(), &options).await.unwrap();
    // As the store's own connections are set, see `the_server_ends_what_a_paused_program_cannot`.
    let paused = session(&server, "?options[idle_in_transaction_session_timeout]=2s").await;
    paused.execute_unprepared(LOCK_FENCE).await.unwrap();
    lead(&store, 1).await;
    paused.commit().await.unwrap_err();

    // One that nobody ends stops the takeover, which says so in time to be tried again.
    let endless = session(&server, "").await;
    endless.execute_unprepared(LOCK_FENCE).await.unwrap();
    let error = store.take_over(fence(2), LEASE).await.unwrap_err();
    let StoreError::Unavailable { reason, .. } = error else {
        panic!("{error}");
    };
    assert!(reason.contains("lock timeout"), "{reason}");
    endless.rollback().await.unwrap();
    lead(&store, 2).await;
}
