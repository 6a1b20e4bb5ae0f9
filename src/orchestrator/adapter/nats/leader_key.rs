//! [`crate::port::LeaderKey`] as a key of JetStream's: a message per write, compare-and-set by its sequence.
//!
//! The bucket is an ordinary key-value bucket, but made and read as a stream: nats-server 2.9 lacks answers that the
//! client's own buckets need, and only the stream's leader is asked, because other replicas may answer from the past.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType};
use async_trait::async_trait;
use futures::StreamExt;
use streamkeeper_core::election::{Found, WriteOutcome};
use streamkeeper_protocol::{LeaderRecord, Subjects, decode, encode};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::link::Link;
use super::refusal::chain;
use super::write::{Current, current};
use crate::port::LeaderKey;

/// How long one look or write may take. Shorter than the election waits for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// A write is heard of when it is sent; after this time the server has stored it.
const STORED_AFTER: Duration = Duration::from_millis(20);
/// Header of a deletion in a key-value bucket.
const OPERATION: &str = "KV-Operation";

/// The key.
pub struct NatsLeaderKey {
    links: Arc<Current>,
    subject: String,
    bucket: Config,
    /// The connection over which the bucket was found or made.
    stands: Mutex<Option<u64>>,
    /// The problem that was told last, so that each is told once.
    told: Mutex<String>,
    changed: Arc<Notify>,
    _stop_on_drop: DropGuard,
}

impl NatsLeaderKey {
    /// The key of one fleet, over the connections of a bus.
    pub(super) fn new(links: &Arc<Current>, subjects: &Subjects) -> Self {
        let subject = subjects.leader_key();
        let changed = Arc::new(Notify::new());
        let stopping = CancellationToken::new();
        let watch = listen(links.subscribe(), subject.clone(), Arc::clone(&changed));
        tokio::spawn(stopping.clone().run_until_cancelled_owned(watch));
        Self {
            links: Arc::clone(links),
            bucket: bucket(&subject),
            subject,
            stands: Mutex::default(),
            told: Mutex::default(),
            changed,
            _stop_on_drop: stopping.drop_guard(),
        }
    }

