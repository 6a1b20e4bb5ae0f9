//! The connections: limits by kind of operation, who is reported, who is ended, and that writers never lock each other
//! out.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::ConnectionTrait;
use streamkeeper_core::record::{Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::{Store, StoreError};
use streamkeeper_protocol::Epoch;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::wait;

use super::backend::{
    Backend, Gate, LEASE, assignments, clear, committed, fence, lead, put, session, stream, streams, term,
    waiting,
};

/// A transaction of a limit this short is abandoned after two seconds.
const SHORT: Duration = Duration::from_millis(500);

async fn open(server: &Postgres, options: StoreOptions) -> SeaStore {
    SeaStore::open(&server.url(), &options).await.unwrap()
}

fn one_stream() -> WriteBatch {
    streams(vec![StreamWrite::Put(StreamSpec::new(stream("a"), "x"))])
}

#[tokio::test]
async fn whole_tables_have_a_limit_of_their_own() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        operation_timeout: Duration::from_secs(8),
        bulk_timeout: Duration::from_secs(33),
        ..StoreOptions::default()
    };
    let store = open(&server, options).await;
    server.sql(
        "CREATE TABLE seen (name text, setting text); GRANT INSERT ON seen TO keeper; \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO seen SELECT name, current_setting(name) FROM unnest(ARRAY['application_name', \
         'statement_timeout', 'lock_timeout']) AS name; RETURN NEW; END $$; \
         CREATE TRIGGER see BEFORE UPDATE ON leadership FOR EACH ROW EXECUTE FUNCTION see()",
    );
    lead(&store, 1).await;
    let seen = server.sql("SELECT string_agg(setting, '|' ORDER BY name) FROM seen");
    assert_eq!(seen, "streamkeeper bulk|6s|33s");
    // What was set for one transaction does not stay with its connection.
    server
        .sql("TRUNCATE seen; CREATE TRIGGER see BEFORE INSERT ON stream FOR EACH ROW EXECUTE FUNCTION see()");
    assert_eq!(store.persist(fence(1), &one_stream()).await, committed());
    let seen = server.sql("SELECT string_agg(setting, '|' ORDER BY name) FROM seen");
    assert_eq!(seen, "streamkeeper|6s|8s");
}

#[tokio::test]
async fn whoever_finds_no_free_connection_says_which_setting_it_is() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        connections: 2,
        acquire_timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    };
    let store = open(&server, options).await;
    lead(&store, 1).await;
    let gate = Gate::close(&server, "BEFORE INSERT ON stream").await;
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.persist(fence(1), &one_stream()).await })
        })
        .collect();
    waiting(&server, 2).await;
    let error = store.stored_term().await.unwrap_err();
    let StoreError::Unavailable { reason, .. } = error else {
        panic!("{error}");
    };
    assert!(reason.contains("database.acquire_timeout"), "{reason}");
    assert!(reason.contains("database.connections"), "{reason}");
    gate.open().await;
    for busy in busy {
        assert_eq!(busy.await.unwrap(), committed());
    }
    store.stored_term().await.unwrap();
}

#[tokio::test]
async fn a_long_transaction_is_known_and_ends_with_its_limit() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        long_transaction: Duration::from_millis(100),
        operation_timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    };
    let store = open(&server, options).await;
    lead(&store, 1).await;
    let gate = Gate::close(&server, "BEFORE INSERT ON stream").await;
    let writer = store.clone();
    let persist = tokio::spawn(async move { writer.persist(fence(1), &one_stream()).await });
    waiting(&server, 1).await;
    let seen = wait::until(wait::GENEROUS, async || {
        let long = store.long_transactions();
        match long.iter().find(|long| long.ended.is_none()) {
            Some(open) if open.operation == "write a batch" => Ok(()),
            _ => Err(format!("{long:?}")),
        }
    });
    seen.await.unwrap();
    let outcome = persist.await.unwrap();
    assert!(matches!(outcome, Persisted::Failed { .. }), "{outcome:?}");
    // Its connection is rolled back and of use again, and it is history.
    waiting(&server, 0).await;
    let long = store.long_transactions();
    assert!(long.iter().any(|long| long.ended.is_some()), "{long:?}");
    gate.open().await;
    assert_eq!(server.sql("SELECT count(*) FROM stream"), "0");
    assert_eq!(store.persist(fence(1), &one_stream()).await, committed());
}

#[tokio::test]
async fn the_server_ends_an_abandoned_transaction_of_ours_and_no_other() {
    let server = Postgres::start().await;
    let store = open(
        &server,
        StoreOptions {
            operation_timeout: SHORT,
            ..StoreOptions::default()
        },
    )
    .await;
    // As a frozen orchestrator leaves it, whose session would not end by itself.
    let ours = session(&server, "?application_name=streamkeeper").await;
    let foreign = session(&server, "?application_name=somebody").await;
    let migration = session(&server, "?application_name=streamkeeper%20migration").await;
    for held in [&ours, &foreign, &migration] {
        held.execute_unprepared("SELECT count(*) FROM stream")
            .await
            .unwrap();
    }
    let ended = wait::until(wait::GENEROUS, async || {
        let left = server.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'");
        match left.as_str() {
            "2" => Ok(()),
            left => Err(format!("{left} transactions are open")),
        }
    });
    ended.await.unwrap();
    assert!(ours.execute_unprepared("SELECT 1").await.is_err());
    foreign.execute_unprepared("SELECT 1").await.unwrap();
    migration.execute_unprepared("SELECT 1").await.unwrap();
    store.ping().await.unwrap();
}

