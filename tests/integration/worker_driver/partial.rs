//! Connections of which one direction is dead.

use std::collections::BTreeSet;

use rustix::process::Signal;
use streamkeeper_protocol::{Mode, RunState};
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::wait::{GENEROUS, until};
use tempfile::TempDir;

use super::fixture::{TestWorker, urls};
use super::leader::{FIRST_TERM, Leader};

/// A server whose permissions change while connections stand.
struct Guarded {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let (config, log) = (folder.path().join("nats.conf"), folder.path().join("log"));
        std::fs::write(&config, settings(port, "")).unwrap();
        let process = Process::spawn("nats-server", &find_program("nats-server"), &log, |command| {
            command.arg("--config").arg(&config);
        });
        let server = Self {
            process,
            port,
            folder,
        };
        let up = until(GENEROUS, async || {
            let answer = async_nats::connect(server.url("")).await;
            answer.map_err(|error| error.to_string())
        });
        up.await.unwrap();
        server
    }

    fn url(&self, login: &str) -> String {
        format!("nats://{login}127.0.0.1:{}", self.port)
    }

    /// The worker may no more do this, or everything again.
    fn permit(&self, permissions: &str) {
        let config = self.folder.path().join("nats.conf");
        std::fs::write(config, settings(self.port, permissions)).unwrap();
        self.process.signal(Signal::HUP);
    }

    /// The connections on which the worker was refused something.
    fn refused(&self) -> BTreeSet<String> {
        let text = self.process.output();
        let lines = text
            .lines()
            .filter(|line| line.contains("Violation - User \"w\""));
        let connection = |line: &str| line.split("cid:").nth(1)?.split(' ').next().map(str::to_owned);
        lines.filter_map(connection).collect()
    }
}

fn settings(port: u16, permissions: &str) -> String {
    format!(
        r#"listen: "127.0.0.1:{port}"
           no_auth_user: leader
           authorization {{ users: [
               {{ user: leader, password: pass }}
               {{ user: w, password: pass, permissions: {{ {permissions} }} }}
           ] }}"#
    )
}

/// One direction dies and comes back; the worker finds its way without touching what runs.
async fn a_dead_direction_is_noticed(permissions: &str) {
    let server = Guarded::start().await;
    let leader = Leader::start(&server.url(""), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "x")]);
    let worker = TestWorker::start("w", urls(&server.url("w:pass@")), None);
    leader.hear_stream("a", RunState::Running).await;

    server.permit(permissions);
    let from = leader.heard().len();
    leader.want(&[("a", 5, "x"), ("b", 6, "y")]);
    let renewed = until(GENEROUS, async || match server.refused() {
        connections if connections.len() > 1 => Ok(()),
        connections => Err(format!("refused were only {connections:?}")),
    });
    renewed.await.unwrap();
    server.permit("");
    worker.streams.run_exactly(&["a", "b"]).await;
    assert_eq!(worker.streams.starts().len(), 2, "nothing was restarted");
    let local = leader
        .heard()
        .into_iter()
        .skip(from)
        .any(|heartbeat| heartbeat.mode == Mode::Local);
    assert!(
        local,
        "the first heartbeat of the new connection tells that no leader was heard"
    );
}

#[tokio::test]
async fn a_worker_that_hears_nothing_connects_anew() {
    a_dead_direction_is_noticed(r#"subscribe: { deny: ["sk.v1.assign.>"] }"#).await;
}

#[tokio::test]
async fn a_worker_that_is_not_heard_connects_anew() {
    a_dead_direction_is_noticed(r#"publish: { deny: ["sk.v1.heartbeat.>"] }"#).await;
}
