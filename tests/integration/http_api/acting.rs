//! One thing done to many streams, by one request.

use reqwest::{Method, StatusCode};
use serde_json::json;
use streamkeeper_core::request::{Applied, ApplyError, ApplyStreams};

use super::samples::stream_id;
use super::world::World;

const STREAMS: &str = "/api/v1/streams";

#[actix::test]
async fn many_streams_are_switched_restarted_and_deleted_by_one_request() {
    let world = World::new();
    let names = || vec![stream_id("b"), stream_id("a")];
    let switched = |enabled| ApplyStreams {
        enable: names().into_iter().map(|name| (name, enabled)).collect(),
        ..ApplyStreams::default()
    };
    let restart = ApplyStreams {
        restart: names(),
        ..ApplyStreams::default()
    };
    let delete = ApplyStreams {
        delete: names(),
        ..ApplyStreams::default()
    };
    for (action, expected) in [
        ("enable", switched(true)),
        ("disable", switched(false)),
        ("restart", restart),
        ("delete", delete),
    ] {
        let answer = Applied {
            changed: names(),
            ..Applied::default()
        };
        for (query, dry_run) in [("", false), ("?dry_run=true", true)] {
            world
                .behind
                .answers
                .lock()
                .unwrap()
                .push_back(Ok(Ok(answer.clone())));
            let body = json!({"action": action, "names": ["b", "a"]}).to_string();
            let (status, told) = world.ask(Method::POST, &format!("{STREAMS}{query}"), &body).await;
            assert_eq!((status, &told["changed"]), (StatusCode::OK, &json!(["b", "a"])));
            assert_eq!(told["dry_run"], dry_run);
            let changes = std::mem::take(&mut *world.behind.changes.lock().unwrap());
            let expected = ApplyStreams {
                dry_run,
                ..expected.clone()
            };
            assert_eq!(changes, [expected], "{action}{query}");
        }
    }
    for owner_is_dead in [false, true] {
        let body = json!({"action": "release", "names": ["a"], "owner_is_dead": owner_is_dead}).to_string();
        let refused = Ok(Err(ApplyError::OwnerMayLive(stream_id("a"))));
        world.behind.answers.lock().unwrap().push_back(refused);
        let (status, problem) = world.ask(Method::POST, STREAMS, &body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{problem}");
        let changes = std::mem::take(&mut *world.behind.changes.lock().unwrap());
        let expected = ApplyStreams {
            release: vec![stream_id("a")],
            owner_is_dead,
            ..ApplyStreams::default()
        };
        assert_eq!(changes, [expected]);
    }
    let unknown = Ok(Err(ApplyError::Unknown(stream_id("a"))));
    world.behind.answers.lock().unwrap().push_back(unknown);
    let body = json!({"action": "restart", "names": ["a"]}).to_string();
    let (status, problem) = world.ask(Method::POST, STREAMS, &body).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
}

#[actix::test]
async fn what_is_wrong_with_an_action_is_named_and_nothing_is_done() {
    let world = World::new();
    for (body, pointer, part) in [
        (json!([]), "", "must be an object"),
        (json!({"names": ["a"]}), "/action", "is missing"),
        (json!({"action": "enable"}), "/names", "is missing"),
        (
            json!({"action": "enable", "names": "a"}),
            "/names",
            "must be a list",
        ),
        (
            json!({"action": "stop", "names": ["a"]}),
            "/action",
            "write one of enable, disable, restart, release, delete",
        ),
        (
            json!({"action": "delete", "names": ["a", "a"]}),
            "/names/1",
            "first at /names/0",
        ),
        (
            json!({"action": "delete", "names": ["a.b"]}),
            "/names/0",
            "character '.'",
        ),
        (
            json!({"action": "delete", "names": [7]}),
            "/names/0",
            "must be a stream's name",
        ),
        (
            json!({"action": "restart", "names": ["a"], "owner_is_dead": true}),
            "/owner_is_dead",
            "belongs to the action",
        ),
        (
            json!({"action": "delete", "names": [], "force": true}),
            "/force",
            "known are action, names",
        ),
    ] {
        let (status, problem) = world.ask(Method::POST, STREAMS, &body.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem.to_string().contains(part), "{problem}");
    }
    let (status, _) = world.ask(Method::POST, STREAMS, "{").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(world.behind.changes.lock().unwrap().is_empty());
}
