//! Keeps a connection: reads what comes in, and makes a new connection when one is lost.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use futures::stream::ReadyChunks;
use streamkeeper_protocol::{Beacon, Heartbeat, PROTOCOL_VERSION, decode};
use streamkeeper_resilience::Backoff;
use tokio_util::sync::CancellationToken;

use super::alerts::AlertLog;
use super::link::{Dial, Failure, Feed, Link, connect};
use super::metrics;
use super::refusal::Refusals;
use super::write::Current;
use crate::port::Inbox;

/// Most heartbeats that are handed over at once.
const MAX_BATCH: usize = 256;
/// Between attempts to connect: a local server is back at once, a remote one is not stormed.
pub(super) const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Everything the task that keeps the connection needs.
pub(super) struct Keeper {
    pub(super) dial: Dial,
    pub(super) links: Arc<Current>,
    pub(super) inbox: Arc<dyn Inbox>,
    pub(super) closing: CancellationToken,
    pub(super) refusals: Refusals,
    pub(super) alerts: Arc<AlertLog>,
}

/// A subject names no worker.
#[derive(Debug, thiserror::Error)]
#[error("the subject's last token is no worker's id")]
struct NoWorker;

impl Keeper {
    /// Runs until the bus closes.
    pub(super) async fn run(self, first: Arc<Link>, feed: Feed) {
        let mut next = Some((first, feed));
        while let Some((link, feed)) = next.take() {
            ::metrics::gauge!(metrics::CONNECTED).set(1.0);
            self.inbox.connection(true);
            self.read(&link, feed).await;
            link.lost.cancel();
            self.links.send_replace(None);
            ::metrics::gauge!(metrics::CONNECTED).set(0.0);
            self.inbox.connection(false);
            if self.closing.is_cancelled() {
                return;
            }
            tracing::warn!("connection to NATS lost; nothing is sent until it is back");
            next = self.reconnect(link.number + 1).await;
            if let Some((link, _)) = &next {
                self.links.send_replace(Some(Arc::clone(link)));
            }
        }
    }

    /// Hands over what comes in, until the connection is lost or the bus closes.
    async fn read(&self, link: &Link, feed: Feed) {
        let mut heartbeats: ReadyChunks<Subscriber> = feed.heartbeats.ready_chunks(MAX_BATCH);
        let mut beacons = feed.beacons;
        let mut alerts = Box::pin(self.alerts.stand(link));
        let mut stands = false;
        loop {
            tokio::select! {
                () = self.closing.cancelled() => break,
                () = link.lost.cancelled() => break,
                () = &mut alerts, if !stands => stands = true,
                messages = heartbeats.next() => match messages {
                    Some(messages) => self.heartbeats(&messages),
                    None => break,
                },
                message = beacons.next() => match message {
                    Some(message) => self.beacon(&message),
                    None => break,
                },
            }
        }
        if let Some(service) = feed.service {
            let _ = service.stop().await;
        }
    }

    fn heartbeats(&self, messages: &[Message]) {
        let batch: Vec<Heartbeat> = messages
            .iter()
            .filter_map(|message| self.heartbeat(message))
            .collect();
        if !batch.is_empty() {
            self.inbox.heartbeats(batch);
        }
    }

    fn heartbeat(&self, message: &Message) -> Option<Heartbeat> {
        let subject = message.subject.as_str();
        let Some(worker) = self.dial.subjects.heartbeat_worker(subject) else {
            let expected = "an id of 1 to 64 of A-Z a-z 0-9 _ -";
            self.refusals.refuse(subject, "subject", &NoWorker, expected);
            return None;
        };
        decode(&message.payload, Some(&worker))
            .inspect_err(|error| {
                let expected =
                    format!("a heartbeat of worker {worker} in protocol version {PROTOCOL_VERSION}");
                self.refusals.refuse(subject, error.reason(), error, &expected);
            })
            .ok()
    }

    fn beacon(&self, message: &Message) {
        match decode::<Beacon>(&message.payload, None) {
            Ok(beacon) if beacon.leader == self.dial.own => {}
            Ok(beacon) => self.inbox.beacon(beacon),
            Err(error) => {
                let expected = format!("a beacon in protocol version {PROTOCOL_VERSION}");
                let subject = message.subject.as_str();
                self.refusals.refuse(subject, error.reason(), &error, &expected);
            }
        }
    }

    /// Tries until a connection stands or the bus closes. Each new reason is logged once.
    async fn reconnect(&self, number: u64) -> Option<(Arc<Link>, Feed)> {
        let mut told = String::new();
        for attempt in 0_u32.. {
            let delay = RETRY.delay(attempt, rand::random());
            let attempt = async {
                tokio::time::sleep(delay).await;
                connect(&self.dial, number).await
            };
            let outcome = tokio::select! {
                () = self.closing.cancelled() => return None,
                outcome = attempt => outcome,
            };
            match outcome {
                Ok((link, feed)) => {
                    tracing::info!("connected to NATS again");
                    return Some((Arc::new(link), feed));
                }
                Err(Failure { url, problem }) => {
                    let problem = problem.to_string();
                    if problem != told {
                        tracing::warn!(url, "no connection to NATS: {problem}; trying on");
                        told = problem;
                    }
                }
            }
        }
        None
    }
}
