//! Large messages, compressed for who understands that.

use streamkeeper_protocol::{Assign, Heartbeat, StreamId, StreamPerformance, decode, encode};

use super::*;

#[tokio::test]
async fn a_large_set_is_compressed_only_for_who_understands_it() {
    let server = NatsServer::start().await;
    let (bus, _) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut sets = client.subscribe("sk.v1.assign.w").await.unwrap();
    client.flush().await.unwrap();
    let (large, small) = (assign(7, 2_000, 60), assign(8, 1, 60));
    let mut sizes = Vec::new();
    for (sent, compressed) in [(&large, false), (&large, true), (&small, true)] {
        bus.assign(sent, compressed).unwrap();
        let message = next(&mut sets).await;
        let heard: Assign = decode(&message.payload, Some(&worker())).unwrap();
        assert!(heard.entries == sent.entries, "{compressed}");
        let marked = message.payload[0] == 0x78;
        assert_eq!(marked, compressed && sent.entries.len() > 1, "{compressed}");
        sizes.push(message.payload.len());
    }
    assert!(sizes[1] * 4 < sizes[0], "{sizes:?}");
}

#[tokio::test]
async fn a_compressed_heartbeat_is_heard() {
    let server = NatsServer::start().await;
    let (_bus, notes) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let performance = (0..1_000)
        .map(|number| StreamPerformance {
            stream: StreamId::new(format!("s{number}")).unwrap(),
            epoch: streamkeeper_protocol::Epoch::ZERO,
            measured: Default::default(),
        })
        .collect();
    let told = Heartbeat {
        performance,
        ..heartbeat(3)
    };
    let payload = compress(encode(&told).unwrap());
    assert_eq!(payload[0], 0x78);
    client.publish("sk.v1.heartbeat.w", payload.into()).await.unwrap();
    assert_eq!(notes.heard(1).await, [3]);
    assert!(notes.heartbeats.lock().unwrap()[0] == told);
}
