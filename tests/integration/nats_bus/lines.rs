//! Asking a worker for lines of a stream.

use std::time::Duration;

use futures::StreamExt;
use streamkeeper_orchestrator::port::{Bus, BusError};
use streamkeeper_protocol::{LogReply, LogRequest, PROTOCOL_VERSION, SessionId, StreamId, decode, encode};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::messages::worker;
use super::{connect, settings};

fn request(stream: &str, wait_ms: u32) -> LogRequest {
    LogRequest {
        v: PROTOCOL_VERSION,
        worker: worker(),
        stream: StreamId::new(stream).unwrap(),
        lines: 10,
        session: None,
        from: None,
        wait_ms,
    }
}

#[tokio::test]
async fn an_old_worker_a_silent_one_and_one_that_answers_are_told_apart() {
    let server = NatsServer::start().await;
    let (bus, _) = connect(settings(server.url())).await;
    let nobody = bus.logs(&request("good", 0), GENEROUS).await;
    assert!(
        matches!(&nobody, Err(BusError::NoResponders(subject)) if subject == "sk.v1.logs.w"),
        "{nobody:?}"
    );
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut requests = client.subscribe("sk.v1.logs.w").await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = requests.next().await {
            let request: LogRequest = decode(&message.payload, Some(&worker())).unwrap();
            let mut reply = LogReply {
                v: PROTOCOL_VERSION,
                stream: request.stream.clone(),
                session: SessionId::from_u128(1),
                next: 7,
                lines: Vec::new(),
                reason: None,
            };
            let answer = match request.stream.as_str() {
                "silence" => continue,
                "nonsense" => b"nonsense".to_vec(),
                "other" => {
                    reply.stream = StreamId::new("another").unwrap();
                    encode(&reply).unwrap()
                }
                _ => {
                    tokio::time::sleep(Duration::from_millis(request.wait_ms.into())).await;
                    encode(&reply).unwrap()
                }
            };
            client
                .publish(message.reply.unwrap(), answer.into())
                .await
                .unwrap();
        }
    });
    let answer = until(GENEROUS, async || {
        let answer = bus.logs(&request("good", 0), GENEROUS).await;
        answer.map_err(|error| error.to_string())
    });
    assert_eq!(answer.await.unwrap().next, 7);
    // What the worker may wait is no delay of its answer.
    let answer = bus.logs(&request("good", 3_000), Duration::from_secs(30)).await;
    assert_eq!(answer.unwrap().next, 7);
    let silence = bus.logs(&request("silence", 10), Duration::from_millis(50)).await;
    assert!(
        matches!(silence, Err(BusError::Timeout { timeout, .. }) if timeout == Duration::from_millis(60)),
        "{silence:?}"
    );
    for stream in ["nonsense", "other"] {
        let answer = bus.logs(&request(stream, 0), GENEROUS).await;
        assert!(matches!(answer, Err(BusError::BadAnswer { .. })), "{answer:?}");
    }
}
