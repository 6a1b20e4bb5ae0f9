//! Probes, health, metrics, faults, and the server itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use streamkeeper_core::cluster::{Availability, Role, Slot, StreamRecord};
use streamkeeper_orchestrator::adapter::http::{BoundHttp, HttpError, HttpSettings, TimeLimits, start};
use streamkeeper_orchestrator::port::breakers::{BreakerState, DATABASE_WRITES};
use streamkeeper_orchestrator::port::{Current, Phase, Start};
use tokio::sync::watch;
use tokio::time::Instant;

use super::samples::{assignment, cluster, record, running, worker};
use super::world::{NOW, World};

#[actix::test]
async fn probes_tell_what_is_missing() {
    let world = World::new();
    world.cluster.send_replace(cluster(Vec::new(), Vec::new()));
    for path in ["/readyz", "/readyz?verbose=false", "/readyz?token=x"] {
        assert_eq!(
            world.get(path).await,
            json!({"status": "ok", "role": "leading"}),
            "{path}"
        );
    }
    let phases = json!([{"phase": "recovery of state", "took_ms": 7, "detail": "2 streams, 1 assignments"}]);
    assert_eq!(
        world.get("/startupz").await,
        json!({"status": "ok", "phases": phases})
    );
    for path in ["/readyz?verbose", "/readyz?a=b&verbose=1"] {
        let ready = world.get(path).await;
        assert_eq!(ready["phases"], phases, "{path}");
        assert_eq!(ready["dependencies"]["nats"]["latency_ms"], 0.25, "{path}");
    }

    world.behind.database_down.store(true, Ordering::SeqCst);
    world.behind.nats_down.store(true, Ordering::SeqCst);
    world
        .cluster
        .send_modify(|cluster| cluster.leadership.role = Role::Standby);
    let (status, problem) = world.ask(Method::GET, "/readyz", "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let errors = problem["errors"].as_array().unwrap();
    let missing: Vec<&Value> = errors.iter().map(|error| &error["dependency"]).collect();
    assert_eq!(missing, ["leadership", "database", "nats"]);
    let text = problem.to_string();
    assert!(text.contains("refused") && !text.contains("s3cret"), "{text}");
    assert_eq!(world.get("/livez").await, json!({"status": "ok"}));
}

#[actix::test]
async fn while_it_starts_probes_name_the_phase_and_everything_else_is_to_be_asked_later() {
    let world = World::new();
    world.cluster.send_replace(cluster(Vec::new(), Vec::new()));
    let bound = BoundHttp::bind(HttpSettings {
        bind: "127.0.0.1:0".parse().unwrap(),
        probe_bind: Some("127.0.0.1:0".parse().unwrap()),
        fault_injection: false,
        time_limits: TimeLimits::default(),
    })
    .unwrap();
    let base = format!("http://{}", bound.addr());
    let start = watch::Sender::new(Start::default());
    let starting = bound.starting(start.subscribe()).unwrap();
    let client = streamkeeper_tests::http::client();
    let ask = async |path: &str| {
        // A connection of its own, as somebody who comes just then.
        let request = client.get(format!("{base}{path}")).header("connection", "close");
        let response = request.send().await.unwrap();
        let again = response.headers().get("retry-after").is_some();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        (status, again, body)
    };
    assert_eq!(ask("/livez").await, (200, false, json!({"status": "ok"})));
    start.send_modify(|start| {
        start.done.push(Phase {
            name: "data folder",
            took: Duration::from_millis(3),
            detail: None,
        });
        start.current = Some(Current {
            name: "database",
            since: Instant::now(),
            waits_for: Some("postgres://sk:s3cret@db/sk refused".to_owned()),
        });
    });
    for path in [
        "/startupz",
        "/readyz?verbose",
        "/readyz",
        "/health",
        "/api/v1/streams",
    ] {
        let (status, again, problem) = ask(path).await;
        assert_eq!((status, again), (503, true), "{path}");
        assert_eq!(problem["type"], "urn:streamkeeper:problem:not-started", "{path}");
        assert_eq!(problem["instance"], path.split('?').next().unwrap(), "{path}");
        let detail = problem["detail"].as_str().unwrap();
        for part in ["phase \"database\"", "it waits", "refused", "data folder (3 ms)"] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
        assert!(!detail.contains("s3cret"), "{detail}");
    }

    // The API takes the address over, and nobody finds it closed in between.
    let http = bound.serve(world.context()).unwrap();
    let (asked, ()) = tokio::join!(
        async {
            for _ in 0..100 {
                ask("/livez").await;
            }
        },
        starting.retire()
    );
    let () = asked;
    assert_eq!(
        ask("/readyz").await,
        (200, false, json!({"status": "ok", "role": "leading"}))
    );
    http.stop().await;
}

#[actix::test]
async fn health_names_each_dependency_and_what_to_do() {
    let world = World::new();
    world.cluster.send_replace(cluster(Vec::new(), Vec::new()));
    let health = world.get("/health").await;
    assert_eq!(health["status"], "ok");
    assert_eq!(
        health["dependencies"]["database"],
        json!({"status": "ok", "latency_ms": 1.5})
    );
    assert_eq!(
        health["dependencies"]["nats"],
        json!({"status": "ok", "latency_ms": 0.25})
    );

    world.behind.actor_restarting.store(true, Ordering::SeqCst);
    let health = world.get("/health").await;
    assert_eq!(health["status"], "degraded");
    let error = health["dependencies"]["actors"]["error"].as_str().unwrap();
    assert!(error.contains("coordinator"), "{error}");

    world.behind.nats_down.store(true, Ordering::SeqCst);
    let (status, health) = world.ask(Method::GET, "/health", "").await;
    assert_eq!((status.as_u16(), &health["status"]), (503, &json!("failed")));
    let nats = &health["dependencies"]["nats"];
    assert_eq!(nats["error"], "nats: there is no connection");
    assert!(
        nats["suggestion"].as_str().unwrap().contains("nats.urls"),
        "{nats}"
    );
}

#[actix::test]
async fn a_database_that_answers_and_takes_nothing_is_not_ready() {
    let world = World::new();
    let stands = |state, reason| world.breakers.set(DATABASE_WRITES, state, reason, NOW);
    stands(BreakerState::Open, Some("no room on postgres://u:secret@h/d"));
    for state in [BreakerState::Open, BreakerState::HalfOpen] {
        stands(state, None);
        let (status, health) = world.ask(Method::GET, "/health", "").await;
        assert_eq!(status.as_u16(), 503);
        let error = health["dependencies"]["database"]["error"].as_str().unwrap();
        assert!(
            error.contains("does not take") && error.contains("no room"),
            "{error}"
        );
        assert_eq!(health["breakers"]["database_writes"]["state"], state.as_str());
        assert!(!health.to_string().contains("secret"), "{health}");
        let (status, _) = world.ask(Method::GET, "/readyz", "").await;
        assert_eq!(status.as_u16(), 503);
    }
    stands(BreakerState::Closed, None);
    let (status, _) = world.ask(Method::GET, "/readyz", "").await;
    assert_eq!(status.as_u16(), 200);
    let health = world.get("/health").await;
    assert_eq!(health["breakers"]["database_writes"], json!({"state": "closed"}));
}

#[actix::test]
async fn metrics_show_the_present_cluster() {
    let world = World::new();
    let radio = StreamRecord {
        observed: running(),
        ..record("radio", Slot::Held(assignment("metrics-1")))
    };
    let workers = vec![worker("metrics-1", Availability::Alive)];
    world.cluster.send_replace(cluster(vec![radio], workers));
    let response = world.send(Method::GET, "/metrics", "").await;
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    let text = response.text().await.unwrap();
    for line in [
        "# HELP streamkeeper_streams Declared streams by state",
        "# TYPE streamkeeper_streams gauge",
        "streamkeeper_worker_streams{worker=\"metrics-1\"} 1",
        "streamkeeper_worker_load_ratio{worker=\"metrics-1\"} 0.25",
    ] {
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in\n{text}"
        );
    }
}

