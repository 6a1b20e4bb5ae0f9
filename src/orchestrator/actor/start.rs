//! Starts the actors, each on its own thread, with its feeder and its watch.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, Arbiter};
use anyhow::Context as _;
use streamkeeper_core::alert_manager::AlertManager;
use streamkeeper_core::balancer::Balancer;
use streamkeeper_core::cluster::ClusterState;
use streamkeeper_core::consistency_checker::{Checks, ConsistencyChecker};
use streamkeeper_core::coordinator::Coordinator;
use streamkeeper_core::election::{self, Election};
use streamkeeper_core::heartbeat_tracker::HeartbeatTracker;
use streamkeeper_core::recovery_manager::{RecoveryManager, Status};
use streamkeeper_core::router::SnapshotReader;
use streamkeeper_protocol::Term;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::alerts::{AlertOutbox, NatsSink};
use super::breakers;
use super::gateway::{ActorGateway, Member, Replies};
use super::host::{Deliver, Host, Panic};
use super::hosted::Hosted;
use super::lead::watch_leader_key;
use super::mailbox::{Mailbox, feed, watch_progress};
use super::shell::{Mailboxes, Ports, Settings, Shell};
use super::supervise::{Fatal, Health, supervise};
use crate::port::{AlertSink, View};

/// How long the end waits for the lead to be given up.
const STEP_DOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The running actors.
pub struct Actors {
    shell: Arc<Shell>,
    gateway: Arc<ActorGateway>,
    arbiters: Vec<Arbiter>,
    tasks: JoinSet<()>,
}

impl Actors {
    /// Starts every actor; the election begins at once. To be called inside an actix system.
    ///
    /// # Errors
    /// When the remembered term cannot be read, or a thread cannot be started.
    pub async fn start(
        id: streamkeeper_protocol::OrchestratorId,
        settings: Settings,
        ports: Ports,
        fatal: Fatal,
    ) -> anyhow::Result<Self> {
        let remembered = remembered(&ports).await?;
        let (election, to_election) = Mailbox::new("election");
        let (coordinator, to_coordinator) = Mailbox::new("coordinator");
        let (heartbeat_tracker, to_heartbeat_tracker) = Mailbox::new("heartbeat_tracker");
        let (balancer, to_balancer) = Mailbox::new("balancer");
        let (consistency_checker, to_consistency_checker) = Mailbox::new("consistency_checker");
        let (recovery_manager, to_recovery_manager) = Mailbox::new("recovery_manager");
        let (alert_manager, to_alert_manager) = Mailbox::new("alert_manager");
        let mailboxes = Mailboxes {
            election,
            coordinator,
            heartbeat_tracker,
            balancer,
            consistency_checker,
            recovery_manager,
            alert_manager,
        };
        let shell = Arc::new(Shell {
            id,
            settings,
            clock: Arc::clone(&ports.clock),
            alerts: Arc::new(AlertOutbox::new(
                sinks(&ports),
                &ports.store,
                Arc::clone(&ports.clock),
                ports.breakers.clone(),
                settings.alert_retention,
            )),
            ports,
            mailboxes,
            io: tokio::runtime::Handle::current(),
            remembered: watch::Sender::new(remembered),
            election: watch::Sender::new(election::Status::default()),
            leader: watch::Sender::new(None),
            cluster: watch::Sender::new(ClusterState::default()),
            findings: watch::Sender::new(Vec::new()),
            checks: watch::Sender::new(Checks::default()),
            recovery: watch::Sender::new(Status::default()),
            takeover_failure: watch::Sender::new("no attempt ended".to_owned()),
            replies: Replies::default(),
            fatal,
        });
        let mut starter = Starter {
            shell: Arc::clone(&shell),
            members: Vec::new(),
            arbiters: Vec::new(),
            tasks: JoinSet::new(),
        };
        let boxes = &shell.mailboxes;
        // The readers first, so that the coordinator's first words are heard.
        let alerts = starter.host(&boxes.alert_manager, to_alert_manager).await?;
        starter.reads_snapshots::<AlertManager>(alerts);
        let recovery = starter.host(&boxes.recovery_manager, to_recovery_manager).await?;
        starter.reads_snapshots::<RecoveryManager>(recovery);
        let checker = starter
            .host(&boxes.consistency_checker, to_consistency_checker)
            .await?;
        starter.reads_snapshots::<ConsistencyChecker>(checker);
        let balancer = starter.host(&boxes.balancer, to_balancer).await?;
        starter.reads_snapshots::<Balancer>(balancer);
        starter
            .host::<HeartbeatTracker>(&boxes.heartbeat_tracker, to_heartbeat_tracker)
            .await?;
        starter
            .host::<Coordinator>(&boxes.coordinator, to_coordinator)
            .await?;
        starter.host::<Election>(&boxes.election, to_election).await?;
        let watched = (Arc::clone(&shell.ports.leader_key), boxes.election.clone());
        starter.tasks.spawn(watch_leader_key(watched.0, watched.1));
        starter.tasks.spawn(breakers::tell(Arc::clone(&shell)));
        let Starter {
            members,
            arbiters,
            tasks,
            ..
        } = starter;
        let gateway = Arc::new(ActorGateway {
            shell: Arc::clone(&shell),
            members,
        });
        Ok(Self {
            shell,
            gateway,
            arbiters,
            tasks,
        })
    }
}

