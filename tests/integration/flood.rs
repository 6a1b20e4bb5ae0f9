//! A flood of messages that nobody should send, beside two workers that behave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use streamkeeper_orchestrator::adapter::nats::NatsBus;
use streamkeeper_orchestrator::port::{Bus, Inbox};
use streamkeeper_protocol::{Beacon, Heartbeat, OrchestratorId, SessionId, WorkerId, encode, limit};
use streamkeeper_tests::wait::{GENEROUS, until};
use tokio::time::MissedTickBehavior;

use crate::nats_bus::server::Server;
use crate::nats_bus::{heartbeat, settings};

/// Bad messages in all: 10,000 a second for 5 seconds, as far as the machine keeps up.
const FLOOD: usize = 50_000;
const BURST: usize = 100;
const BURST_INTERVAL: Duration = Duration::from_millis(10);
/// Of the bad ones, every so many is larger than what is decoded at all. Few, because each has 8 MiB.
const OVERSIZED_EVERY: usize = 5_000;
/// Good heartbeats of each worker, over the same 5 seconds.
const GOOD: u64 = 25;
const GOOD_INTERVAL: Duration = Duration::from_millis(200);
const WORKERS: [&str; 2] = ["good-1", "good-2"];

/// Numbers of the heartbeats that were handed over, by worker.
#[derive(Default)]
struct Heard(Mutex<BTreeMap<String, Vec<u64>>>);

impl Inbox for Heard {
    fn heartbeats(&self, batch: Vec<Heartbeat>) {
        let mut heard = self.0.lock().unwrap();
        for heartbeat in batch {
            heard
                .entry(heartbeat.worker.to_string())
                .or_default()
                .push(heartbeat.seq);
        }
    }

    fn beacon(&self, _beacon: Beacon) {}

    fn connection(&self, _connected: bool) {}

    fn disconnected(&self, _worker: WorkerId, _session: SessionId) {}
}

fn of(worker: &str, seq: u64) -> Heartbeat {
    Heartbeat {
        worker: WorkerId::new(worker).unwrap(),
        ..heartbeat(seq)
    }
}

/// Bad messages by the reason for which they are refused: subject and payload.
fn bad() -> [(&'static str, &'static str, Vec<u8>); 8] {
    let own = "sk.v1.heartbeat.good-1";
    let good = encode(&of("good-1", 1_000)).unwrap();
    let changed = |change: &dyn Fn(&mut Heartbeat)| {
        let mut heartbeat = of("good-1", 1_000);
        change(&mut heartbeat);
        encode(&heartbeat).unwrap()
    };
    let mut trailing = good.clone();
    trailing.push(0);
    [
        ("malformed", own, b"\xc1 garbage \xff".to_vec()),
        // Deep enough to overflow the stack of who decodes it carelessly.
        ("malformed", own, vec![0x91; 10_000]),
        ("version", own, changed(&|heartbeat| heartbeat.v = 99)),
        ("spoofed", "sk.v1.heartbeat.good-2", good.clone()),
        ("trailing", own, trailing),
        ("damaged", own, b"\x78\x9c garbage".to_vec()),
        ("limit", own, changed(&|heartbeat| heartbeat.seq = 0)),
        ("subject", "sk.v1.heartbeat.no$worker", good),
    ]
}

/// Sends the flood, and says how many of each reason were sent.
async fn flood(client: Client) -> BTreeMap<&'static str, usize> {
    let bad = bad();
    let oversized = vec![0xc0; limit::MAX_MESSAGE_BYTES + 1];
    let mut sent = BTreeMap::new();
    let mut burst = tokio::time::interval(BURST_INTERVAL);
    burst.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0..FLOOD {
        if number % BURST == 0 {
            burst.tick().await;
        }
        let (reason, subject, payload) = if number % OVERSIZED_EVERY == 0 {
            ("too_large", "sk.v1.heartbeat.good-1", oversized.clone())
        } else {
            bad[number % bad.len()].clone()
        };
        client.publish(subject, payload.into()).await.unwrap();
        *sent.entry(reason).or_default() += 1;
    }
    client.flush().await.unwrap();
    sent
}

async fn behave(client: Client) {
    let mut interval = tokio::time::interval(GOOD_INTERVAL);
    for seq in 1..=GOOD {
        interval.tick().await;
        for worker in WORKERS {
            let payload = encode(&of(worker, seq)).unwrap();
            client
                .publish(format!("sk.v1.heartbeat.{worker}"), payload.into())
                .await
                .unwrap();
        }
    }
    client.flush().await.unwrap();
}

/// How many were refused, by reason, as the metrics page says.
fn refused(page: &PrometheusHandle) -> BTreeMap<String, usize> {
    let page = page.render();
    let counts = page.lines().filter_map(|line| {
        let (reason, count) = line
            .strip_prefix("streamkeeper_messages_refused_total{reason=\"")?
            .split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    counts.collect()
}

/// On one thread, so that its recorder sees everything that the bus counts, and nothing of other tests.
#[tokio::test]
async fn a_flood_is_counted_by_reason_and_drowns_no_heartbeat() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _local = ::metrics::set_default_local_recorder(&recorder);
    let server = Server::start("max_payload: 16MB\nmax_pending: 256MB").await;
    let heard = Arc::new(Heard::default());
    let own = OrchestratorId::new("o").unwrap();
    let bus = NatsBus::connect(settings(server.url()), heard.clone(), own)
        .await
        .unwrap();

    let friend = async_nats::connect(server.url()).await.unwrap();
    // The enemy has a thread of its own, so that it does not wait for whom it attacks.
    let url = server.url();
    let flooding = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { flood(async_nats::connect(url).await.unwrap()).await })
    });
    behave(friend).await;
    let sent: BTreeMap<String, usize> = tokio::task::spawn_blocking(|| flooding.join().unwrap())
        .await
        .unwrap()
        .into_iter()
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect();
    assert_eq!(sent.values().sum::<usize>(), FLOOD);

    let outcome = until(GENEROUS, async || {
        let counted = refused(&page);
        if counted == sent {
            Ok(())
        } else {
            Err(format!("counted {counted:?}\nsent {sent:?}"))
        }
    })
    .await;
    outcome.unwrap();
    let expected: Vec<u64> = (1..=GOOD).collect();
    let heard = heard.0.lock().unwrap().clone();
    assert_eq!(heard.len(), WORKERS.len(), "{heard:?}");
    for worker in WORKERS {
        assert_eq!(heard[worker], expected, "{worker}");
    }
    let text = page.render();
    assert!(text.contains("streamkeeper_nats_connected 1"), "{text}");
    assert!(text.contains("streamkeeper_nats_connects_total 1"), "{text}");
    assert!(!text.contains("streamkeeper_nats_slow_consumer_total"), "{text}");
    assert!(bus.connected());
}
