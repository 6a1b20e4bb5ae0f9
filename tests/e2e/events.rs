//! What happened is kept: every event and every change, over a crash of the orchestrator.

use serde_json::Value;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(what_happened_is_told_after_a_crash_too);

async fn what_happened_is_told_after_a_crash_too(kind: DatabaseKind) {
    let world = World::on(kind, "events");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agent = Agent::start(
        &world,
        "told-a",
        &["--exec", "sleep 1000 {source}", "--data", &data],
    );
    api.workers_alive(1).await;
    api.declare(&[("radio", "rtsp://u:s3cret@cam"), ("other", "x")])
        .await;
    let told = async |query: &str, wanted: &[&str]| {
        let path = format!("/api/v1/events?limit=1000{query}");
        let seen = wait::until(wait::GENEROUS, async || {
            let page = api.get(&path).await?;
            let kinds: Vec<&str> = page["events"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|event| event["kind"].as_str())
                .collect();
            match wanted.iter().find(|kind| !kinds.contains(kind)) {
                None => Ok(page["events"].clone()),
                Some(missing) => Err(format!("{path} lacks {missing}: {kinds:?}")),
            }
        });
        seen.await.unwrap_or_else(|reason| panic!("{reason}"))
    };
    let assigned = told("&subject=radio", &["assigned"]).await;
    assert_eq!(assigned[0]["cause"], "declared");
    let written = told("&kind=api_write", &["api_write"]).await;
    assert_eq!(written[0]["actor"], "loopback");
    assert_eq!(written[0]["fields"]["created"], "other radio");
    assert!(!written.to_string().contains("s3cret"), "{written}");
    told("&subject=told-a", &["worker_joined"]).await;
    let before = told("", &["leading"]).await;
    let last = before.as_array().unwrap().last().unwrap()["id"].as_u64().unwrap();

    orchestrator.kill9();
    orchestrator.launch(&world);
    // All of it is there, and goes on under higher ids, for whoever followed it.
    let again = told("", &["leading"]).await;
    let ids = |events: &Value| -> Vec<u64> {
        let events = events.as_array().unwrap().iter();
        events.filter_map(|event| event["id"].as_u64()).collect()
    };
    assert!(ids(&again).starts_with(&ids(&before)), "{before:#} {again:#}");
    told(&format!("&after={last}"), &["leading", "worker_joined"]).await;
    agent.kill9();
    told(&format!("&after={last}&subject=told-a"), &["loss_found"]).await;

    let server = api.base();
    let said = world
        .run(&["events", "--worker", "told-a", "-n", "1000", "--server", server])
        .await;
    said.expect(0, &[]);
    assert!(
        said.stdout.contains("loss_found         told-a by o-"),
        "{said:?}"
    );
    let said = world
        .run(&["events", "--kind", "api_write", "-o", "json", "--server", server])
        .await;
    assert_eq!(said.json()["events"].as_array().unwrap().len(), 1, "{said:?}");
    // Whoever stops in order stores what it did last.
    orchestrator.terminate().await;
}
