//! Several sinks: each goes on by itself, and one that forgets is told again.

use async_trait::async_trait;
use streamkeeper_protocol::AlertStatus;

use super::*;
use crate::port::alert_sink::{Change, SinkError};

/// A sink that does what a test wants, and remembers what it took.
#[derive(Default)]
struct Sink {
    name: &'static str,
    repeat_after: Option<Duration>,
    hangs: std::sync::atomic::AtomicBool,
    away: std::sync::atomic::AtomicBool,
    took: Mutex<Vec<String>>,
}

impl Sink {
    fn new(name: &'static str, repeat_after: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            name,
            repeat_after: repeat_after.map(Duration::from_secs),
            ..Self::default()
        })
    }

    fn took(&self) -> Vec<String> {
        std::mem::take(&mut self.took.lock().unwrap())
    }
}

#[async_trait]
impl AlertSink for Sink {
    fn name(&self) -> &'static str {
        self.name
    }

    fn repeat_after(&self) -> Option<Duration> {
        self.repeat_after
    }

    async fn take(&self, change: &Change) -> Result<(), SinkError> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.away.load(Ordering::SeqCst) {
            return Err(SinkError::Away("away".to_owned()));
        }
        let status = match change.message.status {
            AlertStatus::Firing => "firing",
            AlertStatus::Resolved => "resolved",
        };
        let taken = format!("{} {status}", change.rule);
        self.took.lock().unwrap().push(taken);
        Ok(())
    }
}

/// An outbox that leads, with these sinks alone.
fn with(sinks: &[&Arc<Sink>]) -> (Arc<Outside>, AlertOutbox) {
    let outside = Arc::new(Outside::new());
    let store: Arc<dyn Store> = outside.clone();
    let sinks = sinks.iter().map(|sink| {
        let sink: Arc<dyn AlertSink> = Arc::clone(*sink) as Arc<dyn AlertSink>;
        sink
    });
    let retention = Duration::from_secs(3_600);
    let outbox = AlertOutbox::new(
        sinks.collect(),
        &store,
        outside.clone(),
        Breakers::default(),
        retention,
    );
    lead(&outside, &outbox, 1);
    (outside, outbox)
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_delays_no_other() {
    let (hung, other) = (Sink::new("hung", None), Sink::new("other", None));
    hung.hangs.store(true, Ordering::SeqCst);
    let (_outside, outbox) = with(&[&hung, &other]);
    outbox.fire(alert("a"));
    seconds(1).await;
    outbox.resolve(&alert("a"));
    seconds(1).await;
    assert_eq!(other.took(), ["a firing", "a resolved"]);
    assert_eq!(hung.took(), [""; 0]);
    assert_eq!(outbox.desk.book().waiting(0), 1);
}

#[tokio::test(start_paused = true)]
async fn what_fires_is_repeated_and_what_is_over_or_silent_is_not() {
    let sink = Sink::new("repeated", Some(60));
    let (outside, outbox) = with(&[&sink]);
    outbox.fire(alert("a"));
    outbox.fire(alert("b"));
    seconds(59).await;
    outbox.resolve(&alert("b"));
    seconds(0).await;
    sink.took();
    let writes = outside.writes.lock().unwrap().len();
    seconds(122).await;
    assert_eq!(sink.took(), ["b resolved", "a firing", "a firing", "a firing"]);
    let now = outside.writes.lock().unwrap().len();
    assert!(
        now - writes <= 2,
        "a repetition is no news for the database: {}",
        now - writes
    );
    outbox.drop_waiting();
    seconds(600).await;
    assert_eq!(sink.took(), [""; 0], "another one leads");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_was_away_is_told_everything_at_once() {
    let sink = Sink::new("back", Some(3_600));
    let (_outside, outbox) = with(&[&sink]);
    outbox.fire(alert("a"));
    seconds(1).await;
    sink.away.store(true, Ordering::SeqCst);
    outbox.fire(alert("b"));
    seconds(100).await;
    assert_eq!(sink.took(), ["a firing"]);
    sink.away.store(false, Ordering::SeqCst);
    seconds(100).await;
    let mut took = sink.took();
    took.sort();
    took.dedup();
    assert_eq!(
        took,
        ["a firing", "b firing"],
        "it may have forgotten the first one"
    );
}
