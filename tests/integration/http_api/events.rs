//! What happened: pages, server-sent events, and what is kept of every change that is asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamkeeper_orchestrator::adapter::http::TimeLimits;
use streamkeeper_orchestrator::port::{AuditEvent, StoredEvent};
use streamkeeper_tests::wait::GENEROUS;

use super::world::World;

/// An event as it is stored.
pub(super) fn stored(id: u64, kind: &str) -> StoredEvent {
    let fields = [
        ("stream", "radio"),
        ("reason", "rtsp://u:s3cret@cam refused"),
        ("epoch", "7"),
    ];
    let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned()));
    StoredEvent {
        id,
        event: AuditEvent::seen(
            chrono::DateTime::UNIX_EPOCH,
            "o-1".to_owned(),
            kind.to_owned(),
            fields.into(),
        ),
    }
}

fn store(world: &World, events: impl IntoIterator<Item = StoredEvent>) {
    world.behind.events.lock().unwrap().extend(events);
}

#[actix::test]
async fn events_come_in_pages_and_without_secrets() {
    let world = World::new();
    store(&world, (1..=5).map(|id| stored(id, "assigned")));
    let page = world.get("/api/v1/events?after=1&limit=3").await;
    let ids: Vec<u64> = page["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["id"].as_u64())
        .collect();
    assert_eq!((ids, &page["next"]), (vec![2, 3, 4], &json!("4")));
    assert_eq!(
        page["events"][0],
        json!({
            "id": 2, "at": "1970-01-01T00:00:00.000Z", "kind": "assigned", "actor": "o-1", "subject": "radio",
            "cause": "rtsp://u:***@cam refused", "correlation": "7",
            "fields": {"stream": "radio", "reason": "rtsp://u:***@cam refused", "epoch": "7"},
        })
    );
    let rest = world.get("/api/v1/events?after=4&limit=3").await;
    assert_eq!(
        (rest["events"].as_array().unwrap().len(), &rest["next"]),
        (1, &Value::Null)
    );
    for (query, part) in [
        ("since=yesterday", "since"),
        ("limit=0", "write a number from 1 to 1000"),
        ("after=x", "after"),
        ("kinds=assigned", "unknown parameter"),
    ] {
        let (status, problem) = world
            .ask(Method::GET, &format!("/api/v1/events?{query}"), "")
            .await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem.to_string().contains(part), "{query}: {problem}");
    }
    world.behind.database_down.store(true, Ordering::SeqCst);
    let (status, problem) = world.ask(Method::GET, "/api/v1/events", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["type"], "urn:streamkeeper:problem:history-unavailable");
    assert!(!problem.to_string().contains("s3cret"), "{problem}");
}

