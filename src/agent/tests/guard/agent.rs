//! A whole agent on a real message server, led by the test.

use std::path::Path;
use std::process::Stdio;

use async_nats::{Client, Subscriber};
use futures::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{DEADLINE, Tag, kill, nats, program};

/// Answers the heartbeats of the agent as a leader does.
pub(crate) struct Leader {
    client: Client,
    heartbeats: Subscriber,
    desired: Vec<Value>,
    generation: u64,
    pub(crate) lease_ms: u64,
}

impl Leader {
    pub(crate) async fn new(url: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let heartbeats = client.subscribe("sk.v1.heartbeat.w1").await.unwrap();
        client.flush().await.unwrap();
        Self {
            client,
            heartbeats,
            desired: Vec::new(),
            generation: 1,
            lease_ms: 15_000,
        }
    }

    fn want(&mut self, source: &str, epoch: i64) {
        self.want_all(&[("radio-7", source)], epoch);
    }

    /// Streams whose names begin with `only-` are exclusive.
    pub(crate) fn want_all(&mut self, streams: &[(&str, &str)], epoch: i64) {
        let labels = json!({"geo.region": "north sea"});
        let entry = |(stream, source): &(&str, &str)| {
            let ownership = if stream.starts_with("only-") {
                "exclusive"
            } else {
                "available"
            };
            let spec = json!({"source": source, "ownership": ownership, "labels": labels});
            json!({"stream": stream, "epoch": epoch, "action": "run", "spec": spec})
        };
        self.desired = streams.iter().map(entry).collect();
        self.generation += 1;
    }

    fn want_nothing(&mut self) {
        self.desired.clear();
        self.generation += 1;
    }

    /// Leads until a heartbeat fulfils the condition.
    pub(crate) async fn until(&mut self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let led = async {
            loop {
                let message = self.heartbeats.next().await.unwrap();
                let heartbeat: Value = rmp_serde::from_slice(&message.payload).unwrap();
                if condition(&heartbeat) {
                    return heartbeat;
                }
                let answer = json!({
                    "v": 1, "worker": "w1", "session": heartbeat["session"], "ack_seq": heartbeat["seq"],
                    "term": 1, "generation": self.generation, "lease_ms": self.lease_ms, "whole_inventory": true,
                    "kind": "desired", "part": 0, "parts": 1, "entries": self.desired,
                });
                let payload = rmp_serde::to_vec_named(&answer).unwrap();
                self.client
                    .publish("sk.v1.assign.w1", payload.into())
                    .await
                    .unwrap();
            }
        };
        timeout(DEADLINE, led)
            .await
            .unwrap_or_else(|_| panic!("never seen: {what}"))
    }
}

/// The only stream of a heartbeat's inventory.
fn stream(heartbeat: &Value) -> &Value {
    &heartbeat["inventory"]["running"][0]
}

pub(crate) fn agent(folder: &Path, url: &str, command: &str) -> Child {
    Command::new(program())
        .arg("agent")
        .arg(folder.join("state"))
        .args([url, command])
        .stdout(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_stream_runs_fails_restarts_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let mut leader = Leader::new(&url).await;
    let tag = Tag::new();
    // Tells what it was given in its last words, then lives on, or fails.
    let script = r#"echo "$0 $STREAMKEEPER_WORKER $STREAMKEEPER_EPOCH $1" >&2
        case $0 in live) exec sleep TAG;; esac; exit 4"#;
    let command = format!("sh -c '{}' {{source}} {{label.geo.region}}", tag.script(script));
    let mut process = agent(folder.path(), &url, &command);

    leader.want("rtsp://u:s3cret@h/it's $HOME", 4_294_967_297);
    let failing = leader
        .until("a failure", |beat| stream(beat)["restarts"].as_u64() >= Some(2))
        .await;
    let reason = stream(&failing)["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "exit status 4: rtsp://u:***@h/it's $HOME w1 4294967297 north sea"
    );

    leader.want("live", 4_294_967_298);
    let running =
        |beat: &Value| stream(beat)["state"] == "running" && stream(beat)["epoch"] == 4_294_967_298_i64;
    leader.until("a running stream", running).await;
    tag.until_count(1).await;

    leader.want_nothing();
    leader
        .until("nothing", |beat| beat["inventory"]["count"] == 0)
        .await;
    assert_eq!(tag.processes(), [0; 0]);

    leader.want("live", 4_294_967_299);
    leader
        .until("a running stream", |beat| stream(beat)["state"] == "running")
        .await;
    kill(i32::try_from(process.id().unwrap()).unwrap(), Signal::TERM);
    leader
        .until("an orderly end", |beat| beat["phase"] == "gone")
        .await;
    assert_eq!(tag.processes(), [0; 0]);
    assert!(
        timeout(DEADLINE, process.wait())
            .await
            .unwrap()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_killed_agent_is_superseded_only_when_nothing_of_it_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let mut leader = Leader::new(&url).await;
    let tag = Tag::new();
    let command = tag.script("sh -c \"trap '' TERM; env -i setsid sleep TAG & while :; do sleep TAG; done\"");
    let mut process = agent(folder.path(), &url, &command);
    leader.want("x", 4_294_967_297);
    let beat = leader
        .until("a running stream", |beat| stream(beat)["state"] == "running")
        .await;
    tag.until_count(3).await;
    process.kill().await.unwrap();
    let _next = agent(folder.path(), &url, &command);
    // The farewell of the first life and the first heartbeat of the second come in any order, but both only after
    // the last process of the first one.
    let session = beat["session"].clone();
    let next = leader
        .until("a next life", |next| next["session"] != session)
        .await;
    assert_eq!(tag.processes(), [0; 0]);
    assert_eq!(next["supersedes"], session);
}

#[tokio::test]
async fn the_guard_of_a_killed_agent_tells_its_death() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = nats(folder.path()).await;
    let mut leader = Leader::new(&url).await;
    let tag = Tag::new();
    let mut process = agent(folder.path(), &url, &tag.script("sleep TAG"));
    leader.want("x", 4_294_967_297);
    let beat = leader
        .until("a running stream", |beat| stream(beat)["state"] == "running")
        .await;
    process.kill().await.unwrap();
    let gone = leader.until("the farewell", |beat| beat["phase"] == "gone").await;
    assert_eq!(gone["session"], beat["session"]);
    assert_eq!(tag.processes(), [0; 0]);
}
