//! What the tests of the guard share: the test program, a guard spoken to by hand, processes found by a tag.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use streamkeeper_worker::Lease;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

/// Far longer than anything here takes, so that only a hang reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);
/// A grace that no test waits for.
pub(crate) const LONG_GRACE_MS: u64 = 60_000;

/// The test program, built now: a stale one would be tested otherwise.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["build", "--locked", "--package", env!("CARGO_PKG_NAME")])
            .args(["--example", "agent_test_program", "--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the test program cannot be built");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .unwrap()
    })
}

/// Polls until the condition holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never seen: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// An argument for `sleep` that no other process has: finds the processes of one test.
pub(crate) struct Tag(String);

impl Tag {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("86400.{:09}{number:03}", std::process::id()))
    }

    /// Puts the tag in place of `TAG`.
    pub(crate) fn script(&self, text: &str) -> String {
        text.replace("TAG", &self.0)
    }

    /// Living processes with the tag on their command line, the test program's excepted.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains(&self.0) && !["\0hold\0", "\0agent\0"].iter().any(|verb| line.contains(verb))
            })
            .collect()
    }

    /// Waits until so many processes carry the tag.
    pub(crate) async fn until_count(&self, count: usize) {
        until(&format!("{count} processes with {}", self.0), || {
            self.processes().len() == count
        })
        .await;
    }
}

pub(crate) fn kill(pid: i32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// The lines of a process's output.
pub(crate) struct Output(Lines<BufReader<ChildStdout>>);

impl Output {
    pub(crate) fn of(child: &mut Child) -> Self {
        Self(BufReader::new(child.stdout.take().unwrap()).lines())
    }

    pub(crate) async fn next(&mut self) -> Option<String> {
        timeout(DEADLINE, self.0.next_line()).await.unwrap().unwrap()
    }
}

/// A guard whose agent is the test.
pub(crate) struct TestGuard {
    pub(crate) process: Child,
    orders: Option<ChildStdin>,
    reports: Output,
}

/// How a guard is greeted, unless the test says otherwise.
pub(crate) fn hello(lock: &Path) -> Value {
    json!({
        "order": "hello", "worker": "w1", "session": "000000000000000000000000000000ab", "boot_id": "boot",
        "connect": {"urls": {"urls": ["nats://127.0.0.1:1"], "prefix": "sk"}},
        "grace_ms": LONG_GRACE_MS, "lock": lock, "lock_wait_ms": 60_000,
        "output": "discard",
    })
}

impl TestGuard {
    /// A process that was greeted and has said nothing yet.
    pub(crate) async fn greeted(hello: &Value) -> Self {
        let mut process = Command::new(program())
            .arg("guard")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let orders = process.stdin.take();
        let reports = Output::of(&mut process);
        let mut guard = Self {
            process,
            orders,
            reports,
        };
        guard.order(hello).await;
        guard
    }

    pub(crate) async fn ready(hello: &Value) -> Self {
        let mut guard = Self::greeted(hello).await;
        assert_eq!(guard.report().await["report"], "ready");
        guard
    }

    pub(crate) async fn order(&mut self, order: &Value) {
        let orders = self.orders.as_mut().unwrap();
        orders.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn report(&mut self) -> Value {
        let line = self.reports.next().await.expect("the guard ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Orders a start, without waiting for it.
    pub(crate) async fn launch(&mut self, key: u64, program: &str, args: &[&str]) {
        let env = json!({"STREAMKEEPER_STREAM": "radio-7"});
        self.order(&json!({"order": "start", "key": key, "program": program, "args": args, "env": env}))
            .await;
    }

    /// Orders the start of a shell script that ends with the lease, without waiting for it.
    pub(crate) async fn launch_exclusive(&mut self, key: u64, script: &str) {
        let args = json!(["-c", script]);
        self.order(&json!({"order": "start", "key": key, "program": "sh", "args": args, "env": {}, "exclusive": true}))
            .await;
    }

    /// Tells a lease that lasts so long from now on, and then what is left of it so much longer.
    pub(crate) async fn lease(&mut self, stop_in_ms: u64, kill_after_ms: u64) -> Lease {
        let stop_at = streamkeeper_worker::now().plus(stop_in_ms);
        let lease = Lease {
            stop_at,
            kill_at: stop_at.plus(kill_after_ms),
        };
        self.order(&json!({"order": "lease", "stop_at_ms": lease.stop_at.0, "kill_at_ms": lease.kill_at.0}))
            .await;
        lease
    }

    /// Starts a shell script and waits until it runs.
    pub(crate) async fn start(&mut self, key: u64, script: &str) -> i32 {
        self.launch(key, "sh", &["-c", script]).await;
        let report = self.report().await;
        assert_eq!(
            (&report["report"], &report["key"]),
            (&json!("started"), &json!(key)),
            "{report}"
        );
        i32::try_from(report["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) async fn stop(&mut self, key: u64, grace_ms: u64) {
        self.order(&json!({"order": "stop", "key": key, "grace_ms": grace_ms}))
            .await;
    }

    /// Waits for the end of a command; its status and its last words.
    pub(crate) async fn exited(&mut self, key: u64) -> (String, String) {
        let report = self.report().await;
        assert_eq!(
            (&report["report"], &report["key"]),
            (&json!("exited"), &json!(key)),
            "{report}"
        );
        let text = |field: &str| report[field].as_str().unwrap().to_owned();
        (text("status"), text("stderr"))
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.process.id().unwrap()).unwrap()
    }

    /// Closes the guard's input, as an agent does by dying.
    pub(crate) fn leave(&mut self) {
        self.orders = None;
    }

    /// Waits until the guard has ended in order.
    pub(crate) async fn over(mut self) {
        let status = timeout(DEADLINE, self.process.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }
}

/// A message server on a free port.
pub(crate) async fn nats(folder: &Path) -> (Child, String) {
    let program = ["/usr/sbin/nats-server", "/usr/local/bin/nats-server"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .unwrap_or("nats-server");
    let server = Command::new(program)
        .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
        .arg(folder)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let name = format!("nats-server_{}.ports", server.id().unwrap());
    let mut url = None;
    until("the server's port", || {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        let ports: Value = serde_json::from_str(&text).unwrap_or_default();
        url = ports["nats"][0].as_str().map(str::to_owned);
        url.is_some()
    })
    .await;
    (server, url.unwrap())
}
