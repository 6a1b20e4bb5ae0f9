//! Alerts on their way out: each change is stored first, and then waits for each sink until that has it. So a new
//! leadership knows what was told, and what was not.
//!
//! A database that fails holds up no alert. What fires is told again to a sink that may have lost it, whenever its
//! connection comes to stand.

mod book;
mod keep;
mod lane;
mod line;
mod nats;
mod order;
mod quiet;
mod send;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use streamkeeper_core::alert_manager::{ActiveAlert, Adopted, Command, IncidentId, Silence, StoredAlert};
use streamkeeper_core::record::Fence;
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::Term;
use streamkeeper_resilience::BreakerState;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::port::alert_sink::AlertSink;
use crate::port::{Breakers, Clock, Store};
use crate::telemetry::metrics as names;
use book::{Book, Key};
pub(super) use nats::NatsSink;

/// Least time between two pictures of what fires, where many alerts change at once.
const SHOW_EVERY: Duration = Duration::from_millis(20);

/// The outbox.
pub(super) struct AlertOutbox {
    desk: Arc<Desk>,
    store: Arc<dyn Store>,
    _stop_on_drop: DropGuard,
}

/// What the outbox and its tasks share.
struct Desk {
    clock: Arc<dyn Clock>,
    breakers: Breakers,
    book: Mutex<Book>,
    active: watch::Sender<Vec<Arc<StoredAlert>>>,
    silences: watch::Sender<Vec<Arc<Silence>>>,
    /// Other silences stand.
    silenced: Notify,
    /// Something is to be stored.
    changed: Notify,
    /// Something is to be shown.
    unseen: Notify,
    bells: Vec<Bell>,
}

/// What wakes the sender of one sink.
#[derive(Default)]
struct Bell {
    /// Something waits, or was stored.
    filled: Notify,
    /// A connection came to stand: no need to wait any longer.
    connected: Notify,
    forgets: bool,
}

