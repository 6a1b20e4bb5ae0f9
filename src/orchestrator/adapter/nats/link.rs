//! One connection to NATS, used once.
//!
//! async-nats reconnects by itself and then sends what was queued before the connection broke. Such messages are
//! stale, and nothing can take them back. So a client here lives exactly as long as its first connection: a second one
//! is refused to it, its queue is lost with it, and [`super::keep`] makes a new client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::service::{Service, ServiceExt};
use async_nats::{Auth, AuthError, Client, ConnectErrorKind, ConnectOptions, Event, Subscriber};
use rand::seq::SliceRandom;
use streamkeeper_protocol::{OrchestratorId, Subjects};
use tokio_util::sync::CancellationToken;

use super::address::Endpoint;
use super::metrics;

/// How long one server may take to answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is tried; it counts as broken after two answers missed.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Messages that wait inside the client. Few, because they are beyond our reach.
const CLIENT_QUEUE: usize = 256;
/// Heartbeats that wait to be read; more are dropped and counted.
const INCOMING_QUEUE: usize = 65_536;
/// Name under which service discovery (`$SRV.PING`) finds orchestrators.
const SERVICE: &str = "streamkeeper";

/// What every connection needs.
pub(super) struct Dial {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) name: String,
    pub(super) own: OrchestratorId,
    pub(super) subjects: Subjects,
}

/// A connection for sending.
pub(super) struct Link {
    /// Counts the connections; a message goes over the one that it was queued for, or not at all.
    pub(super) number: u64,
    pub(super) client: Client,
    /// Cancelled when the connection is gone or given up.
    pub(super) lost: CancellationToken,
}

/// What comes in over a connection.
pub(super) struct Feed {
    pub(super) heartbeats: Subscriber,
    pub(super) beacons: Subscriber,
    /// Answers service discovery as long as it is held.
    pub(super) service: Option<Service>,
}

/// Why an attempt failed.
pub(super) struct Failure {
    /// The server's URL without password.
    pub(super) url: String,
    /// What happened.
    pub(super) reason: String,
    /// The user that the server refuses.
    pub(super) refused: Option<String>,
}

/// Tries every server once, in random order, so that many clients spread over many servers.
pub(super) async fn connect(dial: &Dial, number: u64) -> Result<(Link, Feed), Failure> {
    let mut order: Vec<&Endpoint> = dial.endpoints.iter().collect();
    order.shuffle(&mut rand::rng());
    let mut last = Failure {
        url: String::new(),
        reason: "no server is named".to_owned(),
        refused: None,
    };
    for endpoint in order {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, open(dial, endpoint, number));
        match attempt.await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err((reason, refused))) => {
                last = Failure {
                    url: endpoint.shown.clone(),
                    reason,
                    refused: refused.then(|| endpoint.who()),
                };
            }
            Err(_) => {
                last = Failure {
                    url: endpoint.shown.clone(),
                    reason: format!("no answer within {ATTEMPT_TIMEOUT:?}"),
                    refused: None,
                };
            }
        }
    }
    Err(last)
}

/// Connects and subscribes. The error says whether the server refuses the user.
async fn open(dial: &Dial, endpoint: &Endpoint, number: u64) -> Result<(Link, Feed), (String, bool)> {
    let used = Arc::new(AtomicBool::new(false));
    let lost = CancellationToken::new();
    let options = options(dial, endpoint, &used, &lost);
    let client = options.connect(endpoint.address.clone()).await.map_err(|error| {
        let refused = error.kind() == ConnectErrorKind::AuthorizationViolation;
        (super::refusal::chain(&error), refused)
    })?;
    used.store(true, Ordering::Release);
    let subscribe = async |subject: String| {
        let subscribed = client.subscribe(subject).await;
        subscribed.map_err(|error| (super::refusal::chain(&error), false))
    };
    let feed = Feed {
        heartbeats: subscribe(dial.subjects.heartbeats()).await?,
        beacons: subscribe(dial.subjects.leader()).await?,
        service: announce(dial, &client).await,
    };
    // The server handles a connection's lines in order: its answer proves that the subscriptions stand.
    round_trip(&client).await.map_err(|reason| (reason, false))?;
    ::metrics::counter!(metrics::CONNECTS).increment(1);
    let link = Link { number, client, lost };
    Ok((link, feed))
}

fn options(
    dial: &Dial,
    endpoint: &Endpoint,
    used: &Arc<AtomicBool>,
    lost: &CancellationToken,
) -> ConnectOptions {
    let mut auth = Auth::new();
    auth.username.clone_from(&endpoint.user);
    auth.password.clone_from(&endpoint.password);
    let used = Arc::clone(used);
    let lost = lost.clone();
    let shown: Arc<str> = endpoint.shown.as_str().into();
    ConnectOptions::with_auth_callback(move |_nonce| {
        let answer = if used.load(Ordering::Acquire) {
            Err(AuthError::new("a client is used for one connection only"))
        } else {
            Ok(auth.clone())
        };
        std::future::ready(answer)
    })
    .event_callback(move |event| {
        on_event(&event, &lost, &shown);
        std::future::ready(())
    })
    .name(&dial.name)
    .max_reconnects(1)
    .ignore_discovered_servers()
    .ping_interval(PING_INTERVAL)
    .connection_timeout(ATTEMPT_TIMEOUT)
    .client_capacity(CLIENT_QUEUE)
    .subscription_capacity(INCOMING_QUEUE)
}

fn on_event(event: &Event, lost: &CancellationToken, server: &str) {
    match event {
        Event::Disconnected | Event::Closed => lost.cancel(),
        Event::SlowConsumer(_) => ::metrics::counter!(metrics::SLOW).increment(1),
        Event::ServerError(error) => tracing::warn!(server, "NATS reports: {error}"),
        Event::LameDuckMode => tracing::info!(server, "NATS is about to shut down"),
        Event::Connected | Event::Draining | Event::ClientError(_) => {}
    }
}

/// Answers service discovery. A server that forbids `$SRV` subjects is no reason to do without a bus.
async fn announce(dial: &Dial, client: &Client) -> Option<Service> {
    let metadata = [("orchestrator".to_owned(), dial.own.to_string())].into();
    let started = client
        .service_builder()
        .description("streamkeeper orchestrator")
        .metadata(metadata)
        .start(SERVICE, env!("CARGO_PKG_VERSION"))
        .await;
    started
        .inspect_err(|error| tracing::warn!("service discovery is off: {error}"))
        .ok()
}

/// Waits for an answer of the server itself: it says at once that nobody listens on a fresh inbox. (A flush of the
/// client ends when the bytes are written, whether or not anybody reads them.)
pub(super) async fn round_trip(client: &Client) -> Result<(), String> {
    let request = Request::new().timeout(None);
    match client.send_request(client.new_inbox(), request).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
        Err(error) => Err(super::refusal::chain(&error)),
    }
}
