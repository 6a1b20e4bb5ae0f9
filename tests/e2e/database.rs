//! Databases of both kinds that are away for a while, and what a start does about one that is not there.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::{Api, client};
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::program::program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::Instant;

const STREAMS: usize = 6;
/// Longer than the leader waits for a silent worker (`heartbeat.timeout`).
const OUTAGE: Duration = Duration::from_secs(20);

/// A database that can be away.
enum Database {
    Postgres(Box<Postgres>),
    /// Somebody else holds the write lock of the file.
    Sqlite {
        url: String,
        held: Option<sea_orm::DatabaseTransaction>,
    },
}

impl Database {
    fn sqlite(world: &World) -> Self {
        Self::Sqlite {
            url: format!("sqlite://{}", world.folder().join("streams.db").display()),
            held: None,
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url(),
            Self::Sqlite { url, .. } => url.clone(),
        }
    }

    async fn away(&mut self) {
        match self {
            Self::Postgres(server) => server.kill(),
            Self::Sqlite { url, held } => {
                let database = sea_orm::Database::connect(url.as_str()).await.unwrap();
                let holder = database.begin().await.unwrap();
                holder
                    .execute_unprepared("UPDATE leadership SET id = 1")
                    .await
                    .unwrap();
                *held = Some(holder);
            }
        }
    }

    async fn back(&mut self) {
        match self {
            Self::Postgres(server) => server.start_again().await,
            Self::Sqlite { held, .. } => held.take().expect("it is held").rollback().await.unwrap(),
        }
    }
}

/// Process ids of all commands, by stream.
type Commands = BTreeMap<String, Vec<i32>>;

fn commands(world: &World, agents: &[Agent]) -> Commands {
    let mut all = Commands::new();
    for (stream, pids) in agents.iter().flat_map(|agent| agent.commands(world)) {
        all.entry(stream).or_default().extend(pids);
    }
    all
}

async fn one_command_each(world: &World, agents: &[Agent], count: usize) -> Commands {
    let one = wait::until(wait::GENEROUS, async || {
        let commands = commands(world, agents);
        if commands.len() == count && commands.values().all(|pids| pids.len() == 1) {
            Ok(commands)
        } else {
            Err(format!("one command per stream is wanted, but: {commands:?}"))
        }
    });
    one.await.unwrap_or_else(|reason| panic!("{reason}"))
}

/// A change that cannot be stored: the status, and when to ask again.
async fn refused_change(api: &Api) -> (u16, Option<String>) {
    let response = client()
        .put(format!("{}/api/v1/streams", api.base()))
        .json(&json!({"streams": [{"name": "late", "source": "100000"}]}))
        .send()
        .await
        .unwrap();
    let again = response.headers().get("retry-after");
    let again = again.map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), again)
}

