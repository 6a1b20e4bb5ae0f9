//! The store's contract, on a real SQLite file.

use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, RuntimeErr, sqlx};
use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, Ownership, SessionId, StreamId, Term, WorkerId};

use super::write::commit_failed;
use super::{OpenError, SeaStore, StoreOptions, redact_url};
use crate::port::{Store, StoreError, TakenOver};

const LEASE: Duration = Duration::from_secs(15);

fn term(number: u32) -> Term {
    Term::new(number).unwrap()
}

fn fence(number: u32) -> Fence {
    Fence {
        term: term(number),
        // The highest bit is set, as in half of all random numbers.
        nonce: u64::MAX - u64::from(number),
    }
}

fn stream(name: &str) -> StreamId {
    StreamId::new(name).unwrap()
}

fn assignment(worker: &str, epoch: Epoch) -> Assignment {
    Assignment {
        worker: WorkerId::new(worker).unwrap(),
        session: SessionId::from_u128(7),
        epoch,
    }
}

fn put(name: &str, worker: &str, epoch: Epoch) -> AssignmentWrite {
    AssignmentWrite::Put {
        stream: stream(name),
        assignment: assignment(worker, epoch),
    }
}

fn clear(name: &str, epoch: Epoch) -> AssignmentWrite {
    AssignmentWrite::Clear {
        stream: stream(name),
        epoch,
    }
}

fn assignments(writes: Vec<AssignmentWrite>) -> WriteBatch {
    WriteBatch {
        streams: Vec::new(),
        assignments: writes,
    }
}

fn streams(writes: Vec<StreamWrite>) -> WriteBatch {
    WriteBatch {
        streams: writes,
        assignments: Vec::new(),
    }
}

fn committed() -> Persisted {
    Persisted::Committed { refused: Vec::new() }
}

async fn open(folder: &Path) -> SeaStore {
    let url = format!("sqlite://{}", folder.join("test.db").display());
    SeaStore::open(&url, &StoreOptions::default()).await.unwrap()
}

async fn lead(store: &SeaStore, number: u32) -> TakenOver {
    store.take_over(fence(number), LEASE).await.unwrap()
}

#[tokio::test]
async fn a_new_database_has_term_zero_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.stored_term().await.unwrap(), Term::ZERO);
    store.ping().await.unwrap();
    let found = lead(&store, 16).await;
    assert_eq!(found.longest_lease, Duration::ZERO);
    assert_eq!(found.loaded.streams.len() + found.loaded.assignments.len(), 0);
    assert_eq!(store.stored_term().await.unwrap(), term(16));
}

#[tokio::test]
async fn a_term_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 16).await;
    for number in [16, 15, 1] {
        let error = store.take_over(fence(number), LEASE).await.unwrap_err();
        assert!(
            matches!(error, StoreError::TermTaken(taken) if taken == term(16)),
            "{error}"
        );
    }
    lead(&store, 17).await;
}

#[tokio::test]
async fn only_the_exact_fence_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 1).await;
    lead(&store, 2).await;
    let wrong_nonce = Fence { nonce: 1, ..fence(2) };
    let mut batch = streams(vec![StreamWrite::Put(StreamSpec::new(stream("a"), "src"))]);
    batch.assignments.push(put("a", "w", Epoch::new(term(9), 1)));
    for other in [fence(1), wrong_nonce, fence(3)] {
        let outcome = store.persist(other, &batch).await;
        assert_eq!(outcome, Persisted::Fenced { term: term(2) });
    }
    let found = lead(&store, 4).await.loaded;
    assert_eq!((found.streams.len(), found.assignments.len()), (0, 0));
}

