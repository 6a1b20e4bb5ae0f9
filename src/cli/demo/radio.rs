//! A live audio server that logs its listeners: the demo's judge from outside, which knows nothing of streamkeeper.
//!
//! `GET /channel/N` never ends and comes at the pace of real time; `GET /status` says who listens, `GET /log` who ever
//! did, from when to when.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::audience::{Audience, Listening};
use super::score::listening;
use super::tone::{PIECES_PER_SECOND, Tone};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 4_096;
/// Longest request, in bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;
/// Longest wait for a request, and for a listener that takes nothing.
const PATIENCE: Duration = Duration::from_secs(10);

/// How one channel is, in `GET /status`.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub(super) struct Channel {
    /// From 1.
    pub(super) channel: u16,
    /// Who listens, by the names that they give themselves.
    pub(super) listeners: Vec<String>,
    /// How many connections there ever were.
    pub(super) connections_ever: usize,
}

fn status(audience: &Audience) -> Vec<Channel> {
    let visits = audience.visits();
    let mut now = listening(&visits);
    let mut ever: BTreeMap<u16, usize> = BTreeMap::new();
    for visit in &visits {
        *ever.entry(visit.channel).or_default() += 1;
    }
    (1..=audience.channels())
        .map(|channel| Channel {
            channel,
            listeners: now
                .remove(&channel)
                .unwrap_or_default()
                .into_iter()
                .map(|visit| visit.listener.clone())
                .collect(),
            connections_ever: ever.remove(&channel).unwrap_or_default(),
        })
        .collect()
}

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Radio {
    address: SocketAddr,
    audience: Audience,
    task: tokio::task::JoinHandle<()>,
}

impl Radio {
    /// Starts it on a free port of this machine.
    pub(super) async fn start(channels: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let audience = Audience::new(channels);
        let task = tokio::spawn(accept(listener, audience.clone()));
        Ok(Self {
            address,
            audience,
            task,
        })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its log.
    pub(super) fn audience(&self) -> &Audience {
        &self.audience
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, audience: Audience) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Connections over the limit wait in the listener's queue.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    let audience = audience.clone();
                    connections.spawn(async move {
                        // A listener that goes away is what this server expects.
                        let _ = answer(connection, &audience).await;
                        drop(permit);
                    });
                }
                // Too many open files: they may become fewer.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(mut connection: TcpStream, audience: &Audience) -> io::Result<()> {
    let request = timeout(PATIENCE, read_request(&mut connection)).await??;
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method != "GET" {
        return plain(&mut connection, "405 Method Not Allowed", "only GET\n").await;
    }
    let report = match path {
        "/status" => Some(json!({ "channels": status(audience) })),
        "/log" => Some(json!({ "now_us": audience.now_us(), "visits": audience.visits() })),
        _ => None,
    };
    if let Some(report) = report {
        return plain(&mut connection, "200 OK", &format!("{report:#}\n")).await;
    }
    let listening = path
        .strip_prefix("/channel/")
        .and_then(|number| number.parse().ok())
        .and_then(|channel| audience.join(channel, user_agent(&request)));
    match listening {
        Some(listening) => play(connection, &listening).await,
        None => {
            plain(
                &mut connection,
                "404 Not Found",
                "try /channel/1, /status or /log\n",
            )
            .await
        }
    }
}

fn user_agent(request: &str) -> &str {
    request
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("user-agent"))
        .map_or("unknown", |(_, value)| value.trim())
}

async fn read_request(connection: &mut TcpStream) -> io::Result<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 1_024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = connection.read(&mut buffer).await?;
        request.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if count == 0 || request.len() > MAX_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}

async fn plain(connection: &mut TcpStream, status: &str, body: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    timeout(PATIENCE, connection.write_all(answer.as_bytes())).await??;
    connection.shutdown().await
}

async fn play(connection: TcpStream, listening: &Listening) -> io::Result<()> {
    let tone = Tone::new(listening.channel);
    let (mut reader, mut writer) = connection.into_split();
    let mut start =
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
            .to_vec();
    start.extend(Tone::header());
    start.extend(tone.burst());
    timeout(PATIENCE, writer.write_all(&start)).await??;
    let mut pace = interval(Duration::from_secs(1) / PIECES_PER_SECOND);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            _ = pace.tick() => timeout(PATIENCE, writer.write_all(tone.piece())).await??,
            read = reader.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;
    use crate::http::Server;

    async fn status(radio: &Radio) -> Vec<Channel> {
        let answer = Server::parse(&radio.url())
            .unwrap()
            .exchange(Method::GET, "/status", None)
            .await
            .unwrap();
        let mut report: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        serde_json::from_value(report["channels"].take()).unwrap()
    }

    async fn listen(radio: &Radio, channel: u16, name: &str) -> TcpStream {
        let mut connection = TcpStream::connect(radio.address).await.unwrap();
        let request = format!("GET /channel/{channel} HTTP/1.1\r\nuser-agent: {name}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut heard = vec![0; 2_000];
        connection.read_exact(&mut heard).await.unwrap();
        let text = String::from_utf8_lossy(&heard).into_owned();
        assert!(
            text.starts_with("HTTP/1.1 200 OK") && text.contains("RIFF"),
            "{text}"
        );
        connection
    }

    async fn until(radio: &Radio, what: &str, holds: impl Fn(&[Channel]) -> bool) {
        for _ in 0..1_000 {
            if holds(&status(radio).await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} never came to be: {:?}", status(radio).await);
    }

    #[tokio::test]
    async fn listeners_are_logged_and_leave() {
        let radio = Radio::start(2).await.unwrap();
        let first = listen(&radio, 1, "agent-1").await;
        let mut second = listen(&radio, 1, "agent-2").await;
        until(&radio, "two listeners", |channels| {
            channels[0].listeners == ["agent-1", "agent-2"] && channels[1].listeners.is_empty()
        })
        .await;
        drop(first);
        until(&radio, "one listener", |channels| {
            channels[0].listeners == ["agent-2"] && channels[0].connections_ever == 2
        })
        .await;
        // The other one still hears.
        let mut more = vec![0; 40_000];
        second.read_exact(&mut more).await.unwrap();
        let visits = radio.audience().visits();
        assert!(visits[0].to_us > Some(visits[1].from_us) && visits[1].to_us.is_none());
    }

    #[tokio::test]
    async fn other_requests_are_refused() {
        let radio = Radio::start(1).await.unwrap();
        let server = Server::parse(&radio.url()).unwrap();
        for (method, path, expected) in [
            (Method::GET, "/channel/2", 404),
            (Method::GET, "/channel/x", 404),
            (Method::GET, "/", 404),
            (Method::PUT, "/channel/1", 405),
        ] {
            assert_eq!(
                server.exchange(method.clone(), path, None).await.unwrap().status,
                expected,
                "{method} {path}"
            );
        }
        assert_eq!(status(&radio).await[0].connections_ever, 0);
    }
}
