//! Exclusive streams on real parts: a worker that freezes runs nothing twice. The commands themselves are the witnesses:
//! each writes down, again and again, when it was alive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(a_frozen_agent_runs_no_exclusive_stream_twice,);

const EXCLUSIVE: [&str; 3] = ["only-1", "only-2", "only-3"];
const AVAILABLE: [&str; 2] = ["any-1", "any-2"];

/// Writes its stream, epoch, worker and the time since the machine's start, and ends only by SIGKILL: the lease has to
/// be kept by force.
const WITNESS: &str = "trap '' TERM; while :; do read up rest < /proc/uptime; \
    echo \"$STREAMKEEPER_STREAM $STREAMKEEPER_EPOCH $STREAMKEEPER_WORKER $up\" >> {source}; sleep 0.1; done";

/// One life of a command: when it was seen first and last.
#[derive(Debug, Clone)]
struct Life {
    worker: String,
    first: f64,
    last: f64,
}

/// The lives that the witnesses wrote down, by stream and epoch.
fn lives(history: &Path) -> BTreeMap<String, BTreeMap<u64, Life>> {
    let text = std::fs::read_to_string(history).unwrap_or_default();
    let mut lives: BTreeMap<String, BTreeMap<u64, Life>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [stream, epoch, worker, at] = words[..] else {
            panic!("a witness wrote {line:?}");
        };
        let at: f64 = at.parse().unwrap();
        let of_stream = lives.entry(stream.to_owned()).or_default();
        let life = of_stream.entry(epoch.parse().unwrap()).or_insert_with(|| Life {
            worker: worker.to_owned(),
            first: at,
            last: at,
        });
        assert_eq!(life.worker, worker, "an epoch names one session for ever: {line}");
        life.last = life.last.max(at);
        life.first = life.first.min(at);
    }
    lives
}

/// Checks that no two lives of an exclusive stream overlap.
fn assert_one_at_a_time(history: &Path) {
    let lives = lives(history);
    for stream in EXCLUSIVE {
        let lives: Vec<(&u64, &Life)> = lives[stream].iter().collect();
        for pair in lives.windows(2) {
            let [(_, before), (_, after)] = pair else { continue };
            assert!(before.last < after.first, "{stream} ran twice: {pair:?}");
        }
    }
}

/// Waits until the newest life of each exclusive stream is one of `worker`.
async fn until_lived_by(history: &Path, worker: &str) {
    let lived = wait::until(wait::GENEROUS, async || {
        let lives = lives(history);
        let newest = |stream: &str| {
            lives
                .get(stream)?
                .last_key_value()
                .map(|(_, life)| life.worker.as_str())
        };
        if EXCLUSIVE.iter().all(|stream| newest(stream) == Some(worker)) {
            Ok(())
        } else {
            Err(format!("not all on {worker}: {lives:?}"))
        }
    });
    lived.await.unwrap_or_else(|reason| panic!("{reason}"));
}

async fn declare(api: &Api, history: &Path) {
    let stream = |name: &str| {
        let ownership = if name.starts_with("only-") {
            "exclusive"
        } else {
            "available"
        };
        json!({"name": name, "source": history, "ownership": ownership})
    };
    let streams: Vec<_> = EXCLUSIVE.into_iter().chain(AVAILABLE).map(stream).collect();
    let body = json!({"streams": streams});
    let answer = api
        .send(Method::PUT, "/api/v1/streams", Some(&body))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn a_frozen_agent_runs_no_exclusive_stream_twice(kind: DatabaseKind) {
    let world = World::on(kind, "exclusive");
    let history = world.folder().join("history");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let command = format!("sh -c '{}'", WITNESS.replace('\'', r"'\''"));
    let args = ["--exec", &command, "--data", &data];
    let first = Agent::start(&world, "exclusive-a", &args);
    let api = orchestrator.api();
    declare(&api, &history).await;
    api.all_running(EXCLUSIVE.len() + AVAILABLE.len()).await;
    until_lived_by(&history, "exclusive-a").await;
    let mut second = Agent::start(&world, "exclusive-b", &args);
    both_alive(&api).await;

    // Longer than the lease: its streams go on under the other agent, one after the other.
    first.process().signal(Signal::STOP);
    let mut available: BTreeSet<String> = first.commands(&world).into_keys().collect();
    let before = available.len();
    available.retain(|stream| AVAILABLE.contains(&stream.as_str()));
    assert!(
        !available.is_empty() && available.len() < before,
        "it runs some of each kind"
    );
    until_lived_by(&history, "exclusive-b").await;
    let left: BTreeSet<String> = first.commands(&world).into_keys().collect();
    assert_eq!(left, available, "its available streams go on");

    first.process().signal(Signal::CONT);
    both_alive(&api).await;
    // Without the other one it gets them back, under new epochs.
    second.kill9();
    world.gone(second.id()).await;
    until_lived_by(&history, "exclusive-a").await;
    api.all_running(EXCLUSIVE.len() + AVAILABLE.len()).await;
    assert_one_at_a_time(&history);
}

/// Waits until both workers are heard.
async fn both_alive(api: &Api) {
    let alive = wait::until(wait::GENEROUS, async || {
        let workers = api.list("workers").await?;
        let alive = workers.iter().filter(|worker| worker["availability"] == "alive");
        if alive.count() == 2 {
            Ok(())
        } else {
            Err(format!("{workers:?}"))
        }
    });
    alive.await.unwrap_or_else(|reason| panic!("{reason}"));
}