#[tokio::test]
async fn an_epoch_that_is_not_higher_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 1).await;
    let at = |counter| Epoch::new(term(1), counter);
    let first = assignments(vec![
        put("c", "w1", at(5)),
        put("a", "w1", at(5)),
        put("b", "w1", at(5)),
    ]);
    assert_eq!(store.persist(fence(1), &first).await, committed());
    let second = assignments(vec![
        put("c", "w2", at(6)),
        put("b", "w2", at(5)),
        put("a", "w2", at(4)),
    ]);
    let refused = vec![stream("a"), stream("b")];
    let outcome = store.persist(fence(1), &second).await;
    assert_eq!(outcome, Persisted::Committed { refused });
    let mut found = lead(&store, 2).await.loaded.assignments;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = vec![
        (stream("a"), assignment("w1", at(5))),
        (stream("b"), assignment("w1", at(5))),
        (stream("c"), assignment("w2", at(6))),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn clearing_never_removes_a_higher_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 1).await;
    let at = |counter| Epoch::new(term(1), counter);
    let names = ["a", "b", "c"];
    let first = assignments(names.iter().map(|name| put(name, "w", at(5))).collect());
    assert_eq!(store.persist(fence(1), &first).await, committed());
    let second = assignments(vec![clear("a", at(4)), clear("b", at(5)), clear("c", at(6))]);
    assert_eq!(store.persist(fence(1), &second).await, committed());
    let found = lead(&store, 2).await.loaded.assignments;
    assert_eq!(found, vec![(stream("a"), assignment("w", at(5)))]);
}

#[tokio::test]
async fn streams_survive_reopening_and_deleted_ones_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 1).await;
    let mut full = StreamSpec::new(stream("full"), "rtsp://камера/1?a='b'");
    full.enabled = false;
    full.weight = 2.5;
    full.priority = -3;
    full.ownership = Ownership::Exclusive;
    full.labels.insert("a\"b".to_owned(), "ü".to_owned());
    full.requires.insert("gpu".to_owned(), "yes".to_owned());
    let gone = StreamSpec::new(stream("gone"), "x");
    let both = [&full, &gone].map(|spec| StreamWrite::Put(spec.clone()));
    assert_eq!(
        store.persist(fence(1), &streams(both.to_vec())).await,
        committed()
    );
    full.weight = 3.0;
    let change = streams(vec![
        StreamWrite::Put(full.clone()),
        StreamWrite::Delete(stream("gone")),
    ]);
    assert_eq!(store.persist(fence(1), &change).await, committed());
    store.close().await.unwrap();

    let again = open(folder.path()).await;
    assert_eq!(again.stored_term().await.unwrap(), term(1));
    assert_eq!(lead(&again, 2).await.loaded.streams, vec![full]);
}

#[tokio::test]
async fn ten_thousand_rows_fit_into_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    lead(&store, 1).await;
    let names: Vec<String> = (0..10_000).map(|index| format!("s{index}")).collect();
    let epoch = Epoch::new(term(1), 1);
    let all = WriteBatch {
        streams: names
            .iter()
            .map(|name| StreamWrite::Put(StreamSpec::new(stream(name), "x")))
            .collect(),
        assignments: names.iter().map(|name| put(name, "w", epoch)).collect(),
    };
    assert_eq!(store.persist(fence(1), &all).await, committed());
    let found = lead(&store, 2).await.loaded;
    assert_eq!((found.streams.len(), found.assignments.len()), (10_000, 10_000));
    let none = WriteBatch {
        streams: names
            .iter()
            .map(|name| StreamWrite::Delete(stream(name)))
            .collect(),
        assignments: names.iter().map(|name| clear(name, epoch)).collect(),
    };
    assert_eq!(store.persist(fence(2), &none).await, committed());
    let found = lead(&store, 3).await.loaded;
    assert_eq!((found.streams.len(), found.assignments.len()), (0, 0));
}

#[tokio::test]
async fn the_longest_lease_is_that_of_all_predecessors() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let mut seen = Vec::new();
    for (number, seconds) in [(1, 10), (2, 40), (3, 5), (4, 60)] {
        let lease = Duration::from_secs(seconds);
        let found = store.take_over(fence(number), lease).await.unwrap();
        seen.push(found.longest_lease.as_secs());
    }
    assert_eq!(seen, vec![0, 10, 40, 40]);
}

