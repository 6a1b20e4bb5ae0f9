//! A nats-server of our own: started, protected, kept alive, stopped.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use streamkeeper_orchestrator::adapter::nats::{
    ManagedError, ManagedNats, ManagedOptions, NatsBus, NatsError,
};
use streamkeeper_orchestrator::port::Bus;
use streamkeeper_protocol::{Connect, OrchestratorId, encode};
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::wait::{GENEROUS, until};
use tempfile::TempDir;

use super::nats_bus::{Notes, assign, connect, heartbeat, next};

fn options(data: &Path) -> ManagedOptions {
    ManagedOptions {
        data_dir: data.to_path_buf(),
        server: None,
        prefix: "sk".to_owned(),
        api_url: Some("http://127.0.0.1:8001".to_owned()),
        linger: Vec::new(),
        linger_for: Duration::ZERO,
        start_timeout: GENEROUS,
    }
}

async fn start(data: &Path) -> ManagedNats {
    ManagedNats::start(options(data)).await.unwrap()
}

fn read_connect(data: &Path) -> Connect {
    serde_json::from_slice(&std::fs::read(data.join("connect.json")).unwrap()).unwrap()
}

async fn client(connect: &Connect) -> Result<async_nats::Client, async_nats::ConnectError> {
    let user = connect.user.clone().unwrap();
    let password = connect.password.clone().unwrap();
    let options = async_nats::ConnectOptions::with_user_and_password(user, password);
    options.connect(connect.urls[0].clone()).await
}

fn pid(data: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data.join("nats/nats-server.pid")).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Waits until another server than this process answers. That the bus was without one meanwhile may be over too soon to be
/// seen.
async fn back(data: &Path, killed: Pid, bus: &NatsBus) {
    let answers = until(GENEROUS, async || {
        let now = pid(data);
        if now.is_none() || now == Some(killed) {
            return Err(format!("the server is still {now:?}"));
        }
        bus.ping().await.map_err(|error| error.to_string())
    });
    answers.await.unwrap();
}

fn mode(path: PathBuf) -> u32 {
    path.metadata()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .permissions()
        .mode()
        & 0o777
}

