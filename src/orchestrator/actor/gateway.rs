//! The API's way to the actors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use streamkeeper_core::alert_manager::{Acknowledged, Silence, StoredAlert};
use streamkeeper_core::coordinator::Event;
use streamkeeper_core::recovery_manager::{self, Asked, Level};
use streamkeeper_core::request::{ApplyError, ApplyOutcome, ApplyStreams, RequestId};
use streamkeeper_core::{consistency_checker, election};
use streamkeeper_protocol::WorkerId;
use tokio::sync::oneshot;

use super::shell::Shell;
use super::supervise::Health;
use crate::port::{ActorStatus, AlertOrderError, Gateway, GatewayError, OrderError, StepDownError};

/// Callers that wait for the coordinator.
#[derive(Default)]
pub(super) struct Replies {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<RequestId, oneshot::Sender<ApplyOutcome>>>,
}

impl Replies {
    fn expect(&self) -> (RequestId, oneshot::Receiver<ApplyOutcome>) {
        let request = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(request, sender);
        (request, receiver)
    }

    pub(super) fn answer(&self, request: RequestId, outcome: ApplyOutcome) {
        if let Some(waiting) = self.lock().remove(&request) {
            // Nobody waits any more: the caller has gone.
            let _ = waiting.send(outcome);
        }
    }

    /// The coordinator was restarted and knows nothing of what was asked.
    pub(super) fn forget_all(&self) {
        for (_, waiting) in std::mem::take(&mut *self.lock()) {
            let outcome = Err(ApplyError::Ambiguous("the coordinator was restarted".to_owned()));
            let _ = waiting.send(outcome);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RequestId, oneshot::Sender<ApplyOutcome>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One actor, as the gateway sees it.
pub(super) struct Member {
    pub(super) health: Arc<Health>,
    pub(super) waiting: Box<dyn Fn() -> usize + Send + Sync>,
    pub(super) panic: Box<dyn Fn() + Send + Sync>,
}

/// The gateway.
pub struct ActorGateway {
    pub(super) shell: Arc<Shell>,
    pub(super) members: Vec<Member>,
}

impl ActorGateway {
    fn tell_checker(&self, event: consistency_checker::Event) -> Result<(), GatewayError> {
        let checker = &self.shell.mailboxes.consistency_checker;
        if checker.offer(event) {
            Ok(())
        } else {
            Err(GatewayError::Busy(checker.waiting()))
        }
    }
}

#[async_trait]
impl Gateway for ActorGateway {
    async fn apply(&self, change: ApplyStreams) -> Result<ApplyOutcome, GatewayError> {
        let (request, answer) = self.shell.replies.expect();
        let coordinator = &self.shell.mailboxes.coordinator;
        if !coordinator.offer(Event::Apply { request, change }) {
            self.shell.replies.lock().remove(&request);
            return Err(GatewayError::Busy(coordinator.waiting()));
        }
        let timeout = self.shell.settings.change_timeout;
        if let Ok(Ok(outcome)) = tokio::time::timeout(timeout, answer).await {
            Ok(outcome)
        } else {
            self.shell.replies.lock().remove(&request);
            Err(GatewayError::Timeout(timeout))
        }
    }

    fn step_down(&self) -> Result<(), StepDownError> {
        if !self.shell.settings.election.observe {
            return Err(StepDownError::Alone);
        }
        let election = &self.shell.mailboxes.election;
        if election.offer(election::Event::StepDown { for_good: false }) {
            Ok(())
        } else {
            Err(StepDownError::Busy(election.waiting()))
        }
    }

    fn check_consistency(&self) -> Result<(), GatewayError> {
        self.tell_checker(consistency_checker::Event::Check)
    }

    fn repair_consistency(&self) -> Result<(), GatewayError> {
        self.tell_checker(consistency_checker::Event::Repair)
    }

    async fn synchronize(&self, worker: &WorkerId) -> Result<(), OrderError> {
        self.shell.synchronize(worker.clone()).await
    }

    async fn silence(&self, silence: Silence) -> Result<(), AlertOrderError> {
        self.shell.alerts.silence(silence).await
    }

    async fn unsilence(&self, id: &str) -> Result<(), AlertOrderError> {
        self.shell.alerts.unsilence(id).await
    }

    async fn acknowledge(
        &self,
        fingerprint: &str,
        acknowledged: Acknowledged,
    ) -> Result<Arc<StoredAlert>, AlertOrderError> {
        self.shell.alerts.acknowledge(fingerprint, acknowledged).await
    }

    fn recover(&self, worker: &WorkerId, level: Level, reason: String) -> Result<u64, GatewayError> {
        let id = rand::random();
        let manager = &self.shell.mailboxes.recovery_manager;
        let asked = Asked {
            id,
            worker: worker.clone(),
            level,
            reason,
        };
        if manager.offer(recovery_manager::Event::Recover(asked)) {
            Ok(id)
        } else {
            Err(GatewayError::Busy(manager.waiting()))
        }
    }

    fn actors(&self) -> Vec<ActorStatus> {
        let status = |member: &Member| ActorStatus {
            name: member.health.name,
            restarts: member.health.restarts(),
            restarting: member.health.restarting(),
            waiting: (member.waiting)(),
        };
        self.members.iter().map(status).collect()
    }

    fn inject_panic(&self, actor: &str) -> bool {
        let member = self.members.iter().find(|member| member.health.name == actor);
        if let Some(member) = member {
            (member.panic)();
        }
        member.is_some()
    }
}
