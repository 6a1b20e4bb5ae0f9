//! The worker SDK on a real nats-server.

mod exclusive;
pub(crate) mod fixture;
mod large;
mod leader;
mod lines;
mod local;
mod partial;

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use streamkeeper_protocol::connect::{CONNECT_FILE, Connect};
use streamkeeper_protocol::{ControlKind, Mode, Phase, RunState, SessionId, Term};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_worker::{ConnectError, ConnectSource, Identity, WorkerError, WorkerId, send_farewell};

use fixture::{TestWorker, urls};
use leader::{FIRST_TERM, Leader};

/// As an orchestrator does it: never half a file.
fn write_connect(folder: &Path, url: &str) {
    write_connect_as(folder, url, None, None);
}

fn write_connect_as(folder: &Path, url: &str, user: Option<&str>, password: Option<&str>) {
    let connect = Connect {
        urls: vec![url.to_owned()],
        user: user.map(str::to_owned),
        password: password.map(str::to_owned),
        prefix: "sk".to_owned(),
        api_url: None,
    };
    let file = tempfile::NamedTempFile::new_in(folder).unwrap();
    serde_json::to_writer(&file, &connect).unwrap();
    file.persist(folder.join(CONNECT_FILE)).unwrap();
}

#[tokio::test]
async fn streams_run_as_told_and_stop_when_not_named() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x"), ("b", 6, "y")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a", "b"]).await;
    let mut starts = worker.streams.starts();
    starts.sort();
    let start = |name: &str, counter, source: &str| (name.to_owned(), counter, source.to_owned(), 0);
    assert_eq!(starts, [start("a", 5, "x"), start("b", 6, "y")]);
    let told = leader.hear_stream("a", RunState::Running).await;
    assert_eq!((told.epoch.term().get(), told.epoch.counter()), (FIRST_TERM, 5));

    leader.want(&[("b", 6, "y"), ("c", 7, "z")]);
    worker.streams.run_exactly(&["b", "c"]).await;
    leader.want(&[("b", 8, "new")]);
    let told = until(GENEROUS, async || match worker.streams.starts().last() {
        Some(last) if last.1 == 8 => Ok(()),
        last => Err(format!("{last:?}")),
    });
    told.await.unwrap();
    worker.streams.run_exactly(&["b"]).await;
    leader.want(&[]);
    worker.streams.run_exactly(&[]).await;
    leader
        .hear("an empty inventory under the last set", |heartbeat| {
            heartbeat.applied.generation == 5 && heartbeat.inventory.count == 0
        })
        .await;
    assert_eq!(worker.streams.starts().len(), 4, "nothing started twice");
}

