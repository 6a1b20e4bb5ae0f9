//! The bus on a real nats-server.

mod access;
mod keys;
mod large;
mod leader_key;
mod lines;
mod messages;
mod outage;
mod proxy;
pub(crate) mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use rustix::process::Signal;
use streamkeeper_orchestrator::adapter::nats::{NatsBus, NatsError, NatsSettings};
use streamkeeper_orchestrator::port::{Bus, BusError, Inbox};
use streamkeeper_protocol::{
    Assign, Beacon, Control, ControlReply, Heartbeat, OrchestratorId, PROTOCOL_VERSION, SessionId, Severity,
    WorkerId, compress, decode, encode, limit,
};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::wait::{GENEROUS, until};

use self::messages::{alert, beacon, event, order, worker};
pub(crate) use self::messages::{assign, heartbeat};
use self::server::Server;

/// Writes down what it is handed.
#[derive(Default)]
pub(crate) struct Notes {
    heartbeats: Mutex<Vec<Heartbeat>>,
    beacons: Mutex<Vec<Beacon>>,
    connections: Mutex<Vec<bool>>,
}

impl Inbox for Notes {
    fn heartbeats(&self, batch: Vec<Heartbeat>) {
        self.heartbeats.lock().unwrap().extend(batch);
    }

    fn beacon(&self, beacon: Beacon) {
        self.beacons.lock().unwrap().push(beacon);
    }

    fn connection(&self, connected: bool) {
        self.connections.lock().unwrap().push(connected);
    }

    fn disconnected(&self, _worker: WorkerId, _session: SessionId) {}
}

impl Notes {
    /// The numbers of the heartbeats so far, once there are as many.
    pub(crate) async fn heard(&self, count: usize) -> Vec<u64> {
        until(GENEROUS, async || {
            let heartbeats = self.heartbeats.lock().unwrap();
            let seqs: Vec<u64> = heartbeats.iter().map(|heartbeat| heartbeat.seq).collect();
            if seqs.len() >= count {
                Ok(seqs)
            } else {
                Err(format!("{seqs:?} were heard, {count} are wanted"))
            }
        })
        .await
        .unwrap()
    }
}

pub(crate) fn settings(url: String) -> NatsSettings {
    NatsSettings {
        urls: vec![url],
        name: "test".to_owned(),
        connect_timeout: GENEROUS,
        ..NatsSettings::default()
    }
}

pub(crate) async fn connect(settings: NatsSettings) -> (NatsBus, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    let own = OrchestratorId::new("o-own").unwrap();
    let bus = NatsBus::connect(settings, notes.clone(), own).await.unwrap();
    assert!(bus.connected());
    (bus, notes)
}

/// The next message of a subscription.
pub(crate) async fn next(subscriber: &mut Subscriber) -> Message {
    let message = tokio::time::timeout(GENEROUS, subscriber.next());
    message.await.expect("no message came").unwrap()
}

