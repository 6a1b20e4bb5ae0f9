//! Alerts outlive the leader that told them.

use std::collections::BTreeMap;

use streamkeeper_core::alert_manager::{Acknowledged, IncidentId, Matcher, Silence, StoredAlert};
use streamkeeper_core::record::Fence;
use streamkeeper_orchestrator::port::incidents::{Ended, Incident, IncidentQuery};
use streamkeeper_orchestrator::port::{IncidentLog, Store, StoreError};
use streamkeeper_protocol::{Severity, Term};

use super::backend::{Backend, fence, lead, on_both, term};

on_both!(
    a_new_leader_finds_what_fires_and_what_nobody_was_told,
    only_the_leader_writes_alerts,
    alerts_that_are_long_over_are_removed_a_few_at_a_time,
    an_alert_that_makes_no_sense_is_named_and_left_out,
    silences_outlive_the_leader_until_they_are_removed,
    alerts_of_one_incident_are_summed_and_listed_page_by_page,
    alerts_that_are_over_are_read_the_last_one_first,
);

fn incident(number: u32, counter: u32) -> IncidentId {
    IncidentId {
        term: term(number),
        number: counter,
    }
}

async fn alerts_of_one_incident_are_summed_and_listed_page_by_page(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let of = |alert: StoredAlert, id: IncidentId, explained_by: Option<&str>| StoredAlert {
        incident: Some(id),
        explained_by: explained_by.map(str::to_owned),
        ..alert
    };
    let warning = StoredAlert {
        severity: Severity::Warning,
        ..over("w", 1, 40)
    };
    let rows = [
        of(warning.clone(), incident(9, 10), None),
        of(over("b", 5, 50), incident(9, 10), None),
        of(over("c", 2, 90), incident(9, 10), Some("b")),
        of(alert("d", 70), incident(9, 11), None),
        of(over("d", 60, 65), incident(9, 11), None),
        of(over("e", 80, 81), incident(25, 2), None),
        alert("old", 1),
    ];
    store.write_alerts(fence(1), &rows).await.unwrap();
    let list = async |before, open, limit| {
        let query = IncidentQuery { before, open, limit };
        store.incidents(&query).await.unwrap()
    };
    let ids = |found: &[Incident]| found.iter().map(|one| one.id.to_string()).collect::<Vec<_>>();
    let all = list(None, None, 9).await;
    assert_eq!(
        ids(&all),
        ["25-2", "9-11", "9-10"],
        "later terms come first, numbers count as numbers"
    );
    let summed: Vec<_> = all
        .iter()
        .map(|one| {
            let head = one.head.fingerprint.as_str();
            (
                one.opened_ms,
                one.ended_ms,
                one.alerts,
                one.firing,
                one.severity,
                head,
            )
        })
        .collect();
    let expected = [
        (80, Some(81), 1, 0, Severity::Critical, "e"),
        (60, None, 2, 1, Severity::Critical, "d"),
        (1, Some(90), 3, 0, Severity::Critical, "b"),
    ];
    assert_eq!(summed, expected);
    assert_eq!(ids(&list(None, None, 2).await), ["25-2", "9-11"]);
    assert_eq!(ids(&list(Some(incident(9, 11)), None, 2).await), ["9-10"]);
    assert_eq!(ids(&list(Some(incident(9, 10)), None, 2).await), [""; 0]);
    assert_eq!(ids(&list(None, Some(true), 9).await), ["9-11"]);
    assert_eq!(ids(&list(None, Some(false), 9).await), ["25-2", "9-10"]);
    let (one, alerts) = store.incident(incident(9, 10)).await.unwrap().unwrap();
    assert_eq!(one, all[2]);
    assert_eq!(alerts, [rows[0].clone(), rows[2].clone(), rows[1].clone()]);
    assert_eq!(store.incident(incident(9, 12)).await.unwrap(), None);
}

