//! Outgoing messages: one bounded queue, drained by one task, so that senders never wait for the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::link::{Link, round_trip};
use super::metrics;
use crate::port::BusError;

/// Most messages that wait for the network.
const MAX_QUEUED: usize = 65_536;
/// Most bytes that wait for the network.
const MAX_QUEUED_BYTES: usize = 256 * 1024 * 1024;
/// How long the client may take over one message. A connection that takes longer is given up.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long what is queued may take when the bus closes.
const FAREWELL: Duration = Duration::from_secs(1);

/// The connection that stands, if any.
pub(super) type Current = watch::Sender<Option<Arc<Link>>>;

/// The connection that stands, unless it is known to be lost.
pub(super) fn current(links: &Current) -> Option<Arc<Link>> {
    let link = links.borrow().clone();
    link.filter(|link| !link.lost.is_cancelled())
}

/// The sending end of the queue.
pub(super) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

/// The receiving end of the queue.
pub(super) struct Queue {
    queue: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
}

struct Outgoing {
    link: u64,
    subject: Subject,
    payload: Bytes,
}

/// Makes the queue.
pub(super) fn queue() -> (Outbox, Queue) {
    let (sender, receiver) = mpsc::channel(MAX_QUEUED);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue: sender,
        bytes: Arc::clone(&bytes),
    };
    let queue = Queue {
        queue: receiver,
        bytes,
    };
    (outbox, queue)
}

impl Outbox {
    /// Queues all payloads or none of them.
    pub(super) fn send(&self, link: &Link, subject: String, payloads: Vec<Vec<u8>>) -> Result<(), BusError> {
        let size = payloads.iter().map(Vec::len).sum();
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > MAX_QUEUED_BYTES {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(self.full());
        }
        let permits = self.queue.try_reserve_many(payloads.len()).map_err(|error| {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(()) => self.full(),
                mpsc::error::TrySendError::Closed(()) => BusError::Disconnected,
            }
        })?;
        let subject = Subject::from(subject);
        for (permit, payload) in permits.zip(payloads) {
            permit.send(Outgoing {
                link: link.number,
                subject: subject.clone(),
                payload: payload.into(),
            });
        }
        Ok(())
    }

    fn full(&self) -> BusError {
        ::metrics::counter!(metrics::UNSENT, "reason" => "full").increment(1);
        BusError::Full(self.queue.max_capacity() - self.queue.capacity())
    }
}

/// Sends what is queued, until `closing`; then what is still there, within a second.
pub(super) async fn write(links: Arc<Current>, mut queue: Queue, closing: CancellationToken) {
    loop {
        let next = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            next = queue.queue.recv() => next,
        };
        let Some(outgoing) = next else { break };
        queue.sent(&links, outgoing).await;
    }
    queue.queue.close();
    let farewell = async {
        while let Some(outgoing) = queue.queue.recv().await {
            queue.sent(&links, outgoing).await;
        }
        if let Some(link) = current(&links) {
            // An answer means that the server has read everything before it.
            let _ = round_trip(&link.client).await;
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::warn!("NATS did not take the last messages within {FAREWELL:?}");
    }
}

impl Queue {
    /// Hands one message to the client, or drops it when its connection is gone.
    async fn sent(&self, links: &Current, outgoing: Outgoing) {
        self.bytes.fetch_sub(outgoing.payload.len(), Ordering::Relaxed);
        let Some(link) = current(links).filter(|link| link.number == outgoing.link) else {
            unsent("stale");
            return;
        };
        let publish = link.client.publish(outgoing.subject.clone(), outgoing.payload);
        match tokio::time::timeout(PUBLISH_TIMEOUT, publish).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                unsent("failed");
                tracing::debug!(subject = %outgoing.subject, "message not sent: {error}");
            }
            Err(_) => {
                unsent("stalled");
                tracing::warn!("NATS took no message for {PUBLISH_TIMEOUT:?}; the connection is given up");
                link.lost.cancel();
            }
        }
    }
}

fn unsent(reason: &'static str) {
    ::metrics::counter!(metrics::UNSENT, "reason" => reason).increment(1);
}
