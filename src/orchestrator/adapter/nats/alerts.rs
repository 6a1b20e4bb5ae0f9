//! Alerts that the server keeps for consumers that are away: a JetStream stream of bounded age and size.
//!
//! The stream is looked for at every connect, because a server may come back empty. A server without JetStream is no
//! reason to do without alerts: they go to whoever listens, after one warning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use streamkeeper_protocol::Subjects;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::keep::RETRY;
use super::link::{KEEP_TIMEOUT, Link};
use super::refusal::chain;

/// The stream's name under the default prefix; other prefixes follow after it.
const STREAM: &str = "SK_ALERTS";
const DEFAULT_PREFIX: &str = "sk";
/// How long the server keeps an alert.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most alerts that the server keeps; the oldest go first.
const MAX_MESSAGES: i64 = 100_000;
/// How long the server knows the ids of alerts, so that one that is sent again is kept once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60 * 60);
/// A server that kept nothing is asked again after this time.
const PLAIN_FOR: Duration = Duration::from_secs(60);
/// Code of an error that may pass by itself …
const UNAVAILABLE: usize = 503;
/// … unless it is one of these.
const NOT_ENABLED: [ErrorCode; 2] = [
    ErrorCode::JETSTREAM_NOT_ENABLED,
    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
];

/// What became of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The server has it.
    Yes,
    /// The server keeps nothing; it was not sent.
    Never,
}

/// The stream of alerts, as far as it is known.
pub(super) struct AlertLog {
    config: Config,
    subject: String,
    known: Mutex<Option<Known>>,
    warned: AtomicBool,
}

/// What one connection's server keeps.
struct Known {
    link: u64,
    kept: Kept,
    since: Instant,
}

impl AlertLog {
    /// The stream of one fleet.
    pub(super) fn new(prefix: &str, subjects: &Subjects) -> Self {
        let name = if prefix == DEFAULT_PREFIX {
            STREAM.to_owned()
        } else {
            format!("{STREAM}_{}", prefix.replace('.', "_"))
        };
        let config = Config {
            name,
            subjects: vec![subjects.alerts()],
            max_age: MAX_AGE,
            max_messages: MAX_MESSAGES,
            discard: DiscardPolicy::Old,
            storage: StorageType::File,
            duplicate_window: DUPLICATE_WINDOW,
            description: Some("changes of streamkeeper's alerts".to_owned()),
            ..Config::default()
        };
        Self {
            config,
            subject: subjects.alerts(),
            known: Mutex::default(),
            warned: AtomicBool::new(false),
        }
    }

    /// Ends once it is known what the server keeps; the stream stands then, if it can. Each new reason why not is
    /// logged once.
    pub(super) async fn stand(&self, link: &Link) {
        let mut told = String::new();
        for attempt in 0_u32.. {
            match self.look(link).await {
                Ok(_) => return,
                Err(reason) if reason != told => {
                    tracing::warn!(
                        stream = self.config.name,
                        "no stream for alerts yet: {reason}; trying on"
                    );
                    told = reason;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY.delay(attempt, rand::random())).await;
        }
    }

    /// Hands one alert to the server and waits until it is kept. What was sent with an `id` before is kept once.
    pub(super) async fn keep(
        &self,
        link: &Link,
        subject: String,
        payload: Vec<u8>,
        id: &str,
    ) -> Result<Kept, String> {
        if self.look(link).await? == Kept::Never {
            return Ok(Kept::Never);
        }
        let message = PublishMessage::build().payload(payload.into()).message_id(id);
        let sent = async { link.jetstream.send_publish(subject, message).await?.await };
        let reason = match tokio::time::timeout(KEEP_TIMEOUT * 2, sent).await {
            Ok(Ok(_)) => return Ok(Kept::Yes),
            Ok(Err(error)) if error.kind() == PublishErrorKind::StreamNotFound => {
                format!("stream {} is gone", self.config.name)
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer within {:?}", KEEP_TIMEOUT * 2),
        };
        // Whatever was known is to be found out anew.
        *self.known.lock().await = None;
        Err(reason)
    }

    /// What the server keeps. Asked once per connection; who comes meanwhile waits for the same answer.
    pub(super) async fn look(&self, link: &Link) -> Result<Kept, String> {
        let mut known = self.known.lock().await;
        if let Some(Known { kept, .. }) = known
            .as_ref()
            .filter(|known| known.link == link.number)
            .filter(|known| known.kept == Kept::Yes || known.since.elapsed() < PLAIN_FOR)
        {
            return Ok(*kept);
        }
        let kept = Box::pin(self.make(link)).await?;
        *known = Some(Known {
            link: link.number,
            kept,
            since: Instant::now(),
        });
        Ok(kept)
    }

    /// Finds or makes the stream. An error may pass by itself.
    async fn make(&self, link: &Link) -> Result<Kept, String> {
        let found = link.jetstream.get_or_create_stream(self.config.clone()).await;
        let error = match found {
            Ok(stream) => {
                let subjects = &stream.cached_info().config.subjects;
                if !subjects.iter().any(|subject| covers(subject, &self.subject)) {
                    let problem = format!(
                        "its subjects are {subjects:?}; delete it or add {:?}",
                        self.subject
                    );
                    return Ok(self.never(&problem));
                }
                self.warned.store(false, Ordering::Relaxed);
                tracing::debug!(stream = self.config.name, "the server keeps alerts");
                return Ok(Kept::Yes);
            }
            Err(error) => error,
        };
        match error.kind() {
            CreateStreamErrorKind::JetStreamUnavailable => Ok(self.never("the server has no JetStream")),
            CreateStreamErrorKind::JetStream(error) => match error.error_code() {
                // Somebody else's stream takes them in, and answers for it.
                ErrorCode::STREAM_SUBJECT_OVERLAP => Ok(Kept::Yes),
                code if error.code() == UNAVAILABLE && !NOT_ENABLED.contains(&code) => Err(chain(&error)),
                _ => Ok(self.never(&chain(&error))),
            },
            _ if link.forbidden.load(Ordering::Acquire) => {
                let problem = format!("it forbids us $JS.API.STREAM.*.{}", self.config.name);
                Ok(self.never(&problem))
            }
            _ => Err(chain(&error)),
        }
    }

    fn never(&self, problem: &str) -> Kept {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                stream = self.config.name,
                "alerts reach only those who listen at the time: {problem}; give the server JetStream, or the user \
                 the right to it"
            );
        }
        Kept::Never
    }
}

/// Whether a stream's subject takes in all of ours, which ends in `>`.
fn covers(subject: &str, ours: &str) -> bool {
    match subject.strip_suffix('>') {
        Some(head) => ours.starts_with(head),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_have_streams_of_their_own() {
        let name = |prefix: &str| {
            let subjects = Subjects::new(prefix).unwrap();
            AlertLog::new(prefix, &subjects).config.name
        };
        assert_eq!(name("sk"), "SK_ALERTS");
        assert_eq!(name("radio.eu"), "SK_ALERTS_radio_eu");
    }

    #[test]
    fn only_the_whole_of_ours_is_covered() {
        let ours = "sk.v1.alert.>";
        for (subject, expected) in [
            (ours, true),
            (">", true),
            ("sk.>", true),
            ("sk.v1.alert.critical.>", false),
            ("sk.v1.alert.*", false),
            ("other.v1.alert.>", false),
        ] {
            assert_eq!(covers(subject, ours), expected, "{subject}");
        }
    }
}
