//! The start of `serve`: what it waits for is seen, what is optional costs a warning, what fails says what to do.

use serde_json::Value;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::program::program;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    the_phases_tell_what_they_found,
    without_jetstream_there_is_one_warning,
);

fn names(phases: &Value) -> Vec<&str> {
    let phases = phases.as_array().unwrap();
    phases
        .iter()
        .map(|phase| phase["phase"].as_str().unwrap())
        .collect()
}

fn detail<'a>(phases: &'a Value, name: &str) -> &'a str {
    let phases = phases.as_array().unwrap();
    let phase = phases.iter().find(|phase| phase["phase"] == name).unwrap();
    phase["detail"].as_str().unwrap()
}

async fn the_phases_tell_what_they_found(kind: DatabaseKind) {
    let world = World::on(kind, "phases");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let started = api.get("/startupz").await.unwrap();
    assert_eq!(
        names(&started["phases"]),
        [
            "configuration",
            "data folder",
            "probes",
            "database",
            "managed nats",
            "nats",
            "jetstream",
            "actors",
            "recovery of state",
            "http"
        ]
    );
    assert_eq!(
        detail(&started["phases"], "recovery of state"),
        "0 streams, 0 assignments"
    );
    assert_eq!(detail(&started["phases"], "jetstream"), "alerts are kept");
    let data = orchestrator.data().to_string_lossy().into_owned();
    let _agent = Agent::start(&world, "phases-a", &["--exec", "sleep {source}", "--data", &data]);
    api.declare(&[("one", "100000"), ("two", "100000")]).await;
    api.all_running(2).await;
    orchestrator.restart(&world).await;
    let ready = api.get("/readyz?verbose").await.unwrap();
    let recovered = detail(&ready["phases"], "recovery of state");
    assert_eq!(recovered, "2 streams, 2 assignments");
    assert_eq!(ready["dependencies"]["database"]["status"], "ok");
}

async fn without_jetstream_there_is_one_warning(kind: DatabaseKind) {
    let world = World::on(kind, "no-jetstream");
    let nats = NatsServer::start().await;
    let orchestrator = Orchestrator::start(&world, &["--nats", &nats.url()]).await;
    let started = orchestrator.api().get("/startupz").await.unwrap();
    let told = detail(&started["phases"], "jetstream");
    assert_eq!(told, "alerts reach only those who listen at the time");
    let said = orchestrator.process().output();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains(" WARN ")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("give the server JetStream"), "{warnings:?}");
}

#[tokio::test]
async fn a_phase_that_fails_says_what_and_why_and_what_to_do() {
    let world = World::new("failing");
    let nobody = format!("nats://u:s3cret@127.0.0.1:{}", free_port());
    let file = world.write("file", "").to_string_lossy().into_owned();
    let folder = world.folder().join("data").to_string_lossy().into_owned();
    let none = "nats.server=/no/such/nats-server";
    let cases: [(&str, &[&str], &[&str]); 3] = [
        (
            &folder,
            &["--nats", &nobody, "--set", "nats.connect_timeout=500ms"],
            &[
                "waiting for it",
                "phase \"nats\"",
                "127.0.0.1",
                "refused",
                "correct nats.urls",
            ],
        ),
        (
            &folder,
            &["--set", none],
            &[
                "phase \"managed nats\"",
                "/no/such/nats-server",
                "correct the path",
            ],
        ),
        (
            &file,
            &[],
            &["phase \"data folder\"", &file, "choose another with --data"],
        ),
    ];
    for (data, args, expected) in cases {
        let _ = std::fs::remove_file(world.log("failing"));
        let mut process = world.spawn("failing", program(), |command| {
            let bind = format!("127.0.0.1:{}", free_port());
            command
                .args(["serve", "--bind", &bind, "--data", data])
                .args(args);
        });
        let status = process.wait().await;
        let said = process.output();
        assert_eq!(status.code(), Some(1), "{said}");
        for part in expected {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
        world.gone("failing").await;
    }
}