#[tokio::test]
async fn a_leader_of_a_newer_minor_version_is_understood_and_one_of_a_newer_major_is_not() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.become_newer();
    leader.want(&[("a", 5, "x"), ("b", 6, "exclusive")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a", "b"]).await;
    leader.want(&[("a", 5, "x")]);
    worker.streams.run_exactly(&["a"]).await;
    let reply = leader.order("o-1", FIRST_TERM, None, ControlKind::Ping).await;
    assert!(reply.done, "{reply:?}");
    // An empty set under a higher term, in the next major version: nothing follows.
    let session = leader.heard()[0].session;
    let tomorrow = json!({
        "v": 2, "worker": "w", "session": session.to_string(), "ack_seq": 1, "term": FIRST_TERM + 16, "generation": 9,
        "lease_ms": 1, "kind": "desired", "part": 0, "parts": 1, "entries": [],
    });
    let bytes = rmp_serde::to_vec_named(&tomorrow).unwrap();
    let subject = leader.subjects.assign(&leader.worker);
    leader.client.publish(subject, bytes.into()).await.unwrap();
    leader.want(&[("a", 5, "x"), ("c", 7, "z")]);
    worker.streams.run_exactly(&["a", "c"]).await;
    let heard = leader.heard();
    assert!(
        heard
            .iter()
            .all(|heartbeat| heartbeat.highest_term.get() <= FIRST_TERM)
    );
    assert_eq!(worker.streams.starts().len(), 3, "nothing started twice");
}

#[tokio::test]
async fn a_worker_finds_its_server_late_and_again_on_another_port() {
    let folder = tempfile::tempdir().unwrap();
    let worker = TestWorker::start("w", ConnectSource::File(folder.path().to_path_buf()), None);
    let mut first = NatsServer::start().await;
    let leader = Leader::start(&first.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    write_connect(folder.path(), &first.url());
    let before = leader.hear_stream("a", RunState::Running).await;
    let session = leader.heard()[0].session;
    first.kill();

    let second = NatsServer::start().await;
    assert_ne!(first.port(), second.port());
    let leader = Leader::start(&second.url(), "w", 4).await;
    leader.want(&[("a", 5, "x")]);
    write_connect(folder.path(), &second.url());
    let after = leader.hear_stream("a", RunState::Running).await;
    assert_eq!((after.epoch, after.restarts), (before.epoch, 0));
    let heard = leader.heard();
    assert_eq!(heard[0].session, session);
    assert!(heard[0].inventory.parts > 0, "the first heartbeat tells all");
    assert_eq!(worker.streams.starts().len(), 1, "the outage restarted no stream");

    // The same server restarts: nothing that was queued in the meantime arrives late.
    let mut second = second;
    second.kill();
    second.restart().await;
    let leader = Leader::start(&second.url(), "w", 5).await;
    leader.want(&[("a", 5, "x"), ("b", 6, "y")]);
    worker.streams.run_exactly(&["a", "b"]).await;
    let heard = leader.heard();
    assert!(heard.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    assert_eq!(worker.streams.starts().len(), 2);
}

#[tokio::test]
async fn a_frozen_server_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = NatsServer::start().await;
    let leader = Leader::start(&frozen.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    write_connect(folder.path(), &frozen.url());
    let worker = TestWorker::start("w", ConnectSource::File(folder.path().to_path_buf()), None);
    worker.streams.run_exactly(&["a"]).await;
    frozen.process().signal(Signal::STOP);
    let second = NatsServer::start().await;
    let leader = Leader::start(&second.url(), "w", 5).await;
    leader.want(&[("a", 5, "x"), ("b", 6, "y")]);
    write_connect(folder.path(), &second.url());
    worker.streams.run_exactly(&["a", "b"]).await;
    assert_eq!(worker.streams.starts().len(), 2);
}

#[tokio::test]
async fn what_fails_is_started_again_with_its_reason_told() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("ends", 5, "fail"), ("panics", 6, "panic")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    for (name, reason) in [("ends", "eof"), ("panics", "panicked: boom")] {
        let attempts = async || {
            let starts = worker.streams.starts();
            let attempts: Vec<u32> = starts
                .iter()
                .filter(|start| start.0 == name)
                .map(|start| start.3)
                .collect();
            if attempts.len() < 4 {
                return Err(format!("{name} has attempts {attempts:?}"));
            }
            Ok(attempts)
        };
        let attempts = until(GENEROUS, attempts).await.unwrap();
        assert_eq!(attempts[..4], [0, 1, 2, 3]);
        let told = leader.hear_stream(name, RunState::Failing).await;
        assert_eq!(told.reason.as_deref(), Some(reason));
        assert!(told.restarts > 0);
    }
    leader.want(&[]);
    leader
        .hear("an empty inventory", |heartbeat| {
            heartbeat.applied.generation == 3 && heartbeat.inventory.count == 0
        })
        .await;
}

#[tokio::test]
async fn an_order_is_done_once_and_answered_as_often_as_asked() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    let worker = TestWorker::start("w", urls(&server.url()), None);
    let first = leader
        .hear("the leader's term taken", |heartbeat| {
            heartbeat.highest_term.get() == FIRST_TERM
        })
        .await;
    let session = Some(first.session);
    for (id, kind) in [("1", ControlKind::Drain), ("2", ControlKind::Resume)] {
        assert!(leader.order(id, 3, session, kind).await.done, "{id}");
    }
    assert!(leader.order("1", 3, session, ControlKind::Drain).await.done);
    let from = leader.heard().len();
    assert!(leader.order("3", 3, None, ControlKind::Resync).await.done);
    let answered = until(GENEROUS, async || {
        let heard = leader.heard();
        let whole = heard.into_iter().skip(from).find(|h| h.inventory.parts > 0);
        whole.ok_or_else(|| "no whole inventory after the resync".to_owned())
    });
    assert_eq!(answered.await.unwrap().phase, Phase::Ready, "drained only once");

    let lower = leader.order("4", 2, session, ControlKind::Drain).await;
    assert!(
        !lower.done && lower.reason.as_ref().is_some_and(|r| r.contains("term")),
        "{lower:?}"
    );
    let other = leader
        .order("5", 3, Some(SessionId::from_u128(1)), ControlKind::Restart)
        .await;
    assert!(
        !other.done && other.reason.as_ref().is_some_and(|r| r.contains("session")),
        "{other:?}"
    );

    assert!(leader.order("6", 3, session, ControlKind::Restart).await.done);
    worker.ended().await.unwrap();
    leader.hear_gone().await;
}

#[tokio::test]
async fn bad_messages_are_refused_and_work_goes_on() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    let worker = TestWorker::start("w", urls(&server.url()), None);
    leader.hear("a heartbeat", |_| true).await;
    for subject in [
        leader.subjects.assign(&leader.worker),
        leader.subjects.control(&leader.worker),
    ] {
        for bytes in [&b""[..], b"garbage", &[0x91; 100_000]] {
            let payload = bytes.to_vec().into();
            leader.client.publish(subject.clone(), payload).await.unwrap();
        }
    }
    leader.want(&[("a", 5, "x")]);
    worker.streams.run_exactly(&["a"]).await;
    assert_eq!(leader.heard().last().unwrap().mode, Mode::Connected);
}

