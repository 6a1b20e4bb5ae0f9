//! Every kind of finding, on a busy fleet of real processes and on either database: provoked, confirmed, told, repaired
//! and over. No stream that runs is touched by it.

use std::collections::BTreeMap;

use reqwest::Method;
use rustix::process::Signal;
use sea_orm::ConnectionTrait;
use serde_json::json;
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::journal::Journal;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::on_both_databases;
use streamkeeper_tests::puppet::{Manner, Puppet};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio_util::task::AbortOnDropHandle;

const PREFIX: &str = "agree";
const STREAMS: usize = 200;
const CONFIG: &str = "
[consistency]
check_interval = '300ms'
database_interval = '500ms'
# A frozen worker is stale before it is late, and never lost.
stale_after = '4s'
[heartbeat]
warning = '20s'
timeout = '40s'
emergency = '60s'
[http]
fault_injection = true
# No stream moves for the sake of balance.
[balancer]
band_relative = 1.0
band_absolute = 1.0
";

/// What is changed behind the leader's back.
const CHANGES: [&str; 5] = [
    "UPDATE assignment SET worker = 'nobody' WHERE stream = 's-001'",
    "DELETE FROM assignment WHERE stream = 's-002'",
    "UPDATE assignment SET epoch = 1 WHERE stream = 's-003'",
    "INSERT INTO assignment SELECT 'stray', worker, session, epoch, updated_at FROM assignment WHERE stream = 's-004'",
    "UPDATE stream SET weight = 3 WHERE name = 's-005'",
];

/// What has to be found: kind, and what the finding names.
const FINDINGS: [(&str, &[(&str, &str)]); 12] = [
    ("stale_status", &[("worker", "frozen")]),
    ("ghost", &[("worker", "ghostly"), ("stream", "unheard-of")]),
    ("duplicate", &[("worker", "twin"), ("stream", "s-100")]),
    ("missing", &[("worker", "hiding"), ("stream", "hidden")]),
    ("epoch_mismatch", &[("worker", "forging"), ("stream", "forged")]),
    ("counter_mismatch", &[("worker", "miscounting")]),
    ("unknown_worker", &[("stream", "s-001")]),
    ("state_mismatch", &[("stream", "s-002")]),
    ("state_mismatch", &[("stream", "s-003")]),
    ("state_mismatch", &[("stream", "stray")]),
    ("orphan", &[("stream", "late")]),
    // What a stream is belongs to its users: it waits for an operator.
    ("spec_mismatch", &[("stream", "s-005")]),
];

/// Kinds that last until somebody acts; the others may be repaired before an alert would fire.
const LASTING: [&str; 6] = [
    "ghost",
    "duplicate",
    "missing",
    "epoch_mismatch",
    "counter_mismatch",
    "spec_mismatch",
];

/// The repairs that are done by themselves.
const REPAIRS: [(&str, &str); 5] = [
    ("restore", "s-001"),
    ("restore", "s-002"),
    ("restore", "s-003"),
    ("clear", "stray"),
    ("want", "late"),
];

/// Panics that the balancer's supervision still takes; before the restart after the last one it is away for 5 s.
const PANICS: u64 = 8;

on_both_databases!(every_kind_of_finding_is_found_told_and_repaired);

/// Streams move to and fro for as long as it lives.
fn movers(api: &Api) -> AbortOnDropHandle<()> {
    let api = api.clone();
    AbortOnDropHandle::new(tokio::spawn(async move {
        for round in 0.. {
            let to = ["one", "two"][round % 2];
            for number in 20..40 {
                let path = format!("/api/v1/streams/s-{number:03}/move");
                // A move that cannot begin now comes next time.
                let _ = api.send(Method::POST, &path, Some(&json!({ "to": to }))).await;
            }
            tokio::time::sleep(wait::GENEROUS / 120).await;
        }
    }))
}

fn commands(world: &World, agents: &[Agent]) -> BTreeMap<String, Vec<i32>> {
    agents.iter().flat_map(|agent| agent.commands(world)).collect()
}

async fn puppets(client: &async_nats::Client, api: &Api) -> Vec<Puppet> {
    let mut puppets = Vec::new();
    for (name, manner) in [
        ("ghostly", Manner::Stubborn { stream: "unheard-of" }),
        ("twin", Manner::Stubborn { stream: "s-100" }),
        ("hiding", Manner::Hiding),
        ("forging", Manner::Forging),
        ("miscounting", Manner::Miscounting { says: 7 }),
    ] {
        puppets.push(Puppet::join(client, PREFIX, name, manner).await);
    }
    let streams = [("hidden", "hiding"), ("forged", "forging")]
        .map(|(name, on)| json!({ "name": name, "source": "100000", "requires": { "puppet": on } }));
    let answer = api
        .send(
            Method::PUT,
            "/api/v1/streams",
            Some(&json!({ "streams": streams })),
        )
        .await;
    assert_eq!(answer.as_ref().map(|answer| answer.status), Ok(200), "{answer:?}");
    puppets
}

