//! What a worker tells of many streams: performance beside a digest, and large heartbeats compressed.

use std::collections::BTreeMap;

use async_nats::Subscriber;
use futures::StreamExt;
use streamkeeper_protocol::{ControlKind, Heartbeat, decode};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::GENEROUS;
use tokio::time::timeout;

use super::fixture::{TestWorker, urls};
use super::leader::{FIRST_TERM, Leader};

#[tokio::test]
async fn performance_is_told_beside_a_digest_and_again_to_another_leader() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "measured 16000"), ("b", 6, "x")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a", "b"]).await;
    let told = leader
        .hear("performance", |heartbeat| !heartbeat.performance.is_empty())
        .await;
    let [measured] = &told.performance[..] else {
        panic!("{:?}", told.performance);
    };
    assert_eq!((measured.stream.as_str(), measured.epoch.counter()), ("a", 5));
    assert_eq!(measured.measured.bytes_per_second, Some(16_000));
    // Nothing changed since: digests without it.
    let after = leader
        .hear("a digest after that", |heartbeat| {
            heartbeat.seq > told.seq && heartbeat.inventory.parts == 0
        })
        .await;
    assert_eq!(after.performance, []);

    let next = Leader::start(&server.url(), "w", FIRST_TERM + 1).await;
    next.want(&[("a", 5, "measured 16000"), ("b", 6, "x")]);
    let again = next
        .hear("performance", |heartbeat| {
            heartbeat.applied.term.get() > FIRST_TERM && !heartbeat.performance.is_empty()
        })
        .await;
    assert_eq!(again.performance, told.performance);
    assert_eq!(worker.streams.starts().len(), 2);
}

/// Waits for a whole inventory that is compressed, or for one that is not.
async fn whole(leader: &Leader, heartbeats: &mut Subscriber, compressed: bool) {
    let waited = timeout(GENEROUS, async {
        loop {
            let message = heartbeats.next().await.unwrap();
            let heartbeat: Heartbeat = decode(&message.payload, Some(&leader.worker)).unwrap();
            let whole = heartbeat.inventory.running.len() == heartbeat.inventory.count as usize;
            let marked = message.payload[0] == 0x78;
            if whole && heartbeat.inventory.count > 100 && marked == compressed {
                assert!(heartbeat.zlib);
                return;
            }
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("no whole inventory came with compressed = {compressed}"));
}

/// Has the worker tell all of it again; it was told before what the leader understands.
async fn resync(leader: &Leader, id: &str) {
    let from = leader.heard().len();
    leader
        .hear("two answered heartbeats", |heartbeat| {
            leader.heard().len() >= from + 2 && heartbeat.seq > 0
        })
        .await;
    assert!(leader.order(id, FIRST_TERM, None, ControlKind::Resync).await.done);
}

#[tokio::test]
async fn large_heartbeats_are_compressed_while_a_leader_says_that_it_understands_them() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    let mut heartbeats = leader
        .client
        .subscribe(leader.subjects.heartbeat(&leader.worker))
        .await
        .unwrap();
    let names: BTreeMap<u32, String> = (0..300).map(|number| (number, format!("s{number:03}"))).collect();
    let streams: Vec<(&str, u32, &str)> = names
        .iter()
        .map(|(number, name)| {
            (
                name.as_str(),
                *number,
                "a source that is the same for all of them",
            )
        })
        .collect();
    leader.want(&streams);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    let all: Vec<&str> = names.values().map(String::as_str).collect();
    worker.streams.run_exactly(&all).await;

    whole(&leader, &mut heartbeats, true).await;
    leader.speak(false, false);
    resync(&leader, "1").await;
    whole(&leader, &mut heartbeats, false).await;
    leader.speak(true, false);
    resync(&leader, "2").await;
    whole(&leader, &mut heartbeats, true).await;
    // Its successor may be an older program, and has to hear the worker. Connecting anew, the worker tells all.
    leader.speak(true, true);
    whole(&leader, &mut heartbeats, false).await;
}
