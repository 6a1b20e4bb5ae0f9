//! Keeps a connection: makes it, reads from it, and makes it anew when it is lost.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use streamkeeper_protocol::WorkerId;
use streamkeeper_resilience::Backoff;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::bus::Bus;
use crate::connect::{ConnectError, ConnectSource};

/// Delay between attempts. They never end: streams go on, and the server comes back some day.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// A connection that stood so long was a good one: after its loss the delays begin again.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// Most events that wait for the driver.
pub(super) const MAX_EVENTS: usize = 256;

/// What the link tells the driver, in this order: up, messages, down.
pub(super) enum LinkEvent {
    /// The connection stands, and its subscriptions too.
    Up(Bus),
    /// The connection is lost.
    Down,
    /// A message on the worker's assign subject.
    Assign(Bytes),
    /// A message on the worker's control subject.
    Control(Message),
}

/// Connects for ever; ends when nobody takes the events any more.
pub(super) async fn run(source: ConnectSource, worker: WorkerId, events: mpsc::Sender<LinkEvent>) {
    let mut attempt = 0;
    let mut told = false;
    while !events.is_closed() {
        match Line::open(&source, &worker).await {
            Ok(mut line) => {
                info!(%worker, server = line.bus.server(), "connected to the message server");
                let since = Instant::now();
                line.carry(&events).await;
                if since.elapsed() >= STEADY_AFTER {
                    attempt = 0;
                }
                warn!(%worker, server = line.bus.server(), "connection to the message server is lost; streams go on");
                told = true;
            }
            // One line for each outage: it may last for hours.
            Err(error) if !told => {
                warn!(%worker, %error, "no connection to the message server; streams go on, attempts too");
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT.delay(attempt, rand::random())).await;
        attempt = attempt.saturating_add(1);
    }
}

/// A connection and what is read from it.
struct Line {
    bus: Bus,
    assigns: Subscriber,
    controls: Subscriber,
}

impl Line {
    async fn open(source: &ConnectSource, worker: &WorkerId) -> Result<Self, ConnectError> {
        // Read anew each time: a managed server may have come back on another port.
        let target = source.resolve().await?;
        let bus = Bus::open(
            &target,
            rand::random_range(0..target.servers.len().max(1)),
            worker,
        )
        .await?;
        let assigns = bus.subscribe(bus.subjects().assign(worker)).await?;
        let controls = bus.subscribe(bus.subjects().control(worker)).await?;
        Ok(Self {
            bus,
            assigns,
            controls,
        })
    }

    /// Carries messages to the driver until the connection is lost or nobody listens.
    async fn carry(&mut self, events: &mpsc::Sender<LinkEvent>) {
        let mut event = LinkEvent::Up(self.bus.clone());
        loop {
            if events.send(event).await.is_err() {
                return;
            }
            let next = tokio::select! {
                () = self.bus.lost() => None,
                message = self.assigns.next() => message.map(|message| LinkEvent::Assign(message.payload)),
                message = self.controls.next() => message.map(LinkEvent::Control),
            };
            let Some(next) = next else { break };
            event = next;
        }
        self.bus.give_up();
        // Nobody listens: then nobody misses it either.
        let _ = events.send(LinkEvent::Down).await;
    }
}
