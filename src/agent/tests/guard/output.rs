//! What commands write, and what they may use, under a real guard.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{TestGuard, hello, program};

async fn guard(folder: &tempfile::TempDir, output: &str) -> TestGuard {
    let mut greeting = hello(&folder.path().join("lock"));
    greeting["output"] = json!(output);
    TestGuard::ready(&greeting).await
}

/// All reports up to the end of the command; the last one is that.
async fn reports(guard: &mut TestGuard) -> Vec<Value> {
    let mut reports = Vec::new();
    loop {
        let report = guard.report().await;
        let over = matches!(report["report"].as_str(), Some("exited" | "failed"));
        reports.push(report);
        if over {
            return reports;
        }
    }
}

#[tokio::test]
async fn lines_of_both_outputs_come_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut guard = guard(&folder, "log").await;
    let script =
        "echo one; echo 'rtsp://u:s3cret@h two' >&2; printf 'no end'; readlink /proc/self/fd/0 >&2; exit 3";
    guard.launch(1, "sh", &["-c", script]).await;
    let reports = reports(&mut guard).await;
    let mut lines: Vec<(&str, &str)> = reports
        .iter()
        .filter(|report| report["report"] == "line")
        .map(|report| (report["fd"].as_str().unwrap(), report["text"].as_str().unwrap()))
        .collect();
    lines.sort_unstable();
    let expected = [
        ("stderr", "/dev/null"),
        ("stderr", "rtsp://u:***@h two"),
        ("stdout", "no end"),
        ("stdout", "one"),
    ];
    assert_eq!(lines, expected);
    let end = reports.last().unwrap();
    assert_eq!(end["stderr"], "rtsp://u:***@h two; /dev/null");
    assert_eq!(end["dropped"], 0);
}

#[tokio::test]
async fn a_flood_is_cut_and_every_line_is_accounted_for() {
    const LINES: u64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let mut guard = guard(&folder, "log").await;
    let script = format!("yes padding | head -n {LINES}");
    guard.launch(1, "sh", &["-c", &script]).await;
    let reports = reports(&mut guard).await;
    let (mut passed, mut dropped) = (0, 0);
    for report in &reports {
        match report["report"].as_str().unwrap() {
            "line" => passed += 1,
            "dropped" => dropped += report["lines"].as_u64().unwrap(),
            "exited" => dropped += report["dropped"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(passed + dropped, LINES);
    assert!(passed >= 20, "{passed}");
    assert!(dropped > 0, "nothing was dropped");
}

#[tokio::test]
async fn output_goes_where_it_is_wanted() {
    for (output, expected) in [("discard", Some("/dev/null")), ("inherit", None)] {
        let folder = tempfile::tempdir().unwrap();
        let mut guard = guard(&folder, output).await;
        let file = folder.path().join("seen");
        let script = format!(
            "o=$(readlink /proc/$$/fd/1; readlink /proc/$$/fd/2; readlink /proc/$PPID/fd/2); echo \"$o\" > {}",
            file.display()
        );
        guard.start(1, &script).await;
        assert_eq!(guard.exited(1).await, ("exit status 0".to_owned(), String::new()));
        let seen = std::fs::read_to_string(file).unwrap();
        let [stdout, stderr, of_guard] = seen.lines().collect::<Vec<_>>().try_into().unwrap();
        match expected {
            Some(expected) => assert_eq!(stdout, expected),
            None => assert_eq!((stdout, stderr), (of_guard, of_guard)),
        }
    }
}

#[tokio::test]
async fn a_kill_from_outside_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut guard = guard(&folder, "discard").await;
    guard.start(1, "kill -KILL $$").await;
    let (status, _) = guard.exited(1).await;
    assert_eq!(
        status,
        "killed by signal 9 (SIGKILL), not by the agent; if memory ran out, the kernel's log says so"
    );
}

/// Where this machine has cgroup version 2 and lets it be changed, the limit is proved; else that this is told.
#[tokio::test]
async fn limits_hold_or_are_told_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut greeting = hello(&folder.path().join("lock"));
    greeting["limits"] = json!({"memory_max": 64 << 20, "cpu_max": 0.9, "required": true});
    let mut strict = TestGuard::greeted(&greeting).await;
    let answer = strict.report().await;
    let missing = answer["report"] == "refused";
    if missing {
        let reason = answer["reason"].as_str().unwrap();
        assert!(reason.starts_with("commands cannot be limited: "), "{reason}");
        strict.over().await;
        greeting["limits"]["required"] = json!(false);
        let mut lenient = TestGuard::greeted(&greeting).await;
        let warning = lenient.report().await;
        assert_eq!(warning["report"], "warning");
        let reason = warning["reason"].as_str().unwrap();
        assert!(reason.starts_with("commands run without limits: "), "{reason}");
        assert_eq!(lenient.report().await["report"], "ready");
        lenient.start(1, "exit 0").await;
        assert_eq!(lenient.exited(1).await.0, "exit status 0");
    } else {
        assert_eq!(answer["report"], "ready");
        strict.start(1, "head -c 300000000 /dev/zero | tail").await;
        let (status, _) = strict.exited(1).await;
        assert!(status.starts_with("out of memory: more than 64M"), "{status}");
    }
}

#[tokio::test]
async fn a_program_joins_its_cgroup_or_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let tether = async |cgroup: &Path| {
        let output = Command::new(program())
            .args(["tether", "--cgroup"])
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
    let procs = std::fs::read_to_string(folder.path().join("cgroup.procs")).unwrap();
    assert_eq!(procs, "0");
    let (code, stdout, stderr) = tether(&folder.path().join("none")).await;
    assert_eq!((code, stdout.as_str()), (Some(126), ""));
    assert!(stderr.contains("none: cannot be joined"), "{stderr}");
}