/// Reads until the text holds `part`.
async fn until(response: &mut reqwest::Response, text: &mut String, part: &str) {
    let reading = async {
        while !text.contains(part) {
            let chunk = response.chunk().await.unwrap();
            let chunk = chunk.unwrap_or_else(|| panic!("it ended without {part:?}: {text}"));
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    let read = tokio::time::timeout(GENEROUS, reading).await;
    read.unwrap_or_else(|_| panic!("{part:?} does not come"));
}

async fn follow(world: &World, query: &str, last: Option<&str>) -> reqwest::Response {
    let mut request = streamkeeper_tests::http::client()
        .get(world.url(&format!("/api/v1/events{query}")))
        .timeout(GENEROUS * 2)
        .header("accept", "text/event-stream");
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

#[actix::test]
async fn events_are_followed_and_resumed_after_the_last_id() {
    let world = World::new();
    store(&world, (1..=3).map(|id| stored(id, "assigned")));
    let (mut response, mut text) = (follow(&world, "", None).await, String::new());
    until(&mut response, &mut text, "follow").await;
    store(&world, [stored(4, "migrated")]);
    until(
        &mut response,
        &mut text,
        "id: 4\nevent: migrated\ndata: {\"id\":4,",
    )
    .await;
    assert!(!text.contains("id: 3"), "it begins with what comes: {text}");
    drop(response);

    // What came while the reader was away is not missed.
    store(&world, [stored(5, "assigned"), stored(6, "migrated")]);
    let (mut response, mut text) = (follow(&world, "?kind=migrated", Some("3")).await, String::new());
    until(&mut response, &mut text, "id: 6").await;
    assert!(text.contains("id: 4") && !text.contains("id: 5"), "{text}");

    // An id that this database never gave.
    let (mut response, mut text) = (follow(&world, "", Some("999")).await, String::new());
    until(&mut response, &mut text, "follow").await;
    store(&world, [stored(7, "assigned")]);
    until(&mut response, &mut text, "id: 7").await;

    let answer = streamkeeper_tests::http::client()
        .get(world.url("/api/v1/events"))
        .header("last-event-id", "x")
        .send();
    assert_eq!(answer.await.unwrap().status(), StatusCode::BAD_REQUEST);
}

/// Asks until there is a place.
async fn taken(world: &World, path: &str) -> reqwest::Response {
    let asked = async {
        loop {
            let request = streamkeeper_tests::http::client().get(world.url(path));
            let response = request.timeout(GENEROUS * 2).send().await.unwrap();
            if response.status() == StatusCode::OK {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(GENEROUS, asked)
        .await
        .expect("no place is free")
}

#[actix::test]
async fn readers_are_bounded() {
    let world = World::new();
    let mut readers = Vec::new();
    for _ in 0..16 {
        readers.push(follow(&world, "", None).await);
    }
    let path = "/api/v1/events?follow=true";
    let (status, problem) = world.ask(Method::GET, path, "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["type"], "urn:streamkeeper:problem:too-many-readers");
}

#[actix::test]
async fn a_slow_reader_gives_its_place_up() {
    let world = World::with_limits(TimeLimits {
        reader: Duration::from_millis(300),
        ..TimeLimits::default()
    });
    // More than any buffer on the way holds.
    let mut large = stored(0, "assigned");
    large.event.fields.insert("detail".to_owned(), "x".repeat(40_000));
    store(&world, (1..=2_000).map(|id| StoredEvent { id, ..large.clone() }));
    let mut others = Vec::new();
    for _ in 0..15 {
        others.push(follow(&world, "?after=2000", None).await);
    }
    // It takes the last place and reads nothing: another one gets that, and it hears of it when it reads.
    let mut slow = follow(&world, "?after=0", None).await;
    others.push(taken(&world, "/api/v1/events?follow=true&after=2000").await);
    let mut end = String::new();
    while let Ok(Some(chunk)) = slow.chunk().await {
        end.push_str(&String::from_utf8_lossy(&chunk));
        let cut = end.len().saturating_sub(1_000);
        end = end.split_off((cut..).find(|at| end.is_char_boundary(*at)).unwrap_or(0));
    }
    assert!(
        end.contains("event: end\ndata: {\"detail\":\"you read too slowly"),
        "{end}"
    );
}

#[actix::test]
async fn every_change_that_is_asked_for_is_kept() {
    let world = World::new();
    let spec = r#"{"source": "http://u:s3cret@host/radio"}"#;
    world.send(Method::GET, "/api/v1/streams", "").await;
    let put = world.send(Method::PUT, "/api/v1/streams/radio", spec).await;
    let id = put.headers()["x-request-id"].to_str().unwrap().to_owned();
    world.send(Method::PUT, "/api/v1/streams/radio", "{").await;
    world
        .send(
            Method::POST,
            "/api/v1/workers/w-1/cordon?dry_run=true",
            r#"{"reason": "kernel update"}"#,
        )
        .await;
    world
        .send(
            Method::POST,
            "/api/v1/workers/w-1/cordon",
            r#"{"reason": "kernel update"}"#,
        )
        .await;
    let (kept, dropped) = world.journal.take(100);
    assert_eq!(dropped, 0);
    let shown: Vec<(&str, &str, &str, &str)> = kept
        .iter()
        .map(|waiting| {
            let event = &waiting.event;
            assert_eq!(
                (event.kind.as_str(), event.actor.as_str()),
                ("api_write", "loopback")
            );
            assert!(!format!("{event:?}").contains("s3cret"), "{event:?}");
            let field = |name: &str| event.fields.get(name).map_or("", String::as_str);
            (
                event.subject.as_str(),
                field("status"),
                event.cause.as_str(),
                field("created"),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("radio", "201", "", "radio"),
            ("radio", "400", "", ""),
            ("w-1", "400", "", ""),
            ("w-1", "200", "kernel update", ""),
        ]
    );
    assert_eq!(kept[0].event.correlation, id);
    assert_eq!(kept[2].event.fields["dry_run"], "true");
}

#[actix::test]
async fn a_metric_is_shown_over_time_and_a_wrong_question_says_what_to_ask() {
    let world = World::new();
    let shown = world
        .get("/api/v1/metrics/history?name=streams&from=2026-01-01T00:30:00Z&step=45s")
        .await;
    assert_eq!(
        shown,
        json!({
            "name": "streamkeeper_streams", "from": "2026-01-01T00:30:00.000Z", "to": "2026-01-01T01:00:00.000Z",
            "step_ms": 50_000,
            "series": [{"labels": {"state": "running"}, "points": [
                {"at": "2026-01-01T00:30:00.000Z", "low": 1.0, "mean": 2.0, "high": 3.0},
            ]}],
        })
    );
    world
        .get("/api/v1/metrics/history?name=streamkeeper_workers&from=2025-12-01T00:00:00Z")
        .await;
    let asked = std::mem::take(&mut *world.behind.sampled.lock().unwrap());
    let levels: Vec<u64> = asked.iter().map(|query| query.level.0.as_secs()).collect();
    assert_eq!(levels, [10, 900]);
    for (query, part) in [
        ("", "write one of streams, streams_cpu_cores"),
        ("name=colour", "\\\"colour\\\" is not kept"),
        ("name=streams&step=soon", "write a time such as 1m"),
        ("name=streams&from=2027-01-01T00:00:00Z", "is not before"),
        (
            "name=streams&from=2025-01-01T00:00:00Z&step=15m",
            "write a longer step",
        ),
    ] {
        let path = format!("/api/v1/metrics/history?{query}");
        let (status, problem) = world.ask(Method::GET, &path, "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(problem.to_string().contains(part), "{query}: {problem}");
    }
}
