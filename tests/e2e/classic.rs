//! The variables of classic deployments, on the real process: each of them matters.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::puppet::{Manner, Puppet};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::Instant;

/// The block as it stands in their files: name, value, setting, and the value as this program shows it.
const BLOCK: [(&str, &str, &str, &str); 9] = [
    ("HEARTBEAT_TIMEOUT", "300", "heartbeat.timeout", "\"300s\""),
    (
        "HEARTBEAT_WARNING_THRESHOLD",
        "120",
        "heartbeat.warning",
        "\"120s\"",
    ),
    (
        "HEARTBEAT_CHECK_INTERVAL",
        "30",
        "heartbeat.check_interval",
        "\"30s\"",
    ),
    ("EMERGENCY_THRESHOLD", "600", "heartbeat.emergency", "\"600s\""),
    ("MAX_RETRY_ATTEMPTS", "3", "recovery.max_attempts", "3"),
    ("RETRY_DELAY_SECONDS", "5", "recovery.retry_delay", "\"5s\""),
    (
        "EXPONENTIAL_BACKOFF",
        "true",
        "recovery.exponential_backoff",
        "true",
    ),
    (
        "CIRCUIT_BREAKER_THRESHOLD",
        "5",
        "database.breaker_threshold",
        "5",
    ),
    ("EMERGENCY_RECOVERY_ENABLED", "true", "recovery.enabled", "true"),
];

/// Beyond the time after which a silent worker is lost without the block (`heartbeat.timeout`, 10 s).
const SILENCE: Duration = Duration::from_secs(12);

/// Heartbeats of the worker that falls silent.
const WORDS: u64 = 5;

fn block() -> Vec<(&'static str, &'static str)> {
    BLOCK.iter().map(|(name, value, ..)| (*name, *value)).collect()
}

/// An orchestrator with a fleet of its own: one worker that falls silent, one that does not follow.
struct Scene {
    api: Api,
    _orchestrator: Orchestrator,
    _puppets: [Puppet; 2],
}

impl Scene {
    async fn start(
        world: &World,
        nats: &NatsServer,
        name: &str,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let prefix = format!("nats.prefix={name}");
        let url = nats.url();
        let args = [args, &["--nats", &url, "--set", &prefix]].concat();
        let orchestrator = Orchestrator::start_as(world, name, &args, variables).await;
        let client = async_nats::connect(&url).await.unwrap();
        let silent = Manner::Silent { after: WORDS };
        let puppets = [
            Puppet::join(&client, name, "silent", silent).await,
            Puppet::join(&client, name, "stubborn", Manner::Stubborn { stream: "ghost" }).await,
        ];
        let scene = Self {
            api: orchestrator.api(),
            _orchestrator: orchestrator,
            _puppets: puppets,
        };
        let known = wait::until(wait::GENEROUS, async || scene.availability().await);
        known.await.unwrap_or_else(|reason| panic!("{name}: {reason}"));
        scene
    }

    /// How the silent worker counts.
    async fn availability(&self) -> Result<String, String> {
        let worker = self.api.get("/api/v1/workers/silent").await?;
        Ok(worker["availability"].as_str().unwrap_or_default().to_owned())
    }

