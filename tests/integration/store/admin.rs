//! Copies of a database, from one kind to the other, and what keeps an older copy from giving an epoch a second time.

use std::io::BufReader;

use streamkeeper_core::record::{Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::StoreOptions;
use streamkeeper_orchestrator::adapter::store::admin::{
    AdminError, backup, export, import, inspect, raise_term, restore,
};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_protocol::Epoch;

use super::backend::{Backend, committed, fence, lead, on_both, put, stream, term};

on_both!(
    an_export_fills_either_kind_of_database,
    an_import_takes_whole_exports_only_and_empty_databases_only,
    a_look_changes_nothing_and_shows_what_is_stored,
);

/// More than fit into one page of an export.
const STREAMS: u32 = 6_000;

fn options() -> StoreOptions {
    StoreOptions::default()
}

/// Streams whose texts need care, and their assignments.
async fn fill(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 16).await;
    let mut batch = WriteBatch::default();
    for number in 0..STREAMS {
        let name = format!("s{number}");
        let mut spec = StreamSpec::new(stream(&name), "rtsp://камера/1?a='b'&c=\"\\d\"");
        spec.enabled = number % 2 == 0;
        spec.weight = f64::from(number) + 0.5;
        spec.labels.insert("a\"b".to_owned(), "ü\n".to_owned());
        batch.streams.push(StreamWrite::Put(spec));
        let epoch = Epoch::new(term(16), number + 1);
        batch.assignments.push(put(&name, "w", epoch));
    }
    assert_eq!(store.persist(fence(16), &batch).await, committed());
    store.close().await.unwrap();
}

async fn exported(backend: &Backend) -> Vec<u8> {
    let mut out = Vec::new();
    let copied = export(&backend.url(), &options(), &mut out).await.unwrap();
    assert_eq!(copied["stream"], u64::from(STREAMS));
    out
}

async fn an_export_fills_either_kind_of_database(backend: &Backend) {
    fill(backend).await;
    let file = exported(backend).await;
    let store = backend.open().await;
    let mut expected = lead(&store, 17).await.loaded;
    for other in [Backend::sqlite(), Backend::postgres().await] {
        let lines = BufReader::new(file.as_slice());
        let copied = import(&other.url(), &options(), "test.jsonl", lines)
            .await
            .unwrap();
        assert_eq!(copied["assignment"], u64::from(STREAMS));
        let store = other.open().await;
        let raised = store.stored_term().await.unwrap();
        assert!(
            raised > term(17),
            "no epoch of the source is given again: {raised}"
        );
        let mut found = lead(&store, raised.get() + 1).await.loaded;
        for loaded in [&mut expected, &mut found] {
            loaded.streams.sort_by(|a, b| a.name.cmp(&b.name));
            loaded.assignments.sort_by(|a, b| a.0.cmp(&b.0));
        }
        assert_eq!(found, expected);
    }
}

async fn an_import_takes_whole_exports_only_and_empty_databases_only(backend: &Backend) {
    let source = Backend::sqlite();
    fill(&source).await;
    let file = String::from_utf8(exported(&source).await).unwrap();
    let lines: Vec<&str> = file.lines().collect();
    let without_end = lines[..lines.len() - 1].join("\n");
    let without_row = [&lines[..7], &lines[8..]].concat().join("\n");
    let garbage = [&lines[..7], &["{}"], &lines[8..]].concat().join("\n");
    let other_format = file.replacen("export-1", "export-9", 1);
    for (text, expected) in [
        (without_end.as_str(), "the end is missing"),
        (&without_row, "rows came before it"),
        (&garbage, "line 8: it is no row"),
        (&other_format, "the format is"),
        ("id,name\n", "no export"),
        ("", "the end is missing"),
    ] {
        let read = BufReader::new(text.as_bytes());
        let error = import(&backend.url(), &options(), "test.jsonl", read).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(error.contains("test.jsonl"), "{error}");
    }
    // Nothing of all that stayed.
    let found = lead(&backend.open().await, 1).await.loaded;
    assert_eq!((found.streams.len(), found.assignments.len()), (0, 0));
    let error = import(
        &backend.url(),
        &options(),
        "test.jsonl",
        BufReader::new(file.as_bytes()),
    )
    .await;
    let error = error.unwrap_err();
    assert!(matches!(&error, AdminError::Refused(_)), "{error}");
    assert!(error.to_string().contains("in use already"), "{error}");
}

