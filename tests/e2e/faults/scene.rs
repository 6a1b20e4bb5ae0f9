//! The fleet that is hurt: orchestrators and agents on hosts of their own, their servers in the hall.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};
use streamkeeper_tests::fleet::{Agent, Orchestrator, Place};
use streamkeeper_tests::history::History;
use streamkeeper_tests::http::Api;
use streamkeeper_tests::nats::NatsServer;
use streamkeeper_tests::network::Network;
use streamkeeper_tests::postgres::Postgres;
use streamkeeper_tests::process::Process;
use streamkeeper_tests::proxy::Proxy;
use streamkeeper_tests::wait;
use streamkeeper_tests::world::World;

use crate::clocks;
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::writer::Writer;

/// Streams of each kind of ownership.
const STREAMS: usize = 15;
/// Whoever is not frozen answers within this time.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(1);
const AGENTS: [&str; 3] = ["a", "b", "c"];

/// What a fleet stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Three orchestrators on PostgreSQL, behind a proxy.
    Postgresql,
    /// Two of them, on a cluster of three message servers, with wall clocks that can be set.
    Cluster,
    /// One orchestrator on its SQLite file.
    Sqlite,
}

impl Stage {
    /// As the tables have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgresql => "postgresql",
            Self::Cluster => "postgresql, three message servers",
            Self::Sqlite => "sqlite",
        }
    }

    const fn orchestrators(self) -> u32 {
        match self {
            Self::Postgresql => 3,
            Self::Cluster => 2,
            Self::Sqlite => 1,
        }
    }
}

/// An orchestrator or an agent, and where it is in the network.
#[derive(Debug)]
pub(crate) struct At<T> {
    pub(crate) part: T,
    pub(crate) address: Ipv4Addr,
}

/// PostgreSQL and the proxy in front of it.
pub(crate) struct Store {
    pub(crate) postgres: Postgres,
    pub(crate) proxy: Proxy,
    pub(crate) address: Ipv4Addr,
    pub(crate) ledger: Ledger,
}

/// Everything. The world is dropped last, and ends what is left.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) pace: Pace,
    pub(crate) orchestrators: Vec<At<Orchestrator>>,
    /// Who has led in this round, in order.
    pub(crate) led: Vec<usize>,
    pub(crate) agents: Vec<At<Agent>>,
    /// A second process with the id of an agent, while there is one.
    pub(crate) twin: Option<Process>,
    pub(crate) nats: Vec<NatsServer>,
    pub(crate) store: Option<Store>,
    pub(crate) network: Network,
    pub(crate) history: History,
    pub(crate) folder: PathBuf,
    pub(crate) exclusive: BTreeSet<String>,
    pub(crate) available: BTreeSet<String>,
    pub(crate) writer: Writer,
    /// A host for whoever joins later.
    pub(crate) spare: Place,
    pub(crate) world: World,
}

impl Scene {
    /// Starts it and returns when every stream runs.
    pub(crate) async fn start(stage: Stage, pace: Pace) -> Self {
        let world = World::new("faults");
        let mut network = Network::new();
        // What calls the orchestrators has the first address, and no partition is ever made of it.
        network.address(1);
        let nats = match stage {
            Stage::Cluster => NatsServer::cluster(&[2, 3, 4].map(|number| network.address(number))).await,
            _ => vec![NatsServer::start_at(network.address(2)).await],
        };
        let store = match stage {
            Stage::Sqlite => None,
            _ => Some(Store::start(network.address(9)).await),
        };
        let folder = world.folder().join("history");
        std::fs::create_dir(&folder).expect("a folder for histories");
        let mut scene = Self {
            stage,
            pace,
            orchestrators: Vec::new(),
            led: Vec::new(),
            agents: Vec::new(),
            twin: None,
            nats,
            store,
            history: History::default(),
            folder,
            exclusive: (1..=STREAMS).map(|number| format!("{number:02}-only")).collect(),
            available: (1..=STREAMS).map(|number| format!("{number:02}-any")).collect(),
            writer: Writer::default(),
            spare: network.host("spare", world.folder()).await,
            network,
            world,
        };
        for number in 1..=stage.orchestrators() {
            scene.add_orchestrator(number).await;
        }
        if stage == Stage::Cluster {
            replicate(&scene.nats[0].url()).await;
        }
        if let Some(store) = &mut scene.store {
            store.ledger.begin(&store.postgres);
        }
        for name in AGENTS {
            scene.add_agent(name).await;
        }
        let leader = scene.leading().await;
        leader.workers_alive(AGENTS.len()).await;
        scene.declare(&leader).await;
        scene.writer.begin(scene.apis());
        scene.settle().await;
        scene
    }

