//! The orchestrator is killed again and again while streams are declared: what was acknowledged is there, and nothing is half
//! done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::on_both_databases;
use streamkeeper_tests::world::World;

/// Changes that are to be acknowledged.
const CHANGES: u32 = 1_000;
/// Who make them, at the same time.
const WRITERS: u32 = 8;
/// Kills, at moments that nobody chose.
const KILLS: u32 = 6;
/// Streams of one change: all of them, or none.
const TOGETHER: u32 = 3;

on_both_databases!(every_acknowledged_change_survives_kills_and_none_is_half_done);

fn names(writer: u32, number: u32) -> Vec<String> {
    (0..TOGETHER)
        .map(|part| format!("w{writer}-{number}-{part}"))
        .collect()
}

/// Declares streams until enough changes of all writers are acknowledged; returns how many it tried, and which were.
async fn write(api: Api, writer: u32, acknowledged: Arc<AtomicU32>) -> (u32, BTreeSet<u32>) {
    let mut mine = BTreeSet::new();
    let mut number = 0;
    while acknowledged.load(Ordering::Relaxed) < CHANGES {
        number += 1;
        let streams: Vec<_> = names(writer, number)
            .iter()
            .map(|name| json!({"name": name, "source": "x", "enabled": false}))
            .collect();
        let change = json!({ "streams": streams });
        match api.send(Method::PUT, "/api/v1/streams", Some(&change)).await {
            Ok(answer) if answer.status < 300 => {
                mine.insert(number);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // It is dead, or starts.
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    (number, mine)
}

async fn every_acknowledged_change_survives_kills_and_none_is_half_done(kind: DatabaseKind) {
    let world = World::on(kind, "killed-writes");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let acknowledged = Arc::new(AtomicU32::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(api.clone(), writer, Arc::clone(&acknowledged))))
        .collect();
    for kill in 1..=KILLS {
        // After another share of the changes each time, in the middle of whatever it does.
        while acknowledged.load(Ordering::Relaxed) < kill * CHANGES / (KILLS + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        orchestrator.restart(&world).await;
    }
    let mut told = Vec::new();
    for writer in writers {
        told.push(writer.await.unwrap());
    }
    orchestrator.restart(&world).await;

    let streams = api.list("streams").await.unwrap();
    let stored: BTreeSet<&str> = streams
        .iter()
        .filter_map(|stream| stream["name"].as_str())
        .collect();
    let mut changes = 0;
    for (writer, (tried, mine)) in (0..).zip(&told) {
        for number in 1..=*tried {
            let names = names(writer, number);
            let there = names.iter().filter(|name| stored.contains(name.as_str())).count();
            assert!(there == 0 || there == names.len(), "half done: {names:?}");
            assert!(
                there > 0 || !mine.contains(&number),
                "acknowledged and lost: {names:?}"
            );
        }
        changes += mine.len();
    }
    assert!(changes >= CHANGES as usize, "{changes}");
}
