//! What commands may use, under a real guard and, where this machine lets control groups be made, by the real kernel.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{LONG_GRACE_MS, Tag, TestGuard, hello, program, until};

/// A greeting with limits, of a worker that no other test has: its name is that of its cgroup.
fn limited(folder: &tempfile::TempDir, name: &str, limits: Value) -> Value {
    let mut greeting = hello(&folder.path().join("lock"));
    greeting["worker"] = json!(format!("{name}-{}", std::process::id()));
    greeting["limits"] = limits;
    greeting
}

/// A guard that can limit its commands. Where this machine has no control groups to be made, that this is told: as a
/// refusal to who insists, else as a warning, and commands run without limits.
async fn guard(greeting: &Value) -> Option<TestGuard> {
    let mut strict = TestGuard::greeted(greeting).await;
    let answer = strict.report().await;
    if answer["report"] == "ready" {
        return Some(strict);
    }
    let reason = answer["reason"].as_str().unwrap();
    assert!(reason.starts_with("commands cannot be limited: "), "{answer}");
    assert!(
        may_not_be_made(),
        "control groups can be made here, and are not: {reason}"
    );
    strict.over().await;
    let mut greeting = greeting.clone();
    greeting["limits"]["required"] = json!(false);
    let mut lenient = TestGuard::greeted(&greeting).await;
    let warning = lenient.report().await;
    assert_eq!(warning["report"], "warning");
    let reason = warning["reason"].as_str().unwrap();
    assert!(reason.starts_with("commands run without limits: "), "{reason}");
    assert_eq!(lenient.report().await["report"], "ready");
    lenient.start(1, "exit 0").await;
    assert_eq!(lenient.exited(1).await.0, "exit status 0");
    None
}

/// Whether this machine forbids, as far as a look tells: no tree of version 1 with memory may be written to.
fn may_not_be_made() -> bool {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own
        .lines()
        .find_map(|line| line.split_once(":memory:").map(|(_, path)| path.to_owned()));
    let Some(path) = path else { return true };
    let folder = format!("/sys/fs/cgroup/memory{path}/sk-look-{}", std::process::id());
    let made = std::fs::create_dir(&folder).is_ok();
    let _ = std::fs::remove_dir(folder);
    !made
}

/// The cgroups of a process in which a file is.
fn cgroups_with(pid: i32, file: &str) -> Vec<PathBuf> {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let folders = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = fields.next().zip(fields.next())?;
        let tree = Path::new("/sys/fs/cgroup").join(controllers);
        Some(tree.join(path.trim_start_matches('/')))
    });
    folders.filter(|folder| folder.join(file).exists()).collect()
}

#[tokio::test]
async fn who_needs_too_much_memory_is_killed_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let limits = json!({"memory_max": 64 << 20, "required": true});
    let Some(mut guard) = guard(&limited(&folder, "memory", limits)).await else {
        return;
    };
    guard.start(1, "exec tail /dev/zero").await;
    let (status, _) = guard.exited(1).await;
    assert_eq!(status, "killed: over its memory limit of 64 MiB (--memory-max)");
    // Not the command itself, but one that it has started.
    guard.start(2, "head -c 300000000 /dev/zero | tail; exit 7").await;
    let (status, _) = guard.exited(2).await;
    assert!(
        status.starts_with("killed: over its memory limit of 64 MiB (--memory-max)"),
        "{status}"
    );
    // Within its limit, beside the two that were not.
    let tag = Tag::new();
    let script = "head -c 20000000 /dev/zero | tail -c 20000000 >/dev/null; exec sleep TAG";
    let pid = guard.start(3, &tag.script(script)).await;
    let name = format!("/sk-memory-{}/", std::process::id());
    let own: Vec<PathBuf> = cgroups_with(pid, "cgroup.procs")
        .into_iter()
        .filter(|folder| folder.to_string_lossy().contains(&name))
        .collect();
    assert_eq!(own.len(), 1, "{own:?}");
    tag.until_count(1).await;
    guard.stop(3, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(3).await.0, "killed by signal 15 (SIGTERM)");
    guard.leave();
    guard.over().await;
    assert!(!own.iter().any(|folder| folder.exists()), "{own:?} are left");
}

#[tokio::test]
async fn who_wants_too_much_processor_time_waits() {
    let folder = tempfile::tempdir().unwrap();
    let limits = json!({"cpu_max": 0.1, "required": true});
    let Some(mut guard) = guard(&limited(&folder, "cpu", limits)).await else {
        return;
    };
    let pid = guard.start(1, "while :; do :; done").await;
    let cgroups = cgroups_with(pid, "cpu.stat");
    until("it is throttled", || {
        let throttled = |folder: &PathBuf| {
            let stat = std::fs::read_to_string(folder.join("cpu.stat")).unwrap_or_default();
            let mut lines = stat.lines().filter_map(|line| line.strip_prefix("nr_throttled "));
            lines.next().is_some_and(|count| count != "0")
        };
        let name = format!("/sk-cpu-{}/", std::process::id());
        let own = cgroups
            .iter()
            .filter(|folder| folder.to_string_lossy().contains(&name));
        own.into_iter().any(throttled)
    })
    .await;
    guard.stop(1, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(1).await.0, "killed by signal 15 (SIGTERM)");
}

#[tokio::test]
async fn nothing_leaves_its_cgroup() {
    let folder = tempfile::tempdir().unwrap();
    let limits = json!({"memory_max": 256 << 20, "required": true});
    let Some(mut guard) = guard(&limited(&folder, "all", limits)).await else {
        return;
    };
    let tag = Tag::new();
    // Out of its group, its session, its parent's sight and its environment.
    let script = "(env -i setsid sh -c 'sleep TAG & exec setsid sleep TAG' &); exec sleep TAG";
    guard.start(1, &tag.script(script)).await;
    tag.until_count(3).await;
    guard.stop(1, LONG_GRACE_MS).await;
    assert_eq!(guard.exited(1).await.0, "killed by signal 15 (SIGTERM)");
    assert_eq!(tag.processes(), [0; 0]);
}

#[tokio::test]
async fn a_program_joins_its_cgroup_or_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let other = &other;
    let tether = async |cgroup: &Path| {
        let output = Command::new(program())
            .args(["tether", "--cgroup"])
            .arg(other)
            .arg("--cgroup")
            .arg(cgroup)
            .args(["KILL", &std::process::id().to_string(), "--", "echo", "it runs"])
            .output()
            .await
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    // What a cgroup is asked with: 0 stands for whoever writes it.
    let joined = tether(folder.path()).await;
    assert_eq!(joined, (Some(0), "it runs\n".to_owned(), String::new()));
    for joined in [folder.path(), other] {
        let procs = std::fs::read_to_string(joined.join("cgroup.procs")).unwrap();
        assert_eq!(procs, "0");
    }
    let (code, stdout, stderr) = tether(&folder.path().join("none")).await;
    assert_eq!((code, stdout.as_str()), (Some(126), ""));
    assert!(stderr.contains("none: cannot be joined"), "{stderr}");
}
