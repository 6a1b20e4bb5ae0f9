//! Everything encrypted, everybody known: NATS with an operator and certificates, PostgreSQL with its authority.

use std::path::Path;

use streamkeeper_tests::authority::Authority;
use streamkeeper_tests::fleet::Orchestrator;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::operator::Operator;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::program::program;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

/// How the variables begin that say who an agent is.
const VARIABLES: &str = "STREAMKEEPER_NATS_";

/// A nats-server that asks everybody for certificate and JWT; its files lie in the world's folder.
fn nats(world: &World, operator: &Operator) -> (Process, String) {
    let authority = Authority::new(world.folder(), "ca");
    authority.vouch("server", "IP:127.0.0.1");
    authority.vouch("member", "DNS:member");
    for name in ["orchestrator", "agent"] {
        world.write(&format!("{name}.creds"), &operator.credentials(false));
    }
    let port = free_port();
    let file = |name: &str| world.folder().join(name).display().to_string();
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\ntls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n{}",
        file("server.pem"),
        file("server-key.pem"),
        file("ca.pem"),
        operator.config()
    );
    let config = world.write("nats.conf", &config);
    let process = world.spawn("nats", &find_program("nats-server"), |command| {
        command.arg("-c").arg(config);
    });
    (process, format!("tls://127.0.0.1:{port}"))
}

/// An agent that is told everything by variables, and whose commands print theirs.
fn agent(world: &World, id: &str, url: &str) -> Process {
    world.spawn(id, program(), |command| {
        command
            .args(["agent", "--id", id, "--exec", "sh -c {source}", "--state"])
            .arg(world.folder().join(format!("state-{id}")))
            .env(format!("{VARIABLES}URLS"), url);
        for (name, file) in [
            ("CREDENTIALS_FILE", "agent.creds"),
            ("TLS_CA_FILE", "ca.pem"),
            ("TLS_CERT_FILE", "member.pem"),
            ("TLS_KEY_FILE", "member-key.pem"),
        ] {
            command.env(format!("{VARIABLES}{name}"), world.folder().join(file));
        }
    })
}

async fn orchestrator(world: &World, url: &str, database: &str) -> Orchestrator {
    let set = |setting: &str, file: &str| format!("{setting}={}", world.folder().join(file).display());
    let settings = [
        set("nats.credentials_file", "orchestrator.creds"),
        set("nats.tls_ca_file", "ca.pem"),
        set("nats.tls_cert_file", "member.pem"),
        set("nats.tls_key_file", "member-key.pem"),
        // Only a word of the dead agent's guard can be the reason of a move.
        "heartbeat.warning=1h".to_owned(),
        "heartbeat.timeout=2h".to_owned(),
        "heartbeat.emergency=3h".to_owned(),
    ];
    let mut args = vec!["--nats", url, "--database", database];
    for setting in &settings {
        args.extend(["--set", setting]);
    }
    Orchestrator::start(world, &args).await
}

async fn owner(api: &Api, wanted: &str) {
    let moved = wait::until(wait::GENEROUS, async || {
        let found = api.get("/api/v1/streams/env").await?;
        let is_there = found["worker"] == wanted && found["state"] == "running";
        is_there.then_some(()).ok_or_else(|| found.to_string())
    });
    moved
        .await
        .unwrap_or_else(|reason| panic!("{wanted} does not run it: {reason}"));
}

#[tokio::test]
async fn a_fleet_lives_behind_certificates_and_keys() {
    let world = World::new("secured");
    let (_nats, url) = nats(&world, &Operator::default());
    let postgres = Postgres::start().await;
    postgres.offer_tls(world.folder(), "scram-sha-256");
    let database = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        postgres.url(),
        world.folder().join("ca.pem").display()
    );
    let orchestrator = orchestrator(&world, &url, &database).await;
    let api = orchestrator.api();
    let mut first = agent(&world, "secured-a", &url);
    api.declare(&[("env", "env | grep STREAMKEEPER_; echo over; exec sleep 100000")])
        .await;
    owner(&api, "secured-a").await;

    // What the agent is told is not told to what it runs.
    let said = wait::until(wait::GENEROUS, async || {
        let log = first.output();
        log.contains("line=\"over\"").then_some(log.clone()).ok_or(log)
    });
    let said = said.await.unwrap();
    assert!(said.contains("line=\"STREAMKEEPER_STREAM=env"), "{said}");
    assert!(!said.contains(&format!("line=\"{VARIABLES}")), "{said}");

    let _second = agent(&world, "secured-b", &url);
    api.workers_alive(2).await;
    first.kill9();
    // The guard says farewell over the same secured connection.
    owner(&api, "secured-b").await;
    assert!(!leaks(&orchestrator, &first, postgres.password(), world.folder()));
}

/// Whether a log shows a secret.
fn leaks(orchestrator: &Orchestrator, agent: &Process, password: &str, folder: &Path) -> bool {
    let credentials = std::fs::read_to_string(folder.join("agent.creds")).unwrap();
    let secrets: Vec<&str> = credentials
        .lines()
        .filter(|line| line.len() > 50)
        .chain([password])
        .collect();
    assert_eq!(secrets.len(), 3, "token, seed and password");
    let logs = [orchestrator.process().output(), agent.output()];
    logs.iter()
        .any(|log| secrets.iter().any(|secret| log.contains(secret)))
}
