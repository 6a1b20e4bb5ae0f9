//! The leader's key on a real nats-server: compare-and-set, lost data, lost answers.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use rustix::process::Signal;
use streamkeeper_core::election::{Found, WriteOutcome};
use streamkeeper_orchestrator::port::LeaderKey;
use streamkeeper_protocol::{LeaderRecord, OrchestratorId, PROTOCOL_VERSION, Term};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::proxy::Proxy;
use super::server::Server;
use super::{connect, connected, freeze, settings};

const SUBJECT: &str = "$KV.SK_LEADER.leader";

fn record(nonce: u64) -> LeaderRecord {
    LeaderRecord {
        v: PROTOCOL_VERSION,
        term: Term::new(16).unwrap(),
        nonce,
        leader: OrchestratorId::new("o-own").unwrap(),
        released: false,
        lease_ms: 6_000,
    }
}

fn found(revision: u64, nonce: u64) -> Found {
    let record = record(nonce);
    Found::Record { revision, record }
}

const fn stored(revision: u64) -> WriteOutcome {
    WriteOutcome::Stored { revision }
}

/// Looks until there is an answer: the connection may be coming back.
async fn look(key: &impl LeaderKey) -> Found {
    until(GENEROUS, async || match key.read().await {
        Found::Failed => Err("no answer".to_owned()),
        found => Ok(found),
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn of_two_writers_who_saw_the_same_one_wins() {
    let server = NatsServer::start_with_jetstream().await;
    let (first, _) = connect(settings(server.url())).await;
    let (second, _) = connect(settings(server.url())).await;
    let (first, second) = (first.leader_key(), second.leader_key());
    assert_eq!(first.read().await, Found::Absent { revision: 0 });
    let (mine, others) = (record(1), record(2));
    let (one, other) = tokio::join!(first.write(&mine, 0), second.write(&others, 0));
    let winner = match (one, other) {
        (WriteOutcome::Stored { revision: 1 }, WriteOutcome::Conflict) => 1,
        (WriteOutcome::Conflict, WriteOutcome::Stored { revision: 1 }) => 2,
        outcomes => panic!("{outcomes:?}"),
    };
    assert_eq!(second.read().await, found(1, winner));
    assert_eq!(second.write(&record(3), 1).await, stored(2));
    assert_eq!(first.write(&record(4), 1).await, WriteOutcome::Conflict);
    assert_eq!(first.read().await, found(2, 3));
}

#[tokio::test]
async fn a_write_is_heard_of_at_once() {
    let server = NatsServer::start_with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let (other, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    // The connection itself is a reason to look; then each write is.
    key.changed().await;
    let other = other.leader_key();
    let mut expect = 0;
    let seen = until(GENEROUS, async || {
        // The subscription may not stand yet: whoever writes repeats.
        expect += u64::from(other.write(&record(expect + 1), expect).await == stored(expect + 1));
        let changed = tokio::time::timeout(std::time::Duration::from_millis(500), key.changed());
        changed
            .await
            .map_err(|_| format!("{expect} writes were not heard of"))
    });
    seen.await.unwrap();
    assert_eq!(key.read().await, found(expect, expect));
}

#[tokio::test]
async fn what_operators_do_to_the_key_is_understood() {
    let server = NatsServer::start_with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    assert_eq!(key.write(&record(1), 0).await, stored(1));
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut deletion = HeaderMap::new();
    deletion.insert("KV-Operation", "DEL");
    let sent = context.publish_with_headers(SUBJECT, deletion, "".into()).await;
    sent.unwrap().await.unwrap();
    assert_eq!(key.read().await, Found::Absent { revision: 2 });
    assert_eq!(key.write(&record(2), 0).await, WriteOutcome::Conflict);
    assert_eq!(key.write(&record(2), 2).await, stored(3));
    context
        .publish(SUBJECT, "no record".into())
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(key.read().await, Found::Garbled { revision: 4 });
    context.delete_stream("KV_SK_LEADER").await.unwrap();
    assert_eq!(look(&key).await, Found::Absent { revision: 0 });
    assert_eq!(key.write(&record(3), 0).await, stored(1));
}

#[tokio::test]
async fn a_server_that_lost_everything_gets_its_bucket_again() {
    let mut server = Server::with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    for revision in 1..4 {
        assert_eq!(key.write(&record(revision), revision - 1).await, stored(revision));
    }
    server.come_back_empty().await;
    assert_eq!(look(&key).await, Found::Absent { revision: 0 });
    assert_eq!(key.write(&record(9), 3).await, WriteOutcome::Conflict);
    assert_eq!(key.write(&record(9), 0).await, stored(1));
}

#[tokio::test]
async fn the_key_survives_a_restart_of_the_server() {
    let mut server = NatsServer::start_with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    assert_eq!(key.write(&record(1), 0).await, stored(1));
    server.restart().await;
    assert_eq!(look(&key).await, found(1, 1));
    assert_eq!(key.write(&record(2), 1).await, stored(2));
}

#[tokio::test]
async fn a_write_without_an_answer_is_found_by_its_nonce() {
    let server = NatsServer::start_with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    assert_eq!(key.write(&record(1), 0).await, stored(1));
    freeze(&server, &bus).await;
    assert_eq!(key.write(&record(2), 1).await, WriteOutcome::Unknown);
    assert_eq!(key.read().await, Found::Failed);
    server.process().signal(Signal::CONT);
    let seen = until(GENEROUS, async || match key.read().await {
        found if found == self::found(2, 2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    seen.await.unwrap();
}

#[tokio::test]
async fn a_cut_connection_leaves_nothing_to_come_late() {
    let server = NatsServer::start_with_jetstream().await;
    let proxy = Proxy::start(server.port()).await;
    let (bus, _) = connect(settings(proxy.url())).await;
    let key = bus.leader_key();
    assert_eq!(key.write(&record(1), 0).await, stored(1));
    proxy.freeze();
    let lost = record(2);
    let (outcome, ()) = tokio::join!(key.write(&lost, 1), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        proxy.cut();
    });
    assert_eq!(outcome, WriteOutcome::Unknown);
    connected(&bus, true).await;
    assert_eq!(look(&key).await, found(1, 1));
    assert_eq!(key.write(&record(3), 1).await, stored(2));
}

#[tokio::test]
async fn what_was_asked_over_a_lost_connection_never_comes_over_the_next() {
    let mut server = NatsServer::start_with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let key = bus.leader_key();
    assert_eq!(key.write(&record(1), 0).await, stored(1));
    // The server is frozen, and dies before it reads the write: only the client could send it again.
    freeze(&server, &bus).await;
    assert_eq!(key.write(&record(2), 1).await, WriteOutcome::Unknown);
    server.restart().await;
    connected(&bus, true).await;
    for _ in 0..5 {
        assert_eq!(look(&key).await, found(1, 1));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(key.write(&record(3), 1).await, stored(2));
}

#[tokio::test]
async fn a_bucket_that_forgets_and_a_server_that_keeps_nothing_are_no_place_for_terms() {
    let server = NatsServer::start_with_jetstream().await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let forgets = stream::Config {
        name: "KV_SK_LEADER".to_owned(),
        subjects: vec!["$KV.SK_LEADER.>".to_owned()],
        max_age: std::time::Duration::from_secs(60),
        ..Default::default()
    };
    context.create_stream(forgets).await.unwrap();
    let keeps_nothing = NatsServer::start().await;
    for url in [server.url(), keeps_nothing.url()] {
        let (bus, _) = connect(settings(url)).await;
        let key = bus.leader_key();
        assert_eq!(key.read().await, Found::Failed);
        assert_eq!(key.write(&record(1), 0).await, WriteOutcome::Unknown);
    }
}
