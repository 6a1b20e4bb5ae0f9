//! What cannot work is refused at once, with the place, the value and what to do.

use std::process::ExitStatus;

use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::program::program;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    bad_streams_are_refused_by_place_and_value,
    a_second_orchestrator_on_the_same_data_is_refused,
    a_taken_address_is_named,
);

/// Documented in `streamkeeper --help`.
const USAGE: i32 = 2;
const UNREACHABLE: i32 = 3;
const REFUSED: i32 = 4;

/// (contents of a stream file, exit code, texts that the message must hold)
const BAD_FILES: &[(&str, i32, &[&str])] = &[
    (
        "streams:\n  - name: cam\n    source: rtsp://camera/1\n    ownership: mine\n",
        REFUSED,
        &["ownership", "mine", "available", "exclusive"],
    ),
    (
        "streams:\n  - name: cam\n    source: ''\n",
        REFUSED,
        &["source", "empty"],
    ),
    (
        "streams:\n  - name: cam\n    source: rtsp://camera/1\n    weight: -1\n",
        REFUSED,
        &["weight", "-1"],
    ),
    (
        "streams:\n  - name: cam\n    sorce: rtsp://camera/1\n",
        USAGE,
        &["streams.yaml", "sorce"],
    ),
    ("streams:\n  - name: [\n", USAGE, &["streams.yaml:"]),
];

async fn bad_streams_are_refused_by_place_and_value(kind: DatabaseKind) {
    let world = World::on(kind, "bad-streams");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    for (text, code, needles) in BAD_FILES {
        let file = world.write("streams.yaml", text);
        let file = file.to_string_lossy();
        let said = world
            .run(&["streams", "apply", "-f", &file, "--server", api.base()])
            .await;
        said.expect(*code, needles);
        // All or nothing.
        assert_eq!(
            api.list("streams").await.unwrap(),
            Vec::<serde_json::Value>::new()
        );
    }
    let missing = world.folder().join("not-there.yaml");
    let missing = missing.to_string_lossy();
    let said = world
        .run(&["streams", "apply", "-f", &missing, "--server", api.base()])
        .await;
    said.expect(USAGE, &["not-there.yaml"]);
    let said = world
        .run(&["streams", "get", "nobody", "--server", api.base()])
        .await;
    said.expect(REFUSED, &["nobody"]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let world = World::new("no-server");
    let server = format!("http://127.0.0.1:{}", free_port());
    let said = world.run(&["status", "--server", &server]).await;
    said.expect(UNREACHABLE, &[&server]);
}

#[tokio::test]
async fn bad_settings_are_all_named_at_once() {
    let world = World::new("bad-settings");
    let said = world
        .run(&[
            "serve",
            "--set",
            "heartbeat.timeout=soon",
            "--set",
            "heartbeet.warning=5s",
        ])
        .await;
    said.expect(USAGE, &["heartbeat.timeout", "soon", "heartbeet", "heartbeat"]);
    let said = world.run(&["agent", "--exec", "sleep {sauce}"]).await;
    said.expect(USAGE, &["{sauce}", "{source}"]);
}

async fn a_second_orchestrator_on_the_same_data_is_refused(kind: DatabaseKind) {
    let world = World::on(kind, "second");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let data = orchestrator.data().to_string_lossy().into_owned();
    let bind = format!("127.0.0.1:{}", free_port());
    let mut second = world.spawn("second", program(), |command| {
        command.args(["serve", "--data", &data, "--bind", &bind]);
    });
    let status: ExitStatus = second.wait().await;
    assert!(!status.success(), "{status}: {}", second.output());
    assert!(second.output().contains(&data), "{}", second.output());
    // The first one does not mind: not even its nats-server was touched.
    orchestrator.api().get("/readyz").await.unwrap();
    assert!(orchestrator.ended().is_none());
}

async fn a_taken_address_is_named(kind: DatabaseKind) {
    let world = World::on(kind, "taken");
    let orchestrator = Orchestrator::start(&world, &[]).await;
    let bind = orchestrator.api().base().trim_start_matches("http://").to_owned();
    let data = world.folder().join("other");
    let mut second = world.spawn("second", program(), |command| {
        command.args(["serve", "--bind", &bind, "--data"]).arg(data);
    });
    let status = second.wait().await;
    assert!(!status.success(), "{status}: {}", second.output());
    assert!(second.output().contains(&bind), "{}", second.output());
    world.gone("second").await;
}
