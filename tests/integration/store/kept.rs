//! Moves and quarantines that outlive their leader, on real databases of both kinds.

use std::collections::BTreeSet;
use std::time::Duration;

use streamkeeper_core::cluster::MoveReason;
use streamkeeper_core::kept::{EndedMove, KeptQuarantine, KeptWrites, OpenMove};
use streamkeeper_core::migration::{MAX_RECENT, State, Way};
use streamkeeper_core::record::WriteBatch;
use streamkeeper_orchestrator::port::Store;
use streamkeeper_protocol::WorkerId;

use super::backend::{Backend, committed, fence, lead, on_both, stream};

on_both!(
    an_acknowledged_move_is_found_until_it_is_over,
    the_last_moves_are_found_in_their_order_and_no_more,
    a_quarantine_is_found_with_what_is_left_of_it,
);

fn worker(id: &str) -> WorkerId {
    WorkerId::new(id).unwrap()
}

fn batch(kept: KeptWrites) -> WriteBatch {
    WriteBatch {
        kept,
        ..WriteBatch::default()
    }
}

async fn an_acknowledged_move_is_found_until_it_is_over(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let open = |name: &str, to: &str| OpenMove {
        stream: stream(name),
        to: worker(to),
        reason: MoveReason::Asked,
    };
    let puts = |moves: &[OpenMove]| KeptWrites {
        moves: moves
            .iter()
            .map(|open| (open.stream.clone(), Some(open.clone())))
            .collect(),
        ..KeptWrites::default()
    };
    let (a, b) = (open("a", "w1"), open("b", "w1"));
    let first = batch(puts(&[a.clone(), b]));
    assert_eq!(store.persist(fence(1), &first).await, committed());
    let mut next = puts(&[open("a", "w2")]);
    next.moves.insert(stream("b"), None);
    next.moves.insert(stream("never-there"), None);
    assert_eq!(store.persist(fence(1), &batch(next)).await, committed());
    let found = lead(&store, 2).await;
    assert_eq!(found.loaded.kept.moves, [open("a", "w2")]);
    assert!(found.bad_rows.is_empty(), "{:?}", found.bad_rows);
}

async fn the_last_moves_are_found_in_their_order_and_no_more(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let ended = |id: i64| EndedMove {
        id,
        stream: stream(&format!("s{id}")),
        from: worker("a"),
        to: worker("b"),
        reason: MoveReason::Balance,
        way: Way::MakeBeforeBreak,
        state: State::RolledBack,
        began: Duration::from_secs(7_200),
        ended: Duration::from_secs(3_600),
        gap: None,
        overlap: Some(Duration::from_millis(12)),
        detail: Some("it failed on b: \"no\" 'such' host".to_owned()),
    };
    let last = i64::try_from(MAX_RECENT).unwrap() + 5;
    for ids in [0..3, 2..last] {
        // One that was on its way twice is there once.
        let kept = KeptWrites {
            ended: ids.map(ended).collect(),
            ..KeptWrites::default()
        };
        assert_eq!(store.persist(fence(1), &batch(kept)).await, committed());
    }
    let found = lead(&store, 2).await.loaded.kept.ended;
    let ids: Vec<i64> = found.iter().map(|ended| ended.id).collect();
    assert_eq!(ids, (5..last).collect::<Vec<_>>());
    let mut newest = found.last().unwrap().clone();
    let hour = Duration::from_secs(3_600);
    assert!(
        newest.ended >= hour && newest.began >= newest.ended + hour,
        "{newest:?}"
    );
    (newest.began, newest.ended) = (hour * 2, hour);
    assert_eq!(newest, ended(last - 1));
}

async fn a_quarantine_is_found_with_what_is_left_of_it(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let kept = |name: &str, left| KeptQuarantine {
        stream: stream(name),
        tried: BTreeSet::from([worker("a"), worker("b")]),
        rounds: 3,
        left: Duration::from_secs(left),
    };
    let writes = |all: &[(&str, Option<KeptQuarantine>)]| {
        let quarantines = all.iter().map(|(name, kept)| (stream(name), kept.clone()));
        batch(KeptWrites {
            quarantines: quarantines.collect(),
            ..KeptWrites::default()
        })
    };
    let first = writes(&[("a", Some(kept("a", 600))), ("b", Some(kept("b", 600)))]);
    assert_eq!(store.persist(fence(1), &first).await, committed());
    let next = writes(&[("a", None), ("c", Some(kept("c", 0)))]);
    assert_eq!(store.persist(fence(1), &next).await, committed());
    let found = lead(&store, 2).await.loaded.kept.quarantines;
    let [b, c] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(
        b.left <= Duration::from_secs(600) && b.left > Duration::from_secs(60),
        "{b:?}"
    );
    let b = KeptQuarantine {
        left: Duration::from_secs(600),
        ..b.clone()
    };
    assert_eq!(
        (b, c.clone()),
        (kept("b", 600), kept("c", 0)),
        "one that is over is still known to have been"
    );
}
