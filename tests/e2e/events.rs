//! What happened is kept: every event and every change, over a crash of the orchestrator.

use serde_json::Value;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(what_happened_is_told_after_a_crash_too);

/// Logs for programs.
const LOGS: [&str; 2] = ["--log-format", "json"];

/// Every line is an object with time, level and text; those about a stream name it, its worker, its epoch and the term.
fn logs_are_structured(text: &str) {
    assert!(!text.contains("s3cret"), "a password is in the log");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for key in ["timestamp", "level", "fields", "target"] {
            assert!(!line[key].is_null(), "{key}: {line}");
        }
    }
    let assigned = lines.iter().find(|line| line["fields"]["kind"] == "assigned");
    let fields = &assigned.expect("an assignment is logged")["fields"];
    for key in ["stream", "worker", "epoch", "term", "reason", "message"] {
        assert!(!fields[key].is_null(), "{key}: {fields}");
    }
    let asked = lines
        .iter()
        .find(|line| line["fields"]["message"] == "streams were changed over the API");
    assert!(asked.expect("a change is logged")["span"]["request_id"].is_string());
}

async fn what_happened_is_told_after_a_crash_too(kind: DatabaseKind) {
    let world = World::on(kind, "events");
    let mut orchestrator = Orchestrator::start(&world, &LOGS).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agent = Agent::start(
        &world,
        "told-a",
        &["--exec", "sh -c 'exec sleep 1000' {source}", "--data", &data],
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

    let path = "/api/v1/metrics/history?name=streams";
    let measured = async || {
        let seen = wait::until(wait::GENEROUS, async || {
            let shown = api.get(path).await?;
            let running = shown["series"].as_array().unwrap().iter();
            let running = running.filter(|series| series["labels"]["state"] == "running");
            let points: Vec<Value> = running
                .flat_map(|series| series["points"].as_array().cloned())
                .flatten()
                .collect();
            match points.iter().position(|point| point["high"] == 2.0) {
                Some(first) => Ok(points[first].clone()),
                None => Err(format!("two streams were not measured: {shown}")),
            }
        });
        seen.await.unwrap_or_else(|reason| panic!("{reason}"))
    };
    let measure = measured().await;

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
    assert_eq!(
        measured().await["at"],
        measure["at"],
        "what was measured survives a crash"
    );
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
    let said = world
        .run(&[
            "history",
            "streams",
            "--label",
            "state=running",
            "--server",
            server,
        ])
        .await;
    said.expect(0, &[]);
    assert!(said.stdout.contains("state=running"), "{said:?}");
    let said = world.run(&["history", "--server", server]).await;
    said.expect(4, &["write one of streams,"]);
    // Whoever stops in order stores what it did last.
    orchestrator.terminate().await;
    logs_are_structured(&orchestrator.process().output());
}
