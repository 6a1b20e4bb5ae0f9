//! One orchestrator process: starts the parts in phases, runs until it is told to end or cannot go on, and ends them
//! in the reverse order.

pub mod bench;
mod database;
mod history;
mod journal;
mod look;
mod phase;
mod recovery;
mod settings;
mod sinks;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use metrics_exporter_prometheus::PrometheusHandle;
use streamkeeper_core::cluster::{ClusterState, Role};
use streamkeeper_protocol::{Beacon, OrchestratorId, PROTOCOL_VERSION, Term};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::actor::{ActorInbox, Actors, Fatal, Ports};
use crate::adapter::breaker::BreakerStore;
use crate::adapter::http::{BoundHttp, HttpContext, HttpError, HttpServer};
use crate::adapter::nats::{ManagedNats, NatsBus, watch_advisories};
use crate::adapter::store::SeaStore;
use crate::adapter::system::{DataDir, OwnKey, SystemClock, TermFile};
use crate::config::{Backend, Config};
use crate::port::{Breakers, Bus, Clock, Journal};
use crate::telemetry;
use history::History;
use journal::Writer;
pub use look::message_server as look_at_message_server;
use phase::Starting;
use recovery::{Joined, Recovered, joined, recovered};
pub use settings::{database_url, store as store_options};

/// Threads for everything that waits; each actor has its own beside them.
const IO_THREADS: usize = 2;
/// Time between two signs of life of the leader.
const BEACON_INTERVAL: Duration = Duration::from_secs(1);
/// How long a message server may take to say what it keeps.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end may take before the process ends all the same.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs an orchestrator until SIGTERM or SIGINT. `loading` is how long reading the configuration took; `linger` is the command that looks after the managed message server
/// (`PROGRAM linger`); it is started directly where that is empty.
///
/// # Errors
/// When a phase of the start fails, or when an actor cannot be kept going.
pub fn run(config: Config, loading: Duration, linger: Vec<OsString>) -> anyhow::Result<()> {
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
            started = Parts::start(&config, loading, linger, metrics) => started?,
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
    /// Whether others may take the lead.
    hands_over: bool,
    actors: Option<Actors>,
    http: Option<HttpServer>,
    tasks: JoinSet<()>,
    writer: Writer,
    fatal: Fatal,
    /// Released last.
    _data_dir: DataDir,
}

impl Parts {
    async fn start(
        config: &Config,
        loading: Duration,
        linger: Vec<OsString>,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let starting = Starting::default();
        starting.done("configuration", loading, None);
        let data_dir = starting
            .phase("data folder", async { DataDir::lock(&config.data_dir) })
            .await?;
        // Early, so that probes are answered while the rest takes its time.
        let (bound, probes) = starting
            .phase("probes", async {
                let bound = BoundHttp::bind(settings::http(config))?;
                let probes = bound.starting(starting.watch())?;
                Ok::<_, HttpError>((bound, probes))
            })
            .await?;
        let database = database::open(config, data_dir.path(), |reason| starting.waits_for(reason));
        let store = starting.phase("database", Box::pin(database)).await?;
        let id = OrchestratorId::new(format!("o-{:08x}", rand::random::<u32>()))?;
        let inbox = Arc::new(ActorInbox::default());
        let (managed, bus) =
            message_server(config, data_dir.path(), linger, &id, inbox.clone(), &starting).await?;
        let fatal = Fatal::default();
        let ports = ports(config, &store, &bus, data_dir.path())?;
        let writer = Writer::start(&store, &ports.journal, &id);
        let actors = Actors::start(id.clone(), settings::actors(config), ports.clone(), fatal.clone());
        let actors = starting.phase("actors", actors).await?;
        inbox.open(actors.shell());
        match config.leadership.backend {
            Backend::File => {
                let recovered = recovered(&actors, &fatal, config.database.start_timeout, &starting);
                starting
                    .found("recovery of state", recovered, Recovered::detail)
                    .await?;
            }
            // Whoever stands by has nothing to recover before it leads.
            Backend::Nats => {
                let joined = joined(&actors, &fatal, config.nats.connect_timeout);
                starting.found("election", joined, Joined::detail).await?;
            }
        }
        let (journal, events) = (ports.journal.clone(), Arc::new(store.clone()));
        let sampled = History {
            log: events.clone(),
            view: actors.view(),
            metrics: metrics.clone(),
            keep: config.history.keep_metrics,
        };
        let context = HttpContext {
            view: actors.view(),
            gateway: actors.gateway(),
            store: ports.store,
            events: events.clone(),
            journal: journal.clone(),
            incidents: events.clone(),
            samples: events.clone(),
            keep_metrics: config.history.keep_metrics,
            bus: ports.bus,
            clock: ports.clock,
            balancer: settings::balancer(config),
            breakers: ports.breakers.watch(),
            metrics,
            start: starting.watch(),
            version: env!("CARGO_PKG_VERSION"),
            id: id.clone(),
        };
        let http = starting
            .phase("http", async {
                let http = bound.serve(context)?;
                // Both answer for a moment: nobody is turned away.
                probes.retire().await;
                Ok::<_, HttpError>(http)
            })
            .await?;
        let own_url = || format!("http://{}", http.addr());
        let api_url = config.http.api_url.clone().unwrap_or_else(own_url);
        let cluster = actors.view().cluster;
        let mut tasks = JoinSet::new();
        tasks.spawn(history::sample(sampled));
        tasks.spawn(journal::forget(events, config.history.keep_events));
        if let Some(system) = settings::advisories(config, managed.as_ref(), &id) {
            tasks.spawn(watch_advisories(&system, inbox)?);
        }
        tasks.spawn(beacons(bus.clone(), cluster, id, api_url.clone()));
        // Last: whoever waits for the start waits for all of it.
        starting.through();
        tracing::info!(api_url, data = %data_dir.path().display(), "started");
        Ok(Self {
            store,
            managed,
            bus,
            hands_over: config.leadership.backend == Backend::Nats,
            actors: Some(actors),
            http: Some(http),
            tasks,
            writer,
            fatal,
            _data_dir: data_dir,
        })
    }

