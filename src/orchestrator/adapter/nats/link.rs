//! One connection to NATS, used once.
//!
//! async-nats reconnects by itself and then sends what was queued before the connection broke. Such messages are
//! stale, and nothing can take them back. So a client here lives exactly as long as its first connection: a second one
//! is refused to it, its queue is lost with it, and [`super::keep`] makes a new client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::jetstream;
use async_nats::service::{Service, ServiceExt};
use async_nats::{AuthError, Client, ConnectOptions, Event, Subscriber};
use rand::seq::SliceRandom;
use streamkeeper_access::{Access, Address, FileError, Login, Trouble, trouble};
use streamkeeper_protocol::{OrchestratorId, Subjects};
use tokio_util::sync::CancellationToken;

use super::metrics;

/// How long one server may take to answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the connection is tried; it counts as broken after two answers missed.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Messages that wait inside the client. Few, because they are beyond our reach.
const CLIENT_QUEUE: usize = 256;
/// Heartbeats that wait to be read; more are dropped and counted.
const INCOMING_QUEUE: usize = 65_536;
/// How long the server may take to keep a message, or to say what it keeps.
pub(super) const KEEP_TIMEOUT: Duration = Duration::from_secs(2);
/// How the server's word begins when it forbids a subject.
const PERMISSIONS: &str = "permissions violation";
/// Subjects of the administration of what the server keeps.
const JETSTREAM_API: &str = "$js.api.";
/// Name under which service discovery (`$SRV.PING`) finds orchestrators.
const SERVICE: &str = "streamkeeper";

/// What every connection needs.
pub(super) struct Dial {
    pub(super) endpoints: Vec<Address>,
    pub(super) access: Access,
    pub(super) name: String,
    pub(super) own: OrchestratorId,
    pub(super) subjects: Subjects,
}

/// A connection for sending.
pub(super) struct Link {
    /// Counts the connections; a message goes over the one that it was queued for, or not at all.
    pub(super) number: u64,
    pub(super) client: Client,
    /// The same connection, for what the server is to keep.
    pub(super) jetstream: jetstream::Context,
    /// Set when the server forbids us the administration of what it keeps.
    pub(super) forbidden: Arc<AtomicBool>,
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
    pub(super) problem: Problem,
}

/// What happened, by whether it may pass by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// The server may come yet.
    #[error("{0}")]
    Passing(String),
    /// The server refuses us.
    #[error("{0}")]
    Refused(String),
    /// One side does not trust the other's certificate.
    #[error("{0}")]
    Untrusted(String),
    /// A file that we need cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Tries every server once, in random order, so that many clients spread over many servers.
pub(super) async fn connect(dial: &Dial, number: u64) -> Result<(Link, Feed), Failure> {
    let mut order: Vec<&Address> = dial.endpoints.iter().collect();
    order.shuffle(&mut rand::rng());
    let mut last = Failure {
        url: String::new(),
        problem: Problem::Passing("no server is named".to_owned()),
    };
    for endpoint in order {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, open(dial, endpoint, number));
        let late = || Problem::Passing(format!("no answer within {ATTEMPT_TIMEOUT:?}"));
        match attempt.await.unwrap_or_else(|_| Err(late())) {
            Ok(link) => return Ok(link),
            Err(problem) => {
                let url = endpoint.shown.clone();
                last = Failure { url, problem };
            }
        }
    }
    Err(last)
}

/// Connects and subscribes.
async fn open(dial: &Dial, endpoint: &Address, number: u64) -> Result<(Link, Feed), Problem> {
    let forbidden = Arc::new(AtomicBool::new(false));
    let lost = CancellationToken::new();
    let events = (
        lost.clone(),
        Arc::clone(&forbidden),
        Arc::<str>::from(endpoint.shown.as_str()),
    );
    let client = client(&dial.access, endpoint, &dial.name, move |event| {
        on_event(event, &events.0, &events.1, &events.2);
    })
    .await?;
    let subscribe = async |subject: String| {
        let subscribed = client.subscribe(subject).await;
        subscribed.map_err(|error| Problem::Passing(super::refusal::chain(&error)))
    };
    let feed = Feed {
        heartbeats: subscribe(dial.subjects.heartbeats()).await?,
        beacons: subscribe(dial.subjects.leader()).await?,
        service: announce(dial, &client).await,
    };
    // The server handles a connection's lines in order: its answer proves that the subscriptions stand.
    round_trip(&client).await.map_err(Problem::Passing)?;
    ::metrics::counter!(metrics::CONNECTS).increment(1);
    let link = Link {
        number,
        jetstream: jetstream::context::ContextBuilder::new()
            .timeout(KEEP_TIMEOUT)
            .build(client.clone()),
        client,
        forbidden,
        lost,
    };
    Ok((link, feed))
}

/// A client for one connection to one server.
pub(super) async fn client(
    access: &Access,
    endpoint: &Address,
    name: &str,
    on_event: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Client, Problem> {
    let used = Arc::new(AtomicBool::new(false));
    let login = access.login(endpoint).await?;
    let who = login.who();
    let options = options(login, &used).name(name);
    let options = access.certify(options).await?;
    let options = options.event_callback(move |event| {
        on_event(&event);
        std::future::ready(())
    });
    let client = options.connect(endpoint.server.clone()).await.map_err(|error| {
        let (trouble, reason) = (trouble(&error), super::refusal::chain(&error));
        match (trouble, access.explain(trouble, &who, &reason)) {
            (Trouble::Refused, Some(problem)) => Problem::Refused(problem),
            (Trouble::Untrusted, Some(problem)) => Problem::Untrusted(problem),
            _ => Problem::Passing(reason),
        }
    })?;
    used.store(true, Ordering::Release);
    Ok(client)
}

fn options(login: Login, used: &Arc<AtomicBool>) -> ConnectOptions {
    let used = Arc::clone(used);
    ConnectOptions::with_auth_callback(move |nonce| {
        let answer = if used.load(Ordering::Acquire) {
            Err(AuthError::new("a client is used for one connection only"))
        } else {
            login.auth(&nonce)
        };
        std::future::ready(answer)
    })
    .max_reconnects(1)
    .ignore_discovered_servers()
    .ping_interval(PING_INTERVAL)
    .connection_timeout(ATTEMPT_TIMEOUT)
    .client_capacity(CLIENT_QUEUE)
    .subscription_capacity(INCOMING_QUEUE)
}

fn on_event(event: &Event, lost: &CancellationToken, forbidden: &AtomicBool, server: &str) {
    match event {
        Event::Disconnected | Event::Closed => lost.cancel(),
        Event::SlowConsumer(_) => ::metrics::counter!(metrics::SLOW).increment(1),
        Event::ServerError(error) => {
            let text = error.to_string();
            let plain = text.to_lowercase();
            if plain.contains(PERMISSIONS) && plain.contains(JETSTREAM_API) {
                // Told once, by whoever wanted it.
                forbidden.store(true, Ordering::Release);
            } else {
                tracing::warn!(server, "NATS reports: {text}");
            }
        }
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
