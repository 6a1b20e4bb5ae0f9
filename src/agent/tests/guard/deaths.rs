//! Deaths: of the agent, of the guard; and what the next life of a worker waits for.

use std::process::Stdio;

use crate::support::{DEADLINE, Output, Tag, TestGuard, hello, kill, nats, program};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Ends only by SIGKILL, with one child in another group and one that cannot even be recognized by its environment.
const STUBBORN: &str =
    "trap '' TERM; setsid sleep TAG & env -i setsid sleep TAG & while :; do sleep TAG; done";
/// So many processes are that.
const STUBBORN_COUNT: usize = 4;

fn hold(lock: &std::path::Path, times: u32, script: &str) -> (Child, Output) {
    let mut child = Command::new(program())
        .arg("hold")
        .arg(lock)
        .arg(times.to_string())
        .args(["sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Output::of(&mut child);
    (child, output)
}

fn children(parent: i32) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit(')').next().unwrap_or_default();
            fields.split_whitespace().nth(1) == Some(&parent.to_string())
        })
        .collect()
}

#[tokio::test]
async fn a_killed_agent_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let tag = Tag::new();
    let (mut agent, mut output) = hold(&folder.path().join("lock"), 1, &tag.script(STUBBORN));
    assert!(output.next().await.unwrap().starts_with("started "));
    tag.until_count(STUBBORN_COUNT).await;
    agent.kill().await.unwrap();
    tag.until_count(0).await;
}

#[tokio::test]
async fn a_killed_guard_takes_all_along_and_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let tag = Tag::new();
    let (mut agent, mut output) = hold(&folder.path().join("lock"), 2, &tag.script(STUBBORN));
    let agent_pid = i32::try_from(agent.id().unwrap()).unwrap();
    for _ in 0..2 {
        let started = output.next().await.unwrap();
        let stream: i32 = started.strip_prefix("started ").unwrap().parse().unwrap();
        tag.until_count(STUBBORN_COUNT).await;
        let guards = children(agent_pid);
        assert_eq!(guards.len(), 1, "the agent has one child");
        assert!(children(guards[0]).contains(&stream));
        let before = tag.processes();
        kill(guards[0], Signal::KILL);
        let ended = output.next().await.unwrap();
        assert!(
            ended.starts_with("ended the guard process was lost (killed by signal 9 (SIGKILL))"),
            "{ended}"
        );
        // Told only when it is true, the second time with the next command already on its way.
        let after = tag.processes();
        assert!(
            !before.iter().any(|pid| after.contains(pid)),
            "{before:?} {after:?}"
        );
    }
    assert_eq!(output.next().await.as_deref(), Some("over"));
    assert!(timeout(DEADLINE, agent.wait()).await.unwrap().unwrap().success());
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn without_its_guard_and_agent_a_command_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut guard = TestGuard::ready(&hello(&folder.path().join("lock"))).await;
    let tag = Tag::new();
    guard.start(1, &tag.script("trap '' TERM; exec sleep TAG")).await;
    tag.until_count(1).await;
    // The test is no subreaper: only the tether can have done it.
    guard.process.kill().await.unwrap();
    tag.until_count(0).await;
}

#[tokio::test]
async fn the_next_guard_waits_until_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut greeting = hello(&folder.path().join("lock"));
    greeting["grace_ms"] = json!(500);
    let tag = Tag::new();
    let mut first = TestGuard::ready(&greeting).await;
    first.start(1, &tag.script(STUBBORN)).await;
    tag.until_count(STUBBORN_COUNT).await;
    let mut second = TestGuard::greeted(&greeting).await;
    assert_eq!(second.report().await["report"], "waiting");
    first.leave();
    assert_eq!(second.report().await["report"], "ready");
    assert_eq!(tag.processes(), [0; 0]);
    first.over().await;
    second.leave();
    second.over().await;
}

#[tokio::test]
async fn a_lock_that_stays_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("lock");
    let _first = TestGuard::ready(&hello(&lock)).await;
    let mut greeting = hello(&lock);
    greeting["lock_wait_ms"] = json!(100);
    let mut second = TestGuard::greeted(&greeting).await;
    assert_eq!(second.report().await["report"], "waiting");
    let report = second.report().await;
    assert_eq!(report["report"], "refused");
    let reason = report["reason"].as_str().unwrap();
    assert!(
        reason.contains(lock.to_str().unwrap()) && reason.contains("another agent uses"),
        "{reason}"
    );
    second.over().await;
    let mut third = TestGuard::greeted(&hello(&folder.path().join("no/such/lock"))).await;
    let report = third.report().await;
    assert!(
        report["reason"].as_str().unwrap().contains("give a state folder"),
        "{report}"
    );
}

#[tokio::test]
async fn a_guard_that_still_waits_ends_with_its_agent() {
    let folder = tempfile::tempdir().unwrap();
    let greeting = hello(&folder.path().join("lock"));
    let _first = TestGuard::ready(&greeting).await;
    let mut second = TestGuard::greeted(&greeting).await;
    assert_eq!(second.report().await["report"], "waiting");
    second.leave();
    second.over().await;
}

#[tokio::test]
async fn the_guard_says_farewell_only_for_an_agent_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, url) = nats(folder.path()).await;
    let client = async_nats::connect(&url).await.unwrap();
    let mut heartbeats = client.subscribe("sk.v1.heartbeat.*").await.unwrap();
    client.flush().await.unwrap();
    for (name, worker) in [("ordered", "w-ordered"), ("gone", "w-gone")] {
        let mut greeting = hello(&folder.path().join(name));
        greeting["worker"] = json!(worker);
        greeting["connect"]["urls"]["urls"] = json!([url]);
        let tag = Tag::new();
        let mut guard = TestGuard::ready(&greeting).await;
        guard.start(1, &tag.script("exec sleep TAG")).await;
        tag.until_count(1).await;
        if name == "ordered" {
            guard.order(&json!({"order": "end"})).await;
        } else {
            guard.leave();
        }
        guard.over().await;
        assert_eq!(tag.processes(), [0; 0]);
    }
    let message = timeout(DEADLINE, futures::StreamExt::next(&mut heartbeats))
        .await
        .unwrap()
        .unwrap();
    // The first message is that of the second guard, so the first one sent none.
    assert_eq!(message.subject.as_str(), "sk.v1.heartbeat.w-gone");
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    for part in ["gone", "000000000000000000000000000000ab"] {
        assert!(text.contains(part), "{text:?}");
    }
    server.kill().await.unwrap();
}

#[tokio::test]
async fn a_guard_by_hand_says_what_it_is_for() {
    let output = Command::new(program())
        .arg("guard")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("run an agent instead"));
    let output = Command::new(program())
        .args(["tether", "KILL", "1", "--", "true"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(126));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "tether: parent 1 is gone\n"
    );
}
