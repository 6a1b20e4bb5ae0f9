//! What waits for the database and the message server, and in which order it goes.

mod incidents;
mod outside;
mod quiet;
mod sinks;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use streamkeeper_protocol::Severity;

use super::*;
use outside::Outside;

fn alert(rule: &'static str) -> ActiveAlert {
    ActiveAlert {
        rule,
        severity: Severity::Warning,
        labels: BTreeMap::new(),
        context: BTreeMap::new(),
        annotations: BTreeMap::new(),
        since: Timestamp::from_ms(500),
        fingerprint: format!("fingerprint of {rule}"),
        incident: None,
        explained_by: None,
    }
}

fn fence(term: u32) -> Fence {
    Fence {
        term: Term::new(term).unwrap(),
        nonce: 7,
    }
}

fn outbox_on(outside: &Arc<Outside>) -> AlertOutbox {
    let store: Arc<dyn Store> = outside.clone();
    AlertOutbox::new(
        vec![Arc::new(NatsSink(outside.clone()))],
        &store,
        outside.clone(),
        Breakers::default(),
        Duration::from_secs(3_600),
    )
}

fn adopted(term: Term, own: bool, alerts: Vec<ActiveAlert>) -> Adopted {
    Adopted { term, own, alerts }
}

/// Begins a leadership with what is stored.
fn lead(outside: &Outside, outbox: &AlertOutbox, term: u32) {
    let alerts = outbox.found(fence(term), outside.open(), outside.silences());
    outbox.adopt(adopted(fence(term).term, false, alerts));
}

