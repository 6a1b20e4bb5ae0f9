//! What commands write, under a real guard.

use serde_json::{Value, json};

use crate::support::{TestGuard, hello};

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
    assert!(passed >= 200, "a burst is passed on: {passed}");
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
