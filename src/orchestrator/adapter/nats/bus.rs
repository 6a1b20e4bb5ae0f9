//! [`crate::port::Bus`] on NATS.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::client::{Request, RequestErrorKind};
use async_trait::async_trait;
use streamkeeper_protocol::{
    Alert, AlertStatus, Assign, Beacon, Control, ControlReply, Event, LogReply, LogRequest, OrchestratorId,
    Severity, Subjects, WorkerId, codec, compress, decode,
};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::address::{NatsError, NatsSettings, endpoints, shown};
use super::alerts::{AlertLog, Kept};
use super::keep::{Keeper, RETRY};
use super::leader_key::NatsLeaderKey;
use super::link::{Dial, Failure, Feed, Link, Problem, connect, round_trip};
use super::parts::{encode_assign, encode_one};
use super::refusal::Refusals;
use super::write::{Current, Outbox, current, queue, write};
use crate::port::{Bus, BusError, Inbox};

/// How long the server may take over a sign of life.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection to NATS. It is kept in the background: when it is lost, a new one is made, and what was queued for
/// the old one is dropped.
pub struct NatsBus {
    subjects: Subjects,
    links: Arc<Current>,
    alerts: Arc<AlertLog>,
    outbox: Outbox,
    closing: CancellationToken,
    tasks: TaskTracker,
    _close_on_drop: DropGuard,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus")
            .field("subjects", &self.subjects)
            .field("connected", &self.connected())
            .finish_non_exhaustive()
    }
}

impl NatsBus {
    /// Connects, subscribes to heartbeats and beacons, and hands them to `inbox` from then on. Beacons of `own` are
    /// not handed over.
    ///
    /// # Errors
    /// When the settings are wrong, or no server takes the connection within `connect_timeout`.
    pub async fn connect(
        settings: NatsSettings,
        inbox: Arc<dyn Inbox>,
        own: OrchestratorId,
    ) -> Result<Self, NatsError> {
        let subjects = Subjects::new(&settings.prefix).map_err(|source| NatsError::Prefix {
            prefix: settings.prefix.clone(),
            source,
        })?;
        let endpoints = endpoints(&settings)?;
        for warning in settings.access.warnings() {
            tracing::warn!("{warning}");
        }
        let dial = Dial {
            endpoints,
            access: settings.access,
            name: settings.name,
            own,
            subjects: subjects.clone(),
        };
        // Boxed, because the client's future is large and callers hold this one.
        let (link, feed) = Box::pin(first(&dial, settings.connect_timeout)).await?;
        let link = Arc::new(link);
        let links = Arc::new(watch::Sender::new(Some(Arc::clone(&link))));
        let closing = CancellationToken::new();
        let (outbox, queue) = queue();
        let tasks = TaskTracker::new();
        let alerts = Arc::new(AlertLog::new(&settings.prefix, &subjects));
        let writing = CancellationToken::new();
        let keeper = Keeper {
            dial,
            links: Arc::clone(&links),
            inbox,
            closing: writing.clone(),
            refusals: Refusals::default(),
            alerts: Arc::clone(&alerts),
        };
        let keeping = tasks.track_future(keeper.run(link, feed));
        let write = write(Arc::clone(&links), queue, closing.clone());
        tasks.spawn(async move {
            // The connection stands until the last message has gone.
            write.await;
            writing.cancel();
        });
        tokio::spawn(keeping);
        tasks.close();
        Ok(Self {
            subjects,
            links,
            alerts,
            outbox,
            closing: closing.clone(),
            tasks,
            _close_on_drop: closing.drop_guard(),
        })
    }

    /// Whether the server keeps alerts for consumers that are away: asked until it says so. Why it does not is logged, once.
    ///
    /// # Errors
    /// When it does not say so in time.
    pub async fn keeps_alerts(&self, timeout: Duration) -> Result<bool, String> {
        let mut last = "no answer".to_owned();
        let asking = async {
            for attempt in 0_u32.. {
                match self.link() {
                    Ok(link) => match self.alerts.look(&link).await {
                        Ok(kept) => return kept == Kept::Yes,
                        Err(reason) => last = reason,
                    },
                    Err(error) => last = error.to_string(),
                }
                tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
            }
            false
        };
        let outcome = tokio::time::timeout(timeout, asking).await;
        outcome.map_err(|_| last)
    }

    /// The key that leading means to hold, over this bus's connections.
    #[must_use]
    pub fn leader_key(&self) -> NatsLeaderKey {
        NatsLeaderKey::new(&self.links, &self.subjects)
    }

    /// Sends what is queued, within a second, and disconnects.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.wait().await;
    }

    fn link(&self) -> Result<Arc<Link>, BusError> {
        if self.closing.is_cancelled() {
            return Err(BusError::Disconnected);
        }
        current(&self.links).ok_or(BusError::Disconnected)
    }

    fn send<M: codec::Message>(&self, subject: String, message: &M) -> Result<(), BusError> {
        let link = self.link()?;
        let payload = encode_one(message, link.client.max_payload())?;
        self.outbox.send(&link, subject, vec![payload])
    }

    /// Sends a request and waits for its answer.
    async fn request<M: codec::Message, R: codec::Message>(
        &self,
        subject: String,
        message: &M,
        timeout: Duration,
    ) -> Result<R, BusError> {
        let link = self.link()?;
        let payload = encode_one(message, link.client.max_payload())?;
        // With an inbox of its own, a request that nobody answers leaves nothing behind in the client.
        let request = Request::new()
            .payload(payload.into())
            .inbox(link.client.new_inbox())
            .timeout(None);
        let answer = tokio::select! {
            () = link.lost.cancelled() => return Err(BusError::Disconnected),
            answer = tokio::time::timeout(timeout, link.client.send_request(subject.clone(), request)) => answer,
        };
        let message = match answer {
            Err(_) => return Err(BusError::Timeout { subject, timeout }),
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(BusError::NoResponders(subject));
            }
            Ok(Err(_)) => return Err(BusError::Disconnected),
            Ok(Ok(message)) => message,
        };
        decode(&message.payload, None).map_err(|error| BusError::BadAnswer {
            subject,
            reason: super::refusal::chain(&error),
        })
    }
}