fn outbox() -> (Arc<Outside>, AlertOutbox) {
    let outside = Arc::new(Outside::new());
    let outbox = outbox_on(&outside);
    lead(&outside, &outbox, 1);
    (outside, outbox)
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
    outbox.resolve(&alert("a"));
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
    outbox.resolve(&alert("b"));
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
    let book = outbox.desk.book();
    assert_eq!(book.waiting(0), 1);
    let pending = outside.stored().into_iter().filter(|(_, _, pending)| *pending);
    assert_eq!(pending.map(|(rule, ..)| rule).collect::<Vec<_>>(), ["unkept"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded() {
    let (outside, outbox) = outbox();
    outside.away.store(true, Ordering::SeqCst);
    for number in 0..=10_000 {
        let mut one = alert("a");
        one.fingerprint = format!("{number:05}");
        outbox.desk.book().fire(one, Timestamp::ZERO, 1);
    }
    let book = outbox.desk.book();
    assert_eq!(book.waiting(0), 10_000);
    assert!(!book.lanes[0].waits(&("00000".to_owned(), 1)));
    assert!(book.lanes[0].waits(&("00001".to_owned(), 1)));
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_tells_what_its_predecessor_could_not() {
    let (outside, old) = outbox();
    old.fire(alert("told"));
    settle().await;
    outside.away.store(true, Ordering::SeqCst);
    old.fire(alert("untold"));
    old.fire(alert("over"));
    old.resolve(&alert("told"));
    settle().await;
    assert_eq!(outside.kept(), ["told firing"]);
    drop(old);
    // A resolved one that nobody was told of is not forgotten.
    let expected = [
        ("over".to_owned(), true, true),
        ("told".to_owned(), false, true),
        ("untold".to_owned(), true, true),
    ];
    assert_eq!(outside.stored(), expected);
    outside.away.store(false, Ordering::SeqCst);
    let new = outbox_on(&outside);
    let alerts = new.found(fence(2), outside.open(), outside.silences());
    let rules: Vec<&str> = alerts.iter().map(|alert| alert.rule).collect();
    assert_eq!(rules, [""; 0], "rules of the tests are known to no version");
    // The manager knows them all the same.
    new.adopt(adopted(
        fence(2).term,
        false,
        vec![alert("over"), alert("untold")],
    ));
    new.resolve(&alert("over"));
    settle().await;
    let mut kept = outside.kept();
    kept.sort();
    assert_eq!(kept, ["over resolved", "told resolved", "untold firing"]);
    assert_eq!(new.watch().borrow().len(), 1);
    assert_eq!(outside.writes.lock().unwrap().last(), Some(&fence(2).term));
    let mut again = outside.stored();
    again.retain(|(_, _, pending)| *pending);
    assert_eq!(again, []);
    assert_eq!(new.told().0, Some(fence(2).term));
}

#[tokio::test(start_paused = true)]
async fn what_was_told_is_not_told_again_by_the_next_leader() {
    let (outside, old) = outbox();
    old.fire(alert("a"));
    settle().await;
    drop(old);
    let new = outbox_on(&outside);
    new.found(fence(2), outside.open(), outside.silences());
    new.adopt(adopted(fence(2).term, false, vec![alert("a")]));
    settle().await;
    assert_eq!(outside.kept(), ["a firing"]);
    new.resolve(&alert("a"));
    settle().await;
    assert_eq!(outside.kept(), ["a resolved"]);
    let starts = outside.starts.lock().unwrap().clone();
    assert_eq!(starts[0], starts[1], "the same occurrence");
    assert_eq!(outside.stored(), [("a".to_owned(), false, false)]);
}

#[tokio::test(start_paused = true)]
async fn its_own_memory_is_newer_than_the_database() {
    let (outside, outbox) = outbox();
    outside.fails.store(true, Ordering::SeqCst);
    outbox.fire(alert("a"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        outside.kept(),
        ["a firing"],
        "a database that fails holds up no alert"
    );
    assert_eq!(outside.stored(), []);
    outbox.found(fence(2), outside.open(), outside.silences());
    outside.fails.store(false, Ordering::SeqCst);
    outbox.adopt(adopted(fence(2).term, true, vec![alert("a")]));
    settle().await;
    assert_eq!(outside.kept(), [""; 0]);
    assert_eq!(outside.stored(), [("a".to_owned(), true, false)]);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_stored_in_a_restored_database_ends_with_the_next_term() {
    let (outside, outbox) = outbox();
    outbox.fire(alert("both"));
    outbox.fire(alert("own"));
    settle().await;
    outbox.resolve(&alert("own"));
    settle().await;
    outside.kept();
    // The database goes back to the time of a predecessor, which wakes up and tells alerts as the leader of that time.
    let stranger = outbox_on(&outside);
    stranger.found(fence(1), Vec::new(), Vec::new());
    stranger.adopt(adopted(fence(1).term, false, Vec::new()));
    stranger.fire(alert("foreign"));
    stranger.fire(alert("both"));
    settle().await;
    drop(stranger);
    assert_eq!(outside.kept(), ["foreign firing", "both firing"]);

    outbox.found(fence(2), outside.open(), outside.silences());
    outbox.adopt(adopted(fence(2).term, true, vec![alert("both")]));
    settle().await;
    assert_eq!(outside.kept(), ["foreign resolved"], "the other one fires still");
    let firing = outside.stored().into_iter().filter(|(_, firing, _)| *firing);
    assert_eq!(firing.map(|(rule, ..)| rule).collect::<Vec<_>>(), ["both"]);
    assert_eq!(outbox.watch().borrow().len(), 1);
    // What was over already, and is stored as firing by the older copy.
    let mut older = outside.open();
    older[0].rule = "own".to_owned();
    older[0].fingerprint = "fingerprint of own".to_owned();
    outbox.found(fence(3), older, outside.silences());
    outbox.adopt(adopted(fence(3).term, true, vec![alert("both")]));
    settle().await;
    assert_eq!(outside.kept(), ["own resolved"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_stored_before_it_is_told_unless_the_database_hangs() {
    let (outside, outbox) = outbox();
    outside.hangs.store(true, Ordering::SeqCst);
    outbox.fire(alert("a"));
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(outside.kept(), [""; 0]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(outside.kept(), ["a firing"]);
}

#[tokio::test(start_paused = true)]
async fn alerts_that_are_long_over_are_removed() {
    let (outside, outbox) = outbox();
    for rule in ["a", "b"] {
        outbox.fire(alert(rule));
    }
    settle().await;
    outbox.resolve(&alert("a"));
    settle().await;
    assert_eq!(outside.stored().len(), 2);
    tokio::time::sleep(Duration::from_secs(3_700)).await;
    assert_eq!(outside.stored(), [("b".to_owned(), true, false)]);
}

#[tokio::test(start_paused = true)]
async fn who_was_deposed_tells_nothing_any_more() {
    let (outside, outbox) = outbox();
    outside.deposed.store(true, Ordering::SeqCst);
    outbox.fire(alert("a"));
    settle().await;
    assert_eq!(outside.kept(), [""; 0]);
    outside.deposed.store(false, Ordering::SeqCst);
    outbox.found(fence(3), Vec::new(), Vec::new());
    outbox.adopt(adopted(fence(3).term, false, vec![alert("a")]));
    settle().await;
    assert_eq!(outside.kept(), ["a firing"]);
}

#[tokio::test(start_paused = true)]
async fn readers_see_that_a_sink_has_taken_an_alert_when_that_is_stored() {
    let (outside, outbox) = outbox();
    let delivered = |alerts: &[Arc<StoredAlert>]| alerts[0].delivered.clone();
    outbox.fire(alert("a"));
    settle().await;
    assert_eq!(
        delivered(&outbox.watch().borrow()),
        BTreeMap::from([("alerts_nats".to_owned(), 1)])
    );
    outbox.resolve(&alert("a"));
    settle().await;

    // Told, but not stored, and then it has other words: a new life would tell it again.
    outside.fails.store(true, Ordering::SeqCst);
    outbox.fire(alert("a"));
    settle().await;
    outbox.fire(alert("a"));
    assert_eq!(outside.kept().last().map(String::as_str), Some("a firing"));
    let shown = outbox.watch().borrow().clone();
    assert_eq!(delivered(&shown), BTreeMap::from([("alerts_nats".to_owned(), 0)]));
    assert!(shown[0].pending);

    outside.fails.store(false, Ordering::SeqCst);
    settle().await;
    let shown = outbox.watch().borrow().clone();
    assert_eq!(delivered(&shown), BTreeMap::from([("alerts_nats".to_owned(), 1)]));
    assert!(!shown[0].pending);
}
