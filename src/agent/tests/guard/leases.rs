//! Exclusive commands end with their worker's lease, whatever becomes of the agent; all others go on.

use rustix::process::Signal;
use serde_json::{Value, json};
use streamkeeper_worker::now;

use crate::agent::{Leader, agent};
use crate::support::{LONG_GRACE_MS, Tag, TestGuard, hello, kill, nats, until};

/// A lease that no test waits for.
const LONG_MS: u64 = 3_600_000;
/// Ends only by SIGKILL, and leaves processes in other groups, one of which cannot be recognized by its environment.
const STUBBORN: &str =
    "trap 'echo told >&2' TERM; setsid sleep TAG & (env -i setsid sleep TAG &); while :; do sleep TAG; done";
/// So many processes are that.
const STUBBORN_COUNT: usize = 4;

async fn guard() -> (tempfile::TempDir, TestGuard) {
    let folder = tempfile::tempdir().unwrap();
    let guard = TestGuard::ready(&hello(&folder.path().join("guard.lock"))).await;
    (folder, guard)
}

async fn start_exclusive(guard: &mut TestGuard, key: u64, script: &str) {
    guard.launch_exclusive(key, script).await;
    let report = guard.report().await;
    assert_eq!(
        (&report["report"], &report["key"]),
        (&json!("started"), &json!(key)),
        "{report}"
    );
}

#[tokio::test]
async fn a_lease_that_ends_takes_exclusive_commands_along_and_no_others() {
    let (_folder, mut guard) = guard().await;
    let (mild, stubborn, available) = (Tag::new(), Tag::new(), Tag::new());
    guard.start(1, &available.script("exec sleep TAG")).await;
    guard.lease(LONG_MS, 0).await;
    start_exclusive(&mut guard, 2, &mild.script("exec sleep TAG")).await;
    start_exclusive(&mut guard, 3, &stubborn.script(STUBBORN)).await;
    stubborn.until_count(STUBBORN_COUNT).await;
    mild.until_count(1).await;
    let lease = guard.lease(300, 700).await;
    let (status, _) = guard.exited(2).await;
    assert_eq!(status, "its worker's lease ended: killed by signal 15 (SIGTERM)");
    assert!(now() >= lease.stop_at, "not before");
    assert!(
        !stubborn.processes().is_empty(),
        "it was told, and has some time left"
    );
    let (status, stderr) = guard.exited(3).await;
    assert!(
        status.starts_with("its worker's lease ended: killed by signal 9 (SIGKILL)"),
        "{status}"
    );
    assert_eq!(stderr.matches("told").count(), 1, "{stderr}");
    assert!(now() >= lease.kill_at, "not before");
    assert_eq!(stubborn.processes(), [0; 0], "told only when nothing is left");
    assert_eq!(available.processes().len(), 1);

    // Nothing starts under a lease that has ended.
    guard.launch_exclusive(4, "exit 0").await;
    let report = guard.report().await;
    assert_eq!((&report["report"], &report["key"]), (&json!("failed"), &json!(4)));
    assert!(
        report["reason"].as_str().unwrap().contains("no lease"),
        "{report}"
    );
    guard.lease(LONG_MS, 0).await;
    start_exclusive(&mut guard, 5, "exit 7").await;
    assert_eq!(guard.exited(5).await.0, "exit status 7");
}

#[tokio::test]
async fn without_a_lease_nothing_exclusive_starts() {
    let (_folder, mut guard) = guard().await;
    guard.launch_exclusive(1, "exit 0").await;
    assert_eq!(guard.report().await["report"], "failed");
}

#[tokio::test]
async fn a_lease_that_is_renewed_in_time_ends_later_and_one_that_is_not_does_not() {
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    guard.lease(LONG_MS, 0).await;
    start_exclusive(
        &mut guard,
        1,
        &tag.script("trap 'echo told >&2' TERM; while :; do sleep TAG; done"),
    )
    .await;
    tag.until_count(2).await;
    let first = guard.lease(400, 60_000).await;
    guard.lease(LONG_MS, 0).await;
    until("the first lease's end", || {
        now() > first.kill_at || now() > first.stop_at.plus(300)
    })
    .await;
    assert_eq!(tag.processes().len(), 2, "renewed in time");
    let second = guard.lease(0, 1_000).await;
    until("the second lease's end", || now() > second.stop_at).await;
    // Too late: it was told to end already.
    guard.lease(LONG_MS, 0).await;
    let (status, stderr) = guard.exited(1).await;
    assert!(
        status.contains("lease ended") && stderr.contains("told"),
        "{status} {stderr}"
    );
}