    async fn becomes(&self, wanted: &str) {
        let becomes = wait::until(wait::GENEROUS, async || match self.availability().await? {
            found if found == wanted => Ok(()),
            found => Err(format!("it is {found}, not {wanted}")),
        });
        becomes.await.unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// What an alert of this rule says, if it fires.
    async fn alert(&self, rule: &str) -> Option<String> {
        let alerts = self.api.list("alerts").await.unwrap();
        let alert = alerts.iter().find(|alert| alert["rule"] == rule)?;
        Some(alert["annotations"]["description"].to_string())
    }

    async fn alerted(&self, rule: &str, text: &str) {
        let fires = wait::until(wait::GENEROUS, async || match self.alert(rule).await {
            Some(said) if said.contains(text) => Ok(()),
            other => {
                let findings = self.api.get("/api/v1/consistency").await?;
                let workers = self.api.get("/api/v1/workers/stubborn").await?;
                Err(format!(
                    "{rule} with {text:?} is wanted, but: {other:?} {findings} {workers}"
                ))
            }
        });
        fires.await.unwrap_or_else(|reason| panic!("{reason}"));
    }
}

#[tokio::test]
async fn the_block_starts_and_takes_effect() {
    let world = World::new("classic");
    let nats = NatsServer::start().await;
    let said = world.run_with(&["config", "show", "-o", "json"], &block()).await;
    let shown = said.json();
    for (name, _, key, value) in BLOCK {
        let setting = shown.as_array().unwrap().iter().find(|item| item["key"] == key);
        let place = format!("environment variable {name}");
        let wanted = json!({"key": key, "value": value, "place": place});
        assert_eq!(setting, Some(&wanted));
    }

    let scene = Scene::start(&world, &nats, "block", &[], &block()).await;
    let end = Instant::now() + Duration::from_secs(2) + SILENCE;
    while Instant::now() < end {
        assert_eq!(scene.availability().await.unwrap(), "alive");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(scene.alert("worker_lost").await, None);
}

/// Times that are over at once or never, in place of the defaults, so that it is seen which variable sets which.
const BASE: &str = "
[heartbeat]
warning = '10m'
timeout = '20m'
emergency = '30m'
check_interval = '100ms'
[consistency]
check_interval = '100ms'
[recovery]
highest = 'soft'
max_attempts = 100000
retry_delay = '100ms'
max_delay = '1h'
exponential_backoff = false
[alerts]
unplaced_after = '1h'
";

#[tokio::test]
async fn each_name_of_the_heartbeats_and_the_recovery_matters() {
    let world = World::new("classic-names");
    let nats = NatsServer::start().await;
    let base = world.write("base.toml", BASE).to_string_lossy().into_owned();
    let args = ["--config", &base];
    let start = async |name: &'static str, variables: Vec<(&'static str, &'static str)>| {
        Scene::start(&world, &nats, name, &args, &variables).await
    };
    let warning = ("HEARTBEAT_WARNING_THRESHOLD", "1");
    let timeout = ("HEARTBEAT_TIMEOUT", "2");
    let few = ("MAX_RETRY_ATTEMPTS", "3");
    let some = ("MAX_RETRY_ATTEMPTS", "16");
    let (plain, late, lost, emergency, seldom) = tokio::join!(
        start("plain", vec![]),
        start("late", vec![warning]),
        start("lost", vec![warning, timeout]),
        start("emergency", vec![warning, timeout, ("EMERGENCY_THRESHOLD", "3")]),
        start("seldom", vec![warning, ("HEARTBEAT_CHECK_INTERVAL", "1000")]),
    );
    let (three, slow, sixteen, slower, off) = tokio::join!(
        start("three", vec![few]),
        start("slow", vec![few, ("RETRY_DELAY_SECONDS", "1000")]),
        start("sixteen", vec![some]),
        start("slower", vec![some, ("EXPONENTIAL_BACKOFF", "true")]),
        start("off", vec![("EMERGENCY_RECOVERY_ENABLED", "false")]),
    );

    late.becomes("warning").await;
    lost.becomes("lost").await;
    emergency.alerted("worker_emergency", "silent").await;
    three.alerted("recovery_exhausted", "3 resyncs").await;
    sixteen.alerted("recovery_exhausted", "16 resyncs").await;
    off.alerted("recovery_exhausted", "0 resyncs").await;

    // And nothing more than what was set: each differs from another one by a single name.
    assert_eq!(plain.availability().await.unwrap(), "alive");
    assert_eq!(late.availability().await.unwrap(), "warning");
    assert_eq!(lost.alert("worker_emergency").await, None);
    assert_eq!(seldom.availability().await.unwrap(), "alive");
    for (name, scene) in [("plain", plain), ("slow", slow), ("slower", slower)] {
        assert_eq!(scene.alert("recovery_exhausted").await, None, "{name}");
    }
}

#[tokio::test]
async fn the_threshold_of_the_circuit_breaker_matters() {
    let world = World::new("classic-breaker");
    let nats = NatsServer::start().await;
    let mut postgres = Postgres::start().await;
    let url = postgres.url();
    postgres.create_database("other");
    let other = postgres.url_of("other");
    let start = async |name: &str, url: &str, threshold: &str| {
        let variables = [("CIRCUIT_BREAKER_THRESHOLD", threshold)];
        Scene::start(&world, &nats, name, &["--database", url], &variables).await
    };
    let (two, many) = tokio::join!(start("two", &url, "2"), start("many", &other, "100000"));
    postgres.kill();
    let refused = async |scene: &Scene| {
        let change = json!({"streams": [{"name": "one", "source": "x"}]});
        let answer = scene
            .api
            .send(Method::PUT, "/api/v1/streams", Some(&change))
            .await;
        assert_eq!(answer.unwrap().status, 503);
    };
    for _ in 0..3 {
        tokio::join!(refused(&two), refused(&many));
    }
    // One asked again and again, the other one is left alone.
    for (scene, closed) in [(&two, false), (&many, true)] {
        let answer = scene.api.send(Method::GET, "/metrics", None).await.unwrap();
        let shown = answer.body.as_str().unwrap();
        let is_closed = "streamkeeper_breaker_state{dependency=\"database_writes\"} 0";
        let found = shown.lines().any(|line| line == is_closed);
        assert_eq!(found, closed, "{is_closed}: {shown}");
    }
}
