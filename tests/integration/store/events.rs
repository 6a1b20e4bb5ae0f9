//! Events: appended once and in one order, found by every question, forgotten in small parts.

use chrono::{DateTime, TimeDelta, Utc};
use streamkeeper_orchestrator::port::{AuditEvent, EventLog, EventQuery, StoredEvent, Waiting};

use super::backend::{Backend, on_both};

on_both!(
    events_are_appended_once_and_in_one_order,
    events_are_found_by_every_question,
    old_events_are_forgotten_and_the_newest_never,
);

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn event(second: i64, kind: &str, stream: &str) -> AuditEvent {
    let fields = [
        ("stream", stream),
        ("reason", "\"worker\" lost"),
        ("epoch", "68719476737"),
    ];
    let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned()));
    AuditEvent::seen(at(second), "o-1".to_owned(), kind.to_owned(), fields.into())
}

fn waiting(origin: &str, event: AuditEvent) -> Waiting {
    Waiting {
        origin: origin.to_owned(),
        event,
    }
}

fn all() -> EventQuery {
    EventQuery {
        after: Some(0),
        limit: 1_000,
        ..EventQuery::default()
    }
}

fn ids(events: &[StoredEvent]) -> Vec<u64> {
    events.iter().map(|stored| stored.id).collect()
}

async fn events_are_appended_once_and_in_one_order(backend: &Backend) {
    let (store, other) = (backend.open().await, backend.open().await);
    assert_eq!(store.newest_event().await.unwrap(), 0);
    let first = [
        waiting("a-0", event(0, "assigned", "s")),
        waiting("a-1", event(1, "migrated", "s")),
    ];
    assert_eq!(store.append_events(&first).await.unwrap(), 2);
    // Its answer was lost, so it comes again, with one more.
    let again = [
        first[0].clone(),
        first[1].clone(),
        waiting("a-2", event(2, "assigned", "t")),
    ];
    store.append_events(&again).await.unwrap();
    let stored = store.events(&all()).await.unwrap();
    let kept: Vec<&AuditEvent> = stored.iter().map(|stored| &stored.event).collect();
    assert_eq!(kept, [&first[0].event, &first[1].event, &again[2].event]);
    // Two orchestrators at once.
    let batch = |life: &str| -> Vec<Waiting> {
        let all = 0..40;
        all.map(|number| waiting(&format!("{life}-{number}"), event(number, "assigned", life)))
            .collect()
    };
    for round in 0..5 {
        let batches = (batch(&format!("x{round}")), batch(&format!("y{round}")));
        let both = tokio::join!(store.append_events(&batches.0), other.append_events(&batches.1));
        both.0.unwrap();
        both.1.unwrap();
    }
    let stored = store.events(&all()).await.unwrap();
    assert_eq!(stored.len(), 3 + 400);
    let ids = ids(&stored);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(store.newest_event().await.unwrap(), *ids.last().unwrap());
}

async fn events_are_found_by_every_question(backend: &Backend) {
    let store = backend.open().await;
    let events: Vec<Waiting> = (0..10)
        .map(|number| {
            let kind = ["assigned", "migrated", "worker_lost"][number as usize % 3];
            let stream = ["r", "s"][number as usize % 2];
            waiting(&format!("a-{number}"), event(number, kind, stream))
        })
        .collect();
    store.append_events(&events).await.unwrap();
    let found = async |query: EventQuery| ids(&store.events(&query).await.unwrap());
    let query = EventQuery {
        limit: 3,
        ..EventQuery::default()
    };
    assert_eq!(
        found(query.clone()).await,
        [8, 9, 10],
        "the newest, the oldest first"
    );
    let after = |after| EventQuery {
        after: Some(after),
        ..query.clone()
    };
    assert_eq!(found(after(4)).await, [5, 6, 7]);
    let since = EventQuery {
        since: Some(at(6)),
        ..query.clone()
    };
    assert_eq!(found(since.clone()).await, [7, 8, 9]);
    assert_eq!(
        found(EventQuery {
            after: Some(8),
            ..since
        })
        .await,
        [9, 10]
    );
    let never = EventQuery {
        since: Some(at(99)),
        ..query.clone()
    };
    assert!(found(never).await.is_empty());
    let kinds = |kinds: &[&str]| EventQuery {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        subject: Some("s".to_owned()),
        ..after(0)
    };
    assert_eq!(found(kinds(&["migrated"])).await, [2, 8]);
    assert_eq!(found(kinds(&["migrated", "worker_lost"])).await, [2, 6, 8]);
    assert_eq!(found(kinds(&[])).await, [2, 4, 6]);
}

async fn old_events_are_forgotten_and_the_newest_never(backend: &Backend) {
    let store = backend.open().await;
    let events: Vec<Waiting> = (0..10)
        .map(|number| waiting(&format!("a-{number}"), event(number, "assigned", "s")))
        .collect();
    store.append_events(&events).await.unwrap();
    let many = u64::MAX;
    assert_eq!(
        store.forget_events(at(4), many, 3).await.unwrap(),
        3,
        "no more than asked"
    );
    assert_eq!(store.forget_events(at(4), many, 3).await.unwrap(), 1);
    assert_eq!(store.forget_events(at(4), many, 3).await.unwrap(), 0);
    assert_eq!(ids(&store.events(&all()).await.unwrap()), [5, 6, 7, 8, 9, 10]);
    assert_eq!(
        store.forget_events(at(0), 2, 100).await.unwrap(),
        4,
        "the two newest stay"
    );
    let later = at(0) + TimeDelta::days(1);
    assert_eq!(store.forget_events(later, many, 100).await.unwrap(), 1);
    assert_eq!(ids(&store.events(&all()).await.unwrap()), [10]);
    let next = [waiting("b-0", event(0, "assigned", "s"))];
    let id = store.append_events(&next).await.unwrap();
    assert_eq!(id, 11, "an id is never given again");
}
