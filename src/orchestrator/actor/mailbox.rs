//! The way to one actor: a bounded queue, and a feeder that hands over what waits, a batch at a time.
//!
//! A batch is the unit of fairness: actix drains a flooded mailbox without yielding, so it never holds more than one.

use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, MailboxError};
use tokio::sync::mpsc;

use super::host::{Deliver, Progress};
use super::supervise::{Fatal, Health};

/// Most messages that wait for one actor.
const MAX_WAITING: usize = 65_536;
/// Most messages that an actor is handed at a time.
const MAX_BATCH: usize = 256;
/// Pause before an actor that is being restarted is tried again.
const CLOSED_PAUSE: Duration = Duration::from_millis(10);

/// The sending side.
#[derive(Debug)]
pub(super) struct Mailbox<E> {
    sender: mpsc::Sender<E>,
    name: &'static str,
}

impl<E> Clone for Mailbox<E> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            name: self.name,
        }
    }
}

impl<E: Send + 'static> Mailbox<E> {
    pub(super) fn new(name: &'static str) -> (Self, mpsc::Receiver<E>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { sender, name }, receiver)
    }

    /// Queues a message, or drops it where the queue is full: every sender repeats what still holds.
    pub(super) fn offer(&self, event: E) -> bool {
        let queued = self.sender.try_send(event).is_ok();
        if !queued {
            metrics::counter!(crate::telemetry::metrics::DROPPED_MESSAGES, "actor" => self.name).increment(1);
        }
        queued
    }

    /// Queues a message and waits for room: for answers that nobody repeats.
    pub(super) async fn deliver(&self, event: E) {
        // Closed only when the process ends.
        let _ = self.sender.send(event).await;
    }

    pub(super) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

/// Hands what waits to the actor, for as long as both live.
pub(super) async fn feed<A, E>(mut waiting: mpsc::Receiver<E>, actor: Addr<A>)
where
    A: Actor + Handler<Deliver<E>>,
    A::Context: ToEnvelope<A, Deliver<E>>,
    E: Send + 'static,
{
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let full = std::mem::replace(&mut batch, Vec::with_capacity(MAX_BATCH));
        // After a panic the batch is gone: the actor builds its state anew, which covers whatever was in it.
        if actor.send(Deliver(full)).await.is_err() {
            tokio::time::sleep(CLOSED_PAUSE).await;
        }
    }
}

/// Asks the actor for a sign of progress again and again; gives the process up when none comes, because a thread
/// that is stuck cannot be ended.
pub(super) async fn watch_progress<A>(
    actor: Addr<A>,
    health: Arc<Health>,
    stuck_after: Duration,
    fatal: Fatal,
) where
    A: Actor + Handler<Progress>,
    A::Context: ToEnvelope<A, Progress>,
{
    loop {
        tokio::time::sleep(stuck_after / 3).await;
        match tokio::time::timeout(stuck_after, actor.send(Progress)).await {
            // Closed: it panicked over the ping's neighbour and is being restarted; supervision counts that.
            Ok(Ok(()) | Err(MailboxError::Closed | MailboxError::Timeout)) => {}
            Err(_) => {
                fatal.give_up(format!(
                    "actor {} made no progress for {stuck_after:?}",
                    health.name
                ));
                return;
            }
        }
    }
}
