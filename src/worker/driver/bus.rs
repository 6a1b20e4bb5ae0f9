//! One connection to the message server, used until it is lost and never longer.
//!
//! The client library would connect again by itself and then send what it queued in the meantime: heartbeats that
//! are no longer true. So its own way back is closed, and [`super::link`] makes a new connection instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::{Client, ConnectOptions, Event, PublishErrorKind, ReconnectToServer, Subscriber};
use streamkeeper_access::{Address, FileError, Login, trouble};
use streamkeeper_protocol::codec::Message;
use streamkeeper_protocol::{SessionId, Subjects, WorkerId, compress, encode};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::connect::{ConnectError, Target};

/// Longest wait for one server to answer a connection attempt.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the name resolution and all addresses of one server.
const DIAL_ALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without answer to two pings in this distance is lost.
const PING_INTERVAL: Duration = Duration::from_secs(3);
/// Longest wait until the client takes a message or a subscription.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Most messages that wait to be sent.
const MAX_OUTGOING: usize = 2_048;
/// Most messages of one subscription that wait to be read. A desired set may have 1,024 parts.
const MAX_INCOMING: usize = 4_096;

/// As whom a connection is made.
pub(super) struct Name {
    worker: WorkerId,
    /// As the server lists it. Orchestrators know a session's connection by it.
    shown: String,
}

impl Name {
    /// The connection of a session.
    pub(super) fn of_worker(worker: &WorkerId, session: SessionId) -> Self {
        Self {
            worker: worker.clone(),
            shown: format!("worker {worker} {session}"),
        }
    }

    /// The connection of who says that a session is dead: its end says nothing.
    pub(super) fn of_guard(worker: &WorkerId, session: SessionId) -> Self {
        Self {
            worker: worker.clone(),
            shown: format!("guard {worker} {session}"),
        }
    }
}

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Bus {
    client: Client,
    subjects: Subjects,
    server: String,
    lost: CancellationToken,
    left: Arc<AtomicBool>,
}

impl Bus {
    /// Connects to the first server that answers, beginning with number `first`.
    pub(super) async fn open(target: &Target, first: usize, name: &Name) -> Result<Self, ConnectError> {
        let mut problem = "no server is named".to_owned();
        let count = target.servers.len();
        let rotated = target
            .servers
            .iter()
            .cycle()
            .skip(first % count.max(1))
            .take(count);
        for server in rotated {
            let lost = CancellationToken::new();
            match timeout(DIAL_ALL_TIMEOUT, dial(target, server, name, &lost)).await {
                Ok(Ok(client)) => {
                    return Ok(Self {
                        client,
                        subjects: target.subjects.clone(),
                        server: server.shown.clone(),
                        lost,
                        left: Arc::default(),
                    });
                }
                Ok(Err(error)) => problem = error,
                Err(_) => problem = format!("no answer within {DIAL_ALL_TIMEOUT:?}"),
            }
        }
        let shown: Vec<&str> = target
            .servers
            .iter()
            .map(|server| server.shown.as_str())
            .collect();
        let urls = shown.join(", ");
        Err(ConnectError::Server { urls, problem })
    }

    pub(super) const fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// The server, as it may be logged.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Largest message that the server takes, in bytes.
    pub(super) fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Completes when the connection is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the connection up: it does not take what it has to.
    pub(super) fn give_up(&self) {
        self.lost.cancel();
    }