/// Batches whose puts and removals cross: each would lock rows in another order than the next.
fn crossing(writer: u32, round: u32) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for key in 0..60_u32 {
        let name = format!("s{:02}", (key * 7 + round) % 60);
        let epoch = Epoch::new(term(1), round * 16 + writer + 1);
        if (key + writer + round).is_multiple_of(2) {
            let spec = StreamSpec::new(stream(&name), "x");
            batch.streams.push(StreamWrite::Put(spec));
            batch.assignments.push(put(&name, "w", epoch));
        } else {
            batch.streams.push(StreamWrite::Delete(stream(&name)));
            batch.assignments.push(clear(&name, epoch));
        }
    }
    batch
}

#[tokio::test]
async fn many_writers_never_lock_each_other_out() {
    const WRITERS: u32 = 6;
    const ROUNDS: u32 = 25;
    let server = Postgres::start().await;
    server.sql("ALTER ROLE keeper SET deadlock_timeout = '100ms'");
    let options = StoreOptions {
        connections: 8,
        // A busy machine is no reason.
        acquire_timeout: Duration::from_secs(60),
        operation_timeout: Duration::from_secs(60),
        ..StoreOptions::default()
    };
    let store = Arc::new(open(&server, options).await);
    lead(&store, 1).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let outcome = store.persist(fence(1), &crossing(writer, round)).await;
                    assert!(matches!(outcome, Persisted::Committed { .. }), "{outcome:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let log = server.process().output();
    assert!(!log.contains("deadlock detected"), "{log}");
}

#[tokio::test]
async fn deadlocks_and_collisions_from_outside_are_survived() {
    const ROUNDS: u32 = 12;
    let server = Postgres::start().await;
    server.sql("ALTER ROLE keeper SET deadlock_timeout = '30ms'");
    let store = open(&server, StoreOptions::default()).await;
    lead(&store, 1).await;
    let names = ["a", "b", "c", "d"];
    let all = |counter| {
        let epoch = Epoch::new(term(1), counter);
        assignments(names.iter().map(|name| put(name, "w", epoch)).collect())
    };
    assert_eq!(store.persist(fence(1), &all(1)).await, committed());
    let url = server.url();
    // Somebody who locks the rows from the other end, again and again.
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let other = tokio::spawn(async move {
        let database = sea_orm::Database::connect(url).await.unwrap();
        let mut deadlocks = 0;
        while stopped.try_recv().is_err() {
            use sea_orm::TransactionTrait;
            let held = database.begin().await.unwrap();
            for name in ["d", "c", "b", "a"] {
                let touch = format!("UPDATE assignment SET updated_at = 1 WHERE stream = '{name}'");
                if held.execute_unprepared(&touch).await.is_err() {
                    deadlocks += 1;
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = held.rollback().await;
        }
        deadlocks
    });
    for counter in 2..ROUNDS + 2 {
        let mut outcome = store.persist(fence(1), &all(counter)).await;
        // The other one may win every attempt of one batch; then nothing is stored, and the same batch may come again.
        while let Persisted::Failed { .. } = outcome {
            outcome = store.persist(fence(1), &all(counter)).await;
        }
        assert_eq!(outcome, committed());
    }
    stop.send(()).unwrap();
    other.await.unwrap();
    let stored = server.sql("SELECT DISTINCT epoch FROM assignment");
    assert_eq!(stored, Epoch::new(term(1), ROUNDS + 1).get().to_string());
}

#[tokio::test]
async fn a_serialization_failure_at_the_commit_is_tried_again() {
    let server = Postgres::start().await;
    let store = open(&server, StoreOptions::default()).await;
    lead(&store, 1).await;
    // As a server does that finds the collision only there.
    server.sql(
        "CREATE SEQUENCE attempts; GRANT USAGE ON SEQUENCE attempts TO keeper; \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') <= 2 THEN RAISE EXCEPTION 'provoked' USING ERRCODE = '40001'; END IF; \
         RETURN NEW; END $$; \
         CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON stream DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    assert_eq!(store.persist(fence(1), &one_stream()).await, committed());
    assert_eq!(server.sql("SELECT last_value FROM attempts"), "3");
    assert_eq!(server.sql("SELECT count(*) FROM stream"), "1");
}

#[tokio::test]
async fn a_file_in_use_does_not_keep_readers_out() {
    let backend = Backend::sqlite();
    let store = backend.open().await;
    lead(&store, 3).await;
    let database = sea_orm::Database::connect(backend.url()).await.unwrap();
    let held = sea_orm::TransactionTrait::begin(&database).await.unwrap();
    held.execute_unprepared("UPDATE leadership SET id = 1")
        .await
        .unwrap();
    assert_eq!(store.stored_term().await.unwrap(), term(3));
    held.rollback().await.unwrap();
    assert!(store.take_over(fence(4), LEASE).await.is_ok());
}
