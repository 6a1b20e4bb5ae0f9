//! A database that hangs without a word while a worker dies: what is `available` runs elsewhere meanwhile, what is
//! `exclusive` when the database has answered.

use std::collections::BTreeSet;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::state::Watermark;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

/// Half of them exclusive.
const STREAMS: usize = 8;
/// Nothing is given up within this test: whatever happens meanwhile waited for no answer.
const SETTINGS: [&str; 8] = [
    "--set",
    "database.acquire_timeout=10m",
    "--set",
    "database.operation_timeout=10m",
    "--set",
    "database.read_timeout=10m",
    "--set",
    "alerts.database_after=500ms",
];

fn name(number: usize) -> String {
    let kind = if number.is_multiple_of(2) {
        "available"
    } else {
        "exclusive"
    };
    format!("{kind}-{number}")
}

#[tokio::test]
async fn available_streams_fail_over_while_the_database_is_silent() {
    let world = World::new("silent");
    let mut server = Postgres::start().await;
    let url = server.url();
    let mut args = vec!["--database", &url];
    args.extend(SETTINGS);
    let orchestrator = Orchestrator::start(&world, &args).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agents =
        ["a", "b"].map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    let api = orchestrator.api();
    api.workers_alive(2).await;
    let streams: Vec<Value> = (0..STREAMS)
        .map(|number| {
            let ownership = name(number).split('-').next().unwrap().to_owned();
            json!({"name": name(number), "source": "100000", "ownership": ownership})
        })
        .collect();
    let body = json!({ "streams": streams });
    let declared = api.send(Method::PUT, "/api/v1/streams", Some(&body)).await;
    assert_eq!(declared.unwrap().status, 200);
    let before = api.all_running(STREAMS).await;
    let mut watermark = Watermark::default();
    watermark.rises(&before);
    let lost: BTreeSet<&String> = before
        .iter()
        .filter(|(_, on)| on.worker == "a")
        .map(|(name, _)| name)
        .collect();
    let (available, exclusive): (Vec<&String>, Vec<&String>) = lost
        .iter()
        .copied()
        .partition(|name| name.starts_with("available"));
    assert!(!available.is_empty() && !exclusive.is_empty(), "{before:?}");

    server.freeze(Signal::STOP);
    agents[0].kill9();
    let moved = wait::until(wait::GENEROUS, async || {
        let commands = agents[1].commands(&world);
        let missing: Vec<_> = available
            .iter()
            .filter(|name| !commands.contains_key(name.as_str()))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("b does not run {missing:?}"))
        }
    });
    moved.await.unwrap_or_else(|reason| panic!("{reason}"));
    let told = wait::until(wait::GENEROUS, async || {
        let alerts = api.list("alerts").await?;
        let told = alerts.iter().any(|alert| alert["rule"] == "database_failing");
        told.then_some(()).ok_or_else(|| format!("alerts: {alerts:?}"))
    });
    told.await.unwrap();
    let commands = agents[1].commands(&world);
    for name in &exclusive {
        assert!(
            !commands.contains_key(name.as_str()),
            "{name} is not stored: {commands:?}"
        );
    }

    server.freeze(Signal::CONT);
    let after = api.all_running(STREAMS).await;
    watermark.rises(&after);
    assert!(after.values().all(|on| on.worker == "b"), "{after:?}");
    // What ran meanwhile ran on.
    let now = agents[1].commands(&world);
    for name in &available {
        assert_eq!(now[name.as_str()], commands[name.as_str()], "{name}");
    }
    let stored = wait::until(wait::GENEROUS, async || {
        let elsewhere = server.sql("SELECT count(*) FROM assignment WHERE worker <> 'b'");
        match elsewhere.trim() {
            "0" => Ok(()),
            other => Err(format!("{other} rows name another worker")),
        }
    });
    stored.await.unwrap();
}
