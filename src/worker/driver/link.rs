//! Keeps a connection: makes it, reads from it, and makes it anew when it is lost.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use streamkeeper_protocol::WorkerId;
use streamkeeper_resilience::{Backoff, Breaker, BreakerState};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::bus::{Bus, Name};
use super::logs::Desk;
use crate::connect::{ConnectError, ConnectSource};

/// Delay between attempts. They never end: streams go on, and the server comes back some day.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
/// So often each delay is tried before it doubles: a worker whose connection broke for a moment is back before it is
/// missed.
const ATTEMPTS_PER_DELAY: u32 = 3;
/// After so many failures in a row nothing is tried for a while.
const BREAKER_THRESHOLD: u32 = 8;
/// How long, at least. Longer would cost more than it spares: a worker that comes back later than the others is taken
/// for lost.
const BREAKER_OPEN: Duration = Duration::from_secs(3);
/// The open time is spread by so much, so that a whole fleet does not come back at once.
const BREAKER_SPREAD: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(2));
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

/// Connects for ever; ends when nobody takes the events any more. `desk` answers who asks for lines.
pub(super) async fn run(source: ConnectSource, desk: Desk, events: mpsc::Sender<LinkEvent>) {
    let mut attempt = 0;
    let mut told = false;
    let worker = desk.worker.clone();
    let mut gate = Gate::new(worker.clone());
    while !events.is_closed() {
        gate.pass().await;
        let opened = Line::open(&source, &desk).await;
        gate.report(opened.is_ok());
        match opened {
            Ok(mut line) => {
                info!(%worker, server = line.bus.server(), "connected to the message server");
                let since = Instant::now();
                line.carry(&events).await;
                // One that was left was good enough to be replaced at once; how often it is left has its own limit.
                if since.elapsed() >= STEADY_AFTER || line.bus.is_left() {
                    attempt = 0;
                }
                if line.bus.is_left() {
                    debug!(%worker, server = line.bus.server(), "connection is left; streams go on");
                } else {
                    warn!(%worker, server = line.bus.server(), "connection to the message server is lost; streams go on");
                }
                told = true;
            }
            // One line for each outage: it may last for hours.
            Err(error) if !told => {
                warn!(%worker, %error, "no connection to the message server; streams go on, attempts too");
                told = true;
            }
            Err(error) => debug!(%worker, %error, attempt, "no connection to the message server"),
        }
        tokio::time::sleep(RECONNECT.delay(attempt / ATTEMPTS_PER_DELAY, rand::random())).await;
        attempt = attempt.saturating_add(1);
    }
}

/// The circuit breaker towards the message server.
struct Gate {
    breaker: Breaker,
    origin: Instant,
    worker: WorkerId,
}

impl Gate {
    fn new(worker: WorkerId) -> Self {
        Self {
            breaker: Breaker::new(BREAKER_THRESHOLD, BREAKER_OPEN),
            origin: Instant::now(),
            worker,
        }
    }

    /// Waits until an attempt may be made.
    async fn pass(&mut self) {
        while !self.breaker.allow(self.origin.elapsed()) {
            tokio::time::sleep(BREAKER_OPEN + BREAKER_SPREAD.delay(0, rand::random())).await;
        }
    }

    /// Takes the outcome of an attempt, and tells what changed by it.
    fn report(&mut self, connected: bool) {
        let (worker, before, now) = (&self.worker, self.breaker.state(), self.origin.elapsed());
        if connected {
            self.breaker.succeeded(now);
        } else {
            self.breaker.failed(now);
        }
        match (before, self.breaker.state()) {
            (BreakerState::Closed, BreakerState::Open) => warn!(%worker, breaker = "open",
                failures = BREAKER_THRESHOLD, "the message server fails again and again; attempts are rare now"),
            (BreakerState::HalfOpen, BreakerState::Open) => {
                debug!(%worker, breaker = "open", "the attempt failed as well");
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                info!(%worker, breaker = "closed", "the message server answers again");
            }
            _ => {}
        }
    }
}

/// A connection and what is read from it.
struct Line {
    bus: Bus,
    assigns: Subscriber,
    controls: Subscriber,
    _logs: AbortOnDropHandle<()>,
}

impl Line {
    async fn open(source: &ConnectSource, desk: &Desk) -> Result<Self, ConnectError> {
        // Read anew each time: a managed server may have come back on another port.
        let target = source.resolve().await?;
        let worker = &desk.worker;
        let bus = Bus::open(
            &target,
            rand::random_range(0..target.servers.len().max(1)),
            &Name::of_worker(worker, desk.session),
        )
        .await?;
        let assigns = bus.subscribe(bus.subjects().assign(worker)).await?;
        let controls = bus.subscribe(bus.subjects().control(worker)).await?;
        let logs = bus.subscribe(bus.subjects().logs(worker)).await?;
        let logs = tokio::spawn(desk.clone().serve(bus.clone(), logs));
        Ok(Self {
            bus,
            assigns,
            controls,
            _logs: AbortOnDropHandle::new(logs),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_attempts_rare_until_one_succeeds() {
        let mut gate = Gate::new(WorkerId::new("w").unwrap());
        let waited = async |gate: &mut Gate| {
            let since = Instant::now();
            gate.pass().await;
            since.elapsed()
        };
        for _ in 0..BREAKER_THRESHOLD {
            assert_eq!(waited(&mut gate).await, Duration::ZERO);
            gate.report(false);
        }
        for _ in 0..3 {
            let pause = waited(&mut gate).await;
            assert!(
                pause >= BREAKER_OPEN && pause <= Duration::from_secs(5),
                "{pause:?}"
            );
            gate.report(false);
        }
        gate.pass().await;
        gate.report(true);
        assert_eq!(waited(&mut gate).await, Duration::ZERO);
        assert_eq!(gate.breaker.state(), BreakerState::Closed);
    }
}
