//! The metrics of a running orchestrator, judged by Prometheus' own tool.

mod monitoring;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

/// Labels that may be there, each with few values: never a stream's name, a session or a text.
const LABELS: &[&str] = &[
    "actor",
    "availability",
    "dependency",
    "invariant",
    "kind",
    "le",
    "operation",
    "outcome",
    "quantile",
    "reason",
    "rule",
    "sink",
    "state",
    "status",
    "version",
    "way",
    "worker",
];

/// What `promtool check metrics` says; empty where it has nothing to say.
fn promtool(text: &str) -> String {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs; `make setup` installs it");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if said.is_empty() && !output.status.success() {
        return output.status.to_string();
    }
    said
}

#[test]
fn the_judge_finds_what_is_wrong() {
    assert_eq!(
        promtool("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n"),
        ""
    );
    assert!(promtool("# TYPE a counter\na 1\n").contains("no help text"));
    assert!(!promtool("a{ 1\n").is_empty());
}

async fn scrape(orchestrator: &Orchestrator) -> String {
    let url = format!("{}/metrics", orchestrator.api().base());
    let response = streamkeeper_tests::http::client().get(url).send().await.unwrap();
    response.text().await.unwrap()
}

#[tokio::test]
async fn a_running_orchestrator_has_metrics_without_fault() {
    let world = World::new("metrics");
    let orchestrator = Orchestrator::start(&world, &["--set", "http.fault_injection=true"]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agent = |id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]);
    let mut first = agent("metrics-a");
    let api = orchestrator.api();
    api.declare(&[("one", "100000"), ("two", "100000")]).await;
    api.all_running(2).await;
    // A failover and a panic, so that what counts them is there.
    let _second = agent("metrics-b");
    first.kill9();
    wait::until(wait::GENEROUS, async || {
        let text = scrape(&orchestrator).await;
        match text.contains("streamkeeper_failover_seconds_count") {
            true => Ok(()),
            false => Err("no failover is counted".to_owned()),
        }
    })
    .await
    .unwrap();
    let panic = "/api/v1/faults/panic/balancer";
    api.send(reqwest::Method::POST, panic, None).await.unwrap();
    wait::until(wait::GENEROUS, async || match api.restarts("balancer").await? {
        0 => Err("the balancer was not restarted".to_owned()),
        _ => Ok(()),
    })
    .await
    .unwrap();

    let text = scrape(&orchestrator).await;
    assert_eq!(promtool(&text), "", "{text}");
    for line in [
        &format!(
            "streamkeeper_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ),
        "streamkeeper_leader 1",
        "streamkeeper_database_up 1",
        "streamkeeper_nats_connected 1",
        "streamkeeper_streams{state=\"running\"} 2",
        "streamkeeper_actor_restarts_total{actor=\"balancer\"} 1",
    ] {
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in\n{text}"
        );
    }
    for begin in [
        "streamkeeper_workers{",
        "streamkeeper_acks_total ",
        "streamkeeper_heartbeats_total ",
        "streamkeeper_moves_total{reason=",
        "streamkeeper_persist_seconds_bucket{",
        "streamkeeper_failover_seconds_bucket{",
    ] {
        assert!(
            text.lines().any(|shown| shown.starts_with(begin)),
            "{begin} is not in\n{text}"
        );
    }
    assert!(!text.contains("\"one\""), "a stream's name is in\n{text}");
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let (pairs, _) = rest.rsplit_once('}').unwrap();
        for pair in pairs.split(',') {
            let (label, _) = pair.split_once('=').unwrap();
            labels.entry(label).or_default().insert(name);
        }
    }
    labels.retain(|label, _| !LABELS.contains(label));
    assert!(labels.is_empty(), "labels that nobody has looked at: {labels:?}");
    monitoring::judge(&world, &orchestrator).await;
}
