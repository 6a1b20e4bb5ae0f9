//! Silences, maintenance windows and acknowledgements.

use streamkeeper_core::alert_manager::{Acknowledged, Matcher};

use super::*;
use crate::port::AlertOrderError;

const HOUR: i64 = 3_600_000;

fn silence(id: &str, matcher: &str, starts_ms: i64) -> Silence {
    Silence {
        id: id.to_owned(),
        matchers: vec![Matcher::parse(matcher).unwrap()],
        starts_ms,
        ends_ms: starts_ms + HOUR,
        every_ms: None,
        by: "Ada".to_owned(),
        reason: "update".to_owned(),
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_what_is_silent_until_the_silence_ends() {
    let (outside, outbox) = outbox();
    outbox.silence(silence("s", "alertname=a", 1_000)).await.unwrap();
    for rule in ["a", "b", "c"] {
        outbox.fire(alert(rule));
    }
    pass(HALF_AN_HOUR).await;
    assert_eq!(outside.kept(), ["b firing", "c firing"]);
    let by = |rule: &str| {
        let alerts = outbox.watch().borrow().clone();
        let found = alerts.iter().find(|alert| alert.rule == rule).cloned();
        found.unwrap().suppressed_by.clone()
    };
    assert_eq!((by("a").as_deref(), by("b")), (Some("s"), None));
    pass(HALF_AN_HOUR + Duration::from_secs(1)).await;
    assert_eq!(
        outside.kept(),
        ["a firing"],
        "the silence is over, the alert is not"
    );
    assert_eq!(by("a"), None);
    assert!(
        outside
            .open()
            .iter()
            .all(|row| !row.pending && row.suppressed_by.is_none())
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_over_before_its_silence_is_told_to_those_who_know_of_it() {
    let (outside, outbox) = outbox();
    outbox.fire(alert("known"));
    settle().await;
    assert_eq!(outside.kept(), ["known firing"]);
    for rule in ["known", "new"] {
        let matcher = format!("alertname={rule}");
        outbox.silence(silence(rule, &matcher, 1_000)).await.unwrap();
    }
    outbox.fire(alert("new"));
    settle().await;
    outbox.resolve(&alert("known"));
    outbox.resolve(&alert("new"));
    settle().await;
    assert_eq!(outside.kept(), ["known resolved"]);
    assert_eq!(outside.open(), [], "nobody has to be told anything");
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_is_ended_or_not_stored_keeps_nothing_quiet() {
    let (outside, outbox) = outbox();
    outside.fails.store(true, Ordering::SeqCst);
    let refused = outbox
        .silence(silence("s", "alertname=a", 1_000))
        .await
        .unwrap_err();
    assert!(matches!(refused, AlertOrderError::NotStored(_)), "{refused}");
    assert!(outbox.watch_silences().borrow().is_empty());
    outside.fails.store(false, Ordering::SeqCst);
    outbox.silence(silence("s", "alertname=a", 1_000)).await.unwrap();
    outbox.fire(alert("a"));
    settle().await;
    assert_eq!(outside.kept(), [""; 0]);
    let unknown = outbox.unsilence("other").await.unwrap_err();
    assert_eq!(unknown, AlertOrderError::Unknown("silence", "other".to_owned()));
    outbox.unsilence("s").await.unwrap();
    settle().await;
    assert_eq!(outside.kept(), ["a firing"]);
    assert_eq!(outside.silences(), []);
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_keeps_quiet_what_was_silent() {
    let (outside, old) = outbox();
    old.silence(silence("s", "label.site=north", 1_000))
        .await
        .unwrap();
    let mut quiet = alert("a");
    quiet.context.insert("label.site".to_owned(), "north".to_owned());
    old.fire(quiet.clone());
    settle().await;
    drop(old);
    let new = outbox_on(&outside);
    new.found(fence(2), outside.open(), outside.silences());
    new.adopt(adopted(fence(2).term, false, vec![quiet]));
    new.flush();
    settle().await;
    assert_eq!(outside.kept(), [""; 0]);
    assert_eq!(new.watch_silences().borrow().len(), 1);
    pass(HALF_AN_HOUR * 2).await;
    assert_eq!(outside.kept(), ["a firing"]);
}

#[tokio::test(start_paused = true)]
async fn a_maintenance_window_begins_later_and_comes_again() {
    let (outside, outbox) = outbox();
    let window = Silence {
        every_ms: Some(4 * HOUR),
        ..silence("w", "alertname=a", HOUR)
    };
    outbox.silence(window).await.unwrap();
    let mut told = Vec::new();
    // Half past every hour.
    pass(HALF_AN_HOUR).await;
    for _ in 0..7 {
        outbox.fire(alert("a"));
        pass(Duration::from_secs(60)).await;
        told.push(outside.kept().len());
        outbox.resolve(&alert("a"));
        pass(HALF_AN_HOUR * 2 - Duration::from_secs(60)).await;
        outside.kept();
    }
    assert_eq!(told, [1, 0, 1, 1, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn who_takes_an_alert_on_is_known_to_the_next_leader() {
    let (outside, outbox) = outbox();
    outbox.fire(alert("a"));
    settle().await;
    let taken_on = Acknowledged {
        by: "Ada".to_owned(),
        at_ms: 1,
        until_ms: None,
    };
    let fingerprint = alert("a").fingerprint;
    let shown = outbox.acknowledge(&fingerprint, taken_on.clone()).await.unwrap();
    assert_eq!(shown.acknowledged.as_ref(), Some(&taken_on));
    settle().await;
    assert_eq!(outside.kept(), ["a firing"], "nobody is told again");
    assert_eq!(outside.open()[0].acknowledged, Some(taken_on.clone()));
    let unknown = outbox.acknowledge("other", taken_on).await.unwrap_err();
    assert_eq!(unknown, AlertOrderError::Unknown("alert", "other".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_a_leadership_that_begins() {
    let outside = Arc::new(Outside::new());
    let outbox = outbox_on(&outside);
    let refused = outbox
        .silence(silence("s", "alertname=a", 1_000))
        .await
        .unwrap_err();
    assert_eq!(refused, AlertOrderError::NotLeading);
    outbox.found(fence(1), Vec::new(), Vec::new());
    let begin = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        outbox.adopt(adopted(fence(1).term, false, Vec::new()));
    };
    let (ordered, ()) = tokio::join!(outbox.silence(silence("s", "alertname=a", 1_000)), begin);
    ordered.unwrap();
    assert_eq!(outside.silences().len(), 1);
}
