//! No statement that comes often looks through a whole table, however many streams there are.

use std::time::Duration;

use streamkeeper_core::record::{StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_protocol::Epoch;
use streamkeeper_tests::postgres::Postgres;

use super::backend::{clear, committed, fence, lead, put, stream, term};

/// How many streams are stored; `STREAMS=1000000` for the figure that is promised.
fn streams() -> u32 {
    std::env::var("STREAMS").map_or(100_000, |text| text.parse().expect("a number"))
}

/// Whole looks at tables of ours so far. A session tells what it counted when it ends, and some seconds late before: no
/// other may be open.
fn scans(server: &Postgres) -> String {
    server.sql("SELECT pg_sleep(0.5)");
    server.sql(
        "SELECT string_agg(relname || ' ' || seq_scan, ', ' ORDER BY relname) FROM pg_stat_user_tables \
         WHERE relname IN ('stream', 'assignment')",
    )
}

#[tokio::test]
async fn batches_find_their_rows_by_index() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        // A test's build reads a million rows slowly.
        bulk_timeout: Duration::from_secs(300),
        ..StoreOptions::default()
    };
    let store = SeaStore::open(&server.url(), &options).await.unwrap();
    lead(&store, 1).await;
    let count = streams();
    // One row is written by the store, and the rest is like it, whatever columns there are.
    let epoch = |counter| Epoch::new(term(1), counter);
    let model = WriteBatch {
        streams: vec![StreamWrite::Put(StreamSpec::new(stream("model"), "x"))],
        assignments: vec![put("model", "w", epoch(1))],
        ..WriteBatch::default()
    };
    assert_eq!(store.persist(fence(1), &model).await, committed());
    server.sql(&format!(
        "INSERT INTO stream SELECT (jsonb_populate_record(model, jsonb_build_object('name', 's' || number))).* \
         FROM stream AS model, generate_series(1, {count}) AS number; \
         INSERT INTO assignment SELECT (jsonb_populate_record(model, jsonb_build_object('stream', 's' || number))).* \
         FROM assignment AS model, generate_series(1, {count}) AS number; ANALYZE"
    ));
    store.close().await.unwrap();
    let before = scans(&server);
    let store = SeaStore::open(&server.url(), &options).await.unwrap();
    // Of a larger part of the table, a whole look may be the cheaper way.
    let part = count / 2_000;
    for round in 0..8_u32 {
        let names = |from: u32| (from..from + part).map(move |number| format!("s{}", number * 7 + round));
        let mut batch = WriteBatch::default();
        for name in names(1) {
            batch
                .streams
                .push(StreamWrite::Put(StreamSpec::new(stream(&name), "y")));
            batch.assignments.push(put(&name, "w2", epoch(round + 2)));
        }
        for name in names(1 + part) {
            batch.streams.push(StreamWrite::Delete(stream(&name)));
            batch.assignments.push(clear(&name, epoch(round + 2)));
        }
        assert_eq!(store.persist(fence(1), &batch).await, committed());
        store.stored_term().await.unwrap();
        // Out of the middle, as the consistency check and a takeover read.
        let after = stream(&format!("s{}", count / 2 + round));
        let page = store.read_page(Some(&after), 1_000).await.unwrap();
        assert_eq!(page.streams.len(), 1_000);
    }
    store.close().await.unwrap();
    assert_eq!(scans(&server), before);
    // Who looks for what has no index looks at everything, and that is seen.
    server.sql("SELECT count(*) FROM stream WHERE source = 'nowhere'");
    assert_ne!(scans(&server), before, "the server does not count");
}