impl Actors {
    /// What every message goes through; for the inbox.
    #[must_use]
    pub const fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// The API's way to the actors.
    #[must_use]
    pub fn gateway(&self) -> Arc<ActorGateway> {
        Arc::clone(&self.gateway)
    }

    /// What readers see.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            election: self.shell.election.subscribe(),
            leader: self.shell.leader.subscribe(),
            cluster: self.shell.cluster.subscribe(),
            alerts: self.shell.alerts.watch(),
            silences: self.shell.alerts.watch_silences(),
            findings: self.shell.findings.subscribe(),
            checks: self.shell.checks.subscribe(),
            recovery: self.shell.recovery.subscribe(),
        }
    }

    /// Why the last attempt to take over failed.
    #[must_use]
    pub fn takeover_failures(&self) -> watch::Receiver<String> {
        self.shell.takeover_failure.subscribe()
    }

    /// Gives up the lead for good, and waits until the key is free for another one; or a moment, if that fails.
    pub async fn step_down(&self) {
        let mut election = self.shell.election.subscribe();
        let event = election::Event::StepDown { for_good: true };
        self.shell.mailboxes.election.offer(event);
        let gone = election.wait_for(|status| status.stage == election::Stage::Resting);
        // Where nobody hears it, the lease ends by itself.
        let _ = tokio::time::timeout(STEP_DOWN_TIMEOUT, gone).await;
    }

    /// Ends the actors. What is on its way to the database is finished there.
    pub fn stop(mut self) {
        self.tasks.abort_all();
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
    }
}

/// The highest term that is known to have been used, by the own file and the database: the next one is above it.
async fn remembered(ports: &Ports) -> anyhow::Result<Term> {
    let own = ports
        .terms
        .load()
        .context("the highest term that was ever taken cannot be read")?;
    // Without an answer the takeover meets the stored term.
    Ok(ports
        .store
        .stored_term()
        .await
        .map_or(own, |stored| stored.max(own)))
}

/// Whom alerts are told to.
fn sinks(ports: &Ports) -> Vec<Arc<dyn AlertSink>> {
    let nats: Arc<dyn AlertSink> = Arc::new(NatsSink(Arc::clone(&ports.bus)));
    [nats]
        .into_iter()
        .chain(ports.alert_sinks.iter().cloned())
        .collect()
}

struct Starter {
    shell: Arc<Shell>,
    members: Vec<Member>,
    arbiters: Vec<Arbiter>,
    tasks: JoinSet<()>,
}

impl Starter {
    async fn host<M: Hosted>(
        &mut self,
        mailbox: &Mailbox<M::Event>,
        waiting: mpsc::Receiver<M::Event>,
    ) -> anyhow::Result<Addr<Host<M>>> {
        let health = Arc::new(Health::new(M::NAME));
        let arbiter = Arbiter::new();
        let (sender, address) = oneshot::channel();
        let (shell, its_health) = (Arc::clone(&self.shell), Arc::clone(&health));
        arbiter.spawn_fn(move || {
            let (supervision, fatal) = (shell.settings.supervision, shell.fatal.clone());
            let address = supervise(Host::<M>::new(shell), its_health, supervision, fatal);
            // The starter waits for it; if it is gone, so is the process.
            let _ = sender.send(address);
        });
        let address = address.await?;
        self.arbiters.push(arbiter);
        self.tasks.spawn(feed(waiting, address.clone()));
        let stuck_after = self.shell.settings.supervision.stuck_after;
        let watched = (address.clone(), Arc::clone(&health), self.shell.fatal.clone());
        self.tasks
            .spawn(watch_progress(watched.0, watched.1, stuck_after, watched.2));
        let (counted, injected) = (mailbox.clone(), address.clone());
        self.members.push(Member {
            health,
            waiting: Box::new(move || counted.waiting()),
            panic: Box::new(move || {
                // A full mailbox means that it works; then there is nothing to try out.
                let _ = injected.try_send(Panic);
            }),
        });
        Ok(address)
    }

    /// Hands every new state to a machine, one at a time: a machine that is slower than the changes sees the newest
    /// and skips those between.
    fn reads_snapshots<M: Hosted + SnapshotReader>(&mut self, reader: Addr<Host<M>>) {
        let mut cluster = self.shell.cluster.subscribe();
        self.tasks.spawn(async move {
            while cluster.changed().await.is_ok() {
                let snapshot = cluster.borrow_and_update().clone();
                // Closed: it panicked, and reads the newest state when it begins anew.
                let _ = reader.send(Deliver(vec![M::snapshot(snapshot)])).await;
            }
        });
    }
}
