//! One task owns the session: it turns what happens into events and carries out the commands in their order.

mod control;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use streamkeeper_protocol::{
    Assign, AssignKind, Epoch, Heartbeat, HostMetrics, StreamId, Term, WorkerId, decode,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::Identity;
use super::bus::Bus;
use super::clock;
use super::farewell::{FAREWELL_TIMEOUT, send_farewell};
use super::jobs::{Ended, Jobs, MAX_REPORTS};
use super::keeper::Keeper;
use super::link::{self, LinkEvent, MAX_EVENTS};
use super::logs::Desk;
use super::orders::Orders;
use super::refusals::Refusals;
use super::state::StateFolder;
use crate::connect::ConnectSource;
use crate::handler::StreamHandler;
use crate::logs::LogBook;
use crate::session::{Command, Event, Lease, Millis, Session};

/// Longest sleep at once: timers stand still while a machine is suspended, the session's clock does not.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// A leader's word that it understands compressed messages holds so long: its successor may be an older program, and
/// has to hear the worker before it counts it as lost.
const ZLIB_HOLDS_MS: u64 = 5_000;

/// A session and all that it needs to act.
pub(super) struct Driver {
    worker: WorkerId,
    identity: Identity,
    session: Session,
    /// The connection, while it stands.
    bus: Option<Bus>,
    jobs: Jobs,
    book: LogBook,
    ups: mpsc::Receiver<(StreamId, Epoch)>,
    state: Option<StateFolder>,
    /// There is one where there is a state folder.
    keeper: Option<Keeper>,
    host: Option<watch::Receiver<Option<HostMetrics>>>,
    orders: Orders,
    refusals: Refusals,
    /// When a leader that understands compressed messages spoke last.
    zlib_at: Option<Millis>,
    /// Where the runner learns until when it may run exclusive streams, if it guards them.
    guard: Option<watch::Sender<Option<Lease>>>,
    left: bool,
}

impl Driver {
    pub(super) fn new(
        identity: Identity,
        session: Session,
        handler: Arc<dyn StreamHandler>,
        state: Option<StateFolder>,
        host: Option<watch::Receiver<Option<HostMetrics>>>,
    ) -> Self {
        let (up, ups) = mpsc::channel(MAX_REPORTS);
        let book = LogBook::default();
        Self {
            worker: identity.worker.clone(),
            session,
            bus: None,
            guard: handler.guard(),
            jobs: Jobs::new(handler, up, book.clone()),
            book,
            ups,
            keeper: state.as_ref().map(|state| Keeper::new(state, identity.clone())),
            state,
            identity,
            host,
            orders: Orders::default(),
            refusals: Refusals::default(),
            zlib_at: None,
            left: false,
        }
    }

    /// Runs until the session has left.
    pub(super) async fn run(mut self, source: ConnectSource, shutdown: CancellationToken) {
        let (events, mut link_events) = mpsc::channel(MAX_EVENTS);
        let desk = Desk {
            worker: self.worker.clone(),
            session: self.identity.session,
            book: self.book.clone(),
        };
        let link = tokio::spawn(link::run(source.clone(), desk, events));
        let _link = AbortOnDropHandle::new(link);
        let mut leaving = false;
        while !self.left {
            if let Some(keeper) = &mut self.keeper {
                keeper.look(&self.session);
            }
            let pause = pause_until(self.session.next_deadline());
            tokio::select! {
                () = shutdown.cancelled(), if !leaving => {
                    leaving = true;
                    self.finish_saving().await;
                    self.feed(Event::Leave).await;
                }
                Some(event) = link_events.recv() => self.link(event).await,
                Some((stream, epoch)) = self.ups.recv() => {
                    self.feed(Event::StreamUp { stream, epoch }).await;
                }
                Some(ended) = self.jobs.next() => self.ended(ended).await,
                () = wake(&mut self.keeper) => {}
                () = pause => self.tick().await,
            }
        }
        self.say_farewell(&source).await;
        info!(worker = %self.worker, session = %self.identity.session, "worker ends, nothing runs any more");
    }

    async fn tick(&mut self) {
        let waiting = self.session.waiting();
        self.feed(Event::Tick).await;
        if waiting > 0 && self.session.waiting() == 0 {
            warn!(worker = %self.worker, streams = waiting,
                "no leader answers: the streams that ran here before are started");
        }
    }

    /// Before the streams end: what the leader wanted last is what a restart without a leader needs.
    async fn finish_saving(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(&self.session).await;
        }
    }

