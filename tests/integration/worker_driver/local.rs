//! Workers that restart while no leader answers.

use std::path::Path;

use streamkeeper_protocol::{Mode, RunState};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::fixture::{TestWorker, urls};
use super::leader::{FIRST_TERM, Leader};

/// A worker that waits only a moment for a leader.
fn start(url: &str, state: &Path) -> TestWorker {
    TestWorker::start_with("w", urls(url), Some(state.to_path_buf()), |config| {
        config.local_start_after_ms = 500;
    })
}

/// Waits until the state folder holds exactly these streams; `None`: until it holds no set.
async fn saved(state: &Path, names: Option<&[&str]>) {
    let look = async || {
        let Ok(text) = std::fs::read_to_string(state.join("desired.json")) else {
            return names.is_none().then_some(()).ok_or("nothing is saved".to_owned());
        };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let streams = value["set"]["streams"].as_array().unwrap();
        let found: Vec<_> = streams
            .iter()
            .map(|saved| saved["stream"].as_str().unwrap())
            .collect();
        match names {
            Some(names) if names == found => Ok(()),
            _ => Err(format!("{found:?} are saved, wanted are {names:?}")),
        }
    };
    until(GENEROUS, look).await.unwrap();
}

#[tokio::test]
async fn a_restarted_worker_runs_on_without_a_leader() {
    let mut server = NatsServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x"), ("b", 6, "y"), ("e", 7, "exclusive")]);
    let first = start(&server.url(), state.path());
    first.streams.run_exactly(&["a", "b", "e"]).await;
    saved(state.path(), Some(&["a", "b", "e"])).await;
    drop(leader);
    server.kill();
    first.crash().await;

    let second = start(&server.url(), state.path());
    second.streams.run_exactly(&["a", "b"]).await;
    let mut starts = second.streams.starts();
    starts.sort();
    let started = |name: &str, counter, source: &str| (name.to_owned(), counter, source.to_owned(), 0);
    assert_eq!(starts, [started("a", 5, "x"), started("b", 6, "y")]);

    // A leader's word counts: it adopts one, and moves the other elsewhere.
    server.restart().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM + 1).await;
    leader.want(&[("a", 5, "x")]);
    second.streams.run_exactly(&["a"]).await;
    let heard = leader.heard();
    assert_eq!((heard[0].mode, heard[0].inventory.count), (Mode::Local, 2));
    let told = leader.hear_stream("a", RunState::Running).await;
    assert_eq!(told.epoch.counter(), 5);
    assert_eq!(
        second.streams.starts().len(),
        2,
        "what was adopted was not restarted"
    );
    saved(state.path(), Some(&["a"])).await;
}

#[tokio::test]
async fn an_orderly_end_is_not_undone_where_a_leader_heard_it() {
    let mut server = NatsServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    let first = start(&server.url(), state.path());
    first.streams.run_exactly(&["a"]).await;
    first.shutdown.cancel();
    first.ended().await.unwrap();
    leader.hear_gone().await;
    saved(state.path(), None).await;

    // The same without anybody who hears it: the next life goes on where this one ended.
    let second = start(&server.url(), state.path());
    second.streams.run_exactly(&["a"]).await;
    drop(leader);
    server.kill();
    second.shutdown.cancel();
    let streams = second.streams.clone();
    second.ended().await.unwrap();
    assert!(streams.running().is_empty());
    saved(state.path(), Some(&["a"])).await;
    let third = start(&server.url(), state.path());
    third.streams.run_exactly(&["a"]).await;
}

#[tokio::test]
async fn a_saved_set_that_cannot_be_used_keeps_no_worker_from_its_leader() {
    let server = NatsServer::start().await;
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("desired.json"), r#"{"format":99}"#).unwrap();
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    let worker = start(&server.url(), state.path());
    worker.streams.run_exactly(&["a"]).await;
    assert!(state.path().join("desired.json.newer").exists());
}

#[tokio::test]
async fn sessions_that_never_connected_hide_no_former_one() {
    let mut server = NatsServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    let first = start(&server.url(), state.path());
    leader.hear_stream("a", RunState::Running).await;
    saved(state.path(), Some(&["a"])).await;
    let known = leader.heard()[0].session;
    drop(leader);
    server.kill();
    first.crash().await;
    for _ in 0..2 {
        let unheard = start(&server.url(), state.path());
        unheard.streams.run_exactly(&["a"]).await;
        unheard.crash().await;
    }

    server.restart().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM + 1).await;
    leader.want(&[("a", 5, "x")]);
    let third = start(&server.url(), state.path());
    let told = leader.hear("a heartbeat", |_| true).await;
    assert_eq!(told.supersedes, Some(known));
    leader
        .hear("one that needs no proof any more", |heartbeat| {
            heartbeat.supersedes.is_none()
        })
        .await;
    third.crash().await;

    // The leader knew this one, so the next names it and no older one.
    let _fourth = start(&server.url(), state.path());
    let next = leader
        .hear("a new session", |heartbeat| heartbeat.session != told.session)
        .await;
    assert_eq!(next.supersedes, Some(told.session));
}
