//! A stream that waits for its owner (`on_owner_lost = hold`) on real parts: nobody replaces it, it comes back with its
//! owner, and the operator may release it.

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::state::Watermark;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

/// Kills an agent, its guard and its commands: nothing is left that could prove it.
fn kill_everything(world: &World, id: &str) {
    for process in world.living(id) {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // It may have ended with the one before.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

async fn until(api: &Api, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let told = wait::until(wait::GENEROUS, async || {
        let stream = api.get(&format!("/api/v1/streams/{name}")).await?;
        if holds(&stream) {
            Ok(stream)
        } else {
            Err(format!("{what}: {stream:#}"))
        }
    });
    told.await.unwrap_or_else(|reason| panic!("{reason}"))
}

#[tokio::test]
async fn a_held_stream_waits_for_its_owner_and_comes_back_with_it() {
    let world = World::new("owner-lost");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agents = ["held-a", "held-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    api.workers_alive(2).await;
    let file = world.write(
        "streams.yaml",
        "- name: held\n  source: '100000'\n  on_owner_lost: hold\n- name: free\n  source: '100000'\n",
    );
    let server = ["--server", api.base()];
    let said = world
        .run(
            &[
                &["streams", "apply", "-f", &file.display().to_string()][..],
                &server,
            ]
            .concat(),
        )
        .await;
    said.expect(0, &[]);
    let before = api.all_running(2).await;
    let mut watermark = Watermark::default();
    watermark.rises(&before);
    let owner = agents
        .iter()
        .position(|agent| agent.id() == before["held"].worker)
        .unwrap();
    let (id, other) = (agents[owner].id().to_owned(), agents[1 - owner].id().to_owned());

    kill_everything(&world, &id);
    let held = until(&api, "held", "it waits", |stream| stream["state"] == "waiting").await;
    assert_eq!(
        (&held["awaits"], &held["worker"]),
        (&json!("hold"), &json!(id)),
        "{held}"
    );
    let explained = held["explanation"].as_str().unwrap();
    assert!(explained.contains("streams release"), "{explained}");
    // Whatever could be placed is placed by now.
    let body = json!({"streams": [{"name": "late", "source": "100000"}]});
    api.send(Method::PUT, "/api/v1/streams", Some(&body))
        .await
        .unwrap();
    until(&api, "late", "it runs", |stream| stream["state"] == "running").await;
    until(&api, "held", "it waits", |stream| stream["state"] == "waiting").await;
    assert!(!agents[1 - owner].commands(&world).contains_key("held"));

    agents[owner].restart(&world);
    let back = until(&api, "held", "it runs again", |stream| {
        stream["state"] == "running"
    })
    .await;
    assert_eq!(back["worker"], json!(id), "{back}");
    watermark.rises(&api.all_running(3).await);
    assert!(agents[owner].commands(&world).contains_key("held"));

    kill_everything(&world, &id);
    until(&api, "held", "it waits", |stream| stream["state"] == "waiting").await;
    let release = [&["streams", "release", "held"][..], &server].concat();
    let said = world.run(&release).await;
    said.expect(0, &[]);
    assert_eq!(said.stdout.trim(), "released held");
    let released = until(&api, "held", "it runs", |stream| stream["state"] == "running").await;
    assert_eq!(
        (&released["worker"], &released["reason"]),
        (&json!(other), &json!("released")),
        "{released}"
    );
    watermark.rises(&api.assignments().await.unwrap());
    let said = world.run(&release).await;
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("does not wait for a lost owner"), "{said:?}");
}
