//! Alerts that reach consumers which were away, and what a server without JetStream does with them.

use std::collections::BTreeSet;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt;
use reqwest::Method;
use serde_json::json;
use streamkeeper_orchestrator::adapter::nats::{NatsBus, NatsSettings};
use streamkeeper_orchestrator::port::Bus;
use streamkeeper_protocol::{Alert, AlertStatus, PROTOCOL_VERSION, Severity, decode};
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_tests::world::World;

use crate::nats_bus::server::Server;
use crate::nats_bus::{connect, connected, next, settings};

const STREAM: &str = "SK_ALERTS";
const DAY: u64 = 24 * 60 * 60;

fn alert(rule: &str, ended: bool) -> Alert {
    Alert {
        v: PROTOCOL_VERSION,
        status: if ended {
            AlertStatus::Resolved
        } else {
            AlertStatus::Firing
        },
        labels: [("alertname".to_owned(), rule.to_owned())].into(),
        annotations: [].into(),
        starts_at: "2026-01-01T00:00:00Z".to_owned(),
        ends_at: ended.then(|| "2026-01-01T00:01:00Z".to_owned()),
        fingerprint: format!("{:0>16}", rule.len()),
        incident: None,
        explained_by: None,
    }
}

async fn keep(bus: &NatsBus, rule: &str, ended: bool) {
    until(GENEROUS, async || {
        let kept = bus
            .keep_alert(Severity::Critical, rule, &alert(rule, ended))
            .await;
        kept.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
}

/// The stream, once it stands.
async fn stream(url: &str, name: &str) -> Stream {
    until(GENEROUS, async || {
        let client = async_nats::connect(url)
            .await
            .map_err(|error| error.to_string())?;
        let stream = jetstream::new(client).get_stream(name).await;
        stream.map_err(|error| error.to_string())
    })
    .await
    .unwrap()
}

/// What a consumer of this durable name has not seen yet, `count` messages at least.
async fn unseen(url: &str, count: usize) -> Vec<Message> {
    let config = pull::Config {
        durable_name: Some("pager".to_owned()),
        ..pull::Config::default()
    };
    let stream = stream(url, STREAM).await;
    let consumer = stream.get_or_create_consumer("pager", config).await.unwrap();
    let mut seen = Vec::new();
    let all = until(GENEROUS, async || {
        let mut batch = consumer.fetch().max_messages(100).messages().await.unwrap();
        while let Some(message) = batch.next().await {
            let message = message.unwrap();
            message.ack().await.unwrap();
            seen.push(message);
        }
        if seen.len() >= count {
            Ok(())
        } else {
            Err(format!("{} of {count} messages came", seen.len()))
        }
    })
    .await;
    all.unwrap();
    seen
}

fn told(messages: &[Message]) -> Vec<(String, AlertStatus)> {
    let read = |message: &Message| {
        let alert: Alert = decode(&message.payload, None).unwrap();
        (message.subject.to_string(), alert.status)
    };
    messages.iter().map(read).collect()
}

#[tokio::test]
async fn a_consumer_that_was_away_receives_firing_and_resolved_once() {
    let server = Server::with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    // It comes, and goes before anything happens.
    assert!(unseen(&server.url(), 0).await.is_empty());
    for ended in [false, false, true, true] {
        keep(&bus, "worker_lost", ended).await;
    }
    let messages = unseen(&server.url(), 2).await;
    let subject = "sk.v1.alert.critical.worker_lost".to_owned();
    let expected = [
        (subject.clone(), AlertStatus::Firing),
        (subject, AlertStatus::Resolved),
    ];
    assert_eq!(told(&messages), expected);
    let ids: Vec<&str> = messages
        .iter()
        .map(|message| {
            message
                .headers
                .as_ref()
                .unwrap()
                .get("Nats-Msg-Id")
                .unwrap()
                .as_str()
        })
        .collect();
    assert_eq!(
        ids,
        [
            "0000000000000011-firing-2026-01-01T00:00:00Z",
            "0000000000000011-resolved-2026-01-01T00:00:00Z",
        ]
    );
    assert!(unseen(&server.url(), 0).await.is_empty());
}

#[tokio::test]
async fn the_stream_has_limits_and_the_name_of_its_fleet() {
    let server = Server::with_jetstream().await;
    let (_one, _) = connect(settings(server.url())).await;
    let (_other, _) = connect(NatsSettings {
        prefix: "radio.eu".to_owned(),
        ..settings(server.url())
    })
    .await;
    for (name, subject) in [
        (STREAM, "sk.v1.alert.>"),
        ("SK_ALERTS_radio_eu", "radio.eu.v1.alert.>"),
    ] {
        let stream = stream(&server.url(), name).await;
        let config = &stream.cached_info().config;
        assert_eq!(config.subjects, [subject]);
        assert_eq!(config.max_age.as_secs(), 7 * DAY);
        assert_eq!(config.max_messages, 100_000);
        assert_eq!(config.storage, jetstream::stream::StorageType::File);
        assert_eq!(config.discard, jetstream::stream::DiscardPolicy::Old);
    }
}

#[tokio::test]
async fn a_server_that_comes_back_empty_keeps_alerts_again() {
    let mut server = Server::with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    keep(&bus, "worker_lost", false).await;
    server.come_back_empty().await;
    connected(&bus, true).await;
    // It stands before anything is sent.
    assert_eq!(
        stream(&server.url(), STREAM).await.cached_info().state.messages,
        0
    );
    keep(&bus, "worker_lost", false).await;
    assert_eq!(unseen(&server.url(), 1).await.len(), 1);
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_made_again() {
    let server = Server::with_jetstream().await;
    let (bus, _) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    stream(&server.url(), STREAM).await;
    jetstream::new(client).delete_stream(STREAM).await.unwrap();
    keep(&bus, "worker_lost", false).await;
    assert_eq!(unseen(&server.url(), 1).await.len(), 1);
}

#[tokio::test]
async fn a_stream_of_somebody_else_that_takes_them_in_is_enough() {
    let server = Server::with_jetstream().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let everything = Config {
        name: "EVERYTHING".to_owned(),
        subjects: vec!["sk.>".to_owned()],
        ..Config::default()
    };
    jetstream::new(client).create_stream(everything).await.unwrap();
    let (bus, _) = connect(settings(server.url())).await;
    keep(&bus, "worker_lost", false).await;
    let stream = stream(&server.url(), "EVERYTHING").await;
    let message = stream
        .get_last_raw_message_by_subject("sk.v1.alert.critical.worker_lost")
        .await;
    assert!(message.is_ok(), "{message:?}");
}

/// Alerts reach who listens at the time.
async fn reaches_listeners(settings: NatsSettings, client: Client) {
    let (bus, _) = connect(settings).await;
    let mut alerts = client.subscribe("sk.v1.alert.>").await.unwrap();
    // An answer to a request says that the subscription stands.
    let _ = client.request("nobody.listens.here", Vec::new().into()).await;
    for ended in [false, true] {
        keep(&bus, "worker_lost", ended).await;
        let message = next(&mut alerts).await;
        let alert: Alert = decode(&message.payload, None).unwrap();
        assert_eq!(alert.ends_at.is_some(), ended);
    }
}

#[tokio::test]
async fn without_jetstream_alerts_reach_who_listens() {
    let server = NatsServer::start().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    reaches_listeners(settings(server.url()), client).await;
}

#[tokio::test]
async fn where_jetstream_is_not_ours_alerts_reach_who_listens() {
    let jetstream = "jetstream { store_dir: \"{folder}/jetstream\" }";
    let forbidden = "authorization { users: [ { user: u, password: p, permissions: { publish: { deny: \"$JS.>\" } } } ] }";
    let other_account = "accounts { A { users: [ { user: u, password: p } ] }, B { jetstream: enabled } }";
    for rights in [forbidden, other_account] {
        let server = Server::start(&format!("{jetstream}\n{rights}")).await;
        let url = format!("nats://u:p@{}", server.address());
        let login = ConnectOptions::with_user_and_password("u".to_owned(), "p".to_owned());
        let client = login.connect(server.url()).await.unwrap();
        reaches_listeners(settings(url), client).await;
    }
}

#[tokio::test]
async fn a_stream_of_that_name_for_something_else_is_left_alone() {
    let server = Server::with_jetstream().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let other = Config {
        name: STREAM.to_owned(),
        subjects: vec!["other.v1.alert.>".to_owned()],
        ..Config::default()
    };
    jetstream::new(client.clone())
        .create_stream(other.clone())
        .await
        .unwrap();
    reaches_listeners(settings(server.url()), client).await;
    let stream = stream(&server.url(), STREAM).await;
    assert_eq!(stream.cached_info().config.subjects, other.subjects);
}

/// Rules and states of everything in the stream.
async fn kept(url: &str) -> BTreeSet<(String, bool)> {
    let stream = stream(url, STREAM).await;
    let state = stream.cached_info().state.clone();
    let mut found = BTreeSet::new();
    for number in state.first_sequence.max(1)..=state.last_sequence {
        let message = stream.get_raw_message(number).await.unwrap();
        let alert: Alert = decode(&message.payload, None).unwrap();
        found.insert((alert.labels["alertname"].clone(), alert.ends_at.is_some()));
    }
    found
}

async fn keeps(url: &str, rule: &str, ended: bool) {
    until(GENEROUS, async || {
        let found = kept(url).await;
        if found.contains(&(rule.to_owned(), ended)) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_fires_is_told_again_after_the_server_lost_it() {
    let world = World::new("alerts");
    let mut server = Server::with_jetstream().await;
    let url = server.url();
    let orchestrator =
        Orchestrator::start(&world, &["--nats", &url, "--set", "alerts.unplaced_after=100ms"]).await;
    // A stream without any worker.
    let change = json!({"streams": [{"name": "a", "source": "udp://239.0.0.1:5000"}]});
    let answer = orchestrator
        .api()
        .send(Method::PUT, "/api/v1/streams", Some(&change))
        .await;
    assert_eq!(answer.unwrap().status, 200);
    keeps(&url, "streams_unplaced", false).await;
    server.come_back_empty().await;
    keeps(&url, "streams_unplaced", false).await;
    assert!(!kept(&url).await.contains(&("streams_unplaced".to_owned(), true)));
    let change = json!({"streams": [], "delete": ["a"]});
    let answer = orchestrator
        .api()
        .send(Method::PUT, "/api/v1/streams", Some(&change))
        .await;
    assert_eq!(answer.unwrap().status, 200);
    keeps(&url, "streams_unplaced", true).await;
}
