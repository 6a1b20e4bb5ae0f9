//! A database that is changed behind the leader's back, while streams come and go: found, confirmed, repaired, told. No
//! stream that runs is touched by it.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::Value;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

const STREAMS: usize = 8;
const CONFIG: &str = "
[consistency]
check_interval = '300ms'
database_interval = '500ms'
# No stream moves for the sake of balance.
[balancer]
band_relative = 1.0
band_absolute = 1.0
";

/// What is changed, the kind of finding, the repair, and what then is as it was.
const CHANGES: [(&str, &str, &str, &str); 4] = [
    (
        "UPDATE assignment SET worker = 'nobody' WHERE stream = 's-1'",
        "unknown_worker",
        "restore",
        "SELECT count(*) AS n FROM assignment WHERE stream = 's-1' AND worker <> 'nobody'",
    ),
    (
        "DELETE FROM assignment WHERE stream = 's-2'",
        "state_mismatch",
        "restore",
        "SELECT count(*) AS n FROM assignment WHERE stream = 's-2'",
    ),
    (
        "UPDATE assignment SET epoch = 1 WHERE stream = 's-3'",
        "state_mismatch",
        "restore",
        "SELECT count(*) AS n FROM assignment WHERE stream = 's-3' AND epoch > 1",
    ),
    (
        "INSERT INTO assignment SELECT 'stray', worker, session, epoch, updated_at FROM assignment WHERE stream = 's-4'",
        "state_mismatch",
        "clear",
        "SELECT 1 - count(*) AS n FROM assignment WHERE stream = 'stray'",
    ),
];

fn commands(world: &World, agents: &[Agent]) -> BTreeMap<String, Vec<i32>> {
    let all = agents.iter().flat_map(|agent| agent.commands(world));
    all.filter(|(stream, _)| stream.starts_with("s-")).collect()
}

async fn holds(database: &DatabaseConnection, query: &str) -> bool {
    let row = database
        .query_one_raw(sea_orm::Statement::from_string(
            database.get_database_backend(),
            query.to_owned(),
        ))
        .await
        .unwrap()
        .unwrap();
    row.try_get::<i64>("", "n").unwrap() == 1
}

async fn repaired(api: &Api, kind: &str, repair: &str, before: &Value) {
    let seen = |report: &Value| {
        let is_it = |past: &&Value| past["kind"] == kind && past["repair"] == repair;
        report["repairs"].as_array().unwrap().iter().filter(is_it).count()
    };
    let done = wait::until(wait::GENEROUS, async || {
        let report = api.get("/api/v1/consistency").await?;
        if seen(&report) > seen(before) && report["count"] == 0 {
            Ok(())
        } else {
            Err(format!(
                "{kind} is to be found and repaired by {repair}: {report:#}"
            ))
        }
    });
    done.await.unwrap_or_else(|reason| panic!("{reason}"));
}

#[tokio::test]
async fn what_is_changed_behind_the_leaders_back_is_found_and_repaired() {
    let world = World::new("consistency");
    let config = world.write("fast.toml", CONFIG).to_string_lossy().into_owned();
    let orchestrator = Orchestrator::start(&world, &["--config", &config]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let agents = ["agree-a", "agree-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    api.workers_alive(agents.len()).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("s-{number}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
    api.all_running(STREAMS).await;
    let running = commands(&world, &agents);
    assert_eq!(running.len(), STREAMS);
    let url = format!(
        "sqlite://{}",
        orchestrator.data().join("streamkeeper.db").display()
    );
    let database = sea_orm::Database::connect(url).await.unwrap();
    let server = api.base().to_owned();
    let run = async |words: &[&str]| world.run(&[words, &["--server", &server]].concat()).await;

    for (number, (change, kind, repair, as_it_was)) in CHANGES.into_iter().enumerate() {
        let before = api.get("/api/v1/consistency").await.unwrap();
        database.execute_unprepared(change).await.unwrap();
        // The fleet is busy meanwhile.
        let busy = format!("busy-{number}");
        api.declare(&[(&busy, "100000")]).await;
        repaired(&api, kind, repair, &before).await;
        assert!(holds(&database, as_it_was).await, "{as_it_was}");
    }

    assert_eq!(commands(&world, &agents), running, "a stream was touched");

    // What a stream is belongs to its users: it waits for an operator.
    let change = "UPDATE stream SET weight = 3 WHERE name = 's-5'";
    database.execute_unprepared(change).await.unwrap();
    let check = run(&["consistency", "check"]).await;
    check.expect(1, &["1 inconsistency is found"]);
    assert!(
        check.stdout.contains("is stored with another weight"),
        "{check:?}"
    );
    let dry = run(&["consistency", "repair", "--dry-run"]).await;
    assert!(dry.stdout.contains("1 repair would be begun"), "{dry:?}");
    run(&["consistency", "repair"]).await.expect(0, &[]);
    let agrees = wait::until(wait::GENEROUS, async || {
        match run(&["consistency", "check"]).await {
            said if said.code == Some(0) => Ok(said),
            said => Err(format!("{said:?}")),
        }
    });
    let said = agrees.await.unwrap_or_else(|reason| panic!("{reason}"));
    assert!(said.stdout.contains("score 1.0000"), "{said:?}");
    let stream = api.get("/api/v1/streams/s-5").await.unwrap();
    assert_eq!(stream["weight"], 3.0, "what is stored counts");
    run(&["workers", "synchronize", "agree-a"]).await.expect(0, &[]);
    run(&["workers", "synchronize", "agree-z"])
        .await
        .expect(4, &["agree-z"]);
}
