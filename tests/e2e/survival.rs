//! Streams go on while everything else is away; what was promised before a `kill -9` holds after it.

use std::collections::BTreeMap;

use futures::StreamExt;
use rustix::process::Signal;
use streamkeeper_protocol::{Alert, AlertStatus};
use streamkeeper_tests::database::DatabaseKind;
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::Api;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::state::Watermark;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

streamkeeper_tests::on_both_databases!(
    streams_go_on_while_bus_and_orchestrator_are_away,
    a_lost_worker_is_alerted_replaced_and_resolved,
    epochs_never_go_back,
);

const STREAMS: usize = 6;

/// Both agents are there before, so that nothing has to be evened out later.
async fn declare_sleepers(api: &Api) {
    api.workers_alive(2).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("sleeper-{number}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
}

/// Process ids of all commands of all agents, by stream.
fn commands(world: &World, agents: &[&Agent]) -> BTreeMap<String, Vec<i32>> {
    let mut all: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for agent in agents {
        for (stream, pids) in agent.commands(world) {
            all.entry(stream).or_default().extend(pids);
        }
    }
    all
}

/// Waits until every stream has exactly one command.
async fn one_command_each(world: &World, agents: &[&Agent]) -> BTreeMap<String, Vec<i32>> {
    let one = wait::until(wait::GENEROUS, async || {
        let commands = commands(world, agents);
        if commands.len() == STREAMS && commands.values().all(|pids| pids.len() == 1) {
            Ok(commands)
        } else {
            Err(format!("one command per stream is wanted, but: {commands:?}"))
        }
    });
    one.await.unwrap_or_else(|reason| panic!("{reason}"))
}

async fn not_ready(api: &Api) {
    let noticed = wait::until(wait::GENEROUS, async || match api.get("/readyz").await {
        Ok(_) => Err("ready".to_owned()),
        Err(_) => Ok(()),
    });
    noticed.await.unwrap_or_else(|reason| panic!("{reason}"));
}

async fn ready(api: &Api) {
    let ready = wait::until(wait::GENEROUS, async || api.get("/readyz").await);
    ready.await.unwrap_or_else(|reason| panic!("{reason}"));
}

async fn streams_go_on_while_bus_and_orchestrator_are_away(kind: DatabaseKind) {
    let world = World::on(kind, "away");
    let mut nats = NatsServer::start().await;
    let url = nats.url();
    let mut orchestrator = Orchestrator::start(&world, &["--nats", &url]).await;
    let api = orchestrator.api();
    let agents = ["away-a", "away-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--nats", &url]));
    let [a, b] = &agents;
    declare_sleepers(&api).await;
    api.all_running(STREAMS).await;
    let before = one_command_each(&world, &[a, b]).await;

    // Frozen: connections stand, nothing answers.
    nats.process().signal(Signal::STOP);
    not_ready(&api).await;
    assert_eq!(commands(&world, &[a, b]), before);
    nats.process().signal(Signal::CONT);
    ready(&api).await;
    api.all_running(STREAMS).await;
    assert_eq!(commands(&world, &[a, b]), before);

    nats.kill();
    not_ready(&api).await;
    assert_eq!(commands(&world, &[a, b]), before);
    nats.restart().await;
    ready(&api).await;
    api.all_running(STREAMS).await;
    assert_eq!(commands(&world, &[a, b]), before);

    // Both at once, and an orchestrator that comes up before its bus.
    nats.kill();
    orchestrator.kill9();
    assert_eq!(commands(&world, &[a, b]), before);
    nats.restart().await;
    orchestrator.restart(&world).await;
    api.all_running(STREAMS).await;
    assert_eq!(commands(&world, &[a, b]), before);
}

