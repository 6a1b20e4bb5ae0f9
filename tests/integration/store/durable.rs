//! What was acknowledged outlives a crash, also after the file of SQLite was moved away, or its disk was full.

use std::path::Path;

use streamkeeper_core::record::{Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::adapter::store::{SeaStore, StoreOptions};
use streamkeeper_orchestrator::port::Store;
use streamkeeper_tests::disk::SmallDisk;
use tempfile::TempDir;

use super::backend::{Backend, committed, fence, lead, stream, streams};

fn put(name: &str) -> WriteBatch {
    streams(vec![StreamWrite::Put(StreamSpec::new(stream(name), "x"))])
}

/// What the next life of the program would find if this one ended now: the files, without what only memory holds.
async fn after_a_crash(file: &Path) -> Vec<String> {
    let folder = TempDir::with_prefix("streamkeeper-crashed-").unwrap();
    for ending in ["", "-wal"] {
        let name = format!("test.db{ending}");
        let _absent = std::fs::copy(file.with_file_name(&name), folder.path().join(&name));
    }
    let url = format!("sqlite://{}", folder.path().join("test.db").display());
    let store = SeaStore::open(&url, &StoreOptions::default()).await.unwrap();
    let page = store.read_page(None, 100).await.unwrap();
    page.streams.iter().map(|spec| spec.name.to_string()).collect()
}

#[tokio::test]
async fn no_connection_begins_another_file_in_the_place_of_the_one_that_was_moved() {
    let backend = Backend::sqlite();
    let Backend::Sqlite(folder) = &backend else {
        unreachable!()
    };
    let file = folder.path().join("test.db");
    let away = folder.path().join("away.db");
    let store = backend.open().await;
    lead(&store, 1).await;
    assert_eq!(store.persist(fence(1), &put("before")).await, committed());

    std::fs::rename(&file, &away).unwrap();
    // More at once than connections are open: each gets one of its own, or is refused.
    let ended = futures::future::join_all((0..16).map(|_| store.stored_term())).await;
    let refused: Vec<String> = ended
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.to_string())
        .collect();
    assert!(!refused.is_empty(), "nobody asked for a new connection");
    // Whoever writes, and whoever only asks how the database is, is told the same.
    let Persisted::Failed { reason } = store.persist(fence(1), &put("lost")).await else {
        panic!("it was written to a file that is gone");
    };
    let asked = store.ping().await.unwrap_err().to_string();
    for told in refused.iter().chain([&reason, &asked]) {
        assert!(
            told.contains("was removed or moved") && told.contains("put it back"),
            "{told}"
        );
    }
    assert!(!file.exists(), "a new file was begun");

    std::fs::rename(&away, &file).unwrap();
    assert_eq!(store.persist(fence(1), &put("after")).await, committed());
    assert_eq!(after_a_crash(&file).await, ["after", "before"]);
}

#[tokio::test]
async fn the_log_of_a_file_that_is_missing_is_kept() {
    let backend = Backend::sqlite();
    let Backend::Sqlite(folder) = &backend else {
        unreachable!()
    };
    let file = folder.path().join("test.db");
    let away = folder.path().join("away.db");
    let store = backend.open().await;
    lead(&store, 1).await;
    assert_eq!(store.persist(fence(1), &put("a")).await, committed());
    std::fs::rename(&file, &away).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::write(&file, "").unwrap();
        }
        let refused = SeaStore::open(&backend.url(), &StoreOptions::default())
            .await
            .unwrap_err();
        assert!(!refused.may_pass());
        let text = refused.to_string();
        assert!(
            text.contains("test.db-wal") && text.contains("put the file back"),
            "{text}"
        );
    }
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(after_a_crash(&file).await, ["a"]);
}

/// A commit that the disk refuses ends its transaction, and the driver counts it as open: it would make savepoints from
/// then on, which are never committed once one of them was rolled back.
#[tokio::test]
async fn what_is_written_after_the_disk_was_full_is_committed() {
    let folder = TempDir::with_prefix("streamkeeper-full-").unwrap();
    let disk = SmallDisk::mount(folder.path(), 4);
    let file = disk.folder().join("test.db");
    let url = format!("sqlite://{}", file.display());
    let store = SeaStore::open(&url, &StoreOptions::default()).await.unwrap();
    lead(&store, 1).await;
    assert_eq!(store.persist(fence(1), &put("before")).await, committed());
    disk.fill();
    for _ in 0..3 {
        let outcome = store.persist(fence(1), &put("refused")).await;
        assert!(matches!(outcome, Persisted::Failed { .. }), "{outcome:?}");
    }
    disk.free();
    // Connections take turns.
    for _ in 0..4 {
        let outcome = store.persist(fence(9), &put("fenced")).await;
        assert!(matches!(outcome, Persisted::Fenced { .. }), "{outcome:?}");
    }
    for name in ["after-1", "after-2", "after-3"] {
        assert_eq!(store.persist(fence(1), &put(name)).await, committed());
    }
    assert_eq!(
        after_a_crash(&file).await,
        ["after-1", "after-2", "after-3", "before"]
    );
}