/// The reason of a failure that may pass by itself; any other one is an error.
fn lasting(failure: Failure) -> Result<String, NatsError> {
    let Failure { url: urls, problem } = failure;
    match problem {
        Problem::Passing(reason) => Ok(reason),
        Problem::Refused(problem) => Err(NatsError::Refused { urls, problem }),
        Problem::Untrusted(problem) => Err(NatsError::Untrusted { urls, problem }),
        Problem::File(error) => Err(NatsError::File(error)),
    }
}

/// The first connection. A server that refuses us is not asked again: it would only lock us out.
async fn first(dial: &Dial, timeout: Duration) -> Result<(Link, Feed), NatsError> {
    let mut last = "no attempt ended".to_owned();
    let attempts = async {
        let mut attempt = 0;
        loop {
            match connect(dial, 0).await {
                Ok(link) => return Ok(link),
                Err(failure) => {
                    let url = failure.url.clone();
                    last = lasting(failure)?;
                    if attempt == 0 {
                        tracing::warn!(url, reason = last, wait = ?timeout, "NATS cannot be reached; waiting for it");
                    }
                }
            }
            tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
            attempt += 1;
        }
    };
    let outcome = tokio::time::timeout(timeout, attempts).await;
    outcome.unwrap_or_else(|_| {
        Err(NatsError::Unreachable {
            urls: shown(&dial.endpoints),
            timeout,
            reason: last,
        })
    })
}

/// Names one change of an alert, however often it is sent.
fn alert_id(alert: &Alert) -> String {
    let status = match alert.status {
        AlertStatus::Firing => "firing",
        AlertStatus::Resolved => "resolved",
    };
    let explained = alert.explained_by.as_ref().map_or("", |_| "-explained");
    format!("{}-{status}-{}{explained}", alert.fingerprint, alert.starts_at)
}

/// Text that becomes a token of a subject.
fn token<'a>(what: &str, text: &'a str) -> Result<&'a str, BusError> {
    match WorkerId::new(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(BusError::Unsendable(format!("{what} {text:?}: {error}"))),
    }
}

#[async_trait]
impl Bus for NatsBus {
    fn assign(&self, assign: &Assign, compressed: bool) -> Result<(), BusError> {
        let link = self.link()?;
        let mut payloads = encode_assign(assign, link.client.max_payload())?;
        if compressed {
            payloads = payloads.into_iter().map(compress).collect();
        }
        self.outbox
            .send(&link, self.subjects.assign(&assign.worker), payloads)
    }

    fn beacon(&self, beacon: &Beacon) -> Result<(), BusError> {
        self.send(self.subjects.leader(), beacon)
    }

    fn alert(&self, severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError> {
        self.send(self.subjects.alert(severity, token("rule", rule)?), alert)
    }

    async fn keep_alert(&self, severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError> {
        let link = self.link()?;
        let subject = self.subjects.alert(severity, token("rule", rule)?);
        let payload = encode_one(alert, link.client.max_payload())?;
        let id = alert_id(alert);
        let kept = tokio::select! {
            () = link.lost.cancelled() => return Err(BusError::Disconnected),
            kept = self.alerts.keep(&link, subject, payload, &id) => kept,
        };
        match kept {
            Ok(Kept::Yes) => Ok(()),
            Ok(Kept::Never) => self.alert(severity, rule, alert),
            Err(reason) => Err(BusError::NotKept(reason)),
        }
    }

    fn event(&self, event: &Event) -> Result<(), BusError> {
        self.send(self.subjects.event(token("event", &event.kind)?), event)
    }

    async fn control(&self, control: &Control, timeout: Duration) -> Result<ControlReply, BusError> {
        let subject = self.subjects.control(&control.worker);
        let reply: ControlReply = self.request(subject.clone(), control, timeout).await?;
        if reply.id == control.id {
            return Ok(reply);
        }
        let reason = format!("it answers {:.64?}, not {:?}", reply.id, control.id);
        Err(BusError::BadAnswer { subject, reason })
    }

    async fn logs(&self, request: &LogRequest, timeout: Duration) -> Result<LogReply, BusError> {
        let subject = self.subjects.logs(&request.worker);
        let timeout = timeout + Duration::from_millis(request.wait_ms.into());
        let reply: LogReply = self.request(subject.clone(), request, timeout).await?;
        if reply.stream == request.stream {
            return Ok(reply);
        }
        let reason = format!("it answers for stream {}, not {}", reply.stream, request.stream);
        Err(BusError::BadAnswer { subject, reason })
    }

    fn connected(&self) -> bool {
        self.link().is_ok()
    }

    async fn ping(&self) -> Result<Duration, BusError> {
        let link = self.link()?;
        let start = Instant::now();
        let answer = tokio::time::timeout(PING_TIMEOUT, round_trip(&link.client)).await;
        match answer {
            Ok(Ok(())) => Ok(start.elapsed()),
            Ok(Err(_)) => Err(BusError::Disconnected),
            Err(_) => Err(BusError::Timeout {
                subject: "the server itself".to_owned(),
                timeout: PING_TIMEOUT,
            }),
        }
    }
}
