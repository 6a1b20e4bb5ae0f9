//! Commands under a real guard: how they start, how they end, and that nothing of them is left when that is told.

use std::os::unix::fs::PermissionsExt;

use crate::support::{LONG_GRACE_MS, Tag, TestGuard, hello, kill, until};
use rustix::process::Signal;
use serde_json::json;

async fn guard() -> (tempfile::TempDir, TestGuard) {
    let folder = tempfile::tempdir().unwrap();
    let guard = TestGuard::ready(&hello(&folder.path().join("guard.lock"))).await;
    (folder, guard)
}

#[tokio::test]
async fn a_command_runs_and_its_end_is_told_without_passwords() {
    let (_folder, mut guard) = guard().await;
    let script = "echo nobody hears this; echo \"rtsp://u:s3cret@h $STREAMKEEPER_STREAM\" >&2; exit 3";
    guard.start(1, script).await;
    let (status, stderr) = guard.exited(1).await;
    assert_eq!(
        (status.as_str(), stderr.as_str()),
        ("exit status 3", "rtsp://u:***@h radio-7")
    );
    guard.start(2, "kill -SEGV $$").await;
    let (status, _) = guard.exited(2).await;
    assert!(status.starts_with("killed by signal 11 (SIGSEGV)"), "{status}");
}

#[tokio::test]
async fn programs_that_cannot_run_are_named_with_what_to_do() {
    let (folder, mut guard) = guard().await;
    let file = |name: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases = [
        (
            "no-such-program".to_owned(),
            "no-such-program: not found; install it",
        ),
        (
            "/no/such/program".to_owned(),
            "/no/such/program: not found; correct the path",
        ),
        (file("plain", 0o600), "may not be executed"),
        (file("script", 0o700), "its interpreter is not found"),
        ("a\0b".to_owned(), "nul byte"),
    ];
    for (key, (program, part)) in (1..).zip(cases) {
        guard.launch(key, &program, &[]).await;
        let report = guard.report().await;
        assert_eq!(
            (&report["report"], &report["key"]),
            (&json!("failed"), &json!(key)),
            "{report}"
        );
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn a_program_that_ends_with_127_has_run() {
    let (_folder, mut guard) = guard().await;
    guard.start(1, "exit 127").await;
    assert_eq!(guard.exited(1).await.0, "exit status 127");
}

#[tokio::test]
async fn a_stop_ends_everything_that_the_command_started() {
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    // In its group, in a group of its own, and twice removed from both.
    let script =
        "sleep TAG & setsid sleep TAG & (setsid sh -c 'sleep TAG & setsid sleep TAG & wait' &); wait";
    guard.start(1, &tag.script(script)).await;
    tag.until_count(6).await;
    guard.stop(1, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(1).await.0, "killed by signal 15 (SIGTERM)");
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn an_end_by_itself_leaves_nothing_either() {
    let (folder, mut guard) = guard().await;
    let tag = Tag::new();
    let go = folder.path().join("go");
    let script = format!(
        "sleep TAG & setsid sleep TAG & while ! test -e {}; do sleep 0.01; done",
        go.display()
    );
    guard.start(1, &tag.script(&script)).await;
    tag.until_count(3).await;
    std::fs::write(go, "").unwrap();
    assert_eq!(guard.exited(1).await.0, "exit status 0");
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn a_command_may_end_in_order_within_its_grace() {
    let (folder, mut guard) = guard().await;
    let ready = folder.path().join("ready");
    let script = format!(
        "trap 'exit 7' TERM; : > {}; while :; do sleep 0.01; done",
        ready.display()
    );
    guard.start(1, &script).await;
    until("the trap", || ready.exists()).await;
    guard.stop(1, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(1).await.0, "exit status 7");
}

#[tokio::test]
async fn a_command_that_ignores_sigterm_is_killed_after_its_grace() {
    let (folder, mut guard) = guard().await;
    let tag = Tag::new();
    let ready = folder.path().join("ready");
    let script = format!(
        "trap '' TERM; : > {}; while :; do sleep TAG; done",
        ready.display()
    );
    guard.start(1, &tag.script(&script)).await;
    until("the trap", || ready.exists()).await;
    guard.stop(1, 300).await;
    let (status, _) = guard.exited(1).await;
    assert_eq!(
        status,
        "killed by signal 9 (SIGKILL): it did not end within its stop grace"
    );
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn a_later_order_shortens_the_grace() {
    let (folder, mut guard) = guard().await;
    let ready = folder.path().join("ready");
    let script = format!(
        "trap '' TERM; : > {}; while :; do sleep 0.01; done",
        ready.display()
    );
    guard.start(1, &script).await;
    until("the trap", || ready.exists()).await;
    guard.stop(1, 3_600_000).await;
    guard.stop(1, 0).await;
    guard.stop(1, 3_600_000).await;
    assert!(guard.exited(1).await.0.starts_with("killed by signal 9"));
}

#[tokio::test]
async fn endless_output_is_drained_and_only_its_end_kept() {
    let (_folder, mut guard) = guard().await;
    let script = "yes padding | head -c 30000000 >&2; echo the end >&2; exit 1";
    guard.start(1, script).await;
    let (status, stderr) = guard.exited(1).await;
    assert_eq!(status, "exit status 1");
    assert!(
        stderr.len() <= 900 && stderr.ends_with("padding; the end"),
        "{stderr}"
    );
}

#[tokio::test]
async fn many_commands_start_and_end_at_once() {
    const COUNT: u64 = 60;
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    let script = tag.script("sleep TAG & wait");
    for key in 0..COUNT {
        guard.launch(key, "sh", &["-c", &script]).await;
    }
    for _ in 0..COUNT {
        assert_eq!(guard.report().await["report"], "started");
    }
    for key in 0..COUNT {
        guard.stop(key, LONG_GRACE_MS).await;
    }
    let mut ended = std::collections::BTreeSet::new();
    for _ in 0..COUNT {
        let report = guard.report().await;
        assert_eq!(report["report"], "exited");
        ended.insert(report["key"].as_u64().unwrap());
    }
    assert_eq!(ended, (0..COUNT).collect());
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn signals_for_the_agent_do_not_take_the_guard_along() {
    let (_folder, mut guard) = guard().await;
    let tag = Tag::new();
    guard.start(1, &tag.script("exec sleep TAG")).await;
    tag.until_count(1).await;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        kill(guard.pid(), signal);
    }
    guard.start(2, "exit 0").await;
    assert_eq!(guard.exited(2).await.0, "exit status 0");
    assert_eq!(tag.processes().len(), 1);
    guard.stop(1, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(1).await.0, "killed by signal 15 (SIGTERM)");
}