impl AlertOutbox {
    /// An empty outbox, whose tasks run on the present runtime.
    pub(super) fn new(
        sinks: Vec<Arc<dyn AlertSink>>,
        store: &Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        breakers: Breakers,
        retention: Duration,
    ) -> Self {
        for sink in &sinks {
            breakers.set(sink.name(), BreakerState::Closed, None, clock.now());
        }
        let desk = Arc::new(Desk {
            clock,
            breakers,
            book: Mutex::new(Book::new(sinks.iter().map(|sink| (sink.name(), sink.pages())))),
            active: watch::Sender::new(Vec::new()),
            silences: watch::Sender::new(Vec::new()),
            silenced: Notify::new(),
            changed: Notify::new(),
            unseen: Notify::new(),
            bells: sinks
                .iter()
                .map(|sink| Bell {
                    forgets: sink.forgets(),
                    ..Bell::default()
                })
                .collect(),
        });
        let stopping = CancellationToken::new();
        for (lane, sink) in sinks.into_iter().enumerate() {
            let sender = send::send(Arc::clone(&desk), lane, sink);
            tokio::spawn(stopping.clone().run_until_cancelled_owned(sender));
        }
        let writer = keep::write(Arc::clone(&desk), Arc::clone(store));
        tokio::spawn(stopping.clone().run_until_cancelled_owned(writer));
        let pruner = keep::prune(Arc::clone(&desk), Arc::clone(store), retention);
        tokio::spawn(stopping.clone().run_until_cancelled_owned(pruner));
        let judge = order::watch_silences(Arc::clone(&desk));
        tokio::spawn(stopping.clone().run_until_cancelled_owned(judge));
        let shower = show(Arc::clone(&desk));
        tokio::spawn(stopping.clone().run_until_cancelled_owned(shower));
        Self {
            desk,
            store: Arc::clone(store),
            _stop_on_drop: stopping.drop_guard(),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Vec<Arc<StoredAlert>>> {
        self.desk.active.subscribe()
    }

    pub(super) fn watch_silences(&self) -> watch::Receiver<Vec<Arc<Silence>>> {
        self.desk.silences.subscribe()
    }

    /// The term under which alerts were told last, those that fire, and the last incident.
    pub(super) fn told(&self) -> (Option<Term>, Vec<ActiveAlert>, Option<IncidentId>) {
        let book = self.desk.book();
        let firing = book.firing().filter_map(|(alert, since)| alert.active(since));
        (book.term(), firing.collect(), book.newest_incident())
    }

    /// Does what the alert manager wants done.
    pub(super) fn perform(&self, command: Command) {
        match command {
            Command::Adopt(adopted) => self.adopt(adopted),
            Command::Fire(alert) => self.fire(alert),
            Command::Resolve(alert) => self.resolve(&alert),
            Command::Explain(alert) => self.explain(alert),
        }
    }

    /// Keeps what a takeover read. Says what of it fires.
    pub(super) fn found(
        &self,
        fence: Fence,
        stored: Vec<StoredAlert>,
        silences: Vec<Silence>,
    ) -> Vec<ActiveAlert> {
        let (now, wall_ms) = (self.desk.clock.now(), self.desk.wall_ms());
        let since = |alert: &StoredAlert| {
            let age = u64::try_from(wall_ms.saturating_sub(alert.began_ms)).unwrap_or(0);
            now - Duration::from_millis(age)
        };
        let rows: Vec<(StoredAlert, Timestamp)> = stored
            .into_iter()
            .map(|alert| {
                let since = since(&alert);
                (alert, since)
            })
            .collect();
        let firing = rows
            .iter()
            .filter_map(|(alert, since)| alert.active(*since))
            .collect();
        self.desk.book().found(fence, rows, silences);
        firing
    }

    /// A leadership begins, in which these fire.
    pub(super) fn adopt(&self, adopted: Adopted) {
        let (term, count) = (adopted.term, adopted.alerts.len());
        let now = self.desk.clock.now();
        let adopted = self.desk.book().adopt(adopted, now, self.desk.wall_ms());
        if adopted {
            tracing::info!(%term, alerts = count, "alerts go on");
        } else {
            tracing::debug!(%term, "this leadership is over already");
        }
        self.desk.note_silences();
    }

    pub(super) fn fire(&self, alert: ActiveAlert) {
        let summary = alert.annotations.get("summary").cloned().unwrap_or_default();
        let incident = alert.incident.map(tracing::field::display);
        tracing::debug!(rule = alert.rule, severity = %alert.severity, incident, summary, "alert fires");
        count(&alert, "firing");
        let now = self.desk.clock.now();
        self.desk.book().fire(alert, now, self.desk.wall_ms());
        self.desk.note_soon();
    }

    pub(super) fn resolve(&self, alert: &ActiveAlert) {
        tracing::debug!(rule = alert.rule, severity = %alert.severity, "alert is over");
        count(alert, "resolved");
        let now = self.desk.clock.now();
        let resolved = self
            .desk
            .book()
            .resolve(&alert.fingerprint, now, self.desk.wall_ms());
        if !resolved {
            tracing::debug!(rule = alert.rule, "it did not fire");
        }
        self.desk.note_soon();
    }

    fn explain(&self, alert: ActiveAlert) {
        let by = alert.explained_by.as_deref().unwrap_or("nothing");
        tracing::info!(
            rule = alert.rule,
            explained_by = by,
            "what explains an alert has changed"
        );
        let now = self.desk.clock.now();
        self.desk.book().explain(alert, now, self.desk.wall_ms());
        self.desk.note();
    }

    /// Another leads now: what was not sent is not ours to send any more.
    pub(super) fn drop_waiting(&self) {
        self.desk.book().clear_lanes();
    }

    /// A connection came to stand: what waits is sent at once, and what fires is sent again.
    pub(super) fn flush(&self) {
        for (lane, bell) in self.desk.bells.iter().enumerate() {
            if bell.forgets {
                self.desk.book().again(lane);
                bell.filled.notify_one();
                bell.connected.notify_one();
            }
        }
    }
}

/// Shows what changed: at once, and then not again for a moment.
async fn show(desk: Arc<Desk>) {
    loop {
        desk.unseen.notified().await;
        desk.show();
        tokio::time::sleep(SHOW_EVERY).await;
    }
}

fn count(alert: &ActiveAlert, status: &'static str) {
    metrics::counter!(names::ALERTS, "rule" => alert.rule, "status" => status).increment(1);
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall(self.clock.now()).timestamp_millis()
    }

    /// Something changed: readers see it, it is stored, and senders look again.
    fn note(&self) {
        self.changed.notify_one();
        self.show();
    }

    /// As [`Self::note`], for what may come a thousand times at once.
    fn note_soon(&self) {
        self.changed.notify_one();
        self.unseen.notify_one();
    }

    /// Other silences stand.
    fn note_silences(&self) {
        let silences = self.book().silences().map(Arc::clone).collect();
        self.silences.send_replace(silences);
        self.silenced.notify_one();
        self.note();
    }

    /// Readers see what there is, and senders look again.
    fn show(&self) {
        let book = self.book();
        self.active.send_replace(book.shown());
        drop(book);
        for bell in &self.bells {
            bell.filled.notify_one();
        }
    }

    /// Counts what became of an attempt to tell a sink, and what it waits for now.
    fn count(&self, lane: usize, sink: &'static str, outcome: &'static str) {
        metrics::counter!(names::ALERT_DELIVERIES, "sink" => sink, "outcome" => outcome).increment(1);
        let waiting = u32::try_from(self.book().waiting(lane)).unwrap_or(u32::MAX);
        metrics::gauge!(names::ALERTS_WAITING, "sink" => sink).set(waiting);
    }

    /// A sink has taken a change. Readers see that when it is stored: then nobody will tell it again.
    fn taken(&self, lane: usize, key: &Key, change: u64) {
        self.book().taken(lane, key, change);
        self.changed.notify_one();
    }

    async fn filled(&self, lane: usize) {
        if let Some(bell) = self.bells.get(lane) {
            bell.filled.notified().await;
        }
    }

    async fn connected(&self, lane: usize) {
        if let Some(bell) = self.bells.get(lane) {
            bell.connected.notified().await;
        }
    }
}
