//! The server goes away, the worker is killed.

use std::collections::BTreeSet;
use std::path::Path;

use streamkeeper_protocol::connect::{CONNECT_FILE, Connect};
use streamkeeper_protocol::{AssignKind, ControlKind, RunState, SessionId, Term, Version};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_tests::world::World;

use super::SLEEP;
use super::leader::{Leader, keep, run};
use super::python::PythonWorker;

/// As an orchestrator does it: never half a file.
fn write_connect(folder: &Path, url: &str) {
    let connect = Connect {
        urls: vec![url.to_owned()],
        user: None,
        password: None,
        prefix: "sk".to_owned(),
        api_url: None,
    };
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    serde_json::to_writer(&file, &connect).unwrap();
    file.persist(folder.join(CONNECT_FILE)).unwrap();
}

#[tokio::test]
async fn streams_go_on_while_the_server_is_away() {
    let world = World::bare("python");
    let mut first = NatsServer::start().await;
    let leader = Leader::start(&first.url(), "py", 16).await;
    let connect = world.folder().join(CONNECT_FILE);
    write_connect(world.folder(), &first.url());
    let worker = PythonWorker::start(&world, "py", &["--connect", &connect.to_string_lossy()]);
    leader.want(vec![run("a", 16, 5, SLEEP)]).await;
    let before = worker.runs(&world, &["a"]).await;
    leader.hear_stream("a", RunState::Running).await;
    let heard = leader.heard();
    first.kill();
    let tried = until(GENEROUS, async || match worker.process.output() {
        log if log.contains("no connection") => Ok(()),
        log => Err(format!("it did not try again: {log}")),
    });
    tried.await.unwrap_or_else(|reason| panic!("{reason}"));

    // A managed server may come back on another port.
    let mut second = NatsServer::start().await;
    let leader = Leader::start(&second.url(), "py", 32).await;
    leader.lead(32, vec![keep("a", 16, 5)]);
    write_connect(world.folder(), &second.url());
    let back = leader.hear("a heartbeat", |_| true).await;
    assert_eq!(back.session, heard[0].session);
    assert!(back.seq > heard.last().unwrap().seq);
    assert_eq!(
        (back.inventory.count, back.inventory.parts),
        (1, 1),
        "it tells all"
    );
    // The same one restarts.
    second.kill();
    second.restart().await;
    let leader = Leader::start(&second.url(), "py", 48).await;
    leader.lead(48, vec![keep("a", 16, 5), run("b", 48, 1, SLEEP)]);
    let after = worker.runs(&world, &["a", "b"]).await;
    assert_eq!(after["a"], before["a"], "the outages restarted nothing");
    let heard = leader.heard();
    assert!(
        heard.windows(2).all(|pair| pair[0].seq < pair[1].seq),
        "nothing stale came late"
    );
}

#[tokio::test]
async fn a_killed_worker_leaves_nothing_and_its_next_life_proves_it() {
    let world = World::bare("python");
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "py", 16).await;
    let (state, url) = (world.folder().join("state"), server.url());
    let args = ["--nats", &url, "--state", &state.to_string_lossy()];
    let mut worker = PythonWorker::start(&world, "py", &args);
    leader.want(vec![run("a", 16, 5, SLEEP)]).await;
    let before = worker.runs(&world, &["a"]).await;
    let session = leader.heard()[0].session;
    worker.process.kill9();
    world.gone("py").await;

    // The former leader is the first to speak to the next life.
    leader.silent(true);
    let worker = PythonWorker::start(&world, "py", &args);
    let told = leader.hear("another life", |told| told.session != session).await;
    assert_eq!(
        (told.supersedes, told.highest_term.get(), told.inventory.count),
        (Some(session), 16, 0)
    );
    let mut stale = leader.draft(AssignKind::Desired);
    stale.term = Term::new(15).unwrap();
    stale.entries = vec![run("stale", 15, 1, SLEEP)];
    leader.send(&stale).await;
    let from = leader.heard().len();
    assert!(leader.order("1", 16, None, ControlKind::Ping).await.done);
    let told = leader.hear_after(from, "a heartbeat", |_| true).await;
    assert_eq!((told.applied, told.inventory.count), (Version::default(), 0));
    leader.silent(false);
    let after = worker.runs(&world, &["a"]).await;
    assert_ne!(after["a"].pid, before["a"].pid);
    let sessions: BTreeSet<SessionId> = leader.heard().iter().map(|told| told.session).collect();
    assert_eq!(sessions.len(), 2);
    // A second process in the same folder is told so.
    let mut rival = PythonWorker::start(&world, "py", &args);
    assert!(!rival.process.wait().await.success());
    assert!(
        rival.process.output().contains("another worker uses this folder"),
        "{}",
        rival.process.tail()
    );
}
