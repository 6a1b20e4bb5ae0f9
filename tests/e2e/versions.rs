//! Workers that are newer than the orchestrator: one of a newer minor version is led as any other, one of a newer major
//! version is refused by name.

use std::collections::BTreeMap;

use async_nats::Client;
use futures::StreamExt;
use serde_json::{Value, json};
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::client;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::tomorrow::of_a_newer_minor;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::{Duration, interval};
use tokio_util::task::AbortOnDropHandle;

const INTERVAL: Duration = Duration::from_millis(300);
const STREAMS: usize = 3;

/// A worker that knows nothing of this program's types.
struct Newcomer {
    name: &'static str,
    version: u16,
    seq: u64,
    applied: Value,
    inventory: u64,
    running: BTreeMap<String, Value>,
}

impl Newcomer {
    fn join(client: Client, name: &'static str, version: u16) -> AbortOnDropHandle<()> {
        let mut newcomer = Self {
            name,
            version,
            seq: 0,
            applied: json!({"term": 0, "generation": 0}),
            inventory: 1,
            running: BTreeMap::new(),
        };
        AbortOnDropHandle::new(tokio::spawn(async move {
            let assigns = client.subscribe(format!("sk.v1.assign.{name}")).await;
            let mut assigns = assigns.expect("subscribed");
            let mut ticks = interval(INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    Some(message) = assigns.next() => {
                        newcomer.obey(&rmp_serde::from_slice(&message.payload).expect("MessagePack"));
                    }
                }
                let bytes = rmp_serde::to_vec_named(&newcomer.heartbeat()).expect("MessagePack");
                let subject = format!("sk.v1.heartbeat.{name}");
                client
                    .publish(subject, of_a_newer_minor(&bytes).into())
                    .await
                    .expect("it is sent");
                ticks.reset();
            }
        }))
    }

    fn obey(&mut self, assign: &Value) {
        if assign["kind"] == "current" {
            return;
        }
        self.applied = json!({"term": assign["term"], "generation": assign["generation"]});
        if assign["kind"] == "desired" {
            self.inventory += 1;
            let entries = assign["entries"].as_array().into_iter().flatten();
            let named = entries.map(|entry| {
                (
                    entry["stream"].as_str().unwrap().to_owned(),
                    entry["epoch"].clone(),
                )
            });
            self.running = named.collect();
        }
    }

    fn heartbeat(&mut self) -> Value {
        self.seq += 1;
        let running = self.running.iter();
        let running: Vec<Value> = running
            .map(|(stream, epoch)| json!({"stream": stream, "epoch": epoch, "state": "running"}))
            .collect();
        json!({
            "v": self.version, "worker": self.name, "session": format!("{:032x}", 0xab), "seq": self.seq, "boot_id": "b",
            "applied": self.applied, "highest_term": self.applied["term"], "mode": "connected", "phase": "ready",
            "capacity": {"max_streams": 10, "weight": 10.0}, "version": "99.0",
            "inventory": {
                "version": self.inventory, "count": running.len(), "part": 0, "parts": 1, "running": running,
            },
        })
    }
}

#[tokio::test]
async fn a_newer_minor_version_is_led_and_a_newer_major_one_is_refused_by_name() {
    let world = World::new("versions");
    let server = NatsServer::start().await;
    let orchestrator = Orchestrator::start(&world, &["--nats", &server.url()]).await;
    let api = orchestrator.api();
    let connected = async_nats::connect(server.url()).await.unwrap();
    let _minor = Newcomer::join(connected.clone(), "minor", 1);
    let _major = Newcomer::join(connected, "major", 2);
    api.workers_alive(1).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("stream-{number}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    api.declare(&streams).await;
    let on = api.all_running(STREAMS).await;
    assert!(on.values().all(|on| on.worker == "minor"), "{on:?}");

    let refused = wait::until(wait::GENEROUS, async || {
        let answer = client().get(format!("{}/metrics", api.base())).send().await;
        let text = answer.map_err(|error| error.to_string())?.text().await;
        let text = text.map_err(|error| error.to_string())?;
        let counted = text
            .lines()
            .find_map(|line| line.strip_prefix("streamkeeper_messages_refused_total{reason=\"version\"} "));
        counted.map(ToOwned::to_owned).ok_or(text)
    });
    let refused = refused.await.unwrap_or_else(|reason| panic!("{reason}"));
    assert!(refused.parse::<u64>().unwrap() > 0, "{refused}");
    assert_eq!(
        api.list("workers").await.unwrap().len(),
        1,
        "the other never joined"
    );
    let log = orchestrator.process().output();
    assert!(
        log.contains("sk.v1.heartbeat.major") && log.contains("version"),
        "{log}"
    );
}