async fn a_look_changes_nothing_and_shows_what_is_stored(backend: &Backend) {
    if let Backend::Sqlite(folder) = backend {
        inspect(&backend.url(), &options()).await.unwrap_err();
        let made = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(made, 0, "whoever only looks makes no file");
    } else {
        let found = inspect(&backend.url(), &options()).await.unwrap();
        assert_eq!((found.streams, found.applied.len()), (None, 0));
        assert!(!found.missing.is_empty());
    }
    fill(backend).await;
    let found = inspect(&backend.url(), &options()).await.unwrap();
    assert_eq!(found.streams, Some(i64::from(STREAMS)));
    assert_eq!(found.term, Some(16));
    assert_eq!((found.missing.len(), found.unknown.len()), (0, 0));
    assert!(found.size_bytes > 100_000, "{found:?}");
}

#[tokio::test]
async fn a_backup_is_made_while_writers_go_on_and_restored_with_a_higher_term() {
    let backend = Backend::sqlite();
    fill(&backend).await;
    let Backend::Sqlite(folder) = &backend else {
        unreachable!()
    };
    let copy = folder.path().join("backup.db");
    let store = backend.open().await;
    lead(&store, 17).await;
    let writer = store.clone();
    let writes = tokio::spawn(async move {
        for number in 0..50_u32 {
            let mut batch = WriteBatch::default();
            // Always both or none.
            for name in ["left", "right"] {
                let spec = StreamSpec::new(stream(&format!("{name}-{number}")), "x");
                batch.streams.push(StreamWrite::Put(spec));
            }
            let outcome = writer.persist(fence(17), &batch).await;
            assert!(matches!(outcome, Persisted::Committed { .. }), "{outcome:?}");
        }
    });
    backup(&backend.url(), &options(), &copy).await.unwrap();
    writes.await.unwrap();
    let again = backup(&backend.url(), &options(), &copy).await.unwrap_err();
    assert!(again.to_string().contains("there already"), "{again}");
    // The database goes on beyond the copy.
    lead(&store, 33).await;
    store.close().await.unwrap();

    let kept = restore(&backend.url(), &options(), &copy, "1").await.unwrap();
    assert!(kept.unwrap().exists());
    let store = backend.open().await;
    let raised = store.stored_term().await.unwrap();
    assert!(raised > term(33), "{raised}");
    let found = lead(&store, raised.get() + 1).await.loaded;
    let has = |name: String| found.streams.iter().any(|spec| spec.name.as_str() == name);
    for number in 0..50 {
        let (left, right) = (has(format!("left-{number}")), has(format!("right-{number}")));
        assert_eq!(left, right, "{number} is half copied");
    }
    assert!(found.streams.len() >= STREAMS as usize);
}

#[tokio::test]
async fn what_is_no_sound_backup_is_not_restored() {
    let backend = Backend::sqlite();
    fill(&backend).await;
    let Backend::Sqlite(folder) = &backend else {
        unreachable!()
    };
    let copy = folder.path().join("backup.db");
    backup(&backend.url(), &options(), &copy).await.unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    for byte in &mut bytes[20_000..60_000] {
        *byte = 0x55;
    }
    let damaged = folder.path().join("damaged.db");
    std::fs::write(&damaged, bytes).unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "no database").unwrap();
    let nowhere = folder.path().join("nowhere.db");
    for from in [damaged, text, nowhere] {
        let error = restore(&backend.url(), &options(), &from, "1").await.unwrap_err();
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        assert!(error.to_string().contains(&name), "{error}");
    }
    // What was there is there.
    let found = lead(&backend.open().await, 17).await.loaded;
    assert_eq!(found.streams.len(), STREAMS as usize);
}

#[tokio::test]
async fn postgresql_is_told_that_it_was_put_back() {
    let backend = Backend::postgres().await;
    let url = backend.url();
    let error = raise_term(&url, &options()).await.unwrap_err();
    assert!(error.to_string().contains("db migrate"), "{error}");
    fill(&backend).await;
    let raised = raise_term(&url, &options()).await.unwrap();
    assert!(raised > 16, "{raised}");
    let file = std::path::Path::new("/tmp/never.db");
    let error = backup(&url, &options(), file).await.unwrap_err();
    assert!(error.to_string().contains("pg_dump"), "{error}");
}
