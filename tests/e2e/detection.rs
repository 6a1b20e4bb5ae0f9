//! Losses are found long before a time-out, and who only loses its connection loses nothing. The time-outs are so
//! long that none of it could be theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::{self, Api};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::ports::free_port;
use streamkeeper_tests::process::{Process, find_program};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const STREAMS: usize = 6;
/// Silence counts only after these.
const PATIENT: &[&str] = &[
    "--set",
    "heartbeat.warning=10m",
    "--set",
    "heartbeat.timeout=11m",
    "--set",
    "heartbeat.emergency=12m",
];
/// How long the connection is away: shorter than the grace.
const CUT: Duration = Duration::from_millis(500);
/// What would happen wrongly, happens within this time.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

async fn declare_sleepers(api: &Api) {
    api.workers_alive(2).await;
    let names: Vec<String> = (1..=STREAMS).map(|number| format!("sleeper-{number}")).collect();
    let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
    api.declare(&streams).await;
    api.all_running(STREAMS).await;
}

/// How many sessions were found lost or dead, by way.
async fn losses(api: &Api) -> BTreeMap<String, u64> {
    let answer = http::client().get(format!("{}/metrics", api.base())).send().await;
    let text = answer.unwrap().text().await.unwrap();
    let samples = text.lines().filter_map(|line| {
        let (way, count) = line
            .strip_prefix("streamkeeper_losses_total{way=\"")?
            .split_once("\"} ")?;
        Some((way.to_owned(), count.parse().ok()?))
    });
    samples.collect()
}

/// Kills the agent and its guard, so that nobody can prove anything.
fn kill_without_proof(world: &World, agent: &mut Agent) {
    let guard = world
        .living(agent.id())
        .into_iter()
        .find(|process| process.command.ends_with(" guard"))
        .expect("a guard");
    let signal = |signal| kill_process(Pid::from_raw(guard.pid).unwrap(), signal).unwrap();
    // It must not see the agent die.
    signal(Signal::STOP);
    agent.kill9();
    signal(Signal::KILL);
}

async fn all_run_on(world: &World, agent: &Agent) {
    let moved = wait::until(wait::GENEROUS, async || {
        let running = agent.commands(world);
        let all = running.len() == STREAMS && running.values().all(|pids| pids.len() == 1);
        all.then_some(()).ok_or_else(|| format!("{running:?}"))
    });
    moved
        .await
        .unwrap_or_else(|reason| panic!("not replaced: {reason}"));
}

#[tokio::test]
async fn the_managed_server_tells_whose_connection_ended() {
    let world = World::new("advisory");
    let orchestrator = Orchestrator::start(&world, PATIENT).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let [mut a, b] = ["advisory-a", "advisory-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    declare_sleepers(&api).await;
    kill_without_proof(&world, &mut a);
    all_run_on(&world, &b).await;
    assert_eq!(losses(&api).await, BTreeMap::from([("advisory".to_owned(), 1)]));
}

/// A server with accounts, as somebody else runs it: everybody of ours in one, the system in another.
fn foreign_server(world: &World) -> (Process, String) {
    let port = free_port();
    let config = format!(
        "listen: \"127.0.0.1:{port}\"\n\
         accounts {{\n\
           OURS {{ users: [ {{ user: keeper, password: k-secret }}, {{ user: worker, password: w-secret }} ] }}\n\
           SYS {{ users: [ {{ user: watcher, password: s-secret }} ] }}\n\
         }}\nsystem_account: SYS\n"
    );
    let config = world.write("nats.conf", &config);
    let server = world.spawn("nats", &find_program("nats-server"), |command| {
        command.arg("-c").arg(config);
    });
    (server, format!("127.0.0.1:{port}"))
}

#[tokio::test]
async fn a_foreign_server_tells_it_to_who_knows_its_system_account() {
    let world = World::new("foreign");
    let (_server, address) = foreign_server(&world);
    let password = world.write("system.password", "s-secret\n");
    let set = format!("nats.system_password_file={}", password.display());
    let ours = format!("nats://keeper:k-secret@{address}");
    let known = [
        "--nats",
        &ours,
        "--set",
        "nats.system_user=watcher",
        "--set",
        &set,
    ];
    let orchestrator = Orchestrator::start(&world, &[&known, PATIENT].concat()).await;
    let api = orchestrator.api();
    let url = format!("nats://worker:w-secret@{address}");
    let [mut a, b] = ["foreign-a", "foreign-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--nats", &url]));
    declare_sleepers(&api).await;
    kill_without_proof(&world, &mut a);
    all_run_on(&world, &b).await;
    assert_eq!(losses(&api).await, BTreeMap::from([("advisory".to_owned(), 1)]));
    let log = orchestrator.process().output();
    assert!(!log.contains("s-secret"), "{log}");
}

