//! What happened and who did what, kept. Whoever sees something puts it into a bounded queue and goes on; one writer takes
//! it to the database, so that nothing that decides ever waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::store::StoreError;
use crate::telemetry::metrics as names;

/// Most events that wait for the database; then the oldest goes.
pub const MAX_WAITING: usize = 50_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: DateTime<Utc>,
    /// What happened: the kinds of `sk.v1.event.<kind>`, and `api_write`.
    pub kind: String,
    /// Who did it: an orchestrator, or whoever asked over the API.
    pub actor: String,
    /// Why; empty where nobody said.
    pub cause: String,
    /// What belongs together has the same: a request's id, a worker's session, an assignment's epoch.
    pub correlation: String,
    /// The stream, the worker, or whatever else it is about; empty where it is about the whole fleet.
    pub subject: String,
    /// Everything that is known of it, by glossary name.
    pub fields: BTreeMap<String, String>,
}

/// Fields that say why, the best one first.
const CAUSES: [&str; 4] = ["reason", "why", "way", "detail"];
/// Fields that say what it is about, the most exact one first.
const SUBJECTS: [&str; 3] = ["stream", "worker", "dependency"];
/// Fields by which events belong together.
const CORRELATIONS: [&str; 2] = ["session", "epoch"];

impl AuditEvent {
    /// What an orchestrator saw or did.
    #[must_use]
    pub fn seen(at: DateTime<Utc>, actor: String, kind: String, fields: BTreeMap<String, String>) -> Self {
        let first = |keys: &[&str]| {
            let found = keys.iter().find_map(|key| fields.get(*key));
            found.cloned().unwrap_or_default()
        };
        Self {
            at,
            actor,
            kind,
            cause: first(&CAUSES),
            correlation: first(&CORRELATIONS),
            subject: first(&SUBJECTS),
            fields,
        }
    }
}

/// One event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place: later ones have higher ones.
    pub id: u64,
    /// The event.
    pub event: AuditEvent,
}

/// One event on its way to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Never the same twice: what is written again is known by it.
    pub origin: String,
    /// The event.
    pub event: AuditEvent,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Those that come after this one, the oldest first. Without it and `since`: the newest ones.
    pub after: Option<u64>,
    /// Those since this time.
    pub since: Option<DateTime<Utc>>,
    /// Those of these kinds; all where it is empty.
    pub kinds: Vec<String>,
    /// Those about this.
    pub subject: Option<String>,
    /// Most of them.
    pub limit: usize,
}

/// The database, as far as events are concerned. Nothing here is fenced: every orchestrator appends what it saw itself.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Appends events in their order, each of them once, and answers the highest id that is stored.
    ///
    /// # Errors
    /// When the database does not answer; they are stored or not.
    async fn append_events(&self, events: &[Waiting]) -> Result<u64, StoreError>;

    /// Reads events, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn events(&self, query: &EventQuery) -> Result<Vec<StoredEvent>, StoreError>;

    /// The highest id; 0 where there is no event.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn newest_event(&self) -> Result<u64, StoreError>;

    /// Deletes at most `most` of those that are older than `before` or not among the `keep` newest, but never the newest.
    /// Answers how many are gone.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn forget_events(&self, before: DateTime<Utc>, keep: u64, most: u32) -> Result<u64, StoreError>;
}

/// The queue to the database. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Part of every origin: drawn for each life of a process.
    life: u64,
    queue: Mutex<Queue>,
    filled: Notify,
    /// The highest id that this process knows; told after each batch.
    written: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: VecDeque<Waiting>,
    /// How many the writer has in hand.
    in_hand: usize,
    /// How many were dropped and are not told of yet.
    dropped: u64,
}

impl Journal {
    /// An empty one; `life` is a random number.
    #[must_use]
    pub fn new(life: u64) -> Self {
        Self(Arc::new(Inner {
            life,
            queue: Mutex::default(),
            filled: Notify::new(),
            written: watch::Sender::new(0),
        }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event at the end. Where too many wait, the oldest is dropped and counted.
    pub fn offer(&self, event: AuditEvent) {
        let mut queue = self.queue();
        let origin = format!("{:016x}-{}", self.0.life, queue.next);
        queue.next += 1;
        queue.waiting.push_back(Waiting { origin, event });
        if queue.waiting.len() > MAX_WAITING {
            queue.waiting.pop_front();
            queue.dropped += 1;
            metrics::counter!(names::EVENTS_DROPPED).increment(1);
        }
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits until something waits.
    pub async fn filled(&self) {
        while self.queue().waiting.is_empty() {
            self.0.filled.notified().await;
        }
    }

    /// For the writer: takes the oldest, at most `most`, and how many before them were dropped since it was asked last.
    #[must_use]
    pub fn take(&self, most: usize) -> (Vec<Waiting>, u64) {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(most);
        let taken: Vec<Waiting> = queue.waiting.drain(..count).collect();
        queue.in_hand = taken.len();
        (taken, std::mem::take(&mut queue.dropped))
    }

    /// For the writer: what it took is stored.
    pub fn stored(&self, newest: u64) {
        self.queue().in_hand = 0;
        self.0.written.send_replace(newest);
    }

    /// The highest id that this process has stored; it is told after each batch.
    #[must_use]
    pub fn written(&self) -> watch::Receiver<u64> {
        self.0.written.subscribe()
    }

    /// Waits until everything is stored.
    pub async fn flushed(&self) {
        let mut written = self.written();
        loop {
            if self.is_empty() || written.changed().await.is_err() {
                return;
            }
        }
    }

    fn is_empty(&self) -> bool {
        let queue = self.queue();
        queue.waiting.is_empty() && queue.in_hand == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> AuditEvent {
        let fields = [
            ("worker", "w"),
            ("stream", "radio"),
            ("reason", "worker_lost"),
            ("epoch", "7"),
        ];
        let fields = fields.map(|(key, value)| (key.to_owned(), value.to_owned()));
        AuditEvent::seen(
            DateTime::UNIX_EPOCH,
            "o".to_owned(),
            number.to_string(),
            fields.into(),
        )
    }

    #[test]
    fn an_event_says_what_it_is_about_and_why() {
        let event = event(1);
        let shown = [&event.subject, &event.cause, &event.correlation];
        assert_eq!(shown, ["radio", "worker_lost", "7"]);
    }

    #[tokio::test]
    async fn the_newest_are_kept_and_the_others_counted() {
        let journal = Journal::new(1);
        for number in 0..MAX_WAITING + 3 {
            journal.offer(event(number));
        }
        journal.filled().await;
        let (taken, dropped) = journal.take(2);
        assert_eq!(dropped, 3);
        let kinds: Vec<&str> = taken.iter().map(|waiting| waiting.event.kind.as_str()).collect();
        assert_eq!(kinds, ["3", "4"]);
        assert_ne!(taken[0].origin, taken[1].origin);
        assert_eq!(journal.take(MAX_WAITING).1, 0, "they are told once");
        // What is in hand is not stored yet.
        let flushed = journal.flushed();
        tokio::pin!(flushed);
        assert!(futures::poll!(flushed.as_mut()).is_pending());
        journal.stored(9);
        flushed.await;
        assert_eq!(*journal.written().borrow(), 9);
    }
}