    /// The connection, with the bucket behind it.
    async fn stand(&self) -> Result<Arc<Link>, String> {
        let link = current(&self.links).ok_or("there is no connection to the message server")?;
        if *lock(&self.stands) == Some(link.number) {
            return Ok(link);
        }
        let info = match link.jetstream.get_stream(&self.bucket.name).await {
            Ok(stream) => stream.cached_info().clone(),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    let made = Box::pin(link.jetstream.create_stream(self.bucket.clone())).await;
                    made.map_err(|error| self.unusable(&chain(&error)))?
                        .cached_info()
                        .clone()
                }
                _ => return Err(self.unusable(&chain(&error))),
            },
        };
        let name = &self.bucket.name;
        if !info.config.max_age.is_zero() {
            return Err(format!(
                "stream {name} forgets after {:?}, and terms with it; set its maximum age to 0",
                info.config.max_age
            ));
        }
        if info.config.subjects != self.bucket.subjects {
            return Err(format!(
                "stream {name} has the subjects {:?}; delete it, or give it {:?}",
                info.config.subjects, self.bucket.subjects
            ));
        }
        *lock(&self.stands) = Some(link.number);
        Ok(link)
    }

    fn unusable(&self, reason: &str) -> String {
        format!(
            "stream {} can be neither found nor made: {reason}; give the server JetStream, and the user the right to \
             $JS.API.> and {}",
            self.bucket.name, self.subject
        )
    }

    /// Looks at the key. The error is a reason in words.
    async fn look(&self) -> Result<Found, String> {
        let link = self.stand().await?;
        let stream = link.jetstream.get_stream_no_info(&self.bucket.name).await;
        let stream = stream.map_err(|error| chain(&error))?;
        let message = match stream.get_last_raw_message_by_subject(&self.subject).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(Found::Absent { revision: 0 });
            }
            Err(error) => {
                // The stream may be gone; whether it is, is found out anew.
                self.forget();
                return Err(chain(&error));
            }
        };
        let revision = message.sequence;
        if is_deletion(&message.headers) {
            return Ok(Found::Absent { revision });
        }
        Ok(match decode::<LeaderRecord>(&message.payload, None) {
            Ok(record) => Found::Record { revision, record },
            Err(error) => {
                self.tell(&format!(
                    "revision {revision} of {} is no record of this version ({}); it counts as a leader that is silent",
                    self.subject,
                    chain(&error)
                ));
                Found::Garbled { revision }
            }
        })
    }

    async fn put(&self, record: &LeaderRecord, expect: u64) -> Result<WriteOutcome, String> {
        let link = self.stand().await?;
        let payload = encode(record).map_err(|error| error.to_string())?;
        let message = PublishMessage::build()
            .payload(payload.into())
            .expected_last_subject_sequence(expect);
        let sent = async {
            let subject = self.subject.clone();
            link.jetstream.send_publish(subject, message).await?.await
        };
        match sent.await {
            Ok(kept) => Ok(WriteOutcome::Stored {
                revision: kept.sequence,
            }),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(WriteOutcome::Conflict),
            Err(error) => {
                self.forget();
                Err(chain(&error))
            }
        }
    }

    fn forget(&self) {
        *lock(&self.stands) = None;
    }

    fn tell(&self, problem: &str) {
        let mut told = lock(&self.told);
        if *told != problem {
            problem.clone_into(&mut told);
            tracing::warn!("leader's key: {problem}");
        }
    }

    /// The outcome in time, or none, after telling why.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, String>> + Send) -> Option<T> {
        let outcome = tokio::time::timeout(CALL_TIMEOUT, call).await;
        match outcome.unwrap_or_else(|_| Err(format!("no answer within {CALL_TIMEOUT:?}"))) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.tell(&reason);
                None
            }
        }
    }
}

#[async_trait]
impl LeaderKey for NatsLeaderKey {
    async fn read(&self) -> Found {
        let found = self.bounded(Box::pin(self.look())).await;
        if matches!(found, Some(Found::Record { .. } | Found::Absent { .. })) {
            lock(&self.told).clear();
        }
        found.unwrap_or(Found::Failed)
    }

    async fn write(&self, record: &LeaderRecord, expect: u64) -> WriteOutcome {
        let written = self.bounded(Box::pin(self.put(record, expect))).await;
        written.unwrap_or(WriteOutcome::Unknown)
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Tells of every write, and of every connection that comes to stand. A plain subscription is enough for a hint.
async fn listen(mut links: watch::Receiver<Option<Arc<Link>>>, subject: String, changed: Arc<Notify>) {
    loop {
        let link = links.borrow_and_update().clone();
        changed.notify_one();
        let Some(link) = link else {
            if links.changed().await.is_err() {
                return;
            }
            continue;
        };
        // Without a subscription the election's own looks have to do.
        let mut writes = link.client.subscribe(subject.clone()).await.ok();
        loop {
            let next = async {
                match &mut writes {
                    Some(writes) => writes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = links.changed() => match next {
                    Ok(()) => break,
                    Err(_) => return,
                },
                message = next => {
                    if message.is_none() {
                        writes = None;
                    }
                    tokio::time::sleep(STORED_AFTER).await;
                    changed.notify_one();
                }
            }
        }
    }
}

/// The stream of a key-value bucket. No age: the term would expire with the key.
fn bucket(subject: &str) -> Config {
    let name = subject.split('.').nth(1).unwrap_or_default();
    Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        allow_rollup: true,
        deny_delete: true,
        description: Some("who leads streamkeeper's orchestrators".to_owned()),
        ..Config::default()
    }
}

fn is_deletion(headers: &HeaderMap) -> bool {
    headers
        .get(OPERATION)
        .is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for NatsLeaderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsLeaderKey")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}