    async fn add_orchestrator(&mut self, number: u32) {
        let name = format!("orchestrator-{number}");
        let place = self.place(&name).await;
        let address = place.address;
        let urls: Vec<String> = self.nats.iter().map(NatsServer::url).collect();
        let mut args = vec!["--nats".to_owned(), urls.join(",")];
        let mut set = |setting: String| args.extend(["--set".to_owned(), setting]);
        if self.stage.orchestrators() > 1 {
            set("leadership.backend=nats".to_owned());
            set(format!("leadership.number={number}"));
        }
        self.pace
            .settings
            .iter()
            .for_each(|setting| set((*setting).to_owned()));
        if let Some(store) = &self.store {
            args.extend(["--database".to_owned(), store.url()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let part = Orchestrator::start_in(&self.world, &name, place, &args).await;
        self.orchestrators.push(At { part, address });
    }

    /// A host of its own.
    async fn place(&mut self, name: &str) -> Place {
        let mut place = self.network.host(name, self.world.folder()).await;
        if self.stage == Stage::Cluster {
            clocks::settable(&mut place, self.world.folder(), name);
        }
        place
    }

    async fn add_agent(&mut self, id: &str) {
        let place = self.place(id).await;
        let address = place.address;
        let args = self.agent_args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let part = Agent::start_in(&self.world, id, place, &args);
        self.agents.push(At { part, address });
    }

    /// What every agent is started with, besides id and state folder.
    pub(crate) fn agent_args(&self) -> Vec<String> {
        let witness = env!("CARGO_BIN_EXE_witness");
        let mut args = vec!["--exec".to_owned(), format!("{witness} {{source}}")];
        args.extend(["--output", "discard"].map(ToOwned::to_owned));
        for server in &self.nats {
            args.extend(["--nats".to_owned(), server.url()]);
        }
        args
    }

    async fn declare(&self, api: &Api) {
        let declared = |name: &String, ownership: &str| json!({"name": name, "source": self.folder, "ownership": ownership});
        let exclusive = self.exclusive.iter().map(|name| declared(name, "exclusive"));
        let available = self.available.iter().map(|name| declared(name, "available"));
        let streams: Vec<Value> = exclusive.chain(available).collect();
        let answer = api
            .send(Method::PUT, "/api/v1/streams", Some(&json!({"streams": streams})))
            .await;
        let answer = answer.unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// The APIs of all orchestrators.
    pub(crate) fn apis(&self) -> Vec<Api> {
        self.orchestrators.iter().map(|at| at.part.api()).collect()
    }

    /// Which orchestrator leads, by its own word.
    pub(crate) async fn leader(&self) -> Option<usize> {
        for (index, api) in self.apis().iter().enumerate() {
            let says = tokio::time::timeout(ANSWER, api.get("/api/v1/leader")).await;
            if says.is_ok_and(|says| says.is_ok_and(|says| says["role"] == "leading")) {
                return Some(index);
            }
        }
        None
    }

    /// Waits until one leads.
    pub(crate) async fn leading(&self) -> Api {
        let leads = wait::until(self.pace.patience, async || {
            self.leader().await.ok_or("nobody leads".to_owned())
        })
        .await;
        let index = leads.unwrap_or_else(|reason| panic!("{reason}"));
        self.orchestrators[index].part.api()
    }

    /// All streams.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &String> {
        self.exclusive.iter().chain(&self.available)
    }

    /// The agent that runs most streams, of either ownership, by its witnesses.
    pub(crate) fn busiest(&mut self) -> usize {
        self.read();
        let count = |streams: &BTreeSet<String>, id: &str| {
            let newest = streams.iter().filter_map(|stream| self.history.of(stream).last());
            newest.filter(|life| life.worker == id).count()
        };
        let counts = self.agents.iter().map(|at| {
            let id = at.part.id();
            let (exclusive, available) = (count(&self.exclusive, id), count(&self.available, id));
            (exclusive.min(available), exclusive + available)
        });
        counts
            .enumerate()
            .max_by_key(|(_, count)| *count)
            .map_or(0, |(index, _)| index)
    }

    /// Reads what the witnesses wrote.
    pub(crate) fn read(&mut self) {
        self.history
            .read(&self.folder)
            .unwrap_or_else(|reason| panic!("{reason}"));
    }
}

/// What the documentation asks for on a cluster: the leader's key is kept by all three.
async fn replicate(url: &str) {
    let client = async_nats::connect(url).await.expect("a message server");
    let jetstream = async_nats::jetstream::new(client);
    let done = wait::until(wait::GENEROUS, async || {
        let mut stream = jetstream
            .get_stream("KV_SK_LEADER")
            .await
            .map_err(|error| error.to_string())?;
        let mut config = stream
            .info()
            .await
            .map_err(|error| error.to_string())?
            .config
            .clone();
        config.num_replicas = 3;
        jetstream
            .update_stream(config)
            .await
            .map_err(|error| error.to_string())
    });
    done.await
        .unwrap_or_else(|reason| panic!("the leader's key: {reason}"));
}

impl Store {
    async fn start(address: Ipv4Addr) -> Self {
        let postgres = Postgres::start().await;
        Self {
            proxy: Proxy::start(address, postgres.port()).await,
            postgres,
            address,
            ledger: Ledger::default(),
        }
    }

    fn url(&self) -> String {
        let own = format!("127.0.0.1:{}", self.postgres.port());
        self.postgres
            .url()
            .replace(&own, &self.proxy.address().to_string())
    }
}
