//! The benches say what they measured, in the form that programs read; and they leave nothing behind.

use serde_json::Value;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::program::program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

const USAGE: i32 = 2;
const STREAMS: &str = "8";
/// What half of the streams cannot be lost without.
const LOST: f64 = 4.0;

async fn failover(fault: &str, more: &[&str]) -> Value {
    let mut args = vec!["failover", "--workers", "2", "--streams", STREAMS];
    args.extend(["--fault", fault, "--runs", "1", "--json"]);
    args.extend(more);
    // The frozen are found by silence.
    args.extend(["--set", "heartbeat.timeout=4s", "--set", "heartbeat.warning=3s"]);
    report(&format!("bench-{fault}"), &args).await
}

/// What a bench says on its last line, after all its processes have ended.
async fn report(name: &str, args: &[&str]) -> Value {
    let world = World::new(name);
    let mut bench = world.spawn("bench", program(), |command| {
        command.arg("bench").args(args);
    });
    let status = wait::until(3 * wait::GENEROUS, async || {
        bench.ended().ok_or_else(|| "the bench goes on".to_owned())
    });
    let status = status.await.unwrap_or_else(|reason| panic!("{reason}"));
    let said = bench.output();
    assert_eq!(status.code(), Some(0), "{said}");
    world.gone("bench").await;
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("no JSON ({error}): {said}"))
}

#[tokio::test]
async fn a_killed_worker_costs_its_own_streams_and_no_others() {
    let report = failover("kill", &[]).await;
    assert_eq!(report["fault"], "kill", "{report}");
    assert_eq!(report["ownership"], "available", "{report}");
    assert_eq!(report["runs"], 1, "{report}");
    assert_eq!(report["lost"], LOST, "{report}");
    assert_eq!(report["needless_moves"], 0, "{report}");
    assert_eq!(
        report["overlap_ms_max"], 0.0,
        "the guard ends all readers first: {report}"
    );
    let number = |name: &str| {
        report[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name}: {report}"))
    };
    let (first, last) = (number("first_ms_p50"), number("last_ms_p50"));
    assert!(
        first > 0.0 && first <= last && last <= number("last_ms_p99"),
        "{report}"
    );
    assert_eq!(
        report["settings"]["serve"]["heartbeat.timeout"], "\"4s\"",
        "{report}"
    );
}

#[tokio::test]
async fn a_frozen_worker_still_reads_when_another_one_begins() {
    let report = failover("freeze", &[]).await;
    assert_eq!(report["lost"], LOST, "{report}");
    assert_eq!(report["needless_moves"], 0, "{report}");
    // It was thawed only after the others had begun.
    assert!(report["overlap_ms_max"].as_f64() > Some(1_000.0), "{report}");
}

#[tokio::test]
async fn a_change_of_leaders_costs_no_stream() {
    let postgres = Postgres::start().await;
    for fault in ["leader", "step-down"] {
        let database = fault.replace('-', "_");
        postgres.create_database(&database);
        let url = postgres.url_of(&database);
        let report = failover(fault, &["--calm", "1s", "--database", &url]).await;
        assert_eq!(report["fault"], fault.replace('-', "_"), "{report}");
        for figure in ["lost", "needless_moves", "overlap_ms_max"] {
            assert_eq!(report[figure].as_f64(), Some(0.0), "{figure}: {report}");
        }
        let number = |name: &str| report[name].as_f64().unwrap_or_default();
        let (written, heard) = (number("first_ms_p50"), number("last_ms_p50"));
        assert!(0.0 < written && written <= heard, "{report}");
        let settings = &report["settings"]["serve"];
        assert_eq!(settings["leadership.backend"], "\"nats\"", "{report}");
        // Who hands over waits for no lease, who was killed cannot hand over.
        let lease_ms = 6_000.0;
        assert!(fault == "step-down" || written > lease_ms / 2.0, "{report}");
    }
    let used = World::new("bench-used");
    let url = postgres.url_of("leader");
    let said = used
        .run(&["bench", "failover", "--fault", "leader", "--database", &url])
        .await;
    assert_eq!(said.code, Some(USAGE), "{said:?}");
    assert!(said.stderr.contains("holds streams already"), "{said:?}");
}

#[tokio::test]
async fn faults_of_leaders_need_a_database_that_two_can_share() {
    let world = World::new("bench-alone");
    for (args, part) in [
        (&["--fault", "leader"][..], "--database postgres://"),
        (
            &["--fault", "step-down", "--database", "sqlite://x"],
            "--database postgres://",
        ),
        (
            &["--fault", "kill", "--database", "postgres://h/x"],
            "--set database.url",
        ),
    ] {
        let words: Vec<&str> = ["bench", "failover"].iter().chain(args).copied().collect();
        let said = world.run(&words).await;
        assert_eq!(said.code, Some(USAGE), "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
    }
}

#[tokio::test]
async fn every_heartbeat_is_answered_and_none_is_lost() {
    let args = ["heartbeats", "--workers", "5", "--statuses", "3"];
    let args = [&args[..], &["--rate", "100", "--seconds", "2", "--json"]].concat();
    let report = report("bench-heartbeats", &args).await;
    assert_eq!(report["statuses"], 3, "{report}");
    assert_eq!(report["offered_per_second"], 100.0, "{report}");
    assert_eq!(report["handled_per_second"], 100.0, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert!(report["ack_ms_p50"].as_f64() > Some(0.0), "{report}");
    assert!(
        report["ack_ms_p50"].as_f64() <= report["ack_ms_p99"].as_f64(),
        "{report}"
    );
}

#[tokio::test]
async fn streams_and_workers_cost_memory() {
    // As many that what they cost is more than what two starts differ by.
    let args = ["memory", "--streams", "5000", "--workers", "100"];
    let args = [&args[..], &["--seconds", "1", "--json"]].concat();
    let report = report("bench-memory", &args).await;
    assert_eq!(report["streams"], 5_000, "{report}");
    assert_eq!(report["workers"], 100, "{report}");
    assert!(report["ready_ms"].as_f64() > Some(0.0), "{report}");
    // 120 bytes are the source alone.
    assert!(report["bytes_per_stream"].as_f64() > Some(120.0), "{report}");
    assert!(
        report["resident_bytes"].as_f64() > Some(5_000.0 * 120.0),
        "{report}"
    );
}

#[tokio::test]
async fn a_wrong_setting_is_refused_before_anything_begins() {
    let world = World::new("bench-wrong");
    let said = world
        .run(&["bench", "failover", "--set", "heartbeat.timeuot=2s"])
        .await;
    assert_eq!(said.code, Some(USAGE), "{said:?}");
    assert!(said.stderr.contains("heartbeat.timeuot"), "{said:?}");
}