    /// Sees to it that the leader hears of the end, where it can be reached.
    async fn say_farewell(&self, source: &ConnectSource) {
        let sent = match &self.bus {
            Some(bus) => bus.flush(FAREWELL_TIMEOUT).await,
            None => Err("there is no connection".to_owned()),
        };
        // A leader that never answered waits for no farewell.
        let known = self.session.last_ack() > 0;
        let sent = match sent {
            Err(_) if known => send_farewell(source, &self.identity)
                .await
                .map_err(|error| error.to_string()),
            sent => sent,
        };
        match sent {
            Err(error) if known => {
                warn!(worker = %self.worker, error, "the farewell is not sent; the leader learns by silence");
            }
            Ok(()) if self.session.hears_leader(clock::now()) => {
                if let Some(keeper) = &self.keeper {
                    keeper.forget().await;
                }
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Gives the session an event, carries out its commands, and answers why it refused the event, if it did.
    async fn feed(&mut self, event: Event) -> Option<String> {
        let mut refused = None;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.session.handle(clock::now(), rand::random(), event) {
                match command {
                    Command::Heartbeat(heartbeat) => self.beat(*heartbeat).await,
                    Command::Start {
                        stream,
                        epoch,
                        spec,
                        attempt,
                    } => {
                        debug!(worker = %self.worker, %stream, %epoch, attempt, "stream is started");
                        self.jobs.start(stream, epoch, spec, attempt);
                    }
                    Command::Stop { stream, epoch } => {
                        debug!(worker = %self.worker, %stream, %epoch, "stream is stopped");
                        if !self.jobs.stop(&stream, epoch) {
                            events.push_back(Event::StreamStopped { stream, epoch });
                        }
                    }
                    Command::Lease(lease) => {
                        if let Some(guard) = &self.guard {
                            guard.send_replace(Some(lease));
                        }
                    }
                    Command::Lapsed => warn!(worker = %self.worker,
                        "the lease was not renewed in time; the exclusive streams end here"),
                    Command::Reconnect { unanswered, first } => self.reconnect(unanswered, first),
                    Command::Remember { highest_term } => self.remember(highest_term).await,
                    Command::Refused { reason } => refused = Some(reason),
                    Command::Left => self.left = true,
                }
            }
        }
        refused
    }

    async fn link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(bus) => {
                self.bus = Some(bus);
                self.feed(Event::Connected).await;
            }
            LinkEvent::Down => {
                self.bus = None;
                self.feed(Event::Disconnected).await;
            }
            LinkEvent::Assign(bytes) => match decode::<Assign>(&bytes, Some(&self.worker)) {
                Ok(assign) => {
                    // Kept apart in the log: a rival with the own id needs a human, an old assign does not.
                    let kind = match assign.kind {
                        AssignKind::Refused => "refused_by_leader",
                        AssignKind::LeaseOnly | AssignKind::Current | AssignKind::Desired => "assign",
                    };
                    let zlib = assign.zlib;
                    match self.feed(Event::Assign(assign)).await {
                        None => self.zlib_at = zlib.then(clock::now),
                        Some(problem) => self.refusals.log(&self.worker, kind, &problem),
                    }
                    self.note_answer().await;
                }
                Err(error) => self
                    .refusals
                    .log(&self.worker, error.reason(), &error.to_string()),
            },
            LinkEvent::Control(message) => self.control(message).await,
        }
    }

    async fn ended(&mut self, ended: Ended) {
        // What a job reported before it ended counts before its end; else it would count for the next start.
        while let Ok((stream, epoch)) = self.ups.try_recv() {
            self.feed(Event::StreamUp { stream, epoch }).await;
        }
        let Ended {
            stream,
            epoch,
            stopping,
            reason,
        } = ended;
        let event = if stopping {
            debug!(worker = %self.worker, %stream, %epoch, reason, "stream has stopped");
            Event::StreamStopped { stream, epoch }
        } else {
            info!(worker = %self.worker, %stream, %epoch, reason, "stream ended by itself");
            Event::StreamExited {
                stream,
                epoch,
                reason,
            }
        };
        self.feed(event).await;
    }

    async fn beat(&mut self, mut heartbeat: Heartbeat) {
        let Some(bus) = &self.bus else { return };
        let now = clock::now();
        heartbeat.host = self.host.as_ref().and_then(|host| *host.borrow());
        if heartbeat.inventory.part == 0 {
            let performances = &mut self.jobs.performances;
            heartbeat.performance = performances.due(now, heartbeat.applied.term);
        }
        heartbeat.zlib = true;
        let subject = bus.subjects().heartbeat(&self.worker);
        let understood = self.zlib_at.is_some_and(|at| now.since(at) < ZLIB_HOLDS_MS);
        let sent = if understood {
            bus.publish_compressed(subject, &heartbeat).await
        } else {
            bus.publish(subject, &heartbeat).await
        };
        if let Err(problem) = sent {
            self.refusals.log(&self.worker, "heartbeat", &problem);
        }
    }

    /// Gives the connection up; the link makes another one.
    fn reconnect(&self, unanswered: u32, first: bool) {
        // The first time only: without any leader it goes on so.
        if first {
            warn!(worker = %self.worker, unanswered, "heartbeats stay unanswered: no leader is there, or the server's \
                permissions keep heartbeats or assigns back; connecting anew, streams go on");
        }
        if let Some(bus) = &self.bus {
            bus.leave();
        }
    }

    /// Saves the highest term before anything of that term is carried out.
    async fn remember(&mut self, highest_term: Term) {
        self.save("the highest term", move |state| state.remember(highest_term))
            .await;
    }

    /// Saves, once, that a leader answered this session.
    async fn note_answer(&mut self) {
        let is_news = self.state.as_ref().is_some_and(|state| !state.is_acknowledged());
        if is_news && self.session.last_ack() > 0 {
            self.save("the leader's answer", StateFolder::acknowledged).await;
        }
    }

    async fn save(
        &mut self,
        what: &'static str,
        save: impl FnOnce(&mut StateFolder) -> std::io::Result<()> + Send + 'static,
    ) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        let saved = tokio::task::spawn_blocking(move || {
            let saved = save(&mut state);
            (state, saved)
        });
        match saved.await {
            Ok((state, saved)) => {
                self.state = Some(state);
                if let Err(error) = saved {
                    // A full disk is no reason to end streams.
                    warn!(worker = %self.worker, what, %error, "not saved; streams go on");
                }
            }
            Err(error) => warn!(worker = %self.worker, what, %error, "saving failed; streams go on"),
        }
    }
}

/// Waits for the keeper, for ever without one.
async fn wake(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.wake().await,
        None => std::future::pending().await,
    }
}

/// Sleeps until `deadline`, for ever without one.
async fn pause_until(deadline: Option<Millis>) {
    match deadline {
        Some(deadline) => {
            let left = Duration::from_millis(deadline.since(clock::now()));
            tokio::time::sleep(left.min(MAX_SLEEP)).await;
        }
        None => std::future::pending().await,
    }
}