/// Nobody counts as late, let alone lost.
async fn nobody_is_missed(api: &Api) {
    let workers = api.list("workers").await.unwrap();
    let missed: Vec<_> = workers
        .iter()
        .filter(|worker| worker["availability"] != "alive")
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The probes answer already, and name the phase.
async fn starts_with_the_database(api: &Api) {
    // The first request may meet a connection of the process before.
    let lives = wait::until(wait::GENEROUS, async || api.get("/livez").await);
    lives.await.unwrap_or_else(|reason| panic!("{reason}"));
    for path in ["/startupz", "/readyz?verbose", "/api/v1/streams"] {
        let answer = api.send(Method::GET, path, None).await.unwrap();
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        let named = detail.contains("phase \"database\"") && detail.contains("it waits: database ");
        assert!(answer.status == 503 && named, "{path}: {answer:?}");
    }
}

async fn streams_go_on_without(world: &World, mut database: Database) {
    let url = database.url();
    let mut orchestrator = Orchestrator::start(world, &["--database", &url]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agents = ["database-a", "database-b"]
        .map(|id| Agent::start(world, id, &["--exec", "sleep {source}", "--data", &data]));
    api.workers_alive(agents.len()).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("sleeper-{number}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
    let assigned = api.all_running(STREAMS).await;
    let running = one_command_each(world, &agents, STREAMS).await;

    database.away().await;
    let end = Instant::now() + OUTAGE;
    while Instant::now() < end {
        assert_eq!(refused_change(&api).await, (503, Some("5".to_owned())));
        assert_eq!(commands(world, &agents), running);
        nobody_is_missed(&api).await;
    }
    database.back().await;
    api.declare(&[("late", "100000")]).await;
    let mut with_late = api.all_running(STREAMS + 1).await;
    let running = {
        let mut now = one_command_each(world, &agents, STREAMS + 1).await;
        now.remove("late");
        assert_eq!(now, running);
        one_command_each(world, &agents, STREAMS + 1).await
    };
    let late = with_late.remove("late");
    assert_eq!(with_late, assigned, "nothing else was given anew");

    // Both away: whoever comes first waits for the other one.
    database.away().await;
    orchestrator.kill9();
    let log = world.log(orchestrator.name());
    let comes_back = async {
        let waits = wait::until(wait::GENEROUS, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("waiting for it") {
                Ok(())
            } else {
                Err("it does not say that it waits".to_owned())
            }
        });
        waits.await.unwrap();
        starts_with_the_database(&api).await;
        assert_eq!(commands(world, &agents), running);
        database.back().await;
    };
    tokio::join!(orchestrator.restart(world), comes_back);
    let mut after = api.all_running(STREAMS + 1).await;
    assert_eq!(after.remove("late"), late);
    assert_eq!(after, assigned);
    assert_eq!(commands(world, &agents), running);
    if let Database::Postgres(server) = &database {
        let said = std::fs::read_to_string(&log).unwrap();
        assert!(!said.contains(server.password()), "the log holds the password");
    }
}

#[tokio::test]
async fn streams_go_on_without_postgresql() {
    let world = World::new("postgres");
    let database = Database::Postgres(Box::new(Postgres::start().await));
    streams_go_on_without(&world, database).await;
}

#[tokio::test]
async fn streams_go_on_without_the_file_of_sqlite() {
    let world = World::new("sqlite");
    let database = Database::sqlite(&world);
    streams_go_on_without(&world, database).await;
}

/// Starts `serve`, which is to end by itself with exit code 1, and returns what it said.
async fn failed_start(world: &World, database: &str, timeout: &str) -> String {
    let name = "failing";
    let _ = std::fs::remove_file(world.log(name));
    let mut process = world.spawn(name, program(), |command| {
        command
            .args(["serve", "--bind", &format!("127.0.0.1:{}", free_port())])
            .arg("--data")
            .arg(world.folder().join("data"))
            .args(["--database", database])
            .args(["--set", &format!("database.start_timeout={timeout}")]);
    });
    let status = process.wait().await;
    assert_eq!(status.code(), Some(1), "{}", process.output());
    process.output()
}

#[tokio::test]
async fn a_start_says_why_it_did_not_get_its_database() {
    let world = World::new("no-database");
    let server = Postgres::start().await;
    let url = server.url();
    let nobody = url.replace(&server.port().to_string(), &free_port().to_string());
    let never = "1h";
    let cases: &[(String, &str, &[&str])] = &[
        (
            nobody,
            "2s",
            &["refused", "waiting for it", "database.start_timeout"],
        ),
        (
            url.replace(server.password(), "wrong"),
            never,
            &["password", "correct user"],
        ),
        (
            server.url_of("nowhere"),
            never,
            &["does not exist", "create the database"],
        ),
    ];
    for (url, timeout, expected) in cases {
        let said = failed_start(&world, url, timeout).await;
        for part in ["phase \"database\"", "postgres://keeper:***@127.0.0.1"]
            .iter()
            .chain(*expected)
        {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        for secret in [server.password(), ":wrong@"] {
            assert!(!said.contains(secret), "{said}");
        }
    }
    // A program of today on the schema of tomorrow.
    server.sql("CREATE TABLE seaql_migrations (version text PRIMARY KEY, applied_at bigint NOT NULL)");
    server.sql(
        "ALTER TABLE seaql_migrations OWNER TO keeper; INSERT INTO seaql_migrations VALUES ('m2999_new', 0)",
    );
    let said = failed_start(&world, &url, never).await;
    for part in [
        "newer than this program",
        "m2999_new",
        "install the newer version",
    ] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[tokio::test]
async fn waiting_ends_when_all_are_there() {
    let world = World::new("wait");
    let mut server = Postgres::start().await;
    let url = server.url();
    let wrong = url.replace(server.password(), "wrong");
    let orchestrator = Orchestrator::start(&world, &["--database", &url]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let settings = ["--data", &data, "--server", api.base(), "--database"];
    let wait = |url: String, more: [&'static str; 4]| {
        let world = &world;
        let mut args: Vec<String> = ["wait"]
            .iter()
            .chain(&settings)
            .map(ToString::to_string)
            .collect();
        args.push(url);
        args.extend(more.iter().map(ToString::to_string));
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            world.run(&args).await
        }
    };
    let said = wait(url.clone(), ["--timeout", "60s", "-o", "json"]).await;
    said.expect(0, &[]);
    let said = said.json();
    assert_eq!(said["ready"], true, "{said}");
    assert_eq!(said["targets"].as_array().unwrap().len(), 3, "{said}");

    // A refusal does not wait.
    let said = wait(wrong, ["--for", "db", "--timeout", "1h"]).await;
    said.expect(4, &["db", "password", "keeper:***@"]);

    server.kill();
    let said = wait(url.clone(), ["--for", "db,api", "--timeout", "1s"]).await;
    said.expect(3, &["db", "refused", "api", "503"]);
    assert!(!said.stderr.contains(server.password()), "{said:?}");
    let (said, ()) = tokio::join!(
        wait(url.clone(), ["--for", "db,nats,api", "--timeout", "60s"]),
        server.start_again()
    );
    said.expect(0, &[]);

    orchestrator.process().signal(Signal::KILL);
    world.gone(orchestrator.name()).await;
    let said = wait(url, ["--for", "nats,api", "--timeout", "1s"]).await;
    said.expect(3, &["nats", "api", "refused"]);
}
