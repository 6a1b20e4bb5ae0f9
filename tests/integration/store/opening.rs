//! Opening a database: what is waited for, what is refused, and what the connections are set to.

use std::time::Duration;

use streamkeeper_core::record::StreamWrite;
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{OpenError, SeaStore, StoreOptions, probe, redact_url};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::postgres::Postgres;

use super::backend::{Backend, committed, fence, lead, on_both, stream, streams};

const TIMEOUT: Duration = Duration::from_secs(10);

on_both!(a_newer_schema_is_refused);

async fn a_newer_schema_is_refused(backend: &Backend) {
    backend.open().await.close().await.unwrap();
    backend
        .sql("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m2999_new', 0)")
        .await;
    let error = open(&backend.url()).await;
    let unknown = vec!["m2999_new".to_owned()];
    let url = redact_url(&backend.url());
    assert_eq!(error, OpenError::NewerSchema { url, unknown });
    assert!(!error.may_pass());
}

async fn open(url: &str) -> OpenError {
    SeaStore::open(url, &StoreOptions::default()).await.unwrap_err()
}

#[tokio::test]
async fn orchestrators_that_start_together_make_one_schema() {
    let server = Postgres::start().await;
    let url = server.url();
    let options = StoreOptions::default();
    let open = || SeaStore::open(&url, &options);
    let (a, b, c) = tokio::join!(open(), open(), open());
    for opened in [a, b, c] {
        opened.unwrap().ping().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_is_away_may_come() {
    let mut server = Postgres::start().await;
    let url = server.url();
    probe(&url, TIMEOUT).await.unwrap();
    server.kill();
    for error in [open(&url).await, probe(&url, TIMEOUT).await.unwrap_err()] {
        let text = error.to_string();
        assert!(error.may_pass(), "{text}");
        assert!(text.contains("refused"), "{text}");
        assert!(!text.contains(server.password()), "{text}");
    }
    server.start_again().await;
    probe(&url, TIMEOUT).await.unwrap();
    // A name that nobody knows yet, as in a network that comes up.
    let error = open("postgres://u@database.invalid/d").await;
    assert!(error.may_pass(), "{error}");
}

#[tokio::test]
async fn whoever_says_no_is_not_waited_for() {
    let server = Postgres::start().await;
    let url = server.url();
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'guest'");
    let guest = url.replace(&format!("keeper:{}", server.password()), "guest:guest");
    let wrong = url.replace(server.password(), "wrong-secret");
    let cases = [
        (wrong, "password"),
        (server.url_of("nowhere"), "create the database"),
        (format!("{url}?sslmode=require"), "ssl = on"),
        (guest, "GRANT CREATE ON SCHEMA public"),
        (
            format!("postgres://127.0.0.1:{}0000/d", free_port()),
            "write sqlite://",
        ),
        ("mysql://u:wrong-secret@h/d".to_owned(), "write sqlite://"),
        ("sqlite::memory:".to_owned(), "forget"),
        ("sqlite:///proc/nowhere/test.db".to_owned(), "folder that exists"),
        ("sqlite:///etc/hostname".to_owned(), "something else"),
    ];
    for (url, expected) in cases {
        let error = open(&url).await;
        let text = error.to_string();
        assert!(!error.may_pass(), "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
        for secret in [server.password(), "wrong-secret", ":guest@"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn the_server_ends_what_a_paused_program_cannot() {
    let server = Postgres::start().await;
    let options = StoreOptions {
        operation_timeout: Duration::from_secs(8),
        ..StoreOptions::default()
    };
    let with_own = format!(
        "{}?options[lock_timeout]=1234ms&application_name=mine",
        server.url()
    );
    let expected = [
        (server.url(), "streamkeeper|8s|6s|4s"),
        (with_own, "mine|8s|1234ms|4s"),
    ];
    for (number, (url, expected)) in (1..).zip(expected) {
        let store = SeaStore::open(&url, &options).await.unwrap();
        lead(&store, number).await;
        server.sql(
            "DROP TABLE IF EXISTS seen CASCADE; \
             CREATE TABLE seen AS SELECT name, setting FROM (VALUES ('', '')) AS none (name, setting); \
             GRANT INSERT ON seen TO keeper; \
             CREATE OR REPLACE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             INSERT INTO seen SELECT name, current_setting(name) FROM unnest(ARRAY['application_name', \
             'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) AS name; \
             RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER see BEFORE INSERT ON stream FOR EACH ROW EXECUTE FUNCTION see()",
        );
        let batch = streams(vec![StreamWrite::Put(StreamSpec::new(stream("a"), "x"))]);
        assert_eq!(store.persist(fence(number), &batch).await, committed());
        let seen = server.sql(
            "SELECT string_agg(setting, '|' ORDER BY array_position(ARRAY['application_name', \
             'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout'], name)) \
             FROM seen WHERE name <> ''",
        );
        assert_eq!(seen, expected);
    }
}