/// The balancer is away, and a stream comes that nobody places.
async fn orphaned(api: &Api) {
    for _ in 0..PANICS {
        let path = "/api/v1/faults/panic/balancer";
        let answer = api.send(Method::POST, path, None).await.unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let away = wait::until(wait::GENEROUS, async || match api.restarts("balancer").await? {
        restarts if restarts + 1 >= PANICS => Ok(()),
        restarts => Err(format!("{restarts} restarts")),
    });
    away.await.unwrap_or_else(|reason| panic!("{reason}"));
    api.declare(&[("late", "100000")]).await;
}

/// Waits until nothing is found any more.
async fn agreed(api: &Api) {
    let agrees = wait::until(wait::GENEROUS, async || {
        let report = api.get("/api/v1/consistency").await?;
        if report["count"] == 0 && report["score"] == 1.0 {
            Ok(())
        } else {
            Err(format!("{report:#}"))
        }
    });
    agrees.await.unwrap_or_else(|reason| panic!("{reason}"));
}

async fn every_kind_of_finding_is_found_told_and_repaired(kind: DatabaseKind) {
    let world = World::on(kind, "consistency");
    let nats = NatsServer::start().await;
    let url = nats.url();
    let client = async_nats::connect(&url).await.unwrap();
    let journal = Journal::begin(&client, PREFIX).await;
    let config = world.write("fast.toml", CONFIG).to_string_lossy().into_owned();
    let args = ["--config", &config, "--nats", &url, "--set", "nats.prefix=agree"];
    let orchestrator = Orchestrator::start(&world, &args).await;
    let api = orchestrator.api();
    let agents = ["one", "two", "frozen"].map(|id| {
        let args = ["--exec", "sleep {source}", "--nats", &url, "--prefix", PREFIX];
        Agent::start(&world, id, &args)
    });
    api.workers_alive(agents.len()).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("s-{number:03}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
    api.all_running(STREAMS).await;
    let before = commands(&world, &agents);
    assert_eq!(before.len(), STREAMS);
    let in_data = || {
        format!(
            "sqlite://{}",
            orchestrator.data().join("streamkeeper.db").display()
        )
    };
    let database = world.database_url().map_or_else(in_data, ToOwned::to_owned);
    let database = sea_orm::Database::connect(database).await.unwrap();

    let puppets = puppets(&client, &api).await;
    let busy = movers(&api);
    for change in CHANGES {
        database.execute_unprepared(change).await.unwrap();
    }
    orphaned(&api).await;
    agents[2].process().signal(Signal::STOP);
    for (kind, names) in FINDINGS {
        let fields = [&[("kind", kind)], names].concat();
        journal.event("finding_confirmed", &fields).await;
        if kind == "stale_status" {
            agents[2].process().signal(Signal::CONT);
        }
    }
    for kind in LASTING {
        journal.fired("inconsistent", ("kind", kind)).await;
    }
    for (repair, stream) in REPAIRS {
        journal
            .event("repaired", &[("repair", repair), ("stream", stream)])
            .await;
    }

    for puppet in puppets {
        puppet.leave().await;
    }
    api.delete("hidden").await;
    api.delete("forged").await;
    let server = api.base().to_owned();
    let run = async |words: &[&str]| world.run(&[words, &["--server", &server]].concat()).await;
    let check = run(&["consistency", "check"]).await;
    assert!(
        check.stdout.contains("is stored with another weight"),
        "{check:?}"
    );
    let dry = run(&["consistency", "repair", "--dry-run"]).await;
    assert!(dry.stdout.contains("would be begun"), "{dry:?}");
    run(&["consistency", "repair"]).await.expect(0, &[]);
    for (kind, names) in FINDINGS {
        let fields = [&[("kind", kind)], names].concat();
        journal.event("finding_over", &fields).await;
    }
    for kind in LASTING {
        journal.resolved("inconsistent", ("kind", kind)).await;
    }
    drop(busy);
    agreed(&api).await;
    api.all_running(STREAMS + 1).await;
    let after = commands(&world, &agents);
    for (stream, pids) in &after {
        assert_eq!(pids.len(), 1, "{stream} runs so often: {pids:?}");
    }
    // Those that were moved are other processes by now.
    let moved = |stream: &str| ("s-020".."s-040").contains(&stream);
    let kept = before.iter().filter(|(stream, _)| !moved(stream));
    for (stream, pids) in kept {
        assert_eq!(after.get(stream), Some(pids), "{stream} was touched");
    }
    let was_moved = before
        .iter()
        .any(|(stream, pids)| after.get(stream) != Some(pids));
    assert!(was_moved, "the fleet was not busy");
    let stream = api.get("/api/v1/streams/s-005").await.unwrap();
    assert_eq!(stream["weight"], 3.0, "what is stored counts");
    run(&["workers", "synchronize", "one"]).await.expect(0, &[]);
    run(&["workers", "synchronize", "nobody"])
        .await
        .expect(4, &["nobody"]);
}
