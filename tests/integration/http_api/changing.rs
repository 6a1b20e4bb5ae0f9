//! Changing streams, and what becomes of a change that is refused further in.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamkeeper_core::request::{Applied, ApplyError, ApplyStreams};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_orchestrator::port::GatewayError;

use super::samples::stream_id;
use super::world::World;

impl World {
    fn changes(&self) -> Vec<ApplyStreams> {
        std::mem::take(&mut *self.behind.changes.lock().unwrap())
    }
}

#[actix::test]
async fn a_declarative_change_arrives_whole() {
    let world = World::new();
    let body = json!({
        "streams": [
            {"name": "b", "source": "http://u:p@host/b"},
            {
                "name": "a",
                "source": "udp://239.0.0.1:5000",
                "enabled": false,
                "weight": 2,
                "priority": -3,
                "ownership": "available",
                "lost_after": "1m 30s",
                "labels": {"site": "north"},
                "requires": {"gpu": "yes"},
                "prefers": {"disk": "fast"},
                "spread": "cameras",
                "pin": "w1",
            },
        ],
        "prune": true,
        "delete": ["c"],
    });
    world.behind.answers.lock().unwrap().push_back(Ok(Ok(Applied {
        created: vec![stream_id("a")],
        changed: vec![stream_id("b")],
        deleted: vec![stream_id("c")],
        restarted: vec![stream_id("e")],
        released: vec![stream_id("f")],
        unchanged: vec![stream_id("d")],
        moves: Vec::new(),
    })));
    let (status, answer) = world.ask(Method::PUT, "/api/v1/streams", &body.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({
        "created": ["a"], "changed": ["b"], "deleted": ["c"], "restarted": ["e"], "released": ["f"],
        "unchanged": ["d"], "dry_run": false, "warnings": [],
    });
    assert_eq!(answer, expected);

    let mut a = StreamSpec::new(stream_id("a"), "udp://239.0.0.1:5000");
    a.enabled = false;
    a.weight = 2.0;
    a.priority = -3;
    a.lost_after = Some(std::time::Duration::from_secs(90));
    a.labels.insert("site".to_owned(), "north".to_owned());
    a.requires.insert("gpu".to_owned(), "yes".to_owned());
    a.prefers.insert("disk".to_owned(), "fast".to_owned());
    a.spread = Some("cameras".into());
    a.pin = Some("w1".parse().unwrap());
    let expected = ApplyStreams {
        streams: vec![StreamSpec::new(stream_id("b"), "http://u:p@host/b"), a],
        delete: vec![stream_id("c")],
        prune: true,
        ..ApplyStreams::default()
    };
    assert_eq!(world.changes(), [expected]);
}

#[actix::test]
async fn one_stream_is_put_and_deleted_by_name() {
    let world = World::new();
    let path = "/api/v1/streams/radio";
    let response = world
        .send(Method::PUT, path, r#"{"source": "http://host/radio"}"#)
        .await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["location"], path);
    let spec = StreamSpec::new(stream_id("radio"), "http://host/radio");
    assert_eq!(world.changes()[0].streams, [spec]);

    let (status, answer) = world.ask(Method::DELETE, path, "").await;
    assert_eq!((status, &answer["deleted"]), (StatusCode::OK, &json!(["radio"])));
    assert_eq!(world.changes()[0].delete, [stream_id("radio")]);
}

#[actix::test]
async fn one_stream_is_switched_and_restarted() {
    let world = World::new();
    let path = "/api/v1/streams/radio";
    for enabled in [false, true] {
        let body = json!({"enabled": enabled}).to_string();
        let (status, _) = world.ask(Method::PATCH, path, &body).await;
        assert_eq!(status, StatusCode::OK);
        let expected = ApplyStreams {
            enable: vec![(stream_id("radio"), enabled)],
            ..ApplyStreams::default()
        };
        assert_eq!(world.changes(), [expected]);
    }
    for (body, pointer, part) in [
        ("{}", "/enabled", "is missing"),
        (r#"{"enabled": null}"#, "/enabled", "is missing"),
        (r#"{"enabled": "no"}"#, "/enabled", "must be true or false"),
        (
            r#"{"enabled": true, "weight": 2}"#,
            "/weight",
            "known are enabled",
        ),
    ] {
        let (status, problem) = world.ask(Method::PATCH, path, body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem.to_string().contains(part), "{problem}");
    }

    let answer = Applied {
        restarted: vec![stream_id("radio")],
        ..Applied::default()
    };
    world.behind.answers.lock().unwrap().push_back(Ok(Ok(answer)));
    let (status, answer) = world.ask(Method::POST, &format!("{path}/restart"), "").await;
    assert_eq!(
        (status, &answer["restarted"]),
        (StatusCode::ACCEPTED, &json!(["radio"]))
    );
    let expected = ApplyStreams {
        restart: vec![stream_id("radio")],
        ..ApplyStreams::default()
    };
    assert_eq!(world.changes(), [expected]);

    // A name that no stream can have is unknown as well, and asks nobody.
    for (method, path) in [
        (Method::PATCH, "/api/v1/streams/a.b"),
        (Method::POST, "/api/v1/streams/a.b/restart"),
    ] {
        let (status, _) = world.ask(method, path, r#"{"enabled": true}"#).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    assert!(world.changes().is_empty());
}

#[actix::test]
async fn a_dry_run_stays_one() {
    let world = World::new();
    let one = r#"{"source": "http://host/radio"}"#;
    for (method, path, body) in [
        (
            Method::PUT,
            "/api/v1/streams",
            r#"{"streams": [], "prune": true}"#,
        ),
        (Method::PUT, "/api/v1/streams/radio", one),
        (Method::DELETE, "/api/v1/streams/radio", ""),
        (Method::PATCH, "/api/v1/streams/radio", r#"{"enabled": false}"#),
        (Method::POST, "/api/v1/streams/radio/restart", ""),
    ] {
        for (query, expected) in [("?dry_run=true", true), ("?dry_run=false", false)] {
            let response = world.send(method.clone(), &format!("{path}{query}"), body).await;
            assert!(response.status().is_success(), "{method} {path}");
            let changes = world.changes();
            assert_eq!(changes.len(), 1);
            assert_eq!(changes[0].dry_run, expected, "{method} {path}{query}");
        }
        // Misspelt, it must not change anything.
        let response = world
            .send(method.clone(), &format!("{path}?dryrun=true"), body)
            .await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{method} {path}");
        assert!(world.changes().is_empty());
    }
}

#[actix::test]
async fn what_happens_further_in_has_its_status() {
    let world = World::new();
    let refused = |error: ApplyError| Ok(Err(error));
    let cases = [
        (refused(ApplyError::NotLeading), 503, true, "not-leading"),
        (refused(ApplyError::Busy(9)), 503, true, "busy"),
        (
            refused(ApplyError::Store("disk full".to_owned())),
            503,
            true,
            "store-unavailable",
        ),
        (
            refused(ApplyError::Unknown(stream_id("radio"))),
            404,
            false,
            "unknown-stream",
        ),
        (
            refused(ApplyError::Ambiguous("reset".to_owned())),
            504,
            false,
            "outcome-unknown",
        ),
        (Err(GatewayError::Busy(9)), 503, true, "busy"),
        (
            Err(GatewayError::Timeout(Duration::from_secs(1))),
            504,
            false,
            "outcome-unknown",
        ),
    ];
    for (answer, status, retry, slug) in cases {
        let shown = format!("{answer:?}");
        world.behind.answers.lock().unwrap().push_back(answer);
        let response = world.send(Method::DELETE, "/api/v1/streams/radio", "").await;
        assert_eq!(response.status().as_u16(), status, "{shown}");
        assert_eq!(response.headers().contains_key("retry-after"), retry, "{shown}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(
            problem["type"],
            format!("urn:streamkeeper:problem:{slug}"),
            "{shown}"
        );
        if status == 504 {
            let suggestion = problem["suggestion"].as_str().unwrap();
            assert!(suggestion.contains("may be stored"), "{suggestion}");
        }
    }
}