pub(crate) async fn connected(bus: &NatsBus, wanted: bool) {
    until(GENEROUS, async || {
        (bus.connected() == wanted)
            .then_some(())
            .ok_or_else(|| format!("connected is not {wanted}"))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_large_desired_set_arrives_whole_in_parts() {
    let server = NatsServer::start().await;
    let (bus, _) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut parts = client.subscribe("sk.v1.assign.w").await.unwrap();
    client.flush().await.unwrap();
    let sent = assign(7, 30_000, 60);
    until(GENEROUS, async || {
        // The subscription may not stand yet: whoever sends repeats.
        bus.assign(&sent, false).unwrap();
        let first = tokio::time::timeout(Duration::from_millis(200), parts.next()).await;
        let Ok(Some(message)) = first else {
            return Err("no part came".to_owned());
        };
        let first: Assign = decode(&message.payload, Some(&worker())).unwrap();
        let mut entries = first.entries;
        for number in 1..first.parts {
            let message = next(&mut parts).await;
            let part: Assign = decode(&message.payload, Some(&worker())).unwrap();
            assert_eq!(
                (part.part, part.parts, part.ack_seq),
                (number, first.parts, sent.ack_seq)
            );
            entries.extend(part.entries);
        }
        assert!(
            first.parts > 1,
            "the set is too small to prove anything: {} part",
            first.parts
        );
        assert!(entries == sent.entries, "the set is not whole");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn bad_heartbeats_are_refused_and_the_next_good_one_arrives() {
    // A server that takes larger messages than we do.
    let server = Server::start("max_payload: 16MB").await;
    let (_bus, notes) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let good = encode(&heartbeat(1)).unwrap();
    let changed = |change: &dyn Fn(&mut Heartbeat)| {
        let mut heartbeat = heartbeat(1);
        change(&mut heartbeat);
        encode(&heartbeat).unwrap()
    };
    let mut trailing = good.clone();
    trailing.push(0);
    let large = compress(encode(&assign(1, 1_000, 60)).unwrap());
    let bad: [(&str, &str, Vec<u8>); 12] = [
        ("cut off", "sk.v1.heartbeat.w", large[..large.len() / 2].to_vec()),
        ("another message", "sk.v1.heartbeat.w", large),
        (
            "a bomb",
            "sk.v1.heartbeat.w",
            compress(vec![0; limit::MAX_MESSAGE_BYTES + 1]),
        ),
        ("garbage", "sk.v1.heartbeat.w", b"garbage".to_vec()),
        ("empty", "sk.v1.heartbeat.w", Vec::new()),
        ("nested", "sk.v1.heartbeat.w", vec![0x91; 100_000]),
        (
            "too large",
            "sk.v1.heartbeat.w",
            vec![0xc0; limit::MAX_MESSAGE_BYTES + 1],
        ),
        ("trailing", "sk.v1.heartbeat.w", trailing),
        ("spoofed", "sk.v1.heartbeat.other", good.clone()),
        ("no worker", "sk.v1.heartbeat.a$b", good.clone()),
        (
            "version",
            "sk.v1.heartbeat.w",
            changed(&|heartbeat| heartbeat.v = 99),
        ),
        (
            "limit",
            "sk.v1.heartbeat.w",
            changed(&|heartbeat| heartbeat.seq = 0),
        ),
    ];
    for (what, subject, payload) in bad {
        client
            .publish(subject, payload.into())
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    client
        .publish("sk.v1.heartbeat.w", encode(&heartbeat(2)).unwrap().into())
        .await
        .unwrap();
    assert_eq!(notes.heard(1).await, [2]);
}

#[tokio::test]
async fn beacons_of_others_arrive_and_own_ones_do_not() {
    let server = NatsServer::start().await;
    let (bus, notes) = connect(settings(server.url())).await;
    bus.beacon(&beacon("o-own")).unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    for payload in [b"garbage".to_vec(), encode(&beacon("o-own")).unwrap()] {
        client.publish("sk.v1.leader", payload.into()).await.unwrap();
    }
    until(GENEROUS, async || {
        let payload = encode(&beacon("o-other")).unwrap();
        client.publish("sk.v1.leader", payload.into()).await.unwrap();
        let beacons = notes.beacons.lock().unwrap();
        beacons.first().cloned().ok_or_else(|| "no beacon".to_owned())
    })
    .await
    .unwrap();
    let beacons = notes.beacons.lock().unwrap();
    assert!(
        beacons.iter().all(|beacon| beacon.leader.as_str() == "o-other"),
        "{beacons:?}"
    );
}

#[tokio::test]
async fn control_tells_no_listener_from_silence_from_nonsense_from_an_answer() {
    let server = NatsServer::start().await;
    let (bus, _) = connect(settings(server.url())).await;
    let nobody = bus.control(&order("1"), GENEROUS).await;
    assert!(
        matches!(&nobody, Err(BusError::NoResponders(subject)) if subject == "sk.v1.control.w"),
        "{nobody:?}"
    );

    let client = async_nats::connect(server.url()).await.unwrap();
    let mut orders = client.subscribe("sk.v1.control.w").await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = orders.next().await {
            let control: Control = decode(&message.payload, Some(&worker())).unwrap();
            let mut reply = ControlReply {
                v: PROTOCOL_VERSION,
                id: control.id.clone(),
                done: true,
                reason: None,
            };
            let answer = match control.id.as_str() {
                "silence" => continue,
                "nonsense" => b"nonsense".to_vec(),
                "other" => {
                    reply.id = "another".to_owned();
                    encode(&reply).unwrap()
                }
                _ => encode(&reply).unwrap(),
            };
            client
                .publish(message.reply.unwrap(), answer.into())
                .await
                .unwrap();
        }
    });
    let answer = until(GENEROUS, async || {
        let answer = bus.control(&order("good"), GENEROUS).await;
        answer.map_err(|error| error.to_string())
    })
    .await
    .unwrap();
    assert!(answer.done && answer.id == "good", "{answer:?}");
    let silence = bus.control(&order("silence"), Duration::from_millis(50)).await;
    assert!(matches!(silence, Err(BusError::Timeout { .. })), "{silence:?}");
    for id in ["nonsense", "other"] {
        let answer = bus.control(&order(id), GENEROUS).await;
        assert!(matches!(answer, Err(BusError::BadAnswer { .. })), "{answer:?}");
    }
}

/// Freezes the server. The signal takes a moment to reach all its threads: it is frozen when a ping finds it so.
async fn freeze(server: &NatsServer, bus: &NatsBus) {
    server.process().signal(Signal::STOP);
    until(GENEROUS, async || match bus.ping().await {
        Err(BusError::Timeout { .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_frozen_server_does_not_answer_a_ping() {
    let server = NatsServer::start().await;
    let (bus, _) = connect(settings(server.url())).await;
    bus.ping().await.unwrap();
    freeze(&server, &bus).await;
}

#[tokio::test]
async fn what_is_queued_is_sent_before_the_bus_closes() {
    let server = NatsServer::start().await;
    let (bus, notes) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut messages = client.subscribe("sk.v1.>").await.unwrap();
    let own = client.new_inbox();
    let mut barrier = client.subscribe(own.clone()).await.unwrap();
    client.publish(own, Vec::new().into()).await.unwrap();
    next(&mut barrier).await;

    for rule in ["a.b", "a b", "*", ""] {
        let refused = bus.alert(Severity::Critical, rule, &alert(rule));
        assert!(
            matches!(&refused, Err(BusError::Unsendable(text)) if text.contains(&format!("{rule:?}"))),
            "{refused:?}"
        );
        let refused = bus.event(&event(rule));
        assert!(matches!(refused, Err(BusError::Unsendable(_))), "{refused:?}");
    }
    bus.alert(Severity::Critical, "worker_lost", &alert("worker_lost"))
        .unwrap();
    bus.event(&event("moved")).unwrap();
    bus.close().await;
    let mut subjects = Vec::new();
    for _ in 0..2 {
        subjects.push(next(&mut messages).await.subject.to_string());
    }
    assert_eq!(
        subjects,
        ["sk.v1.alert.critical.worker_lost", "sk.v1.event.moved"]
    );
    assert!(matches!(bus.event(&event("late")), Err(BusError::Disconnected)));
    assert_eq!(*notes.connections.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn service_discovery_finds_the_orchestrator() {
    let server = NatsServer::start().await;
    let (_bus, _) = connect(settings(server.url())).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    for verb in ["PING", "INFO", "STATS"] {
        let subject = format!("$SRV.{verb}.streamkeeper");
        let answer = client.request(subject, Vec::new().into()).await.unwrap();
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(text.contains(r#""name":"streamkeeper""#), "{verb}: {text}");
        assert!(verb == "STATS" || text.contains("o-own"), "{verb}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_its_password() {
    let mut wrong = settings(format!("nats://user:secret@127.0.0.1:{}", free_port()));
    wrong.connect_timeout = Duration::from_millis(300);
    let own = OrchestratorId::new("o").unwrap();
    let error = NatsBus::connect(wrong, Arc::new(Notes::default()), own)
        .await
        .unwrap_err();
    assert!(matches!(error, NatsError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    for part in ["nats://127.0.0.1:", "refused", "nats.urls"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("secret"), "{text}");
}
