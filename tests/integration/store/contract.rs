//! What every database does, whichever it is.

use std::time::Duration;

use streamkeeper_core::directive::{DirectiveWrite, Key};
use streamkeeper_core::record::{AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::{OnOwnerLost, StreamSpec};
use streamkeeper_orchestrator::port::{Store, StoreError};
use streamkeeper_protocol::{Epoch, Ownership, Term, WorkerId};

use super::backend::{
    Backend, LEASE, assignment, assignments, clear, committed, fence, lead, on_both, put, stream, streams,
    term,
};

on_both!(
    a_new_database_has_term_zero_and_nothing_else,
    a_term_is_taken_once,
    only_the_exact_fence_may_write,
    an_epoch_that_is_not_higher_is_refused_and_named,
    clearing_never_removes_a_higher_epoch,
    restoring_corrects_a_row_of_the_same_epoch,
    pages_come_in_the_order_of_bytes_and_name_what_makes_no_sense,
    streams_survive_reopening_and_deleted_ones_are_gone,
    ten_thousand_rows_fit_into_one_batch,
    the_longest_lease_is_that_of_all_predecessors,
    a_copy_that_is_put_back_is_found_out,
    directives_outlive_the_leader_until_they_are_over_or_taken_back,
    of_two_candidates_with_one_term_a_single_one_wins,
);

async fn directives_outlive_the_leader_until_they_are_over_or_taken_back(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let worker = WorkerId::new("a").unwrap();
    let put = |key, lasts| DirectiveWrite::Put {
        key,
        reason: "kernel \"update\"".to_owned(),
        lasts,
    };
    let (cordon, drain) = (Key::cordon(&worker), Key::drain(&worker));
    let hour = Some(Duration::from_secs(3_600));
    let of = |directives| WriteBatch {
        directives,
        ..WriteBatch::default()
    };
    let writes = vec![
        put(cordon.clone(), None),
        put(drain.clone(), None),
        put(Key::pause(), Some(Duration::from_secs(1))),
        put(Key::freeze(&stream("s")), hour),
    ];
    assert_eq!(store.persist(fence(1), &of(writes)).await, committed());
    let again = of(vec![
        put(Key::pause(), Some(Duration::from_millis(1))),
        DirectiveWrite::Delete(drain),
    ]);
    assert_eq!(store.persist(fence(1), &again).await, committed());
    tokio::time::sleep(Duration::from_millis(5)).await;
    let found = lead(&store, 2).await.loaded.directives;
    let [
        DirectiveWrite::Put {
            key: first,
            lasts: None,
            reason,
        },
        DirectiveWrite::Put {
            key: second,
            lasts: Some(left),
            ..
        },
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!((first, second), (&cordon, &Key::freeze(&stream("s"))));
    assert_eq!(reason, "kernel \"update\"");
    assert!(*left <= Duration::from_secs(3_600) && *left > Duration::from_secs(3_500));
}

async fn a_new_database_has_term_zero_and_nothing_else(backend: &Backend) {
    let store = backend.open().await;
    assert_eq!(store.stored_term().await.unwrap(), Term::ZERO);
    store.ping().await.unwrap();
    let found = lead(&store, 16).await;
    assert_eq!(found.longest_lease, Duration::ZERO);
    assert_eq!(found.loaded.streams.len() + found.loaded.assignments.len(), 0);
    assert_eq!(store.stored_term().await.unwrap(), term(16));
}

async fn a_term_is_taken_once(backend: &Backend) {
    let store = backend.open().await;
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

async fn only_the_exact_fence_may_write(backend: &Backend) {
    let store = backend.open().await;
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

async fn an_epoch_that_is_not_higher_is_refused_and_named(backend: &Backend) {
    let store = backend.open().await;
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

async fn clearing_never_removes_a_higher_epoch(backend: &Backend) {
    let store = backend.open().await;
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

async fn restoring_corrects_a_row_of_the_same_epoch(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let at = |counter| Epoch::new(term(1), counter);
    let names = ["a", "b", "c"];
    let first = assignments(names.iter().map(|name| put(name, "w", at(5))).collect());
    assert_eq!(store.persist(fence(1), &first).await, committed());
    let restore = |name, counter| AssignmentWrite::Restore {
        stream: stream(name),
        assignment: assignment("right", at(counter)),
    };
    let second = assignments(vec![
        restore("c", 6),
        restore("b", 5),
        restore("a", 4),
        restore("d", 7),
    ]);
    let refused = vec![stream("a")];
    let outcome = store.persist(fence(1), &second).await;
    assert_eq!(outcome, Persisted::Committed { refused });
    let expected = vec![
        (stream("a"), assignment("w", at(5))),
        (stream("b"), assignment("right", at(5))),
        (stream("c"), assignment("right", at(6))),
        (stream("d"), assignment("right", at(7))),
    ];
    assert_eq!(store.read_page(None, 9).await.unwrap().assignments, expected);
}

async fn pages_come_in_the_order_of_bytes_and_name_what_makes_no_sense(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let at = |counter| Epoch::new(term(1), counter);
    let put_stream = |name: &&str| StreamWrite::Put(StreamSpec::new(stream(name), "src"));
    let batch = WriteBatch {
        streams: ["b", "B", "a", "_"].iter().map(put_stream).collect(),
        // Two of streams that are not declared.
        assignments: ["C", "a", "A", "b"].map(|name| put(name, "w", at(1))).to_vec(),
        ..WriteBatch::default()
    };
    assert_eq!(store.persist(fence(1), &batch).await, committed());
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store.read_page(after.as_ref(), 2).await.unwrap();
        assert_eq!(page.bad_rows, Vec::<String>::new());
        seen.extend(page.streams.iter().map(|spec| format!("stream {}", spec.name)));
        seen.extend(
            page.assignments
                .iter()
                .map(|(name, _)| format!("assignment {name}")),
        );
        match page.end {
            Some(end) => after = Some(end),
            None => break,
        }
    }
    let expected = [
        "stream B",
        "assignment A",
        "assignment C",
        "stream _",
        "stream a",
        "assignment a",
        "stream b",
        "assignment b",
    ];
    assert_eq!(seen, expected);
    backend
        .sql("UPDATE stream SET weight = -1 WHERE name = 'a'")
        .await;
    let page = store.read_page(None, 9).await.unwrap();
    assert_eq!(page.streams.len(), 3);
    assert!(
        page.bad_rows[0].contains("row a, column weight"),
        "{:?}",
        page.bad_rows
    );
}

async fn streams_survive_reopening_and_deleted_ones_are_gone(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let mut full = StreamSpec::new(stream("full"), "rtsp://камера/1?a='b'");
    full.enabled = false;
    full.weight = 2.5;
    full.priority = -3;
    full.ownership = Ownership::Exclusive;
    full.lost_after = Some(Duration::from_millis(30_001));
    full.labels.insert("a\"b".to_owned(), "ü".to_owned());
    full.requires.insert("gpu".to_owned(), "yes".to_owned());
    full.prefers.insert("disk".to_owned(), "fast".to_owned());
    full.spread = Some("cameras".into());
    full.pin = Some(WorkerId::new("w1").unwrap());
    let gone = StreamSpec::new(stream("gone"), "x");
    let both = [&full, &gone].map(|spec| StreamWrite::Put(spec.clone()));
    assert_eq!(
        store.persist(fence(1), &streams(both.to_vec())).await,
        committed()
    );
    full.weight = 3.0;
    full.lost_after = None;
    full.on_owner_lost = OnOwnerLost::Hold;
    let change = streams(vec![
        StreamWrite::Put(full.clone()),
        StreamWrite::Delete(stream("gone")),
    ]);
    assert_eq!(store.persist(fence(1), &change).await, committed());
    store.close().await.unwrap();

    let again = backend.open().await;
    assert_eq!(again.stored_term().await.unwrap(), term(1));
    assert_eq!(lead(&again, 2).await.loaded.streams, vec![full]);
}

async fn ten_thousand_rows_fit_into_one_batch(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let names: Vec<String> = (0..10_000).map(|index| format!("s{index}")).collect();
    let epoch = Epoch::new(term(1), 1);
    let all = WriteBatch {
        streams: names
            .iter()
            .map(|name| StreamWrite::Put(StreamSpec::new(stream(name), "x")))
            .collect(),
        assignments: names.iter().map(|name| put(name, "w", epoch)).collect(),
        ..WriteBatch::default()
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
        ..WriteBatch::default()
    };
    assert_eq!(store.persist(fence(2), &none).await, committed());
    let found = lead(&store, 3).await.loaded;
    assert_eq!((found.streams.len(), found.assignments.len()), (0, 0));
}

async fn the_longest_lease_is_that_of_all_predecessors(backend: &Backend) {
    let store = backend.open().await;
    let mut seen = Vec::new();
    for (number, seconds) in [(1, 10), (2, 40), (3, 5), (4, 60)] {
        let lease = Duration::from_secs(seconds);
        let found = store.take_over(fence(number), lease).await.unwrap();
        seen.push(found.longest_lease.as_secs());
    }
    assert_eq!(seen, vec![0, 10, 40, 40]);
}

async fn of_two_candidates_with_one_term_a_single_one_wins(backend: &Backend) {
    let one = backend.open().await;
    let two = backend.open().await;
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

async fn a_copy_that_is_put_back_is_found_out(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let counted = |before, mut batch: WriteBatch| {
        batch.before = Some(before);
        batch
    };
    let write = |name| streams(vec![StreamWrite::Put(StreamSpec::new(stream(name), "x"))]);
    let outcome = store.persist(fence(1), &counted(0, write("a"))).await;
    assert_eq!(outcome, committed());
    let tables = ["stream", "assignment", "leadership", "progress"];
    for table in tables {
        backend
            .sql(&format!("CREATE TABLE copy_{table} AS SELECT * FROM {table}"))
            .await;
    }
    // What writes nothing counts nothing.
    for before in [1, 1] {
        let check = counted(before, WriteBatch::default());
        assert_eq!(store.persist(fence(1), &check).await, committed());
    }
    let outcome = store.persist(fence(1), &counted(1, write("b"))).await;
    assert_eq!(outcome, committed());

    for table in tables {
        backend
            .sql(&format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_{table}"
            ))
            .await;
    }
    for batch in [WriteBatch::default(), write("c")] {
        let outcome = store.persist(fence(1), &counted(2, batch)).await;
        assert_eq!(outcome, Persisted::Rewound);
    }
    let found = lead(&store, 2).await.loaded.streams;
    assert_eq!(found, [StreamSpec::new(stream("a"), "x")]);
    let check = counted(0, WriteBatch::default());
    assert_eq!(store.persist(fence(2), &check).await, committed());
}