#[actix::test]
async fn faults_are_injected_only_where_they_are_allowed() {
    let path = "/api/v1/faults/panic/coordinator";
    let closed = World::new();
    let (status, problem) = closed.ask(Method::POST, path, "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("http.fault_injection"),
        "{problem}"
    );
    assert!(closed.behind.panics.lock().unwrap().is_empty());

    let open = World::with(true);
    let (status, _) = open.ask(Method::POST, path, "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(*open.behind.panics.lock().unwrap(), ["coordinator"]);
}

#[actix::test]
async fn the_probe_address_has_no_api() {
    let world = World::new();
    let probe = format!("http://{}", world.server.probe_addr().unwrap());
    let client = streamkeeper_tests::http::client();
    for (path, status) in [("/livez", 200), ("/metrics", 200), ("/api/v1/status", 404)] {
        let response = client.get(format!("{probe}{path}")).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
}

#[actix::test]
async fn answers_carry_the_request_id_and_head_is_answered() {
    let world = World::new();
    let first = world.send(Method::GET, "/livez", "").await;
    let second = world.send(Method::GET, "/nowhere", "").await;
    let ids = [&first, &second].map(|response| response.headers()["x-request-id"].clone());
    assert_ne!(ids[0], ids[1]);
    let head = world.send(Method::HEAD, "/livez", "").await;
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.text().await.unwrap(), "");
}

#[actix::test]
async fn an_address_in_use_is_named_and_free_again_after_a_stop() {
    let world = World::new();
    let taken = world.server.addr();
    let settings = HttpSettings {
        bind: taken,
        probe_bind: None,
        fault_injection: false,
        time_limits: TimeLimits::default(),
    };
    let error = start(settings, world.context()).unwrap_err();
    assert!(matches!(error, HttpError::InUse { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("http.bind") && text.contains(&taken.to_string()),
        "{text}"
    );

    let context = world.context();
    world.server.stop().await;
    let again = start(settings, context).unwrap();
    assert_eq!(again.addr(), taken);
    again.stop().await;
}
