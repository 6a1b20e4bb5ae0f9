//! What is refused before it goes further in, and that each refusal names its place.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::world::World;

const STREAMS: &str = "/api/v1/streams";

/// (pointer, part of the detail).
type Places<'a> = &'a [(&'a str, &'a str)];

#[track_caller]
fn assert_problem(problem: &Value, status: u16, slug: &str, path: &str) {
    assert_eq!(
        problem["type"],
        format!("urn:streamkeeper:problem:{slug}"),
        "{problem}"
    );
    assert_eq!(problem["status"], status, "{problem}");
    assert_eq!(problem["instance"], path, "{problem}");
    for field in ["title", "detail"] {
        assert!(
            problem[field].as_str().is_some_and(|text| !text.is_empty()),
            "{problem}"
        );
    }
}

#[track_caller]
fn assert_places(problem: &Value, key: &str, expected: Places<'_>) {
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    assert_eq!(errors.len(), expected.len(), "{problem:#}");
    for (error, (place, part)) in errors.iter().zip(expected) {
        assert_eq!(error[key], *place, "{problem:#}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{detail:?} does not say {part:?}");
    }
}

#[actix::test]
async fn every_mistake_of_a_body_is_named_with_its_pointer() {
    let world = World::new();
    let a = json!({"name": "a", "source": "http://h/a"});
    let long = "x".repeat(5_000);
    let cases: Vec<(Value, Places<'_>)> = vec![
        (json!([]), &[("", "must be an object")]),
        (
            json!({"stream": []}),
            &[("/stream", "unknown field \"stream\"; known are streams")],
        ),
        (json!({"streams": {}}), &[("/streams", "must be a list")]),
        (
            json!({"streams": [7]}),
            &[("/streams/0", "is 7, must be an object")],
        ),
        (json!({"prune": true}), &[("/streams", "is missing")]),
        (
            json!({"streams": [], "prune": "yes"}),
            &[("/prune", "must be true or false")],
        ),
        (
            json!({"streams": [{}]}),
            &[
                ("/streams/0/name", "is missing"),
                ("/streams/0/source", "is missing"),
            ],
        ),
        (
            json!({"streams": [a, {"name": "x.y", "source": " ", "weight": 0, "priority": 1.5, "labels": {"k/1": 7}}]}),
            &[
                ("/streams/1/name", "character '.'"),
                ("/streams/1/priority", "whole number"),
                ("/streams/1/labels/k~11", "write \"7\""),
                ("/streams/1/source", "must not be empty"),
                ("/streams/1/weight", "above 0"),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": "s", "wieght": 1, "ownership": "exclusiv"}]}),
            &[
                ("/streams/0/ownership", "write \"available\" or \"exclusive\""),
                ("/streams/0/wieght", "unknown field"),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": long, "ownership": "mine", "requires": []}]}),
            &[
                ("/streams/0/ownership", "write \"available\""),
                ("/streams/0/requires", "must be an object of texts"),
                ("/streams/0/source", "has 5000 bytes"),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": "s", "spread": "", "pin": "x y"}]}),
            &[
                ("/streams/0/pin", "character ' '"),
                ("/streams/0/spread", "write a key of 1 to"),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": "s", "on_owner_lost": "keep", "lost_after": "soon"}]}),
            &[
                ("/streams/0/on_owner_lost", "write \"replace\" or \"hold\""),
                ("/streams/0/lost_after", "as in \"30s\""),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": "s", "on_owner_lost": "hold", "lost_after": "8d"}]}),
            &[
                ("/streams/0/lost_after", "more than 7 days"),
                ("/streams/0/lost_after", "has no effect"),
            ],
        ),
        (
            json!({"streams": [a, a]}),
            &[("/streams/1/name", "first at /streams/0")],
        ),
        (
            json!({"streams": [a], "delete": ["a", "c", "c", 1, "x y"]}),
            &[
                ("/delete/0", "first at /streams/0"),
                ("/delete/2", "first at /delete/1"),
                ("/delete/3", "must be a stream's name"),
                ("/delete/4", "character ' '"),
            ],
        ),
        (
            json!({"streams": [{"name": "b", "source": "rtsp://u:***@h/b"}]}),
            &[("/streams/0/source", "write the secret itself")],
        ),
    ];
    for (body, places) in cases {
        let (status, problem) = world.ask(Method::PUT, STREAMS, &body.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert_problem(&problem, 422, "invalid-change", STREAMS);
        assert_places(&problem, "pointer", places);
    }
    let path = "/api/v1/streams/radio";
    let (_, problem) = world
        .ask(Method::PUT, path, r#"{"name": "other", "prune": true}"#)
        .await;
    assert_places(
        &problem,
        "pointer",
        &[
            ("/name", "the path says radio"),
            ("/source", "is missing"),
            ("/prune", "unknown field"),
        ],
    );
    assert!(
        world.behind.changes.lock().unwrap().is_empty(),
        "a refused change went further in"
    );
}

#[actix::test]
async fn a_problem_lists_many_mistakes_but_not_endlessly() {
    let world = World::new();
    let streams: Vec<Value> = (0..150)
        .map(|number| json!({"name": format!("s{number}")}))
        .collect();
    let (_, problem) = world
        .ask(Method::PUT, STREAMS, &json!({"streams": streams}).to_string())
        .await;
    assert_eq!(problem["errors"].as_array().unwrap().len(), 100);
    assert!(
        problem["detail"].as_str().unwrap().contains("50 more"),
        "{}",
        problem["detail"]
    );

    let names: Vec<String> = (0..=100_000).map(|number| format!("s{number}")).collect();
    let (status, problem) = world
        .ask(Method::PUT, STREAMS, &json!({"delete": names}).to_string())
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        problem["detail"].as_str().unwrap().contains("at most 100000"),
        "{problem}"
    );
}

#[actix::test]
async fn what_is_no_json_is_refused_with_line_and_column() {
    let world = World::new();
    for (body, part) in [
        ("", "line 1 column 0"),
        ("{\n \"streams\": [,]}", "line 2 column"),
        ("\u{e9}", "line 1"),
    ] {
        let (status, problem) = world.ask(Method::PUT, STREAMS, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_problem(&problem, 400, "malformed-json", STREAMS);
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let deep = "[".repeat(100_000);
    let (status, _) = world.ask(Method::PUT, STREAMS, &deep).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[actix::test]
async fn no_problem_shows_a_secret() {
    let world = World::new();
    let source = "rtsp://u:s3cret@h/x";
    for body in [
        json!({"streams": [{"name": source, "source": source, "ownership": source, source: 1}]}),
        json!({"streams": [{"name": "a", "source": source, "labels": {source: "x".repeat(2_000)}}]}),
        json!({"delete": [source]}),
    ] {
        let (status, problem) = world.ask(Method::PUT, STREAMS, &body.to_string()).await;
        assert!(status.is_client_error());
        assert!(!problem.to_string().contains("s3cret"), "{problem}");
    }
}

#[actix::test]
async fn a_query_is_read_strictly() {
    let world = World::new();
    let cases: &[(&str, Places<'_>)] = &[
        ("/api/v1/streams?limit=0", &[("limit", "from 1 to 1000")]),
        ("/api/v1/streams?limit=1001", &[("limit", "from 1 to 1000")]),
        ("/api/v1/streams?limit=many", &[("limit", "\"many\"")]),
        (
            "/api/v1/streams?state=happy",
            &[("state", "write one of disabled, unplaced")],
        ),
        (
            "/api/v1/streams?after=x.y&stat=running",
            &[("after", "character '.'"), ("stat", "known are")],
        ),
        ("/api/v1/streams?limit=1&limit=2", &[("limit", "2 times")]),
        (
            "/api/v1/workers?availability=here",
            &[("availability", "alive, warning, lost, dead")],
        ),
        ("/api/v1/status?x=1", &[("x", "takes none")]),
    ];
    for (path, places) in cases {
        let (status, problem) = world.ask(Method::GET, path, "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {problem}");
        assert_problem(&problem, 400, "invalid-query", path.split('?').next().unwrap());
        assert_places(&problem, "parameter", places);
    }
}

#[actix::test]
async fn what_is_not_there_is_said() {
    let world = World::with(true);
    for (method, path, slug) in [
        (Method::GET, "/api/v1/streams/nobody", "unknown-stream"),
        (Method::GET, "/api/v1/streams/a.b", "unknown-stream"),
        (Method::DELETE, "/api/v1/streams/a.b", "unknown-stream"),
        (Method::GET, "/api/v1/workers/nobody", "unknown-worker"),
        (Method::POST, "/api/v1/faults/panic/nobody", "unknown-actor"),
        (Method::GET, "/api/v2/streams", "unknown-path"),
        (Method::GET, "/api/v1/streams/", "unknown-path"),
    ] {
        let (status, problem) = world.ask(method, path, "").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_problem(&problem, 404, slug, path);
        assert!(problem["suggestion"].is_string(), "{problem}");
    }
    let (status, problem) = world
        .ask(Method::PUT, "/api/v1/streams/a.b", r#"{"source": "s"}"#)
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_places(&problem, "parameter", &[("name", "character '.'")]);
}

#[actix::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let world = World::new();
    for (method, path, allowed) in [
        (Method::PATCH, STREAMS, "GET, HEAD, POST, PUT"),
        (
            Method::POST,
            "/api/v1/streams/radio",
            "GET, HEAD, PUT, PATCH, DELETE",
        ),
        (Method::DELETE, "/api/v1/workers/a", "GET, HEAD"),
        (Method::GET, "/api/v1/faults/panic/coordinator", "POST"),
        (Method::PUT, "/livez", "GET, HEAD"),
    ] {
        let response = world.send(method, path, "").await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], allowed);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert_problem(&problem, 405, "method-not-allowed", path);
    }
}

#[actix::test]
async fn a_body_over_the_limit_is_refused_by_its_size() {
    let world = World::new();
    let body = " ".repeat((16 << 20) + 1);
    let (status, problem) = world.ask(Method::PUT, STREAMS, &body).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_problem(&problem, 413, "body-too-large", STREAMS);
    assert!(
        problem["detail"].as_str().unwrap().contains("16 MiB"),
        "{problem}"
    );
    // Without a length, the size shows only on the way.
    let chunks = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let request = streamkeeper_tests::http::client().put(world.url(STREAMS));
    let response = request
        .body(reqwest::Body::wrap_stream(chunks))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}