    /// Gives the connection up for a better one.
    pub(super) fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        self.give_up();
    }

    /// Whether the connection was left rather than lost.
    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    pub(super) async fn subscribe(&self, subject: String) -> Result<Subscriber, ConnectError> {
        let problem = match timeout(CALL_TIMEOUT, self.client.subscribe(subject)).await {
            Ok(Ok(subscriber)) => return Ok(subscriber),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no subscription within {CALL_TIMEOUT:?}"),
        };
        let urls = self.server.clone();
        Err(ConnectError::Server { urls, problem })
    }

    /// Hands a message to the connection, or drops it when the connection is lost: late, it would not be true.
    /// Answers what is wrong with the message itself.
    pub(super) async fn publish<M: Message>(&self, subject: String, message: &M) -> Result<(), String> {
        self.send(subject, encode(message).map_err(|error| error.to_string())?)
            .await
    }

    /// The same, compressed where it is large: for who said that it understands that.
    pub(super) async fn publish_compressed<M: Message>(
        &self,
        subject: String,
        message: &M,
    ) -> Result<(), String> {
        let bytes = encode(message).map_err(|error| error.to_string())?;
        self.send(subject, compress(bytes)).await
    }

    async fn send(&self, subject: String, bytes: Vec<u8>) -> Result<(), String> {
        if self.lost.is_cancelled() {
            return Ok(());
        }
        match timeout(CALL_TIMEOUT, self.client.publish(subject, bytes.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() != PublishErrorKind::Send => Err(error.to_string()),
            Ok(Err(_)) | Err(_) => {
                self.give_up();
                Ok(())
            }
        }
    }

    /// Waits until the server has everything, or says that it has not.
    pub(super) async fn flush(&self, longest: Duration) -> Result<(), String> {
        // The client's own flush ends when the socket took the bytes, also where the server is dead already. The server
        // reads in order: once it answers for an inbox that nobody listens on, it has read what was sent before.
        let nobody = Request::new().timeout(None);
        let flushed = async {
            tokio::select! {
                () = self.lost() => Err("the connection is lost".to_owned()),
                answer = self.client.send_request(self.client.new_inbox(), nobody) => match answer {
                    Ok(_) => Ok(()),
                    Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
            }
        };
        timeout(longest, flushed)
            .await
            .unwrap_or_else(|_| Err(format!("not sent within {longest:?}")))
    }
}

async fn dial(
    target: &Target,
    server: &Address,
    name: &Name,
    lost: &CancellationToken,
) -> Result<Client, String> {
    let file = |error: FileError| error.to_string();
    // Read anew for each connection: secrets change.
    let login = target.access.login(server).await.map_err(file)?;
    let who = login.who();
    let connected = Arc::new(AtomicBool::new(false));
    let options = options(server, login, name, lost, &connected);
    let options = target.access.certify(options).await.map_err(file)?;
    let client = options
        .connect(server.server.clone())
        .await
        .map_err(|error| target.explain(trouble(&error), &who, chain(&error)))?;
    connected.store(true, Ordering::SeqCst);
    Ok(client)
}

/// The error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn options(
    server: &Address,
    login: Login,
    shown: &Name,
    lost: &CancellationToken,
    connected: &Arc<AtomicBool>,
) -> ConnectOptions {
    let again = connected.clone();
    let on_event = lost.clone();
    let (name, told) = (shown.worker.clone(), Arc::new(AtomicBool::new(false)));
    let address = server.server.clone();
    ConnectOptions::with_auth_callback(move |nonce| {
        let (again, auth) = (again.load(Ordering::SeqCst), login.auth(&nonce));
        async move {
            if again {
                // The library's one attempt to come back ends here, in its time limit, before anything was sent.
                std::future::pending::<()>().await;
            }
            auth
        }
    })
    .reconnect_to_server_callback(move |_servers, _info| {
        let addr = address.clone();
        let delay = Some(Duration::ZERO);
        async move { Some(ReconnectToServer { addr, delay }) }
    })
    .event_callback(move |event| {
        let lost = on_event.clone();
        // Once for each connection: the server repeats it with every heartbeat that it does not let through.
        if let Event::ServerError(problem) = &event
            && !told.swap(true, Ordering::SeqCst)
        {
            warn!(worker = %name, %problem, "the message server refuses something; correct its permissions");
        }
        async move {
            // A slow consumer lost messages: only a new connection makes leader and worker tell each other all.
            if matches!(
                event,
                Event::Disconnected | Event::Closed | Event::SlowConsumer(_)
            ) {
                lost.cancel();
            }
        }
    })
    .name(&shown.shown)
    .max_reconnects(1)
    .ignore_discovered_servers()
    .connection_timeout(DIAL_TIMEOUT)
    .ping_interval(PING_INTERVAL)
    .client_capacity(MAX_OUTGOING)
    .subscription_capacity(MAX_INCOMING)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use futures::StreamExt;
    use tokio::process::{Child, Command};

    use super::*;
    use crate::connect::ConnectSource;

    const GENEROUS: Duration = Duration::from_secs(60);

    async fn server(port: u16) -> Child {
        let program = [
            "/usr/sbin/nats-server",
            "/usr/bin/nats-server",
            "/usr/local/bin/nats-server",
        ]
        .into_iter()
        .find(|path| std::path::Path::new(path).is_file())
        .unwrap_or("nats-server");
        let child = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let listens = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(GENEROUS, listens).await.unwrap();
        child
    }

    #[tokio::test]
    async fn what_was_queued_during_an_outage_is_never_sent() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = format!("nats://127.0.0.1:{port}");
        let source = ConnectSource::Urls {
            urls: vec![url.clone()],
            prefix: "sk".to_owned(),
            access: Box::default(),
        };
        let mut first = server(port).await;
        let worker = WorkerId::new("w").unwrap();
        let name = Name::of_worker(&worker, SessionId::from_u128(1));
        let bus = Bus::open(&source.resolve().await.unwrap(), 0, &name)
            .await
            .unwrap();
        // The server lives all the time, so that only the closed way back keeps the library from returning.
        bus.client.force_reconnect().await.unwrap();
        timeout(GENEROUS, bus.lost()).await.unwrap();
        bus.client.publish("late", "stale".into()).await.unwrap();

        let reader = async_nats::connect(&url).await.unwrap();
        let mut late = reader.subscribe("late").await.unwrap();
        reader.flush().await.unwrap();
        let ends = async {
            while bus.client.publish("late", "stale".into()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(GENEROUS, ends).await.unwrap();
        reader.publish("late", "fresh".into()).await.unwrap();
        assert_eq!(late.next().await.unwrap().payload, "fresh");
        first.kill().await.unwrap();
    }
}
