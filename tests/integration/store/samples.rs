//! Samples: stored once for each moment, rolled up level by level without a gap, forgotten in small parts.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use streamkeeper_orchestrator::adapter::store::SeaStore;
use streamkeeper_orchestrator::port::SampleLog;
use streamkeeper_orchestrator::port::samples::{LEVELS, Sample, SampleQuery};

use super::backend::{Backend, on_both};

on_both!(
    samples_are_read_as_points_of_any_step,
    levels_are_rolled_up_once_each_span_is_over,
    old_samples_are_forgotten_level_by_level,
);

/// A moment at which a quarter of an hour begins, and some seconds.
fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn sample(name: &str, labels: &str, value: f64) -> Sample {
    Sample {
        name: name.to_owned(),
        labels: labels.to_owned(),
        value,
    }
}

const W: &str = r#"{"worker":"w"}"#;

/// The values 1, 2, … of `load`, every ten seconds, beside another metric.
async fn measure(store: &SeaStore, moments: std::ops::Range<i64>) {
    for moment in moments {
        let value = (moment + 1) as f64;
        let samples = [
            sample("load", W, value),
            sample("load", "{}", -0.5),
            sample("other", W, 99.0),
        ];
        // Not quite when it was due.
        let measured = at(moment * 10) + TimeDelta::milliseconds(moment % 7 * 1_000);
        store.append_samples(measured, &samples).await.unwrap();
    }
}

/// (second, lowest, mean, highest) of series `W`.
async fn points(store: &SeaStore, level: usize, step: u64, from: i64, to: i64) -> Vec<(i64, f64, f64, f64)> {
    let query = SampleQuery {
        name: "load".to_owned(),
        from: at(from),
        to: at(to),
        level: LEVELS[level],
        step: Duration::from_secs(step),
        limit: 1_000,
    };
    let found = store.samples(&query).await.unwrap();
    assert!(
        found.keys().all(|labels| labels == W || labels == "{}"),
        "{found:?}"
    );
    let of_worker = found.get(W).cloned().unwrap_or_default();
    of_worker
        .into_iter()
        .map(|point| {
            (
                (point.at - at(0)).num_seconds(),
                point.low,
                point.mean,
                point.high,
            )
        })
        .collect()
}

async fn samples_are_read_as_points_of_any_step(backend: &Backend) {
    let store = backend.open().await;
    measure(&store, 0..6).await;
    let all = points(&store, 0, 10, 0, 60).await;
    assert_eq!(all.len(), 6);
    assert_eq!(all[2], (20, 3.0, 3.0, 3.0));
    assert_eq!(
        points(&store, 0, 30, 0, 60).await,
        [(0, 1.0, 2.0, 3.0), (30, 4.0, 5.0, 6.0)]
    );
    assert_eq!(
        points(&store, 0, 10, 20, 40).await.len(),
        2,
        "the end is not part of it"
    );
    // Another leader measured the same moment: both count.
    store
        .append_samples(at(0), &[sample("load", W, 7.5)])
        .await
        .unwrap();
    assert_eq!(points(&store, 0, 10, 0, 10).await, [(0, 1.0, 4.25, 7.5)]);
}

async fn levels_are_rolled_up_once_each_span_is_over(backend: &Backend) {
    let store = backend.open().await;
    assert!(!store.roll_up(1, at(0)).await.unwrap(), "there is nothing");
    measure(&store, 0..6).await;
    assert!(!store.roll_up(1, at(59)).await.unwrap(), "the minute is not over");
    assert!(store.roll_up(1, at(60)).await.unwrap());
    assert!(!store.roll_up(1, at(65)).await.unwrap(), "once is enough");
    assert_eq!(points(&store, 1, 60, 0, 60).await, [(0, 1.0, 3.5, 6.0)]);
    // Nobody led for some minutes: it goes on after that, and a part of a minute is a minute.
    measure(&store, 33..90).await;
    let mut count = 0;
    while store.roll_up(1, at(900)).await.unwrap() {
        count += 1;
    }
    assert_eq!(count, 10);
    assert_eq!(
        points(&store, 1, 60, 300, 420).await,
        [(300, 34.0, 35.0, 36.0), (360, 37.0, 39.5, 42.0)]
    );
    assert!(!store.roll_up(2, at(899)).await.unwrap());
    assert!(store.roll_up(2, at(900)).await.unwrap());
    let quarter = points(&store, 2, 900, 0, 900).await;
    let values: f64 = (1..=6).chain(34..=90).map(f64::from).sum();
    assert_eq!(
        quarter,
        [(0, 1.0, values / 63.0, 90.0)],
        "the mean of all values, not of the means"
    );
    assert!(
        !store.roll_up(3, at(9_000)).await.unwrap(),
        "there is no such level"
    );
}

async fn old_samples_are_forgotten_level_by_level(backend: &Backend) {
    let store = backend.open().await;
    measure(&store, 0..12).await;
    while store.roll_up(1, at(120)).await.unwrap() {}
    // Three rows a moment: at least one whole moment, whatever the limit is.
    assert_eq!(store.forget_samples(LEVELS[0], at(60), 4).await.unwrap(), 6);
    assert_eq!(store.forget_samples(LEVELS[0], at(60), 100).await.unwrap(), 12);
    assert_eq!(store.forget_samples(LEVELS[0], at(60), 100).await.unwrap(), 0);
    assert_eq!(points(&store, 0, 10, 0, 120).await.len(), 6);
    assert_eq!(points(&store, 1, 60, 0, 120).await.len(), 2, "minutes stay");
    assert!(
        !store.roll_up(1, at(130)).await.unwrap(),
        "what is gone is not rolled up anew"
    );
}
