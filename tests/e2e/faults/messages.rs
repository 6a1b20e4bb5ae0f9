//! Messages of tomorrow's version among those of today: they are refused, and nothing follows from them.

use std::time::Duration;

use serde_json::{Value, json};

const TOMORROW: u16 = 2;
const ROUNDS: u32 = 20;

/// Sends heartbeats, assigns and beacons of the next version in the name of an agent and of a leader, for a while.
pub(crate) async fn of_tomorrow(nats: &str, worker: &str, lasts: Duration) {
    let client = async_nats::connect(nats).await.expect("a message server");
    let messages = |seq: u32| -> [(String, Value); 3] {
        let session = "f".repeat(32);
        [
            (
                format!("sk.v1.heartbeat.{worker}"),
                json!({"v": TOMORROW, "worker": worker, "session": session, "seq": seq, "phase": "leaving", "gone": true}),
            ),
            (
                format!("sk.v1.assign.{worker}"),
                json!({"v": TOMORROW, "term": 1_000_000, "generation": 1, "desired": [], "shape": {"of": "tomorrow"}}),
            ),
            (
                "sk.v1.leader".to_owned(),
                json!({"v": TOMORROW, "term": 1_000_000, "leader": "tomorrow"}),
            ),
        ]
    };
    for seq in 1..=ROUNDS {
        for (subject, message) in messages(seq) {
            let bytes = rmp_serde::to_vec_named(&message).expect("MessagePack");
            client.publish(subject, bytes.into()).await.expect("it is sent");
        }
        client.flush().await.expect("it is sent");
        tokio::time::sleep(lasts / ROUNDS).await;
    }
}
