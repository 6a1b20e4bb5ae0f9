//! What a connection that is lost does to messages.

use std::sync::Arc;

use async_nats::jetstream;
use streamkeeper_orchestrator::adapter::nats::NatsBus;
use streamkeeper_orchestrator::port::{Bus, BusError};
use streamkeeper_protocol::{Assign, decode, encode};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::messages::{assign, beacon, heartbeat};
use super::proxy::Proxy;
use super::{Notes, connect, connected, freeze, settings};

/// Everything that workers are told, kept by the server itself: no subscriber can come too late.
async fn record(server: &NatsServer) {
    let client = async_nats::connect(server.url()).await.unwrap();
    let config = jetstream::stream::Config {
        name: "RECORD".to_owned(),
        subjects: vec!["sk.v1.assign.>".to_owned()],
        ..Default::default()
    };
    jetstream::new(client).create_stream(config).await.unwrap();
}

async fn recorded(server: &NatsServer) -> Vec<u64> {
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client).get_stream("RECORD").await.unwrap();
    let state = stream.cached_info().state.clone();
    let mut seqs = Vec::new();
    // An empty stream counts from 0, which is the number of no message.
    if state.messages == 0 {
        return seqs;
    }
    for number in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(number).await.unwrap();
        let assign: Assign = decode(&message.payload, None).unwrap();
        seqs.push(assign.ack_seq);
    }
    seqs
}

/// Sends one more message until it arrives, and sees that none of number 1 has come before.
async fn only_what_is_sent_now_arrives(bus: &NatsBus, server: &NatsServer) {
    let seqs = until(GENEROUS, async || {
        bus.assign(&assign(2, 1, 1), false)
            .map_err(|error| error.to_string())?;
        let seqs = recorded(server).await;
        if seqs.contains(&2) {
            Ok(seqs)
        } else {
            Err(format!("{seqs:?}"))
        }
    })
    .await
    .unwrap();
    assert!(seqs.iter().all(|seq| *seq == 2), "stale messages came: {seqs:?}");
}

#[tokio::test]
async fn what_was_sent_into_an_outage_never_arrives_late() {
    let mut server = NatsServer::start_with_jetstream().await;
    record(&server).await;
    let (bus, notes) = connect(settings(server.url())).await;
    // A frozen server reads nothing: messages pile up in the sockets, in the client and in the bus.
    freeze(&server, &bus).await;
    let stale = assign(1, 1_000, 600);
    let mut accepted = 0;
    until(GENEROUS, async || match bus.assign(&stale, false) {
        Ok(()) => {
            accepted += 1;
            Err(format!("{accepted} messages were accepted"))
        }
        Err(BusError::Disconnected) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await
    .unwrap();
    assert!(accepted > 20, "{accepted} messages are too few to prove anything");
    server.kill();
    server.restart().await;
    connected(&bus, true).await;
    only_what_is_sent_now_arrives(&bus, &server).await;
    assert_eq!(*notes.connections.lock().unwrap(), [true, false, true]);
}

#[tokio::test]
async fn heartbeats_arrive_again_after_a_restart_of_the_server() {
    let mut server = NatsServer::start().await;
    let (bus, notes) = connect(settings(server.url())).await;
    server.kill();
    connected(&bus, false).await;
    assert!(matches!(
        bus.beacon(&beacon("o-own")),
        Err(BusError::Disconnected)
    ));
    assert!(matches!(bus.ping().await, Err(BusError::Disconnected)));
    server.restart().await;
    connected(&bus, true).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let payload = encode(&heartbeat(5)).unwrap();
    client.publish("sk.v1.heartbeat.w", payload.into()).await.unwrap();
    assert_eq!(notes.heard(1).await, [5]);
    bus.ping().await.unwrap();
}

/// Waits until the bus has seen its connection go and come back.
async fn reconnected(notes: &Arc<Notes>) {
    until(GENEROUS, async || {
        let connections = notes.connections.lock().unwrap().clone();
        if connections == [true, false, true] {
            Ok(())
        } else {
            Err(format!("{connections:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn nothing_queued_survives_a_connection_that_is_back_at_once() {
    let server = NatsServer::start_with_jetstream().await;
    record(&server).await;
    let proxy = Proxy::start(server.port()).await;
    let (bus, notes) = connect(settings(proxy.url())).await;
    proxy.freeze();
    let stale = assign(1, 1_000, 600);
    let mut accepted = 0;
    while accepted < 40 && bus.assign(&stale, false).is_ok() {
        accepted += 1;
        // Lets the bus hand its queue to the client as far as that takes it.
        tokio::task::yield_now().await;
    }
    assert!(accepted > 20, "{accepted} messages are too few to prove anything");
    proxy.cut();
    reconnected(&notes).await;
    only_what_is_sent_now_arrives(&bus, &server).await;
}