async fn alerts_that_are_over_are_read_the_last_one_first(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let rows = [
        over("a", 1, 5),
        over("b", 1, 9),
        over("c", 2, 5),
        alert("d", 3),
        over("a", 6, 7),
    ];
    store.write_alerts(fence(1), &rows).await.unwrap();
    let mut before = None;
    let mut found = Vec::new();
    loop {
        let page = store.alerts_over(before.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(Ended {
            at_ms: last.resolved_ms.unwrap(),
            fingerprint: last.fingerprint.clone(),
        });
        found.extend(page);
    }
    let found: Vec<(&str, i64)> = found
        .iter()
        .map(|alert| (alert.fingerprint.as_str(), alert.began_ms))
        .collect();
    assert_eq!(found, [("b", 1), ("a", 6), ("c", 2), ("a", 1)]);
}

fn alert(name: &str, began_ms: i64) -> StoredAlert {
    StoredAlert {
        fingerprint: name.to_owned(),
        rule: "worker_lost".to_owned(),
        severity: Severity::Critical,
        labels: BTreeMap::from([("worker".to_owned(), "a \"b\" ü".to_owned())]),
        context: BTreeMap::from([("zone".to_owned(), "eu".to_owned())]),
        annotations: BTreeMap::from([("summary".to_owned(), "it\nis away".to_owned())]),
        began_ms,
        changed_ms: began_ms,
        resolved_ms: None,
        acknowledged: None,
        suppressed_by: None,
        incident: None,
        explained_by: None,
        change: 1,
        delivered: BTreeMap::from([("alerts_nats".to_owned(), 1)]),
        pending: false,
    }
}

fn over(name: &str, began_ms: i64, resolved_ms: i64) -> StoredAlert {
    StoredAlert {
        resolved_ms: Some(resolved_ms),
        ..alert(name, began_ms)
    }
}

async fn a_new_leader_finds_what_fires_and_what_nobody_was_told(backend: &Backend) {
    let store = backend.open().await;
    assert_eq!(lead(&store, 1).await.before, Term::ZERO);
    let untold = StoredAlert {
        pending: true,
        delivered: BTreeMap::new(),
        ..over("d", 4, 5)
    };
    let rows = [
        alert("b", 2),
        alert("a", 1),
        over("c", 3, 4),
        untold.clone(),
        over("a", 0, 1),
    ];
    store.write_alerts(fence(1), &rows).await.unwrap();
    let mut newer = alert("b", 2);
    newer.acknowledged = Some(Acknowledged {
        by: "Ada".to_owned(),
        at_ms: 7,
        until_ms: Some(8),
    });
    newer.annotations.insert("summary".to_owned(), "still".to_owned());
    newer.change = u64::from(u32::MAX) + 1;
    newer.delivered.clear();
    newer.suppressed_by = Some("s".to_owned());
    newer.incident = Some(incident(17, 3));
    newer.explained_by = Some("a".to_owned());
    newer.pending = true;
    store.write_alerts(fence(1), &[newer.clone()]).await.unwrap();
    store.write_alerts(fence(1), &[]).await.unwrap();
    let found = lead(&store, 2).await;
    assert_eq!(found.before, term(1));
    assert_eq!(found.alerts, [alert("a", 1), newer, untold]);
    assert_eq!(found.bad_rows, [""; 0]);
}

async fn only_the_leader_writes_alerts(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    lead(&store, 2).await;
    let wrong_nonce = Fence { nonce: 1, ..fence(2) };
    for fence in [fence(1), wrong_nonce] {
        let refused = store.write_alerts(fence, &[alert("a", 1)]).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Fenced(by) if by == term(2)),
            "{refused}"
        );
        let refused = store.prune_alerts(fence, 1, 1).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Fenced(by) if by == term(2)),
            "{refused}"
        );
    }
    assert_eq!(lead(&store, 3).await.alerts, []);
}

async fn alerts_that_are_long_over_are_removed_a_few_at_a_time(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let untold = StoredAlert {
        pending: true,
        ..over("untold", 1, 2)
    };
    let rows = [
        over("a", 1, 2),
        over("b", 1, 3),
        over("c", 1, 4),
        over("d", 1, 9),
        alert("e", 1),
        untold,
    ];
    store.write_alerts(fence(1), &rows).await.unwrap();
    // Also those that a sink was never told of: it was away all the time.
    for expected in [2, 2, 0] {
        assert_eq!(store.prune_alerts(fence(1), 9, 2).await.unwrap(), expected);
    }
    let left: Vec<String> = lead(&store, 2)
        .await
        .alerts
        .into_iter()
        .map(|row| row.fingerprint)
        .collect();
    assert_eq!(left, ["e"]);
    assert_eq!(
        store.prune_alerts(fence(2), 10, 9).await.unwrap(),
        1,
        "that at its limit was kept"
    );
}

async fn an_alert_that_makes_no_sense_is_named_and_left_out(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let rows = [alert("a", 1), alert("b", 2), alert("c", 3)];
    store.write_alerts(fence(1), &rows).await.unwrap();
    backend
        .sql("UPDATE alert SET severity = 'loud' WHERE fingerprint = 'a'")
        .await;
    backend
        .sql("UPDATE alert SET labels = '{' WHERE fingerprint = 'b'")
        .await;
    let found = lead(&store, 2).await;
    assert_eq!(found.alerts, [alert("c", 3)]);
    assert_eq!(found.bad_rows.len(), 2, "{:?}", found.bad_rows);
    let told = found.bad_rows.join("; ");
    for part in [
        "table alert, row a, column severity: \"loud\" is no severity",
        "row b, column labels",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

async fn silences_outlive_the_leader_until_they_are_removed(backend: &Backend) {
    let store = backend.open().await;
    lead(&store, 1).await;
    let silence = |id: &str, every_ms| Silence {
        id: id.to_owned(),
        matchers: ["worker=a", "stream!=cam-*"]
            .map(|text| Matcher::parse(text).unwrap())
            .into(),
        starts_ms: 1,
        ends_ms: 2,
        every_ms,
        by: "Ada \"x\"".to_owned(),
        reason: "update".to_owned(),
    };
    let (one, other, third) = (silence("b", None), silence("a", Some(9)), silence("c", None));
    let puts = [one.clone(), other.clone(), third.clone()];
    store.write_silences(fence(1), &puts, &[]).await.unwrap();
    store
        .write_silences(fence(1), &[silence("b", Some(7))], &["c".to_owned()])
        .await
        .unwrap();
    assert_eq!(lead(&store, 2).await.silences, [other, silence("b", Some(7))]);
    let refused = store.write_silences(fence(1), &[one], &[]).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Fenced(by) if by == term(2)),
        "{refused}"
    );
    backend
        .sql("UPDATE silence SET matchers = '[\"worker\"]' WHERE id = 'b'")
        .await;
    let found = lead(&store, 3).await;
    assert_eq!(found.silences.len(), 1);
    assert!(
        found.bad_rows[0].contains("table silence, row b, column matchers"),
        "{:?}",
        found.bad_rows
    );
}
