//! What waits for the message server, and in which order it goes.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use streamkeeper_core::time::Timestamp;
use streamkeeper_protocol::{Assign, Beacon, Control, ControlReply, Event, LogReply, LogRequest};

use super::*;

/// A message server that can be away or keep nothing of one rule, and a wall clock that can be set.
#[derive(Default)]
struct Outside {
    away: AtomicBool,
    clock_set_by: AtomicI64,
    kept: Mutex<Vec<String>>,
    starts: Mutex<Vec<String>>,
}

#[async_trait]
impl Bus for Outside {
    fn assign(&self, _assign: &Assign, _compressed: bool) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    fn beacon(&self, _beacon: &Beacon) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    fn alert(&self, _severity: Severity, _rule: &str, _alert: &Alert) -> Result<(), BusError> {
        unreachable!("alerts are to be kept")
    }

    async fn keep_alert(&self, _severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(BusError::Disconnected);
        }
        match rule {
            "unkept" => return Err(BusError::NotKept("disk full".to_owned())),
            "unsendable" => return Err(BusError::Unsendable("too large".to_owned())),
            _ => {}
        }
        let status = alert.ends_at.as_ref().map_or("firing", |_| "resolved");
        self.kept.lock().unwrap().push(format!("{rule} {status}"));
        self.starts.lock().unwrap().push(alert.starts_at.clone());
        Ok(())
    }

    fn event(&self, _event: &Event) -> Result<(), BusError> {
        unreachable!("only alerts are sent")
    }

    async fn control(&self, _control: &Control, _timeout: Duration) -> Result<ControlReply, BusError> {
        unreachable!("only alerts are sent")
    }

    async fn logs(&self, _request: &LogRequest, _timeout: Duration) -> Result<LogReply, BusError> {
        unreachable!("only alerts are sent")
    }

    fn connected(&self) -> bool {
        !self.away.load(Ordering::SeqCst)
    }

    async fn ping(&self) -> Result<Duration, BusError> {
        unreachable!("only alerts are sent")
    }
}

impl Clock for Outside {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(1_000)
    }

    fn wall(&self, _at: Timestamp) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(self.clock_set_by.load(Ordering::SeqCst))
    }
}

fn alert(rule: &'static str) -> ActiveAlert {
    ActiveAlert {
        rule,
        severity: Severity::Warning,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        since: Timestamp::from_ms(500),
        fingerprint: format!("fingerprint of {rule}"),
    }
}

fn outbox() -> (Arc<Outside>, AlertOutbox) {
    let outside = Arc::new(Outside::default());
    (
        Arc::clone(&outside),
        AlertOutbox::new(outside.clone(), outside, Breakers::default()),
    )
}

/// Longer than all attempts take; time is virtual.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn the_newest_change_of_each_alert_waits_for_the_server() {
    let (outside, outbox) = outbox();
    outside.away.store(true, Ordering::SeqCst);
    outbox.fire(alert("b"));
    outbox.fire(alert("a"));
    outbox.resolve(alert("a"));
    outbox.fire(alert("c"));
    settle().await;
    assert!(outside.kept.lock().unwrap().is_empty());
    outside.away.store(false, Ordering::SeqCst);
    outbox.flush();
    settle().await;
    assert_eq!(
        *outside.kept.lock().unwrap(),
        ["b firing", "a resolved", "c firing"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_fires_is_sent_again_to_a_server_that_comes_back() {
    let (outside, outbox) = outbox();
    outbox.fire(alert("a"));
    outbox.fire(alert("b"));
    settle().await;
    outside.clock_set_by.store(3_600, Ordering::SeqCst);
    outbox.resolve(alert("b"));
    settle().await;
    outbox.flush();
    settle().await;
    assert_eq!(
        *outside.kept.lock().unwrap(),
        ["a firing", "b firing", "b resolved", "a firing"]
    );
    // However the wall clock was set meanwhile, a change keeps its name.
    let starts = outside.starts.lock().unwrap();
    assert!(starts.iter().all(|at| *at == starts[0]), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_kept_holds_up_no_other() {
    let (outside, outbox) = outbox();
    for rule in ["unkept", "unsendable", "a", "b"] {
        outbox.fire(alert(rule));
    }
    settle().await;
    assert_eq!(*outside.kept.lock().unwrap(), ["a firing", "b firing"]);
    let state = outbox.queue.state();
    let waiting: Vec<&str> = state.waiting.values().map(|change| change.rule).collect();
    assert_eq!(waiting, ["unkept"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded() {
    let mut state = State::default();
    for number in 0..=MAX_PENDING {
        let mut one = alert("a");
        one.fingerprint = number.to_string();
        state.put(Change::new(&one, String::new(), None));
    }
    assert_eq!(
        (state.waiting.len(), state.places.len()),
        (MAX_PENDING, MAX_PENDING)
    );
    assert!(!state.places.contains_key("0"));
}
