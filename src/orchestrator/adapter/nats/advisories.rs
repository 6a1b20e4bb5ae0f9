//! What the system account tells: a worker's connection has ended. It is heard a few milliseconds after the fact, long
//! before silence would show it. It is a hint only: whoever hears it asks the worker.

use std::sync::Arc;

use async_nats::{Client, Message};
use futures::StreamExt;
use serde::Deserialize;
use streamkeeper_protocol::{SessionId, WorkerId};
use tokio_util::sync::CancellationToken;

use super::address::{NatsError, NatsSettings, endpoints};
use super::keep::RETRY;
use super::link::client;
use crate::port::Inbox;

/// Ends of connections, of every account.
const SUBJECT: &str = "$SYS.ACCOUNT.*.DISCONNECT";
/// Longest advisory that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// First word of the name of a worker's connection; its id and its session follow.
const WORKER: &str = "worker";

/// The part of an advisory that is needed.
#[derive(Deserialize)]
struct Advisory {
    client: Connection,
}

#[derive(Deserialize)]
struct Connection {
    /// As its client named it.
    #[serde(default)]
    name: String,
}

/// Hands over the ends of workers' connections until it is dropped. Without it, losses are found later.
///
/// # Errors
/// When the settings name no server that can be understood.
pub fn watch_advisories(
    settings: &NatsSettings,
    inbox: Arc<dyn Inbox>,
) -> Result<impl Future<Output = ()> + Send + use<>, NatsError> {
    let (endpoints, access, name) = (
        endpoints(settings)?,
        settings.access.clone(),
        settings.name.clone(),
    );
    for warning in access.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(async move {
        let mut attempt = 0_u32;
        let mut told = false;
        for endpoint in endpoints.iter().cycle() {
            let lost = CancellationToken::new();
            let on_event = {
                let lost = lost.clone();
                move |event: &async_nats::Event| {
                    if matches!(event, async_nats::Event::Disconnected | async_nats::Event::Closed) {
                        lost.cancel();
                    }
                }
            };
            let opened = client(&access, endpoint, &name, on_event).await;
            match opened {
                Ok(client) => {
                    attempt = 0;
                    told = false;
                    listen(&client, &lost, inbox.as_ref()).await;
                }
                Err(problem) if !told => {
                    told = true;
                    tracing::warn!(
                        server = endpoint.shown,
                        "ends of connections are not heard, losses are found by pings: {problem}"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
            attempt = attempt.saturating_add(1);
        }
    })
}

async fn listen(client: &Client, lost: &CancellationToken, inbox: &dyn Inbox) {
    let Ok(mut advisories) = client.subscribe(SUBJECT).await else {
        return;
    };
    loop {
        tokio::select! {
            () = lost.cancelled() => return,
            message = advisories.next() => match message {
                Some(message) => hear(&message, inbox),
                None => return,
            },
        }
    }
}

fn hear(message: &Message, inbox: &dyn Inbox) {
    if message.payload.len() > MAX_BYTES {
        return;
    }
    // Other clients of the server have names of their own; what cannot be read is as good as theirs.
    if let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload)
        && let Some((worker, session)) = whose(&advisory.client.name)
    {
        inbox.disconnected(worker, session);
    }
}

/// The session that the name of a connection names.
fn whose(name: &str) -> Option<(WorkerId, SessionId)> {
    let mut words = name.split(' ');
    let (first, worker, session) = (words.next()?, words.next()?, words.next()?);
    let whole = first == WORKER && words.next().is_none();
    whole.then_some(())?;
    Some((WorkerId::new(worker).ok()?, session.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_workers_name_a_session() {
        let session = "000000000000000000000000000000ab";
        let named = whose(&format!("worker w-1 {session}")).unwrap();
        assert_eq!((named.0.as_str(), named.1), ("w-1", SessionId::from_u128(0xab)));
        for other in [
            "",
            "worker w-1",
            "streamkeeper o-1",
            "worker w.1 000000000000000000000000000000ab",
            "worker w-1 ab",
            "guard w-1 000000000000000000000000000000ab",
            "worker w-1 000000000000000000000000000000ab x",
        ] {
            assert_eq!(whose(other), None, "{other}");
        }
    }
}
