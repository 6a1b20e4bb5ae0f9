//! One orchestrator process: starts the parts in phases, runs until it is told to end or cannot go on, and ends them
//! in the reverse order.

mod database;
mod phase;
mod settings;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use metrics_exporter_prometheus::PrometheusHandle;
use streamkeeper_core::cluster::{ClusterState, Role};
use streamkeeper_protocol::{Beacon, OrchestratorId, PROTOCOL_VERSION};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actor::{ActorInbox, Actors, Fatal, Ports};
use crate::adapter::breaker::BreakerStore;
use crate::adapter::http::{self, HttpContext, HttpServer};
use crate::adapter::nats::{ManagedNats, NatsBus};
use crate::adapter::store::SeaStore;
use crate::adapter::system::{DataDir, OwnKey, SystemClock, TermFile};
use crate::config::Config;
use crate::port::Bus;
use crate::telemetry;
use phase::phase;

/// Threads for everything that waits; each actor has its own beside them.
const IO_THREADS: usize = 2;
/// Time between two signs of life of the leader.
const BEACON_INTERVAL: Duration = Duration::from_secs(1);
/// How long the end may take before the process ends all the same.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs an orchestrator until SIGTERM or SIGINT. `linger` is the command that looks after the managed message server
/// (`PROGRAM linger`); it is started directly where that is empty.
///
/// # Errors
/// When a phase of the start fails, or when an actor cannot be kept going.
pub fn run(config: Config, linger: Vec<OsString>) -> anyhow::Result<()> {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(place = %panic.location().map(ToString::to_string).unwrap_or_default(), "{panic}");
    }));
    let metrics = telemetry::install_metrics()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let system = actix::System::with_tokio_rt(move || runtime);
    system.block_on(async move {
        let mut signals = Signals::new()?;
        let mut parts = tokio::select! {
            started = Parts::start(&config, linger, metrics) => started?,
            () = signals.any() => return Ok(()),
        };
        let outcome = tokio::select! {
            () = signals.any() => Ok(()),
            reason = parts.fatal.wait() => Err(anyhow!("giving up, to be started anew: {reason}")),
        };
        tracing::info!("stopping");
        tokio::select! {
            () = parts.stop() => tracing::info!("stopped"),
            () = tokio::time::sleep(STOP_TIMEOUT) => tracing::warn!("not everything ended within {STOP_TIMEOUT:?}"),
            () = signals.any() => tracing::warn!("second signal: ending at once"),
        }
        outcome
    })
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Everything that runs, in the order of its start.
struct Parts {
    store: SeaStore,
    managed: Option<ManagedNats>,
    bus: Arc<NatsBus>,
    actors: Option<Actors>,
    http: Option<HttpServer>,
    tasks: JoinSet<()>,
    fatal: Fatal,
    /// Released last.
    _data_dir: DataDir,
}

impl Parts {
    async fn start(
        config: &Config,
        linger: Vec<OsString>,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let data_dir = phase("data folder", async { DataDir::lock(&config.data_dir) }).await?;
        let store = phase("database", database::open(config, data_dir.path())).await?;
        let id = OrchestratorId::new(format!("o-{:08x}", rand::random::<u32>()))?;
        let managed = if config.nats.urls.is_empty() {
            let options = settings::managed_nats(config, data_dir.path(), linger);
            Some(phase("managed message server", ManagedNats::start(options)).await?)
        } else {
            None
        };
        let inbox = Arc::new(ActorInbox::default());
        let nats = settings::nats(config, managed.as_ref(), &id);
        let bus = phase(
            "message server",
            NatsBus::connect(nats, inbox.clone(), id.clone()),
        )
        .await?;
        let bus = Arc::new(bus);
        let fatal = Fatal::default();
        let clock = Arc::new(SystemClock);
        let threshold = config.database.breaker_threshold;
        let ports = Ports {
            store: Arc::new(BreakerStore::new(
                Arc::new(store.clone()),
                clock.clone(),
                threshold,
            )),
            bus: bus.clone(),
            clock,
            terms: Arc::new(TermFile::of(data_dir.path())),
            leader_key: Arc::new(OwnKey::default()),
        };
        let actors = phase(
            "actors",
            Actors::start(id.clone(), settings::actors(config), ports.clone(), fatal.clone()),
        )
        .await?;
        inbox.open(actors.shell());
        let (started, starting) = watch::channel(false);
        let context = HttpContext {
            view: actors.view(),
            gateway: actors.gateway(),
            store: ports.store,
            bus: ports.bus,
            clock: ports.clock,
            metrics,
            started: starting,
            version: env!("CARGO_PKG_VERSION"),
            id: id.clone(),
        };
        let http = phase("http", async { http::start(settings::http(config), context) }).await?;
        let api_url = format!("http://{}", http.addr());
        let cluster = actors.view().cluster;
        let mut tasks = JoinSet::new();
        tasks.spawn(beacons(bus.clone(), cluster, id, api_url.clone()));
        // Last: whoever waits for the start waits for all of it.
        started.send_replace(true);
        tracing::info!(api_url, data = %data_dir.path().display(), "started");
        Ok(Self {
            store,
            managed,
            bus,
            actors: Some(actors),
            http: Some(http),
            tasks,
            fatal,
            _data_dir: data_dir,
        })
    }

    /// First nobody asks any more, then nobody decides, then nobody stores or hears.
    async fn stop(&mut self) {
        if let Some(http) = self.http.take() {
            http.stop().await;
        }
        self.tasks.abort_all();
        if let Some(actors) = self.actors.take() {
            actors.stop();
        }
        self.bus.close().await;
        if let Err(error) = self.store.clone().close().await {
            tracing::warn!(%error, "the database was not closed");
        }
        if let Some(managed) = self.managed.take() {
            managed.stop().await;
        }
    }
}

async fn beacons(
    bus: Arc<NatsBus>,
    cluster: watch::Receiver<ClusterState>,
    leader: OrchestratorId,
    api_url: String,
) {
    let mut interval = tokio::time::interval(BEACON_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let leadership = cluster.borrow().leadership;
        if leadership.role == Role::Leading {
            let beacon = Beacon {
                v: PROTOCOL_VERSION,
                term: leadership.term,
                leader: leader.clone(),
                api_url: api_url.clone(),
                renew_only: false,
            };
            // Without a connection nobody hears it; the next one comes in a second.
            let _ = bus.beacon(&beacon);
        }
    }
}