    /// First another may lead; then nobody asks any more, then nobody decides, then nobody stores or hears.
    async fn stop(&mut self) {
        if let Some(actors) = self.actors.as_ref().filter(|_| self.hands_over) {
            actors.step_down().await;
        }
        if let Some(http) = self.http.take() {
            http.stop().await;
        }
        self.tasks.abort_all();
        if let Some(actors) = self.actors.take() {
            actors.stop();
        }
        self.bus.close().await;
        self.writer.stop().await;
        if let Err(error) = self.store.clone().close().await {
            tracing::warn!(%error, "the database was not closed");
        }
        if let Some(managed) = self.managed.take() {
            managed.stop().await;
        }
    }
}

/// The connection to the message server, and the server itself where it is ours.
async fn message_server(
    config: &Config,
    data_dir: &Path,
    linger: Vec<OsString>,
    id: &OrchestratorId,
    inbox: Arc<ActorInbox>,
    starting: &Starting,
) -> anyhow::Result<(Option<ManagedNats>, Arc<NatsBus>)> {
    let managed = if config.nats.urls.is_empty() {
        let options = settings::managed_nats(config, data_dir, linger);
        let server = starting.phase("managed nats", Box::pin(ManagedNats::start(options)));
        Some(server.await?)
    } else {
        None
    };
    let nats = settings::nats(config, managed.as_ref(), id);
    let connecting = NatsBus::connect(nats, inbox, id.clone());
    let bus = Arc::new(starting.phase("nats", Box::pin(connecting)).await?);
    let keeps = async { Ok::<_, Infallible>(bus.keeps_alerts(JETSTREAM_TIMEOUT).await) };
    let said = |keeps: &Result<bool, String>| {
        Some(match keeps {
            Ok(true) => "alerts are kept".to_owned(),
            Ok(false) => "alerts reach only those who listen at the time".to_owned(),
            Err(reason) => format!("alerts are not kept yet: {reason}"),
        })
    };
    // An optional part: whoever looks for it has logged why it is missing.
    let _ = starting.found("jetstream", keeps, said).await?;
    Ok((managed, bus))
}

fn ports(config: &Config, store: &SeaStore, bus: &Arc<NatsBus>, data_dir: &Path) -> anyhow::Result<Ports> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let threshold = config.database.breaker_threshold;
    let breakers = Breakers::default();
    let breaker = BreakerStore::new(
        Arc::new(store.clone()),
        clock.clone(),
        threshold,
        breakers.clone(),
    );
    Ok(Ports {
        store: Arc::new(breaker),
        bus: bus.clone(),
        alert_sinks: sinks::of(&config.alerts, &clock)?,
        clock,
        breakers,
        journal: Journal::new(rand::random()),
        terms: Arc::new(TermFile::of(data_dir)),
        leader_key: match config.leadership.backend {
            Backend::File => Arc::new(OwnKey::default()),
            Backend::Nats => Arc::new(bus.leader_key()),
        },
    })
}

/// Tells who leads: every second, and at once when that changes.
async fn beacons(
    bus: Arc<NatsBus>,
    mut cluster: watch::Receiver<ClusterState>,
    leader: OrchestratorId,
    api_url: String,
) {
    let mut interval = tokio::time::interval(BEACON_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = (Role::Standby, Term::ZERO);
    loop {
        let due = tokio::select! {
            _ = interval.tick() => true,
            changed = cluster.changed() => match changed {
                Ok(()) => false,
                Err(_) => return,
            },
        };
        let leadership = cluster.borrow_and_update().leadership;
        let now = (leadership.role, leadership.term);
        if leadership.role != Role::Standby && (due || now != told) {
            let beacon = Beacon {
                v: PROTOCOL_VERSION,
                term: leadership.term,
                leader: leader.clone(),
                api_url: api_url.clone(),
                renew_only: leadership.role != Role::Leading,
            };
            // Without a connection nobody hears it; the next one comes in a second.
            let _ = bus.beacon(&beacon);
        }
        told = now;
    }
}
