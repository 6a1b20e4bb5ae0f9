//! Silences and acknowledgements over the API.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::world::World;

const SILENCES: &str = "/api/v1/silences";

#[actix::test]
async fn a_silence_is_what_was_asked_for() {
    let world = World::new();
    let body = json!({
        "matchers": ["worker=a", "severity!=critical"],
        "starts": "2026-01-01T01:00:00+01:00",
        "for": "2h",
        "every": "7days",
        "by": "Ada",
        "reason": "update",
    });
    let (status, told) = world.ask(Method::POST, SILENCES, &body.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{told}");
    let silence = world.behind.silences.lock().unwrap().pop().unwrap();
    assert_eq!(told["id"], silence.id);
    assert_eq!(silence.id.len(), 16);
    assert_eq!(told["matchers"], json!(["worker=a", "severity!=critical"]));
    assert_eq!(told["starts"], "2026-01-01T00:00:00.000Z");
    assert_eq!(told["ends"], "2026-01-01T02:00:00.000Z");
    assert_eq!(silence.every_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(
        (told["by"].as_str(), told["reason"].as_str()),
        (Some("Ada"), Some("update"))
    );
    world.silences.send_replace(vec![silence.into()]);
    let listed = world.get(SILENCES).await;
    assert_eq!(listed["silences"][0]["id"], told["id"]);
}

#[actix::test]
async fn everything_that_is_wrong_with_a_silence_is_named() {
    let world = World::new();
    let table = [
        (json!({}), vec!["/for", "/by", "/reason", "/matchers"]),
        (
            json!({"matchers": ["worker", 7, "a=b*c"], "for": "long", "by": " ", "reason": "x\ny", "starts": "soon"}),
            vec![
                "/matchers/0",
                "/matchers/1",
                "/matchers/2",
                "/starts",
                "/for",
                "/by",
                "/reason",
                "/matchers",
            ],
        ),
        (
            json!({"matchers": ["worker=*"], "for": "1h", "every": "1h", "by": "Ada", "reason": "x"}),
            vec!["/matchers", "/every"],
        ),
        (
            json!({"matchers": ["worker=a"], "starts": "2020-01-01T00:00:00Z", "for": "1h", "by": "Ada", "reason": "x"}),
            vec!["/starts"],
        ),
    ];
    for (body, expected) in table {
        let (status, told) = world.ask(Method::POST, SILENCES, &body.to_string()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{told}");
        let places = told["errors"].as_array().unwrap().iter();
        let places: Vec<&str> = places.map(|error| error["pointer"].as_str().unwrap()).collect();
        assert_eq!(places, expected, "{told}");
    }
    assert!(world.behind.silences.lock().unwrap().is_empty());
}

#[actix::test]
async fn an_acknowledgement_names_who_and_how_long() {
    let world = World::new();
    let path = "/api/v1/alerts/00000000000000aa/acknowledge";
    let (status, told) = world
        .ask(Method::POST, path, r#"{"by": "Ada", "for": "1h"}"#)
        .await;
    assert_eq!(status, StatusCode::OK, "{told}");
    assert_eq!(
        (told["status"].as_str(), told["acknowledged"]["by"].as_str()),
        (Some("acknowledged"), Some("Ada"))
    );
    assert!(told["acknowledged"]["until"].is_string(), "{told}");
}
