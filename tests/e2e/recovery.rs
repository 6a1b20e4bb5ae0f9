//! Recovery of workers on real processes, by the lines that classic deployments use and by the command line. Whatever is
//! done to a worker, every stream runs once in the end, and everybody agrees.

use std::collections::BTreeMap;

use serde_json::Value;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

const STREAMS: usize = 60;
const CONFIG: &str = "
[consistency]
check_interval = '300ms'
database_interval = '500ms'
[balancer]
round_interval = '500ms'
";

/// What `curl` gets there, as classic deployments call it.
async fn curl(words: &[&str]) -> Value {
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail-with-body"])
        .args(words)
        .output()
        .await
        .expect("curl is here");
    let body = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "curl {words:?}: {body} {:?}",
        output.stderr
    );
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("curl {words:?}: {error}: {body}"))
}

/// Waits until an attempt has ended, and answers how.
async fn ended(api: &Api, ordered: &Value) -> Value {
    let path = format!("/api/v1/recovery/{}", ordered["attempt"].as_str().unwrap());
    let ended = wait::until(wait::GENEROUS, async || {
        let attempt = api.get(&path).await?;
        match attempt["ended"].is_string() {
            true => Ok(attempt),
            false => Err(format!("it still runs: {attempt}")),
        }
    });
    ended.await.unwrap_or_else(|reason| panic!("{reason}"))
}

/// Waits until every stream runs once, and everybody agrees.
async fn is_well(world: &World, api: &Api, agents: &[Agent]) {
    api.all_running(STREAMS).await;
    let well = wait::until(wait::GENEROUS, async || {
        let health = api.get("/resilience/health").await?;
        let mut commands: BTreeMap<String, usize> = BTreeMap::new();
        for (stream, pids) in agents.iter().flat_map(|agent| agent.commands(world)) {
            *commands.entry(stream).or_default() += pids.len();
        }
        let once = commands.len() == STREAMS && commands.values().all(|count| *count == 1);
        let system = &health["system"];
        let agrees = system["consistency_score"] == 1.0 && system["performance_score"] == 1.0;
        if once && agrees && system["overall"] == "HEALTHY" {
            Ok(())
        } else {
            Err(format!("{system} {commands:?}"))
        }
    });
    well.await.unwrap_or_else(|reason| panic!("{reason}"));
}

fn worker<'a>(health: &'a Value, id: &str) -> &'a Value {
    let workers = health["workers"].as_array().unwrap();
    let found = workers.iter().find(|worker| worker["worker_id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {health}"))
}

#[tokio::test]
async fn a_worker_is_recovered_in_every_way_even_while_another_one_fails() {
    let world = World::new("recovery");
    let config = world.write("fast.toml", CONFIG).to_string_lossy().into_owned();
    let orchestrator = Orchestrator::start(&world, &["--config", &config]).await;
    let api = orchestrator.api();
    let base = api.base().to_owned();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agents = ["one", "two", "three"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    api.workers_alive(agents.len()).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("s-{number:02}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
    is_well(&world, &api, &agents).await;
    let status = curl(&[&format!("{base}/resilience/status")]).await;
    assert_eq!(status["health"]["overall"], "HEALTHY", "{status}");
    assert_eq!(status["workers"]["total"], 3, "{status}");

    // Soft: it is asked for everything.
    let ordered = curl(&["-X", "POST", &format!("{base}/resilience/recovery/one")]).await;
    assert_eq!(ended(&api, &ordered).await["outcome"], "succeeded");

    // Emergency, and in the middle of it another worker dies and comes back.
    let target = format!("{base}/resilience/emergency/one?reason=it%20does%20not%20follow");
    let ordered = curl(&["-X", "POST", &target]).await;
    agents[1].kill9();
    agents[1].restart(&world);
    let attempt = ended(&api, &ordered).await;
    assert_eq!(attempt["outcome"], "succeeded", "{attempt}");
    assert_eq!(attempt["reason"], "it does not follow", "{attempt}");
    is_well(&world, &api, &agents).await;
    let health = curl(&[&format!("{base}/resilience/health")]).await;
    assert_eq!(worker(&health, "one")["should_receive_streams"], true, "{health}");

    // Hard: its process ends, and what looks after it starts another one.
    let run = async |words: &[&str]| world.run(&[words, &["--server", &base]].concat()).await;
    let session = async || api.get("/api/v1/workers/three").await.unwrap()["session"].clone();
    let before = session().await;
    let said = run(&["workers", "recover", "three", "--level", "hard"]).await;
    said.expect(0, &[]);
    assert!(
        said.stdout.contains("hard succeeded: it was restarted"),
        "{said:?}"
    );
    assert_ne!(session().await, before);

    // Medium: it is emptied, and then gets some again.
    let said = run(&["workers", "recover", "two", "--level", "medium"]).await;
    said.expect(0, &[]);
    assert!(
        said.stdout.contains("medium succeeded: 0 streams are left on it"),
        "{said:?}"
    );
    is_well(&world, &api, &agents).await;

    // What cannot help is refused, and what is not known is said.
    let lists = run(&["workers", "recoveries"]).await;
    assert!(lists.stdout.contains("emergency 1 of 1"), "{lists:?}");
    run(&["workers", "emergency", "nobody", "--reason", "x"])
        .await
        .expect(4, &["nobody"]);
    let said = run(&["status"]).await;
    assert!(said.stdout.contains("healthy"), "{said:?}");
}
