//! One task owns the session: it turns what happens into events and carries out the commands in their order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use streamkeeper_protocol::{
    Assign, AssignKind, Control, ControlReply, Epoch, Heartbeat, PROTOCOL_VERSION, SessionId, StreamId, Term,
    WorkerId, decode,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::bus::Bus;
use super::clock;
use super::farewell::FAREWELL_TIMEOUT;
use super::jobs::{Ended, Jobs, MAX_REPORTS};
use super::link::{self, LinkEvent, MAX_EVENTS};
use super::orders::Orders;
use super::refusals::Refusals;
use super::state::StateFolder;
use crate::connect::ConnectSource;
use crate::handler::StreamHandler;
use crate::session::{Command, Event, Millis, Session};

/// Longest sleep at once: timers stand still while a machine is suspended, the session's clock does not.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// A session and all that it needs to act.
pub(super) struct Driver {
    worker: WorkerId,
    id: SessionId,
    session: Session,
    /// The connection, while it stands.
    bus: Option<Bus>,
    jobs: Jobs,
    ups: mpsc::Receiver<(StreamId, Epoch)>,
    state: Option<StateFolder>,
    orders: Orders,
    refusals: Refusals,
    left: bool,
}

impl Driver {
    pub(super) fn new(
        worker: WorkerId,
        id: SessionId,
        session: Session,
        handler: Arc<dyn StreamHandler>,
        state: Option<StateFolder>,
    ) -> Self {
        let (up, ups) = mpsc::channel(MAX_REPORTS);
        Self {
            worker,
            id,
            session,
            bus: None,
            jobs: Jobs::new(handler, up),
            ups,
            state,
            orders: Orders::default(),
            refusals: Refusals::default(),
            left: false,
        }
    }

    /// Runs until the session has left.
    pub(super) async fn run(mut self, source: ConnectSource, shutdown: CancellationToken) {
        let (events, mut link_events) = mpsc::channel(MAX_EVENTS);
        let link = tokio::spawn(link::run(source, self.worker.clone(), events));
        let _link = AbortOnDropHandle::new(link);
        let mut leaving = false;
        while !self.left {
            let pause = pause_until(self.session.next_deadline());
            tokio::select! {
                () = shutdown.cancelled(), if !leaving => {
                    leaving = true;
                    self.feed(Event::Leave).await;
                }
                Some(event) = link_events.recv() => self.link(event).await,
                Some((stream, epoch)) = self.ups.recv() => {
                    self.feed(Event::StreamUp { stream, epoch }).await;
                }
                Some(ended) = self.jobs.next() => self.ended(ended).await,
                () = pause => {
                    self.feed(Event::Tick).await;
                }
            }
        }
        if let Some(bus) = &self.bus
            && let Err(error) = bus.flush(FAREWELL_TIMEOUT).await
        {
            warn!(worker = %self.worker, error, "the farewell is not sent; the leader learns by silence");
        }
        info!(worker = %self.worker, session = %self.id, "worker ends, nothing runs any more");
    }

    /// Gives the session an event, carries out its commands, and answers why it refused the event, if it did.
    async fn feed(&mut self, event: Event) -> Option<String> {
        let mut refused = None;
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.session.handle(clock::now(), rand::random(), event) {
                match command {
                    Command::Heartbeat(heartbeat) => self.beat(&heartbeat).await,
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
                    if let Some(problem) = self.feed(Event::Assign(assign)).await {
                        self.refusals.log(&self.worker, kind, &problem);
                    }
                }
                Err(error) => self
                    .refusals
                    .log(&self.worker, error.reason(), &error.to_string()),
            },
            LinkEvent::Control(message) => self.control(message).await,
        }
    }

    async fn control(&mut self, message: Message) {
        let control = match decode::<Control>(&message.payload, Some(&self.worker)) {
            Ok(control) => control,
            Err(error) => {
                self.refusals
                    .log(&self.worker, error.reason(), &error.to_string());
                return;
            }
        };
        let reply = match self.orders.answered(&control.id) {
            Some(reply) => reply.clone(),
            None => self.obey(control).await,
        };
        if let (Some(subject), Some(bus)) = (message.reply, &self.bus)
            && let Err(problem) = bus.publish(subject.to_string(), &reply).await
        {
            self.refusals.log(&self.worker, "control_reply", &problem);
        }
    }

    /// Does what a control message orders, once.
    async fn obey(&mut self, control: Control) -> ControlReply {
        let Control {
            session,
            id,
            term,
            kind,
            ..
        } = control;
        let reason = match session {
            Some(session) if session != self.id => {
                Some(format!("session {session} is meant, this is {}", self.id))
            }
            Some(_) | None => self.feed(Event::Control { term, kind }).await,
        };
        if let Some(problem) = &reason {
            self.refusals.log(&self.worker, "control", problem);
        }
        let reply = ControlReply {
            v: PROTOCOL_VERSION,
            id,
            done: reason.is_none(),
            reason,
        };
        self.orders.remember(reply.clone());
        reply
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

    async fn beat(&mut self, heartbeat: &Heartbeat) {
        let Some(bus) = &self.bus else { return };
        let subject = bus.subjects().heartbeat(&self.worker);
        if let Err(problem) = bus.publish(subject, heartbeat).await {
            self.refusals.log(&self.worker, "heartbeat", &problem);
        }
    }

    /// Saves the highest term before anything of that term is carried out.
    async fn remember(&mut self, highest_term: Term) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        let saved = tokio::task::spawn_blocking(move || {
            let saved = state.remember(highest_term);
            (state, saved)
        });
        match saved.await {
            Ok((state, saved)) => {
                self.state = Some(state);
                if let Err(error) = saved {
                    // A full disk is no reason to end streams.
                    warn!(worker = %self.worker, %highest_term, %error, "the highest term is not saved; streams go on");
                }
            }
            Err(error) => {
                warn!(worker = %self.worker, %error, "saving the highest term failed; streams go on")
            }
        }
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
