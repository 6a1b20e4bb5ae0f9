//! What a standby answers, and how the lead is given up.

use std::time::Duration;

use reqwest::header::{LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, redirect};
use streamkeeper_core::cluster::{ClusterState, Role, Slot};
use streamkeeper_core::time::Timestamp;
use streamkeeper_orchestrator::port::{LeaderSeen, StepDownError};
use streamkeeper_protocol::{OrchestratorId, Term};

use super::samples::{cluster, record};
use super::world::{NOW, World};

fn seen(heard: Timestamp) -> Option<LeaderSeen> {
    Some(LeaderSeen {
        leader: OrchestratorId::new("second").unwrap(),
        term: Term::new(33).unwrap(),
        api_url: "http://second.example:8001".to_owned(),
        renew_only: false,
        heard,
    })
}

fn standby() -> World {
    let world = World::new();
    world.cluster.send_replace(ClusterState::default());
    world
}

#[actix::test]
async fn a_standby_sends_every_call_to_the_leader_as_it_came() {
    let world = standby();
    world.leader.send_replace(seen(NOW));
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none());
    let client = client.build().unwrap();
    for (method, path) in [
        (Method::GET, "/api/v1/streams?limit=3&after=a%20b"),
        (Method::PUT, "/api/v1/streams"),
        (Method::DELETE, "/api/v1/streams/radio"),
        (Method::GET, "/api/v1/status"),
        (Method::POST, "/api/v1/leader/step-down"),
    ] {
        let request = client.request(method.clone(), world.url(path)).body("{}");
        let response = request.send().await.unwrap();
        assert_eq!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT,
            "{method} {path}"
        );
        let expected = format!("http://second.example:8001{path}");
        assert_eq!(response.headers()[LOCATION], expected.as_str());
    }
    assert!(world.behind.changes.lock().unwrap().is_empty());
    world.get("/livez").await;
    assert_eq!(world.get("/readyz").await["role"], "standby");
    assert_eq!(
        world.get("/health").await["dependencies"]["leadership"]["status"],
        "ok"
    );
    world.get("/openapi.json").await;
}

#[actix::test]
async fn a_standby_without_a_leader_says_so_and_when_to_ask_again() {
    let world = standby();
    let silent = NOW - LeaderSeen::FRESH - Duration::from_millis(1);
    for leader in [None, seen(silent)] {
        world.leader.send_replace(leader);
        let response = world.send(Method::PUT, "/api/v1/streams", "{}").await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "urn:streamkeeper:problem:not-leading");
        assert_eq!(problem["instance"], "/api/v1/streams");
        let (status, ready) = world.ask(Method::GET, "/readyz", "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
        let leader = world.get("/api/v1/leader").await;
        assert!(
            leader["leader"].is_null() && leader["api_url"].is_null(),
            "{leader}"
        );
    }
}

#[actix::test]
async fn who_takes_over_shows_no_empty_state() {
    let world = standby();
    let role = |role| {
        world
            .cluster
            .send_modify(|cluster| cluster.leadership.role = role)
    };
    role(Role::TakingOver);
    world.leader.send_replace(seen(NOW));
    let (status, problem) = world.ask(Method::GET, "/api/v1/streams", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("takes the lead over"),
        "{problem}"
    );
    // A leader that takes a new term goes on showing what it knows.
    let known = cluster(vec![record("radio", Slot::Vacant)], Vec::new());
    world.cluster.send_replace(known);
    role(Role::TakingOver);
    assert_eq!(world.get("/api/v1/streams").await["streams"][0]["name"], "radio");
}

#[actix::test]
async fn everybody_says_who_leads() {
    let world = standby();
    world.leader.send_replace(seen(NOW));
    let leader = world.get("/api/v1/leader").await;
    assert_eq!(leader["orchestrator"], "first");
    assert_eq!(leader["role"], "standby");
    assert_eq!(leader["election"], "waiting");
    assert_eq!(
        (&leader["leader"], &leader["term"]),
        (&"second".into(), &33.into())
    );
    assert_eq!(leader["api_url"], "http://second.example:8001");
    world
        .cluster
        .send_modify(|cluster| cluster.leadership.role = Role::Leading);
    let leader = world.get("/api/v1/leader").await;
    assert_eq!(
        (&leader["leader"], &leader["role"]),
        (&"first".into(), &"leading".into())
    );
    assert!(leader["api_url"].is_null(), "{leader}");
}

#[actix::test]
async fn the_lead_is_given_up_where_another_can_take_it() {
    let world = World::new();
    let path = "/api/v1/leader/step-down";
    let (status, answer) = world.ask(Method::POST, path, "").await;
    assert_eq!(
        (status, &answer["term"]),
        (StatusCode::ACCEPTED, &17.into()),
        "{answer}"
    );
    *world.behind.step_down.lock().unwrap() = Some(Err(StepDownError::Alone));
    let (status, problem) = world.ask(Method::POST, path, "").await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(
        problem["suggestion"]
            .as_str()
            .unwrap()
            .contains("leadership.backend"),
        "{problem}"
    );
}
