//! Lines of streams, asked for over a real nats-server.

use async_nats::Client;
use futures::StreamExt;
use streamkeeper_protocol::{
    LogFd, LogReply, LogRequest, PROTOCOL_VERSION, StreamId, Subjects, WorkerId, decode, encode,
};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::wait::{GENEROUS, until};

use super::fixture::{TestWorker, urls};
use super::leader::{FIRST_TERM, Leader};

/// As many readers may wait at a worker.
const MAX_READERS: usize = 64;

fn request(from: Option<u64>, wait_ms: u32) -> LogRequest {
    LogRequest {
        v: PROTOCOL_VERSION,
        worker: WorkerId::new("w").unwrap(),
        stream: StreamId::new("a").unwrap(),
        lines: 2,
        session: None,
        from,
        wait_ms,
    }
}

async fn send(client: &Client, request: &LogRequest) -> LogReply {
    let subject = Subjects::default().logs(&WorkerId::new("w").unwrap());
    let wanted = async_nats::Request::new()
        .payload(encode(request).unwrap().into())
        .timeout(Some(GENEROUS));
    let reply = client.send_request(subject, wanted).await.unwrap();
    decode(&reply.payload, None).unwrap()
}

fn texts(reply: &LogReply) -> Vec<(u64, LogFd, &str)> {
    let lines = reply.lines.iter();
    lines
        .map(|line| (line.number, line.fd, line.text.as_str()))
        .collect()
}

#[tokio::test]
async fn lines_are_read_and_waited_for_over_runs_and_outages() {
    let mut server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "say one two three")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a"]).await;
    let session = leader.heard()[0].session;

    let newest = send(&leader.client, &request(None, 30_000)).await;
    assert_eq!(
        texts(&newest),
        [(2, LogFd::Stdout, "two"), (3, LogFd::Stdout, "three")]
    );
    assert_eq!((newest.session, newest.next), (session, 4));
    assert_eq!(newest.lines[0].epoch.counter(), 5);
    let own = |from| LogRequest {
        session: Some(session),
        ..request(Some(from), 30_000)
    };
    let oldest = send(&leader.client, &own(1)).await;
    assert_eq!(
        texts(&oldest),
        [(1, LogFd::Stdout, "one"), (2, LogFd::Stdout, "two")]
    );
    assert_eq!(oldest.next, 3);

    // Who waits gets what comes, also of the next run.
    let waiting = tokio::spawn({
        let (client, wanted) = (leader.client.clone(), own(4));
        async move { send(&client, &wanted).await }
    });
    leader.want(&[("a", 6, "say four")]);
    let told = waiting.await.unwrap();
    assert_eq!(texts(&told)[0], (4, LogFd::Worker, "stopped"));
    let four = until(GENEROUS, async || {
        let reply = send(&leader.client, &LogRequest { wait_ms: 0, ..own(5) }).await;
        reply.lines.first().cloned().ok_or_else(|| format!("{reply:?}"))
    });
    let four = four.await.unwrap();
    assert_eq!(
        (four.number, four.text.as_str(), four.epoch.counter()),
        (5, "four", 6)
    );

    // Another life of the message server, the same of the worker.
    server.kill();
    server.restart().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let back = until(GENEROUS, async || {
        let subject = Subjects::default().logs(&WorkerId::new("w").unwrap());
        let payload = encode(&request(None, 0)).unwrap();
        let reply = client.request(subject, payload.into()).await;
        reply
            .map(|reply| decode::<LogReply>(&reply.payload, None).unwrap())
            .map_err(|error| error.to_string())
    });
    let back = back.await.unwrap();
    assert_eq!((back.session, back.next), (session, 6));
}

#[tokio::test]
async fn bad_requests_and_too_many_readers_harm_nobody() {
    let server = NatsServer::start().await;
    let leader = Leader::start(&server.url(), "w", FIRST_TERM).await;
    leader.want(&[("a", 5, "say one")]);
    let worker = TestWorker::start("w", urls(&server.url()), None);
    worker.streams.run_exactly(&["a"]).await;
    let subject = Subjects::default().logs(&leader.worker);
    let foreign = LogRequest {
        worker: WorkerId::new("other").unwrap(),
        ..request(None, 0)
    };
    let inbox = leader.client.new_inbox();
    for bad in [
        b"garbage".to_vec(),
        vec![0x91; 100_000],
        encode(&foreign).unwrap(),
        encode(&LogRequest {
            lines: 0,
            ..request(None, 0)
        })
        .unwrap(),
        encode(&request(None, u32::MAX)).unwrap(),
    ] {
        let sent = leader
            .client
            .publish_with_reply(subject.clone(), inbox.clone(), bad.into());
        sent.await.unwrap();
    }
    // Nobody could be answered.
    let mute = encode(&request(None, 0)).unwrap();
    leader.client.publish(subject.clone(), mute.into()).await.unwrap();
    let session = send(&leader.client, &request(None, 0)).await.session;

    // As many as may wait, and some more: these are refused at once.
    let waits = LogRequest {
        session: Some(session),
        ..request(Some(2), 30_000)
    };
    let mut replies = leader.client.subscribe(inbox.clone()).await.unwrap();
    for _ in 0..MAX_READERS + 10 {
        let payload = encode(&waits).unwrap().into();
        let sent = leader
            .client
            .publish_with_reply(subject.clone(), inbox.clone(), payload);
        sent.await.unwrap();
    }
    let mut next = async || {
        let reply = tokio::time::timeout(GENEROUS, replies.next())
            .await
            .unwrap()
            .unwrap();
        decode::<LogReply>(&reply.payload, None).unwrap()
    };
    for _ in 0..10 {
        let reason = next().await.reason.unwrap();
        assert!(reason.contains("others read lines"), "{reason}");
    }
    leader.want(&[]);
    for _ in 0..MAX_READERS {
        assert_eq!(texts(&next().await), [(2, LogFd::Worker, "stopped")]);
    }
    worker.streams.run_exactly(&[]).await;
    assert_eq!(worker.streams.starts().len(), 1);
}