#[tokio::test]
async fn a_restarted_worker_supersedes_its_former_life() {
    let server = NatsServer::start().await;
    let state = tempfile::tempdir().unwrap();
    let start = || TestWorker::start("w", urls(&server.url()), Some(state.path().join("folder")));
    let leader = Leader::start(&server.url(), "w", 9).await;
    leader.want(&[("a", 5, "x")]);
    let first = start();
    leader.hear_stream("a", RunState::Running).await;

    let second = start();
    let Err(WorkerError::State { path, problem }) = second.ended().await else {
        panic!("two workers share a state folder");
    };
    assert!(path.starts_with(state.path()), "{}", path.display());
    assert!(problem.contains("another worker process"), "{problem}");

    let session = leader.heard()[0].session;
    let streams = first.streams.clone();
    first.crash().await;
    streams.run_exactly(&[]).await;
    let third = start();
    let told = leader
        .hear("a new session", |heartbeat| heartbeat.session != session)
        .await;
    assert_eq!(told.supersedes, Some(session));
    assert_eq!(told.highest_term, Term::new(9).unwrap());
    assert_eq!(told.inventory.count, 0);
    third.streams.run_exactly(&["a"]).await;
}

#[tokio::test]
async fn a_shutdown_stops_every_stream_and_says_goodbye() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x"), ("b", 6, "fail")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    leader.hear_stream("a", RunState::Running).await;
    worker.shutdown.cancel();
    let streams = worker.streams.clone();
    worker.ended().await.unwrap();
    assert!(streams.running().is_empty());
    let gone = leader.hear_gone().await;
    assert_eq!(gone.inventory.count, 0);
    assert_eq!(leader.heard().last().unwrap().seq, gone.seq, "nothing follows");

    let alone = TestWorker::start("w", urls("nats://127.0.0.1:1"), None);
    alone.shutdown.cancel();
    alone.ended().await.unwrap();
}

#[tokio::test]
async fn a_farewell_is_heard_or_fails() {
    let mut server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    let identity = Identity::new(WorkerId::new("w").unwrap());
    send_farewell(&urls(&server.url()), &identity).await.unwrap();
    let gone = leader.hear_gone().await;
    assert_eq!(
        (gone.session, gone.boot_id),
        (identity.session, identity.boot_id.clone())
    );
    server.kill();
    let error = send_farewell(&urls(&server.url()), &identity).await.unwrap_err();
    assert!(matches!(error, ConnectError::Server { .. }), "{error}");
}

#[tokio::test]
async fn the_login_of_the_file_and_of_the_url_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (port, log) = (free_port().to_string(), folder.path().join("log"));
    let _server = Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
        command.args([
            "--addr",
            "127.0.0.1",
            "--user",
            "w",
            "--pass",
            "p@ss",
            "--port",
            &port,
        ]);
    });
    let identity = Identity::new(WorkerId::new("w").unwrap());
    let file = ConnectSource::File(folder.path().join(CONNECT_FILE));
    let url = format!("nats://127.0.0.1:{port}");
    write_connect_as(folder.path(), &url, Some("w"), Some("p@ss"));
    let sent = until(GENEROUS, async || {
        let sent = send_farewell(&file, &identity).await;
        sent.map_err(|error| error.to_string())
    });
    sent.await.unwrap();
    let with_login = urls(&format!("nats://w:p%40ss@127.0.0.1:{port}"));
    send_farewell(&with_login, &identity).await.unwrap();

    write_connect_as(folder.path(), &url, Some("w"), Some("wrong"));
    let error = send_farewell(&file, &identity).await.unwrap_err().to_string();
    assert!(
        error.contains("refuses user \"w\"; take a new copy") && !error.contains("wrong"),
        "{error}"
    );
}