#[tokio::test]
async fn without_a_system_account_nobody_listening_is_found_by_asking() {
    let world = World::new("asked");
    let nats = NatsServer::start().await;
    let url = nats.url();
    let settings = [&["--nats", &url], PATIENT].concat();
    let orchestrator = Orchestrator::start(&world, &settings).await;
    let api = orchestrator.api();
    let [mut a, b] = ["asked-a", "asked-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--nats", &url]));
    declare_sleepers(&api).await;
    kill_without_proof(&world, &mut a);
    all_run_on(&world, &b).await;
    assert_eq!(losses(&api).await, BTreeMap::from([("ping".to_owned(), 1)]));
}

#[tokio::test]
async fn a_guard_that_tells_is_faster_and_is_proof() {
    let world = World::new("proof");
    let orchestrator = Orchestrator::start(&world, PATIENT).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let [mut a, b] = ["proof-a", "proof-b"]
        .map(|id| Agent::start(&world, id, &["--exec", "sleep {source}", "--data", &data]));
    declare_sleepers(&api).await;
    a.kill9();
    all_run_on(&world, &b).await;
    assert_eq!(losses(&api).await, BTreeMap::from([("proof".to_owned(), 1)]));
}

#[tokio::test]
async fn a_connection_that_is_cut_for_a_moment_moves_nothing() {
    let world = World::new("cut");
    let orchestrator = Orchestrator::start(&world, PATIENT).await;
    let api = orchestrator.api();
    let data = orchestrator.data().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(orchestrator.data().join("connect.json")).unwrap();
    let mut connect: Value = serde_json::from_str(&text).unwrap();
    let url = connect["urls"][0].as_str().unwrap().to_owned();
    let link = Cuttable::start(url.trim_start_matches("nats://")).await;
    connect["urls"] = json!([link.url]);
    let file = world.write("connect.json", &connect.to_string());
    let a = Agent::start(
        &world,
        "cut-a",
        &["--exec", "sleep {source}", "--connect", &file.to_string_lossy()],
    );
    let b = Agent::start(&world, "cut-b", &["--exec", "sleep {source}", "--data", &data]);
    declare_sleepers(&api).await;
    let before = (a.commands(&world), b.commands(&world));
    assert!(!before.0.is_empty() && !before.1.is_empty(), "{before:?}");
    link.up.send_replace(false);
    tokio::time::sleep(CUT).await;
    link.up.send_replace(true);
    let log = || std::fs::read_to_string(world.log("cut-a")).unwrap();
    let back = wait::until(wait::GENEROUS, async || {
        let connects = log().matches("connected to the message server").count();
        (connects == 2).then_some(()).ok_or_else(log)
    });
    back.await.unwrap_or_else(|reason| panic!("{reason}"));
    assert!(
        log().contains("connection to the message server is lost"),
        "{}",
        log()
    );
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!((a.commands(&world), b.commands(&world)), before);
    assert_eq!(losses(&api).await, BTreeMap::new());
    // Cut for longer, it is missed.
    link.up.send_replace(false);
    all_run_on(&world, &b).await;
    assert_eq!(losses(&api).await, BTreeMap::from([("advisory".to_owned(), 1)]));
}

/// A way to the message server that can be cut.
struct Cuttable {
    url: String,
    up: watch::Sender<bool>,
}

impl Cuttable {
    async fn start(target: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let up = watch::Sender::new(true);
        let (target, state) = (target.to_owned(), up.subscribe());
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut state = state.clone();
                if !*state.borrow() {
                    continue;
                }
                let mut server = TcpStream::connect(&target).await.unwrap();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = state.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Self { url, up }
    }
}
