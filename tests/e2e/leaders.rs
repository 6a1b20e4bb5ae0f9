//! Two orchestrators on one nats-server and one PostgreSQL: the lead passes on, streams stay where they are.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use streamkeeper_protocol::{Alert, AlertStatus};
use streamkeeper_tests::fleet::{Agent, Orchestrator};
use streamkeeper_tests::http::{Answer, client};
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::state::{Assignments, Watermark};
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;
use tokio::time::Instant;

const STREAMS: usize = 4;

/// Process ids of all commands, by stream.
type Commands = BTreeMap<String, Vec<i32>>;

/// Everything. The world is dropped last, and ends what is left.
struct Fleet {
    orchestrators: Vec<Orchestrator>,
    agents: Vec<Agent>,
    nats: NatsServer,
    postgres: Postgres,
    /// Who led under which term.
    terms: BTreeMap<u64, String>,
    watermark: Watermark,
    world: World,
}

impl Fleet {
    async fn start(name: &str) -> Self {
        let world = World::new(name);
        let nats = NatsServer::start_with_jetstream().await;
        let postgres = Postgres::start().await;
        let mut orchestrators = Vec::new();
        for number in ["1", "2"] {
            let args = [
                "--nats",
                &nats.url(),
                "--database",
                &postgres.url(),
                "--set",
                "leadership.backend=nats",
                "--set",
                &format!("leadership.number={number}"),
            ];
            let name = format!("orchestrator-{number}");
            orchestrators.push(Orchestrator::start_as(&world, &name, &args, &[]).await);
        }
        let agents = ["a", "b"].map(|id| {
            let id = format!("{name}-{id}");
            Agent::start(&world, &id, &["--exec", "sleep {source}", "--nats", &nats.url()])
        });
        let mut fleet = Self {
            orchestrators,
            agents: agents.into(),
            nats,
            postgres,
            terms: BTreeMap::new(),
            watermark: Watermark::default(),
            world,
        };
        let leader = fleet.leader().await;
        // Whoever asks the standby is sent on, reads and changes alike.
        let api = fleet.orchestrators[1 - leader].api();
        api.workers_alive(2).await;
        let names: Vec<String> = (1..=STREAMS).map(|number| format!("{name}-{number}")).collect();
        let streams: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "100000")).collect();
        api.declare(&streams).await;
        fleet.all_running(leader).await;
        fleet
    }

    /// What an orchestrator says of the lead.
    async fn says(&mut self, index: usize) -> Result<Value, String> {
        let says = self.orchestrators[index].api().get("/api/v1/leader").await?;
        if says["role"] == "leading" {
            let (term, id) = (says["term"].as_u64().unwrap(), says["leader"].as_str().unwrap());
            let known = self.terms.entry(term).or_insert_with(|| id.to_owned());
            assert_eq!(known, id, "term {term} was taken twice");
        }
        Ok(says)
    }

    /// Waits until one leads and says which.
    async fn leader(&mut self) -> usize {
        let start = Instant::now();
        while start.elapsed() < wait::GENEROUS {
            for index in 0..self.orchestrators.len() {
                if self.says(index).await.is_ok_and(|says| says["role"] == "leading") {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody leads");
    }

    /// Waits until this one has the role.
    async fn becomes(&mut self, index: usize, role: &str) -> Value {
        let start = Instant::now();
        let mut last = Ok(Value::Null);
        while start.elapsed() < wait::GENEROUS {
            last = self.says(index).await;
            if let Some(says) = last.as_ref().ok().filter(|says| says["role"] == role) {
                return says.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("orchestrator {index} is not {role}: {last:?}");
    }

    async fn all_running(&mut self, index: usize) -> Assignments {
        let assignments = self.orchestrators[index].api().all_running(STREAMS).await;
        self.watermark.rises(&assignments);
        assignments
    }

    fn commands(&self) -> Commands {
        let mut all = Commands::new();
        for (stream, pids) in self.agents.iter().flat_map(|agent| agent.commands(&self.world)) {
            all.entry(stream).or_default().extend(pids);
        }
        all
    }

    async fn one_command_each(&self) -> Commands {
        let one = wait::until(wait::GENEROUS, async || {
            let commands = self.commands();
            if commands.len() == STREAMS && commands.values().all(|pids| pids.len() == 1) {
                Ok(commands)
            } else {
                Err(format!("one command per stream is wanted, but: {commands:?}"))
            }
        });
        one.await.unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The other one leads, and every stream is where it was, under the same epoch, in the same process.
    async fn passes_to(&mut self, index: usize, before: &(Assignments, Commands), since: Instant, how: &str) {
        self.becomes(index, "leading").await;
        println!("{how}: the other leads after {:?}", since.elapsed());
        assert_eq!(self.all_running(index).await, before.0, "{how}");
        assert_eq!(self.commands(), before.1, "{how}");
    }
}

#[tokio::test]
async fn the_lead_passes_on_and_no_stream_moves() {
    let mut fleet = Fleet::start("leads").await;
    let first = fleet.leader().await;
    let second = 1 - first;
    let before = (fleet.all_running(first).await, fleet.one_command_each().await);
    let ready = fleet.orchestrators[second].api().get("/readyz").await.unwrap();
    assert_eq!(ready["role"], "standby");

    let since = Instant::now();
    fleet.orchestrators[first].kill9();
    fleet.passes_to(second, &before, since, "kill -9").await;

    let world = &fleet.world;
    fleet.orchestrators[first].restart(world).await;
    fleet.becomes(first, "standby").await;
    let since = Instant::now();
    fleet.orchestrators[second].process().signal(Signal::TERM);
    fleet.passes_to(first, &before, since, "SIGTERM").await;
    let ended = fleet.orchestrators[second].terminate().await;
    assert!(ended.success(), "{ended}");

    let world = &fleet.world;
    fleet.orchestrators[second].restart(world).await;
    let standby = fleet.orchestrators[second].api().base().to_owned();
    let shown = world.run(&["leader", "show", "--server", &standby]).await;
    shown.expect(0, &[]);
    assert!(shown.stdout.contains("standby"), "{shown:?}");
    let since = Instant::now();
    let said = world
        .run(&["leader", "step-down", "--server", &standby, "-o", "json"])
        .await;
    said.expect(0, &[]);
    let old = said.json()["term"].as_u64().unwrap();
    fleet.passes_to(second, &before, since, "step-down").await;
    assert!(fleet.says(second).await.unwrap()["term"].as_u64().unwrap() > old);

    for index in [first, second] {
        fleet.orchestrators[index].kill9();
    }
    let world = &fleet.world;
    for index in [first, second] {
        fleet.orchestrators[index].restart(world).await;
    }
    let leader = fleet.leader().await;
    assert_eq!(fleet.all_running(leader).await, before.0);
    assert_eq!(fleet.commands(), before.1);
}

#[tokio::test]
async fn a_message_server_that_forgot_everything_brings_no_term_back() {
    let mut fleet = Fleet::start("wiped").await;
    let before = fleet.one_command_each().await;
    for round in 0..2 {
        fleet.nats.come_back_empty().await;
        let leader = fleet.leader().await;
        fleet.all_running(leader).await;
        assert_eq!(fleet.commands(), before, "round {round}");
        // The leader dies while the key is young; its successor must know the terms from elsewhere.
        fleet.orchestrators[leader].kill9();
        fleet.nats.come_back_empty().await;
        fleet.becomes(1 - leader, "leading").await;
        fleet.all_running(1 - leader).await;
        assert_eq!(fleet.commands(), before, "round {round}");
        let world = &fleet.world;
        fleet.orchestrators[leader].restart(world).await;
    }
    // New epochs are above all that ever were.
    let leader = fleet.leader().await;
    let api = fleet.orchestrators[leader].api();
    let old = fleet.all_running(leader).await;
    let restart = api
        .send(Method::POST, "/api/v1/streams/wiped-1/restart", None)
        .await;
    assert_eq!(restart.unwrap().status, 202);
    let risen = wait::until(wait::GENEROUS, async || {
        let now = api.all_running(STREAMS).await;
        if now["wiped-1"].epoch > old["wiped-1"].epoch {
            Ok(now)
        } else {
            Err(format!("{now:?}"))
        }
    });
    fleet.watermark.rises(&risen.await.unwrap());
}

#[tokio::test]
async fn a_leader_that_was_frozen_finds_that_it_leads_no_more() {
    let mut fleet = Fleet::start("frozen").await;
    let frozen = fleet.leader().await;
    let other = 1 - frozen;
    let before = (fleet.all_running(frozen).await, fleet.one_command_each().await);
    let since = Instant::now();
    fleet.orchestrators[frozen].process().signal(Signal::STOP);
    // A change that waits in the frozen process.
    let url = format!("{}/api/v1/streams", fleet.orchestrators[frozen].api().base());
    let body = json!({"streams": [{"name": "frozen-late", "source": "100000"}]});
    let no_redirects = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let late = tokio::spawn(no_redirects.put(url).json(&body).send());
    fleet.passes_to(other, &before, since, "SIGSTOP").await;
    tokio::time::sleep(Duration::from_secs(10).saturating_sub(since.elapsed())).await;
    fleet.orchestrators[frozen].process().signal(Signal::CONT);
    let answer = late.await.unwrap().unwrap();
    assert!([307, 503].contains(&answer.status().as_u16()), "{answer:?}");
    fleet.becomes(frozen, "standby").await;
    // It names the other one, and whoever asks it gets the other one's answer.
    let seen = wait::until(wait::GENEROUS, async || {
        let answer = fleet.orchestrators[frozen]
            .api()
            .send(Method::GET, "/api/v1/streams/frozen-late", None)
            .await?;
        match answer {
            Answer { status: 404, .. } => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    seen.await.unwrap();
    assert_eq!(fleet.all_running(other).await, before.0);
    assert_eq!(fleet.commands(), before.1);
    let metrics = |index: usize| format!("{}/metrics", fleet.orchestrators[index].api().base());
    for (index, leads) in [
        (frozen, "streamkeeper_leader 0"),
        (other, "streamkeeper_leader 1"),
    ] {
        let text = client()
            .get(metrics(index))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(text.contains(leads), "{leads}: {text}");
    }
}

#[tokio::test]
async fn alerts_pass_on_with_the_lead() {
    let mut fleet = Fleet::start("alerted").await;
    let client = async_nats::connect(fleet.nats.url()).await.unwrap();
    let mut told = client
        .subscribe("sk.v1.alert.critical.worker_lost")
        .await
        .unwrap();
    client.flush().await.unwrap();
    let first = fleet.leader().await;
    let second = 1 - first;
    fleet.agents[0].kill9();
    let fired = fleet.orchestrators[first].api().told_alert("worker_lost").await;
    // The successor never hears that worker: all its streams are elsewhere by then.
    fleet.all_running(first).await;
    fleet.orchestrators[first].kill9();
    fleet.becomes(second, "leading").await;
    let known = fleet.orchestrators[second].api().told_alert("worker_lost").await;
    assert_eq!(
        (&known["fingerprint"], &known["since"], &known["incident"]),
        (&fired["fingerprint"], &fired["since"], &fired["incident"])
    );
    assert!(fired["incident"].is_string(), "{fired}");

    let world = &fleet.world;
    fleet.agents[0].restart(world);
    let expected = [AlertStatus::Firing, AlertStatus::Resolved];
    for status in expected {
        let message = tokio::time::timeout(wait::GENEROUS, told.next()).await;
        let message = message
            .unwrap_or_else(|_| panic!("nobody is told {status:?}"))
            .unwrap();
        let alert: Alert = streamkeeper_protocol::decode(&message.payload, None).unwrap();
        assert_eq!(alert.status, status, "{alert:?}");
        assert_eq!(fired["fingerprint"].as_str(), Some(&*alert.fingerprint));
    }
    let api = fleet.orchestrators[second].api();
    let over = wait::until(wait::GENEROUS, async || {
        let alerts = api.list("alerts").await?;
        match alerts.iter().any(|alert| alert["rule"] == "worker_lost") {
            false => Ok(()),
            true => Err(format!("{alerts:?}")),
        }
    });
    over.await.unwrap();
    let rows =
        "SELECT count(*), count(*) FILTER (WHERE resolved_ms > 0) FROM alert WHERE rule = 'worker_lost'";
    let stored = wait::until(wait::GENEROUS, async || match fleet.postgres.sql(rows) {
        rows if rows == "1|1" => Ok(()),
        rows => Err(rows),
    });
    stored.await.unwrap();
    incident_is_over(&fleet, second, fired["incident"].as_str().unwrap()).await;
}

/// One worker's death was one incident over two leaderships.
async fn incident_is_over(fleet: &Fleet, leader: usize, incident: &str) {
    let api = fleet.orchestrators[leader].api();
    let ended = wait::until(wait::GENEROUS, async || {
        let shown = api.get(&format!("/api/v1/incidents/{incident}")).await?;
        // What the killed leader had not stored yet is lost; the return of the worker was seen by the other one.
        let mut events = shown["events"].as_array().into_iter().flatten();
        let returned = events.any(|event| event["kind"] == "worker_joined");
        match shown["status"] == "ended" && returned {
            true => Ok(shown),
            false => Err(format!("{shown}")),
        }
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended["rule"], "worker_lost", "{ended}");
    let says = async |args: &[&str], texts: &[&str]| {
        let said = fleet.world.run(&[args, &["--server", api.base()]].concat()).await;
        said.expect(0, &[]);
        let lacks = texts.iter().find(|text| !said.stdout.contains(**text));
        assert_eq!(lacks, None, "{said:?}");
    };
    // What happened to the worker belongs to it.
    says(
        &["incidents", "show", incident],
        &["worker_lost is over", "worker_joined"],
    )
    .await;
    says(&["incidents", "list"], &[incident, "is lost"]).await;
    says(&["alerts", "list", "--resolved"], &[incident, "resolved"]).await;
    let none = ["incidents", "show", "1-999", "--server", api.base()];
    fleet.world.run(&none).await.expect(4, &["no incident 1-999"]);
}