#[tokio::test]
async fn port_and_passwords_are_kept_and_nobody_else_can_read_them() {
    let data = TempDir::new().unwrap();
    let server = start(data.path()).await;
    let first = read_connect(data.path());
    assert_eq!(
        (first.user.as_deref(), first.prefix.as_str()),
        (Some("worker"), "sk")
    );
    assert_eq!(first.password.as_ref().map(String::len), Some(32));
    for file in ["connect.json", "nats/credentials.json", "nats/nats-server.conf"] {
        assert_eq!(mode(data.path().join(file)), 0o600, "{file}");
    }
    assert_eq!(mode(data.path().join("nats")), 0o700);
    assert!(server.is_running());
    let running = client(&first).await.unwrap();
    assert!(running.server_info().jetstream);
    drop(running);

    server.stop().await;
    assert!(client(&first).await.is_err(), "the server runs on after the stop");

    let server = start(data.path()).await;
    assert!(
        read_connect(data.path()) == first,
        "port or passwords changed over a restart"
    );
    client(&first).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_dropped_server_ends() {
    let data = TempDir::new().unwrap();
    drop(start(data.path()).await);
    let connect = read_connect(data.path());
    until(GENEROUS, async || match client(&connect).await {
        Ok(_) => Err("the server runs on".to_owned()),
        Err(_) => Ok(()),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_worker_speaks_for_workers_only() {
    let data = TempDir::new().unwrap();
    let server = start(data.path()).await;
    let (bus, notes) = connect(server.settings("test".to_owned(), GENEROUS)).await;
    let worker = client(&read_connect(data.path())).await.unwrap();
    let mut orders = worker.subscribe("sk.v1.assign.w").await.unwrap();
    let eavesdropping = worker.subscribe("sk.v1.heartbeat.>").await.unwrap();
    let foreign = worker.subscribe("other.>").await.unwrap();

    let forged = encode(&assign(666, 1, 1)).unwrap();
    worker.publish("sk.v1.assign.w", forged.into()).await.unwrap();
    worker.publish("sk.v1.leader", Vec::new().into()).await.unwrap();
    let honest = encode(&heartbeat(1)).unwrap();
    worker.publish("sk.v1.heartbeat.w", honest.into()).await.unwrap();
    assert_eq!(notes.heard(1).await, [1]);

    // The server handles the worker's lines in order, so the forged assign would have come before this one.
    bus.assign(&assign(2, 0, 0), false).unwrap();
    let message = next(&mut orders).await;
    let first: streamkeeper_protocol::Assign = streamkeeper_protocol::decode(&message.payload, None).unwrap();
    assert_eq!(first.ack_seq, 2);
    let mut heard = futures::stream::select(eavesdropping, foreign);
    assert!(
        futures::poll!(heard.next()).is_pending(),
        "the worker heard what it may not hear"
    );
    bus.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_told_as_such() {
    let data = TempDir::new().unwrap();
    let server = start(data.path()).await;
    let mut settings = server.settings("test".to_owned(), GENEROUS);
    settings.access.password = Some("wrong-secret".to_owned());
    let own = OrchestratorId::new("o").unwrap();
    let error = NatsBus::connect(settings, Arc::new(Notes::default()), own)
        .await
        .unwrap_err();
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("orchestrator") && !text.contains("wrong-secret"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_comes_back_in_its_place() {
    let data = TempDir::new().unwrap();
    let server = start(data.path()).await;
    let (bus, _) = connect(server.settings("test".to_owned(), GENEROUS)).await;
    let connect = read_connect(data.path());
    let first = pid(data.path()).unwrap();
    kill_process(first, Signal::KILL).unwrap();
    back(data.path(), first, &bus).await;
    client(&connect).await.unwrap();
    until(GENEROUS, async || {
        server
            .is_running()
            .then_some(())
            .ok_or_else(|| "it does not count as running".to_owned())
    })
    .await
    .unwrap();
    bus.close().await;
    server.stop().await;
}

/// The server that a killed orchestrator left, with its configuration changed by `change`.
async fn left(data: &Path, change: impl FnOnce(String) -> String) -> Process {
    start(data).await.stop().await;
    let config = data.canonicalize().unwrap().join("nats/nats-server.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, change(text)).unwrap();
    let log = data.join("left-behind.log");
    let left = Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
        command.arg("-c").arg(&config);
    });
    let number = i32::try_from(left.pid()).unwrap();
    let before = read_connect(data);
    until(GENEROUS, async || {
        let found = pid(data).map(|pid| pid.as_raw_nonzero().get());
        let up = found == Some(number) && client(&before).await.is_ok();
        up.then_some(()).ok_or_else(|| "it is not up".to_owned())
    })
    .await
    .unwrap();
    left
}

#[tokio::test]
async fn a_server_that_outlived_its_orchestrator_is_taken_over() {
    let data = TempDir::new().unwrap();
    let mut left = left(data.path(), |text| text).await;
    let before = read_connect(data.path());
    let number = pid(data.path());
    let worker = client(&before).await.unwrap();
    let server = start(data.path()).await;
    assert!(
        left.ended().is_none() && pid(data.path()) == number,
        "it was ended"
    );
    assert!(read_connect(data.path()) == before, "port or passwords changed");
    let (bus, _) = connect(server.settings("test".to_owned(), GENEROUS)).await;
    worker.flush().await.unwrap();
    assert_eq!(
        worker
            .statistics()
            .connects
            .load(std::sync::atomic::Ordering::SeqCst),
        1
    );

    // It is looked after like an own one: it comes back, and ends when it is stopped.
    left.kill9();
    back(data.path(), number.unwrap(), &bus).await;
    bus.close().await;
    server.stop().await;
    assert!(
        client(&before).await.is_err(),
        "the server runs on after the stop"
    );
}

#[tokio::test]
async fn a_server_taken_over_ends_when_it_is_stopped() {
    let data = TempDir::new().unwrap();
    let mut left = left(data.path(), |text| text).await;
    start(data.path()).await.stop().await;
    let status = left.ended().expect("it is stopped");
    assert!(status.code().is_some(), "it was killed: {status}");
}

#[tokio::test]
async fn a_survivor_that_is_not_as_we_start_it_is_ended_first() {
    for (what, change) in [("configuration", "max_connections: 7\n"), ("passwords", "")] {
        let data = TempDir::new().unwrap();
        let mut left = left(data.path(), |text| text + change).await;
        let before = read_connect(data.path());
        if change.is_empty() {
            std::fs::remove_file(data.path().join("nats/credentials.json")).unwrap();
        }
        let server = start(data.path()).await;
        assert!(left.ended().is_some(), "two servers run on one store: {what}");
        let after = read_connect(data.path());
        assert_eq!(after.urls, before.urls, "the port was lost: {what}");
        client(&after).await.unwrap();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_survivor_that_does_not_answer_is_ended_first() {
    let data = TempDir::new().unwrap();
    let mut left = left(data.path(), |text| text).await;
    left.signal(Signal::STOP);
    let server = start(data.path()).await;
    assert!(left.ended().is_some(), "two servers run on one store");
    client(&read_connect(data.path())).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_stranger_with_the_old_process_id_is_left_alone() {
    let data = TempDir::new().unwrap();
    start(data.path()).await.stop().await;
    let log = data.path().join("stranger.log");
    let mut stranger = Process::spawn("sleep", &find_program("sleep"), &log, |command| {
        command.arg("1000");
    });
    std::fs::write(
        data.path().join("nats/nats-server.pid"),
        stranger.pid().to_string(),
    )
    .unwrap();
    let server = start(data.path()).await;
    assert!(stranger.ended().is_none(), "a stranger was killed");
    server.stop().await;
}

#[tokio::test]
async fn one_folder_has_one_server() {
    let data = TempDir::new().unwrap();
    let server = start(data.path()).await;
    let second = ManagedNats::start(options(data.path())).await;
    assert!(matches!(second, Err(ManagedError::InUse { .. })), "{second:?}");
    assert!(server.is_running());
    client(&read_connect(data.path())).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_left_to_whoever_has_it() {
    let data = TempDir::new().unwrap();
    start(data.path()).await.stop().await;
    let before = read_connect(data.path());
    let address = before.urls[0].strip_prefix("nats://").unwrap();
    let _taken = std::net::TcpListener::bind(address).unwrap();
    let server = start(data.path()).await;
    let after = read_connect(data.path());
    assert_ne!(after.urls, before.urls);
    assert_eq!(after.password, before.password);
    client(&after).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn the_server_is_started_through_the_verb_that_looks_after_it() {
    let data = TempDir::new().unwrap();
    let words = data.path().join("words");
    let script = r#"echo "$2 $3 $4" > "$1"; shift 4; exec "$@""#;
    let linger = ["/bin/sh", "-c", script, "linger"].map(OsString::from);
    let mut options = options(data.path());
    options.linger = linger
        .into_iter()
        .chain([words.clone().into_os_string()])
        .collect();
    options.linger_for = Duration::from_millis(1_500);
    let server = ManagedNats::start(options).await.unwrap();
    let lock = data.path().canonicalize().unwrap().join("nats/lock");
    let expected = format!("{} 1500 --\n", lock.display());
    assert_eq!(std::fs::read_to_string(words).unwrap(), expected);
    server.stop().await;
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("server");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let data = TempDir::new().unwrap();
    let mut missing = options(data.path());
    missing.server = Some(PathBuf::from("/no/such/nats-server"));
    let error = ManagedNats::start(missing).await.unwrap_err().to_string();
    assert!(
        error.contains("/no/such/nats-server") && error.contains("nats.server"),
        "{error}"
    );

    let mut broken = options(data.path());
    broken.server = Some(script(data.path(), "echo 'the reason why' >&2; exit 3"));
    let error = ManagedNats::start(broken).await.unwrap_err().to_string();
    assert!(
        error.contains("exit status: 3") && error.contains("the reason why"),
        "{error}"
    );

    let mut mute = options(data.path());
    mute.server = Some(script(data.path(), "exec sleep 1000"));
    mute.start_timeout = Duration::from_millis(300);
    let error = ManagedNats::start(mute).await.unwrap_err().to_string();
    assert!(error.contains("does not listen"), "{error}");

    let mut prefix = options(data.path());
    prefix.prefix = "a b".to_owned();
    let error = ManagedNats::start(prefix).await.unwrap_err().to_string();
    assert!(error.contains("nats.prefix") && error.contains("a b"), "{error}");
}
