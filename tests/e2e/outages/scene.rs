//! A fleet on a database that gets into trouble, and somebody who changes streams all the time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::state::Assignments;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const STREAMS: usize = 4;
/// Short limits, so that outages are noticed soon.
const SETTINGS: [&str; 10] = [
    "--set",
    "database.operation_timeout=3s",
    "--set",
    "database.acquire_timeout=2s",
    "--set",
    "alerts.database_after=500ms",
    "--set",
    "database.read_timeout=2s",
    "--set",
    "database.max_lifetime=1s",
];

/// Where a change went.
#[derive(Debug, Default)]
struct Told {
    stored: BTreeSet<String>,
    refused: BTreeSet<String>,
}

/// Somebody who declares one stream after the other, each with a name of its own.
pub(super) struct Writer {
    stop: watch::Sender<bool>,
    refusals: Arc<AtomicU32>,
    task: JoinHandle<Told>,
}

impl Writer {
    fn start(api: Api, prefix: String) -> Self {
        let (stop, stopped) = watch::channel(false);
        let refusals = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&refusals);
        let task = tokio::spawn(async move {
            let mut told = Told::default();
            let mut number = 0;
            while !*stopped.borrow() {
                number += 1;
                let name = format!("{prefix}-{number}");
                let change = json!({"streams": [{"name": name, "source": "x", "enabled": false}]});
                // Who gets no answer knows nothing.
                if let Ok(answer) = api.send(Method::PUT, "/api/v1/streams", Some(&change)).await {
                    match answer.status {
                        200 | 201 => {
                            told.stored.insert(name);
                        }
                        503 if answer.body["type"].to_string().contains("unknown") => {}
                        503 => {
                            told.refused.insert(name);
                            counted.fetch_add(1, Ordering::Relaxed);
                        }
                        _ => {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            told
        });
        Self { stop, refusals, task }
    }

    async fn refused(&self) {
        let refused = wait::until(wait::GENEROUS, async || {
            match self.refusals.load(Ordering::Relaxed) {
                0 => Err("no change was refused".to_owned()),
                _ => Ok(()),
            }
        });
        refused.await.unwrap();
    }

    async fn end(self) -> Told {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

/// Process ids of all commands, by stream.
type Commands = BTreeMap<String, Vec<i32>>;

/// A fleet on a database that gets into trouble.
pub(super) struct Scene {
    world: World,
    orchestrator: Orchestrator,
    agent: Agent,
    commands: Commands,
    assigned: Assignments,
    stored: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Scene {
    pub(super) async fn start(name: &str, url: &str) -> Self {
        let world = World::new(name);
        let mut args = vec!["--database", url];
        args.extend(SETTINGS);
        let orchestrator = Orchestrator::start(&world, &args).await;
        let data = orchestrator.data().to_string_lossy().into_owned();
        let agent = Agent::start(&world, "outage-a", &["--exec", "sleep {source}", "--data", &data]);
        let api = orchestrator.api();
        api.workers_alive(1).await;
        let names: Vec<String> = (1..=STREAMS).map(|number| format!("sleeper-{number}")).collect();
        let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
        api.declare(&streams).await;
        let assigned = api.all_running(STREAMS).await;
        let commands = agent.commands(&world);
        assert_eq!(commands.len(), STREAMS, "{commands:?}");
        Self {
            world,
            orchestrator,
            agent,
            commands,
            assigned,
            stored: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    pub(super) fn writer(&self, fault: &str) -> Writer {
        Writer::start(self.orchestrator.api(), fault.to_owned())
    }

    async fn alert(&self, fires: bool) {
        let api = self.orchestrator.api();
        let told = wait::until(wait::GENEROUS, async || {
            let alerts = api.list("alerts").await?;
            let found = alerts.iter().any(|alert| alert["rule"] == "database_failing");
            if found == fires {
                Ok(())
            } else {
                Err(format!("alerts: {alerts:?}"))
            }
        });
        told.await
            .unwrap_or_else(|reason| panic!("fires: {fires}: {reason}"));
    }

    /// A fault that stops everything has begun: it is told, and nothing that runs is touched.
    pub(super) async fn noticed(&self, writer: &Writer) {
        writer.refused().await;
        self.alert(true).await;
        assert_eq!(self.agent.commands(&self.world), self.commands);
    }

    /// The fault is over.
    pub(super) async fn recovers(&mut self, fault: &str, writer: Writer) {
        let start = tokio::time::Instant::now();
        let api = self.orchestrator.api();
        let change =
            json!({"streams": [{"name": format!("{fault}-after"), "source": "x", "enabled": false}]});
        let taken = wait::until(wait::GENEROUS, async || {
            let answer = api.send(Method::PUT, "/api/v1/streams", Some(&change)).await?;
            match answer.status {
                200 | 201 => Ok(()),
                _ => Err(format!("{answer:?}")),
            }
        });
        taken.await.unwrap_or_else(|reason| panic!("{fault}: {reason}"));
        let writes = start.elapsed();
        let told = writer.end().await;
        self.stored.extend(told.stored);
        self.stored.insert(format!("{fault}-after"));
        self.refused.extend(told.refused);
        self.alert(false).await;
        // For docs/STORE.md; no test judges it.
        println!(
            "{fault}: changes after {writes:?}, alert over after {:?}",
            start.elapsed()
        );
        self.agrees(fault).await;
    }

    /// What the orchestrator knows is what was acknowledged, and what runs is what ran.
    async fn agrees(&self, fault: &str) {
        let api = self.orchestrator.api();
        let agreed = wait::until(wait::GENEROUS, async || {
            let running = api.list("streams").await?;
            let known: BTreeSet<&str> = running
                .iter()
                .filter_map(|stream| stream["name"].as_str())
                .collect();
            let lost: Vec<_> = self
                .stored
                .iter()
                .filter(|name| !known.contains(name.as_str()))
                .collect();
            let kept: Vec<_> = self
                .refused
                .iter()
                .filter(|name| known.contains(name.as_str()))
                .collect();
            if lost.is_empty() && kept.is_empty() {
                Ok(())
            } else {
                Err(format!("lost: {lost:?}; refused and yet there: {kept:?}"))
            }
        });
        agreed.await.unwrap_or_else(|reason| panic!("{fault}: {reason}"));
        assert_eq!(self.agent.commands(&self.world), self.commands, "{fault}");
        assert_eq!(api.assignments().await.unwrap(), self.assigned, "{fault}");
        // A leader that read its database again hears of what runs with the next heartbeats.
        let runs = wait::until(wait::GENEROUS, async || match api.running().await?.len() {
            STREAMS => Ok(()),
            other => Err(format!("{other} of {STREAMS} run")),
        });
        runs.await.unwrap_or_else(|reason| panic!("{fault}: {reason}"));
    }

    /// The database says the same as memory: a new life reads it.
    pub(super) async fn begins_anew(&mut self) {
        self.orchestrator.kill9();
        self.orchestrator.restart(&self.world).await;
        let api = self.orchestrator.api();
        let running = wait::until(wait::GENEROUS, async || match api.running().await?.len() {
            STREAMS => Ok(()),
            running => Err(format!("{running} run")),
        });
        running.await.unwrap();
        self.agrees("a new life").await;
    }
}

impl Scene {
    /// A file that is gone for good: nothing begins in its place, what runs goes on, and a backup brings everything back.
    pub(super) async fn removed_for_good(&mut self, file: &Path, url: &str) {
        let backup = self.world.folder().join("backup.db");
        let backup = backup.to_string_lossy();
        let made = self
            .world
            .run(&["db", "backup", &backup, "--database", url])
            .await;
        made.expect(0, &[]);
        let writer = self.writer("removed");
        std::fs::remove_file(file).unwrap();
        self.noticed(&writer).await;
        let health = self.orchestrator.api().send(Method::GET, "/health", None).await;
        let text = health.unwrap().body.to_string();
        assert!(
            text.contains("was removed or moved while it was in use"),
            "{text}"
        );
        let told = writer.end().await;
        assert!(!file.exists(), "an empty database was begun");
        assert_eq!(self.agent.commands(&self.world), self.commands);

        self.orchestrator.terminate().await;
        let data = self.orchestrator.data().to_string_lossy().into_owned();
        let args = ["db", "restore", &backup, "--database", url, "--data", &data];
        self.world.run(&args).await.expect(0, &[]);
        self.orchestrator.restart(&self.world).await;
        // Those that were told to be stored in the moments before the file was gone are gone with it.
        self.refused.extend(told.refused);
        let api = self.orchestrator.api();
        let runs = wait::until(wait::GENEROUS, async || match api.running().await?.len() {
            STREAMS => Ok(()),
            other => Err(format!("{other} of {STREAMS} run")),
        });
        runs.await.unwrap();
        self.agrees("removed").await;
        self.alert(false).await;
    }
}