#[tokio::test]
async fn a_guard_that_was_frozen_too_long_takes_no_renewal_for_timely() {
    let (_folder, mut guard) = guard().await;
    let pid = guard.pid();
    // Which of two things it sees first is chance.
    for key in 0..5 {
        guard.lease(LONG_MS, 0).await;
        start_exclusive(&mut guard, key, "exec sleep 86400").await;
        kill(pid, Signal::STOP);
        let lease = guard.lease(100, 100).await;
        until("the lease's end", || now() > lease.kill_at).await;
        guard.lease(LONG_MS, 0).await;
        kill(pid, Signal::CONT);
        assert!(guard.exited(key).await.0.starts_with("its worker's lease ended"));
    }
}

#[tokio::test]
async fn a_stop_that_is_slower_than_the_lease_ends_with_the_lease() {
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    guard.lease(LONG_MS, 0).await;
    start_exclusive(
        &mut guard,
        1,
        &tag.script("trap 'echo told >&2' TERM; while :; do sleep TAG; done"),
    )
    .await;
    tag.until_count(2).await;
    guard.stop(1, LONG_GRACE_MS).await;
    guard.lease(200, 300).await;
    let (status, stderr) = guard.exited(1).await;
    assert!(status.contains("SIGKILL"), "{status}");
    assert_eq!(stderr.matches("told").count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_guard_that_is_ending_all_commands_keeps_to_the_lease() {
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    guard.lease(LONG_MS, 0).await;
    start_exclusive(&mut guard, 1, &tag.script(STUBBORN)).await;
    tag.until_count(STUBBORN_COUNT).await;
    guard.lease(1_000, 300).await;
    // The agent dies. The grace is a minute, the lease is not.
    guard.leave();
    let left = now();
    guard.over().await;
    assert_eq!(tag.processes(), [0; 0]);
    assert!(now().since(left) < LONG_GRACE_MS);
}

fn names(heartbeat: &Value) -> Vec<String> {
    let running = heartbeat["inventory"]["running"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    running
        .iter()
        .map(|held| {
            format!(
                "{} {}",
                held["stream"].as_str().unwrap(),
                held["state"].as_str().unwrap()
            )
        })
        .collect()
}

#[tokio::test]
async fn a_frozen_agent_loses_its_exclusive_streams_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let mut leader = Leader::new(&url).await;
    leader.lease_ms = 6_000;
    let (only, other) = (Tag::new(), Tag::new());
    let script = "sh -c \"trap '' TERM; env -i setsid sleep {source} & while :; do sleep {source}; done\"";
    let mut process = agent(folder.path(), &url, script);
    let sources = (only.script("TAG"), other.script("TAG"));
    let wanted = [("only-1", sources.0.as_str()), ("radio-7", sources.1.as_str())];
    leader.want_all(&wanted, 4_294_967_297);
    let both = ["only-1 running", "radio-7 running"];
    let first = leader.until("both streams", |beat| names(beat) == both).await;
    assert_eq!(first["guarded"], true);
    let restarts = &first["inventory"]["running"][0]["restarts"];
    assert_eq!(
        restarts, 0,
        "the guard knew the lease before it was to start the stream"
    );
    let left = leader
        .until("a lease", |beat| beat["lease_left_ms"].as_u64() > Some(0))
        .await;
    assert!(left["lease_left_ms"].as_u64() <= Some(6_000));
    only.until_count(3).await;
    other.until_count(3).await;
    let before = other.processes();

    let pid = i32::try_from(process.id().unwrap()).unwrap();
    kill(pid, Signal::STOP);
    only.until_count(0).await;
    assert_eq!(other.processes(), before, "an available stream goes on");
    kill(pid, Signal::CONT);
    leader
        .until("the loss of the exclusive stream", |beat| {
            names(beat) == ["radio-7 running"]
        })
        .await;
    // The same set again is no grant.
    let renewed = leader
        .until("a new lease", |beat| beat["lease_left_ms"].as_u64() > Some(0))
        .await;
    assert_eq!(
        (&renewed["session"], &renewed["inventory"]["count"]),
        (&first["session"], &json!(1))
    );
    assert_eq!(only.processes(), [0; 0]);

    leader.want_all(&wanted, 4_294_967_298);
    leader
        .until("both streams again", |beat| names(beat) == both)
        .await;
    only.until_count(3).await;
    // An agent that is killed leaves nothing behind, and its guard tells so at once.
    process.kill().await.unwrap();
    leader.until("the farewell", |beat| beat["phase"] == "gone").await;
    assert_eq!((only.processes(), other.processes()), (vec![], vec![]));
}

#[tokio::test]
async fn the_built_in_reader_refuses_exclusive_streams() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let mut leader = Leader::new(&url).await;
    let _process = agent(folder.path(), &url, "http");
    leader.want_all(&[("only-1", "http://127.0.0.1:1/x")], 4_294_967_297);
    let refused = leader
        .until("a refusal", |beat| names(beat) == ["only-1 failing"])
        .await;
    let reason = refused["inventory"]["running"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("streamkeeper agent --exec"), "{reason}");
    assert!(refused["guarded"].is_null());
}