#[tokio::test]
async fn a_bad_row_is_reported_and_the_rest_loads() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let rows = "INSERT INTO stream VALUES ('good', 'x', 1, 1.0, 0, 'available', '{}', '{}'), \
                ('owner', 'x', 1, 1.0, 0, 'mine', '{}', '{}'), ('label', 'x', 1, 1.0, 0, 'available', '[]', '{}'), \
                ('weight', 'x', 1, 0.0, 0, 'available', '{}', '{}'), \
                ('type', 'x', 1, 1.0, 'high', 'available', '{}', '{}'), \
                ('na.me', 'x', 1, 1.0, 0, 'available', '{}', '{}'); \
                INSERT INTO assignment VALUES ('good', 'w', '00000000000000000000000000000007', 3, 0), \
                ('session', 'w', 'xyz', 3, 0), ('epoch', 'w', '00000000000000000000000000000007', -3, 0)";
    store.database.execute_unprepared(rows).await.unwrap();
    let found = lead(&store, 1).await;
    let good = StreamSpec::new(stream("good"), "x");
    assert_eq!(found.loaded.streams, vec![good]);
    let epoch = Epoch::from_i64(3).unwrap();
    assert_eq!(
        found.loaded.assignments,
        vec![(stream("good"), assignment("w", epoch))]
    );
    assert_eq!(found.bad_rows.len(), 7, "{:#?}", found.bad_rows);
    for name in ["owner", "label", "weight", "type", "na.me", "session", "epoch"] {
        let row = format!("row {name},");
        let named = found.bad_rows.iter().filter(|text| text.contains(&row)).count();
        assert_eq!(named, 1, "{name}: {:#?}", found.bad_rows);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m2999_new', 0)";
    store.database.execute_unprepared(newer).await.unwrap();
    store.close().await.unwrap();
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let error = SeaStore::open(&url, &StoreOptions::default()).await.unwrap_err();
    let unknown = vec!["m2999_new".to_owned()];
    assert_eq!(error, OpenError::NewerSchema { url, unknown });
}

#[tokio::test]
async fn a_commit_without_an_answer_is_ambiguous() {
    let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
    let lost = DbErr::Query(RuntimeErr::SqlxError(lost.into()));
    assert!(matches!(commit_failed(&lost), Persisted::Ambiguous { .. }));

    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let refused = store.database.execute_unprepared("COMMIT").await.unwrap_err();
    assert!(
        matches!(commit_failed(&refused), Persisted::Failed { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn of_two_candidates_with_one_term_a_single_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let one = open(folder.path()).await;
    let two = open(folder.path()).await;
    let other = Fence { nonce: 1, ..fence(1) };
    let (first, second) = tokio::join!(one.take_over(fence(1), LEASE), two.take_over(other, LEASE));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let batch = assignments(vec![put("a", "w", Epoch::new(term(1), 1))]);
    let (by_first, by_second) = tokio::join!(one.persist(fence(1), &batch), two.persist(other, &batch));
    let fenced = Persisted::Fenced { term: term(1) };
    let expected = if first.is_ok() {
        (committed(), fenced)
    } else {
        (fenced, committed())
    };
    assert_eq!((by_first, by_second), expected);
}

#[test]
fn passwords_are_not_shown() {
    for (url, shown) in [
        ("postgres://u:secret@h:5432/d", "postgres://u:***@h:5432/d"),
        ("postgres://u:se/c@r?et@h/d", "postgres://u:***@h/d"),
        (
            "postgres://h/d?user=u&password=secret",
            "postgres://h/d?user=u&password=***",
        ),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
    ] {
        assert_eq!(redact_url(url), shown);
    }
}
