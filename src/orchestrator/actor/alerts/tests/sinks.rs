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
    per_minute: Option<u32>,
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

    fn per_minute(&self) -> Option<u32> {
        self.per_minute
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

/// An alert that comes and goes.
fn comes_and_goes(outbox: &AlertOutbox, number: usize) {
    let mut one = alert("a");
    one.fingerprint = format!("{:03}", number % 500);
    outbox.fire(one.clone());
    outbox.resolve(&one);
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_bounded_in_memory_though_nobody_takes_anything() {
    let hung = Sink::new("hung", None);
    hung.hangs.store(true, Ordering::SeqCst);
    let (outside, outbox) = with(&[&hung]);
    outside.hangs.store(true, Ordering::SeqCst);
    for number in 0..35_000 {
        comes_and_goes(&outbox, number);
        let book = outbox.desk.book();
        assert!(
            book.rows.len() <= 30_001 && book.dirty.len() <= 30_001,
            "{number}"
        );
        assert!(book.waiting(0) <= 10_000, "{number}");
    }
    // What fires then is stored and heard of all the same.
    outbox.fire(alert("last"));
    let book = outbox.desk.book();
    let key = book.firing_keys().next().unwrap();
    assert!(book.rows.contains_key(&key) && book.dirty.contains(&key) && book.lanes[0].waits(&key));
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_a_bounded_number_of_pages_and_the_newest_is_heard_of() {
    let paced = Arc::new(Sink {
        name: "paced",
        per_minute: Some(60),
        ..Sink::default()
    });
    let fast = Sink::new("fast", None);
    let (_outside, outbox) = with(&[&paced, &fast]);
    for number in 0..6_000 {
        comes_and_goes(&outbox, number);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let pages = paced.took().len();
    assert!((60..=121).contains(&pages), "{pages} pages in a minute");
    outbox.fire(alert("last"));
    seconds(5).await;
    assert_eq!(fast.took().last().map(String::as_str), Some("last firing"));
}