async fn a_lost_worker_is_alerted_replaced_and_resolved(kind: DatabaseKind) {
    let world = World::on(kind, "lost");
    let nats = NatsServer::start().await;
    let url = nats.url();
    let client = async_nats::connect(&url).await.unwrap();
    let mut alerts = client.subscribe("sk.v1.alert.>").await.unwrap();
    client.flush().await.unwrap();
    let settings = [
        "--nats",
        &url,
        "--set",
        "heartbeat.warning=4s",
        "--set",
        "heartbeat.timeout=6s",
    ];
    let mut orchestrator = Orchestrator::start(&world, &settings).await;
    let api = orchestrator.api();
    let agents = ["lost-a", "lost-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--nats", &url]));
    let [a, b] = &agents;
    declare_sleepers(&api).await;
    api.all_running(STREAMS).await;
    one_command_each(&world, &[a, b]).await;

    // Frozen, it cannot say farewell, and its guard sees no reason to.
    a.process().signal(Signal::STOP);
    let fired = next_alert(&mut alerts, AlertStatus::Firing).await;
    assert_eq!(fired.labels["worker"], a.id(), "{fired:?}");
    let replaced = wait::until(wait::GENEROUS, async || {
        let running = b.commands(&world);
        if running.len() == STREAMS {
            Ok(())
        } else {
            Err(format!("{running:?}"))
        }
    });
    replaced
        .await
        .unwrap_or_else(|reason| panic!("not replaced: {reason}"));

    // A new life goes on with the alert, though it has never heard the worker, and tells it to nobody again.
    api.told_alert("worker_lost").await;
    orchestrator.restart(&world).await;
    let known = api.told_alert("worker_lost").await;
    assert_eq!(known["fingerprint"].as_str(), Some(&*fired.fingerprint));

    a.process().signal(Signal::CONT);
    let resolved = next_alert(&mut alerts, AlertStatus::Resolved).await;
    assert_eq!(resolved.fingerprint, fired.fingerprint);
    assert_eq!(resolved.starts_at, fired.starts_at);
    assert!(resolved.ends_at.is_some(), "{resolved:?}");
    // Its old copies end: the higher epoch wins.
    api.all_running(STREAMS).await;
    one_command_each(&world, &[a, b]).await;
}

/// The next change of the alert `worker_lost`, on its own subject.
async fn next_alert(alerts: &mut async_nats::Subscriber, status: AlertStatus) -> Alert {
    let wanted = async {
        loop {
            let message = alerts.next().await.expect("the subscription lives");
            let alert: Alert = streamkeeper_protocol::decode(&message.payload, None).unwrap();
            if message.subject.as_str() == "sk.v1.alert.critical.worker_lost" {
                assert_eq!(alert.status, status, "{alert:?}");
                return alert;
            }
        }
    };
    let alert = tokio::time::timeout(wait::GENEROUS, wanted).await;
    alert.unwrap_or_else(|_| panic!("no alert worker_lost with status {status:?}"))
}

async fn epochs_never_go_back(kind: DatabaseKind) {
    let world = World::on(kind, "epochs");
    let mut orchestrator = Orchestrator::start(&world, &[]).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let mut agents = ["epochs-a", "epochs-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    declare_sleepers(&api).await;
    let first = api.all_running(STREAMS).await;
    let mut watermark = Watermark::default();
    watermark.rises(&first);
    commands_carry(&world, &agents, &api).await;

    // A restart moves nothing and grants nothing anew.
    orchestrator.restart(&world).await;
    let second = api.all_running(STREAMS).await;
    assert_eq!(first, second);

    // The orchestrator is killed while it replaces what a killed worker ran.
    for round in 0..3 {
        let killed = round % 2;
        agents[killed].kill9();
        world.gone(agents[killed].id()).await;
        orchestrator.restart(&world).await;
        let now = api.all_running(STREAMS).await;
        watermark.rises(&now);
        agents[killed].restart(&world);
        let now = api.all_running(STREAMS).await;
        watermark.rises(&now);
        commands_carry(&world, &agents, &api).await;
    }
}

/// Every command was started under the epoch that the API names.
async fn commands_carry(world: &World, agents: &[Agent], api: &Api) {
    let carried = wait::until(wait::GENEROUS, async || {
        let assignments = api.assignments().await?;
        for agent in agents {
            for process in world.living(agent.id()) {
                let Some(stream) = process.variable("STREAMKEEPER_STREAM") else {
                    continue;
                };
                let epoch = process.variable("STREAMKEEPER_EPOCH").unwrap_or_default();
                let assigned = assignments
                    .get(stream)
                    .ok_or_else(|| format!("{stream} has no owner"))?;
                if (assigned.worker.as_str(), assigned.epoch.to_string().as_str()) != (agent.id(), epoch) {
                    return Err(format!(
                        "{process} of {} runs epoch {epoch}, but: {assigned:?}",
                        agent.id()
                    ));
                }
            }
        }
        Ok(())
    });
    carried.await.unwrap_or_else(|reason| panic!("{reason}"));
}
