//! Faults of real databases, one after the other under a running fleet whose streams are changed all the time. During each:
//! what runs goes on, and what is not stored is refused. After each: everything that was acknowledged is there, the alert
//! is over, and memory, database and workers agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, TransactionTrait};
use serde_json::json;
use streamkeeper_tests::disk::SmallDisk;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::state::Assignments;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const STREAMS: usize = 4;
/// How long a fault lasts that does not stop everything.
const WHILE: Duration = Duration::from_secs(4);
/// Short limits, so that outages are noticed soon.
const SETTINGS: [&str; 8] = [
    "--set",
    "database.operation_timeout=3s",
    "--set",
    "database.acquire_timeout=2s",
    "--set",
    "alerts.database_after=500ms",
    "--set",
    "database.read_timeout=2s",
];

/// Where a change went.
#[derive(Debug, Default)]
struct Told {
    stored: BTreeSet<String>,
    refused: BTreeSet<String>,
}

/// Somebody who declares one stream after the other, each with a name of its own.
struct Writer {
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
struct Scene {
    world: World,
    orchestrator: Orchestrator,
    agent: Agent,
    commands: Commands,
    assigned: Assignments,
    stored: BTreeSet<String>,
    refused: BTreeSet<String>,
}

impl Scene {
    async fn start(name: &str, url: &str) -> Self {
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

    fn writer(&self, fault: &str) -> Writer {
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
    async fn noticed(&self, writer: &Writer) {
        writer.refused().await;
        self.alert(true).await;
        assert_eq!(self.agent.commands(&self.world), self.commands);
    }

    /// The fault is over.
    async fn recovers(&mut self, fault: &str, writer: Writer) {
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
    async fn begins_anew(&mut self) {
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

/// A transaction of somebody else.
async fn foreign(url: &str, sql: &str) -> (DatabaseConnection, DatabaseTransaction) {
    let database = sea_orm::Database::connect(url).await.unwrap();
    let held = database.begin().await.unwrap();
    held.execute_unprepared(sql).await.unwrap();
    (database, held)
}

const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE application_name LIKE 'streamkeeper%' AND pid <> pg_backend_pid()";

/// Some transactions fail as if they had met another one, and others wait at their commit, so that terminations find
/// them there.
const STORM: &str = "CREATE FUNCTION storm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     IF random() < 0.4 THEN RAISE EXCEPTION 'provoked' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$; \
     CREATE TRIGGER storm BEFORE INSERT ON stream FOR EACH ROW EXECUTE FUNCTION storm()";
const SLOW_COMMIT: &str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     PERFORM pg_sleep(0.05); RETURN NEW; END $$; \
     CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON stream DEFERRABLE INITIALLY DEFERRED \
     FOR EACH ROW EXECUTE FUNCTION slow()";

#[tokio::test]
async fn postgresql_that_collides_ends_connections_and_is_locked() {
    let server = Postgres::start().await;
    let mut scene = Scene::start("outages-busy", &server.url()).await;

    let writer = scene.writer("storm");
    server.sql(STORM);
    tokio::time::sleep(WHILE).await;
    server.sql("DROP TRIGGER storm ON stream");
    scene.recovers("storm", writer).await;

    // In the middle of transactions, and of commits.
    let writer = scene.writer("terminated");
    server.sql(SLOW_COMMIT);
    for _ in 0..12 {
        tokio::time::sleep(WHILE / 12).await;
        server.sql(TERMINATE);
    }
    server.sql("DROP TRIGGER slow ON stream");
    scene.recovers("terminated", writer).await;

    let writer = scene.writer("locked");
    let lock = "LOCK TABLE stream IN ACCESS EXCLUSIVE MODE";
    let (_database, held) = foreign(&server.url(), lock).await;
    scene.noticed(&writer).await;
    held.rollback().await.unwrap();
    scene.recovers("locked", writer).await;

    let writer = scene.writer("read-only");
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    scene.noticed(&writer).await;
    // It writes a file and no table, so that it may be taken back here.
    server.sql("ALTER SYSTEM RESET default_transaction_read_only");
    server.sql("SELECT pg_reload_conf()");
    scene.recovers("read-only", writer).await;
    scene.begins_anew().await;
}

#[tokio::test]
async fn postgresql_that_is_full_of_connections_frozen_killed_and_restarted() {
    let mut server = Postgres::start().await;
    let mut scene = Scene::start("outages-away", &server.url()).await;

    let writer = scene.writer("connections");
    server.sql("ALTER ROLE keeper CONNECTION LIMIT 0");
    server.sql(TERMINATE);
    scene.noticed(&writer).await;
    server.sql("ALTER ROLE keeper CONNECTION LIMIT -1");
    scene.recovers("connections", writer).await;

    let writer = scene.writer("frozen");
    server.freeze(Signal::STOP);
    scene.noticed(&writer).await;
    server.freeze(Signal::CONT);
    scene.recovers("frozen", writer).await;

    let writer = scene.writer("killed");
    server.kill();
    scene.noticed(&writer).await;
    server.start_again().await;
    scene.recovers("killed", writer).await;

    let writer = scene.writer("restarted");
    server.stop().await;
    server.start_again().await;
    scene.recovers("restarted", writer).await;
    scene.begins_anew().await;
}

#[tokio::test]
async fn postgresql_on_a_full_disk() {
    let folder = TempDir::with_prefix("streamkeeper-postgres-").unwrap();
    let disk = SmallDisk::mount(folder.path(), 160);
    let mut server = Postgres::start_on(folder).await;
    let mut scene = Scene::start("outages-full", &server.url()).await;
    let writer = scene.writer("full");
    disk.fill();
    scene.noticed(&writer).await;
    disk.free();
    // A server that found no room for its log has ended.
    if !server.lives() {
        server.start_again().await;
    }
    scene.recovers("full", writer).await;
    scene.begins_anew().await;
    drop(scene);
    drop(server);
    drop(disk);
}

#[tokio::test]
async fn sqlite_that_is_locked_moved_away_and_on_a_full_disk() {
    let folder = TempDir::with_prefix("streamkeeper-sqlite-").unwrap();
    let disk = SmallDisk::mount(folder.path(), 8);
    let file = disk.folder().join("streams.db");
    let url = format!("sqlite://{}", file.display());
    let mut scene = Scene::start("outages-file", &url).await;

    let writer = scene.writer("locked");
    let (_database, held) = foreign(&url, "UPDATE leadership SET id = 1").await;
    scene.noticed(&writer).await;
    held.rollback().await.unwrap();
    scene.recovers("locked", writer).await;

    let writer = scene.writer("moved");
    let elsewhere = disk.folder().join("elsewhere.db");
    std::fs::rename(&file, &elsewhere).unwrap();
    scene.noticed(&writer).await;
    std::fs::rename(&elsewhere, &file).unwrap();
    scene.recovers("moved", writer).await;

    let writer = scene.writer("full");
    disk.fill();
    scene.noticed(&writer).await;
    disk.free();
    scene.recovers("full", writer).await;
    scene.begins_anew().await;
    drop(scene);
}
