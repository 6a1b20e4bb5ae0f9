//! How the machines' wishes are carried out. Whatever waits runs on the IO runtime and reports back as an event.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::consistency_checker::{self, Part};
use streamkeeper_core::coordinator::Event;
use streamkeeper_core::heartbeat_tracker::{self, Answer, Way};
use streamkeeper_core::notice::Notice;
use streamkeeper_core::record::{Fence, WriteBatch};
use streamkeeper_core::recovery_manager::{self, Attempt};
use streamkeeper_core::router::Effect;
use streamkeeper_protocol::{Assign, Control, ControlKind, Epoch, PROTOCOL_VERSION, SessionId, WorkerId};

use super::mailbox::Mailbox;
use super::shell::Shell;
use crate::port::{AuditEvent, BusError, OrderError};
use crate::telemetry::metrics as names;

impl Shell {
    pub(super) fn perform(&self, effect: Effect) {
        if effect.is_a_leaders() && self.stands_by() {
            return;
        }
        match effect {
            Effect::ReadLeaderKey { attempt } => self.read_leader_key(attempt),
            Effect::WriteLeaderKey {
                attempt,
                record,
                expect,
            } => self.write_leader_key(attempt, record, expect),
            Effect::RememberTerm(term) => self.remember_term(term),
            Effect::PublishElection(status) => self.publish_election(status),
            Effect::ImplausibleTerm(term) => self.implausible_term(term),
            Effect::TakeOver { term } => self.take_over(term),
            Effect::Persist { ticket, fence, batch } => self.persist(ticket, fence, batch),
            Effect::Assign(assign) => {
                // Lost while there is no connection: the next heartbeat is answered anew.
                match self.ports.bus.assign(&assign, self.understands_zlib(&assign)) {
                    Ok(()) => metrics::counter!(names::ACKS).increment(1),
                    Err(error) => tracing::debug!(worker = %assign.worker, %error, "answer not sent"),
                }
            }
            Effect::Reply { request, outcome } => self.replies.answer(request, outcome),
            Effect::Publish(cluster) => self.publish_cluster(cluster),
            Effect::PublishFindings(findings) => {
                self.findings.send_replace(findings);
            }
            Effect::PublishChecks(checks) => {
                self.checks.send_replace(checks);
            }
            Effect::PublishRecovery(status) => {
                self.recovery.send_replace(status);
            }
            Effect::ReadStored(part) => self.read_stored(part),
            Effect::Order {
                order,
                worker,
                session,
                kind,
                timeout,
            } => self.order(order, worker, session, kind, timeout),
            Effect::Ping { worker, session, way } => self.ping(worker, session, way),
            Effect::Notice(notice) => self.notice(&notice),
            Effect::Alert(command) => self.alerts.perform(command),
        }
    }

    /// Whether the session that is meant has said so. Until it is known here, it gets what everybody understands.
    fn understands_zlib(&self, assign: &Assign) -> bool {
        let cluster = self.cluster.borrow();
        let worker = cluster.workers.get(&assign.worker);
        worker.is_some_and(|worker| worker.session == assign.session && worker.zlib)
    }

    pub(super) fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Assigned { reason, .. } => {
                metrics::counter!(names::MOVES, "reason" => reason.as_str()).increment(1);
            }
            Notice::DatabaseRewound { term } => tracing::error!(
                %term,
                "the database was put back to an older copy; what it does not know is lost, and it is read again under a higher \
                 term"
            ),
            Notice::InvariantViolated {
                invariant,
                stream,
                epoch,
                detail,
            } => {
                let invariant = invariant.as_str();
                metrics::counter!(names::INVARIANT_VIOLATIONS, "invariant" => invariant).increment(1);
                let stream = stream.as_ref().map(tracing::field::display);
                let epoch = epoch.map(Epoch::get);
                tracing::error!(
                    invariant,
                    stream,
                    epoch,
                    detail,
                    "a guarantee is broken: this is a bug"
                );
            }
            Notice::LossFound { worker, way, .. } => {
                metrics::counter!(names::LOSSES, "way" => way.as_str()).increment(1);
                tracing::info!(%worker, way = way.as_str(), "a worker's session is gone");
            }
            Notice::FindingConfirmed(finding) => {
                metrics::counter!(names::FINDINGS, "kind" => finding.kind.as_str()).increment(1);
                tracing::warn!(
                    kind = finding.kind.as_str(),
                    stream = finding.stream.as_ref().map(ToString::to_string),
                    worker = finding.worker.as_ref().map(ToString::to_string),
                    detail = finding.detail,
                    "an inconsistency was confirmed"
                );
            }
            Notice::FindingOver(finding) => tracing::info!(
                kind = finding.kind.as_str(),
                stream = finding.stream.as_ref().map(ToString::to_string),
                worker = finding.worker.as_ref().map(ToString::to_string),
                "an inconsistency is gone"
            ),
            Notice::Repaired(repair) => {
                metrics::counter!(names::REPAIRS, "repair" => repair.as_str()).increment(1);
                tracing::info!(%repair, "a repair is under way");
            }
            Notice::RecoveryTried(attempt) => tried(attempt),
            Notice::FailedOver { after, .. } => {
                metrics::histogram!(names::FAILOVER_SECONDS).record(after.as_secs_f64());
                let gap = metrics::histogram!(names::MIGRATION_GAP_SECONDS, "kind" => "emergency");
                gap.record(after.as_secs_f64());
            }
            Notice::Migrated { .. } => migrated(notice),
            _ => {}
        }
        let at = self.clock.wall(self.clock.now());
        let event = streamkeeper_protocol::Event {
            v: PROTOCOL_VERSION,
            kind: notice.kind().to_owned(),
            at: at.to_rfc3339(),
            term: self.cluster.borrow().leadership.term.get(),
            fields: notice.fields(),
        };
        let mut fields = event.fields.clone();
        fields.insert("term".to_owned(), event.term.to_string());
        let kept = AuditEvent::seen(at, self.id.to_string(), event.kind.clone(), fields);
        self.ports.journal.offer(kept);
        log_event(&event);
        // Nobody may rely on events: whoever needs the state asks for it.
        let _ = self.ports.bus.event(&event);
    }

    fn persist(&self, ticket: u64, fence: Fence, batch: WriteBatch) {
        let store = Arc::clone(&self.ports.store);
        let coordinator = self.mailboxes.coordinator.clone();
        self.io.spawn(async move {
            let start = tokio::time::Instant::now();
            let outcome = store.persist(fence, &batch).await;
            metrics::histogram!(names::PERSIST_SECONDS).record(start.elapsed().as_secs_f64());
            log_outcome(&outcome);
            let event = Event::Persisted {
                fence,
                ticket,
                outcome,
            };
            coordinator.deliver(event).await;
        });
    }

    /// Reads a part of the database, for the consistency check.
    fn read_stored(&self, part: Part) {
        let store = Arc::clone(&self.ports.store);
        let checker = self.mailboxes.consistency_checker.clone();
        self.io.spawn(async move {
            let Part { ticket, after, limit } = part;
            let page = store.read_page(after.as_ref(), limit).await;
            let outcome = page.map_err(|error| error.to_string());
            checker
                .deliver(consistency_checker::Event::Stored { ticket, outcome })
                .await;
        });
    }

    /// Has a worker exchange everything, for somebody who waits.
    pub(super) async fn synchronize(&self, worker: WorkerId) -> Result<(), OrderError> {
        let control = Control {
            v: PROTOCOL_VERSION,
            worker: worker.clone(),
            session: None,
            id: format!("{}-sync-{:016x}", self.id, rand::random::<u64>()),
            term: self.cluster.borrow().leadership.term,
            kind: ControlKind::Resync,
        };
        let timeout = self.settings.recovery_manager.control_timeout;
        match self.ports.bus.control(&control, timeout).await {
            Ok(reply) if reply.done => Ok(()),
            Ok(reply) => Err(OrderError::Refused {
                worker,
                reason: reply.reason.unwrap_or_else(|| "no reason was given".to_owned()),
            }),
            Err(error) => Err(OrderError::NoAnswer {
                worker,
                reason: error.to_string(),
            }),
        }
    }

    fn order(
        &self,
        order: recovery_manager::OrderId,
        worker: WorkerId,
        session: Option<SessionId>,
        kind: ControlKind,
        timeout: Duration,
    ) {
        let bus = Arc::clone(&self.ports.bus);
        let manager: Mailbox<recovery_manager::Event> = self.mailboxes.recovery_manager.clone();
        let term = self.cluster.borrow().leadership.term;
        let control = Control {
            v: PROTOCOL_VERSION,
            worker,
            session,
            id: format!("{}-{term}-{order}", self.id),
            term,
            kind,
        };
        self.io.spawn(async move {
            let outcome = match bus.control(&control, timeout).await {
                Ok(reply) if reply.done => Ok(()),
                Ok(reply) => Err(reply
                    .reason
                    .unwrap_or_else(|| "refused without a reason".to_owned())),
                Err(error) => Err(error.to_string()),
            };
            manager
                .deliver(recovery_manager::Event::Ordered { order, outcome })
                .await;
        });
    }
}

impl Shell {
    /// Asks a session for a sign of life. As many at a time as the failure detector asks for.
    fn ping(&self, worker: WorkerId, session: SessionId, way: Way) {
        let bus = Arc::clone(&self.ports.bus);
        let tracker = self.mailboxes.heartbeat_tracker.clone();
        let timeout = self.settings.recovery_manager.control_timeout;
        let term = self.cluster.borrow().leadership.term;
        let control = Control {
            v: PROTOCOL_VERSION,
            worker: worker.clone(),
            session: Some(session),
            // Never the same twice: a worker does an order that it knows only once.
            id: format!("{}-ping-{:016x}", self.id, rand::random::<u64>()),
            term,
            kind: ControlKind::Ping,
        };
        self.io.spawn(async move {
            let answer = match bus.control(&control, timeout).await {
                Ok(_) => Answer::Somebody,
                Err(BusError::NoResponders(_)) => Answer::Nobody,
                Err(_) => Answer::Unknown,
            };
            let event = heartbeat_tracker::Event::Pinged {
                worker,
                session,
                way,
                answer,
            };
            tracker.deliver(event).await;
        });
    }
}

/// What it is about stands in fields of its own, by glossary name, so that logs are searched as events are.
fn log_event(event: &streamkeeper_protocol::Event) {
    let field = |name: &str| event.fields.get(name).map(String::as_str);
    tracing::debug!(
        kind = event.kind,
        term = event.term,
        stream = field("stream"),
        worker = field("worker"),
        session = field("session"),
        epoch = field("epoch"),
        reason = field("reason"),
        fields = ?event.fields,
        "event"
    );
}

fn log_outcome(outcome: &streamkeeper_core::record::Persisted) {
    use streamkeeper_core::record::Persisted;
    match outcome {
        Persisted::Committed { refused } if refused.is_empty() => {}
        Persisted::Committed { refused } => {
            tracing::warn!(
                ?refused,
                "the database knows higher epochs; everything is read again"
            );
        }
        Persisted::Failed { reason } => tracing::warn!(reason, "nothing was stored; it is tried again"),
        Persisted::Ambiguous { reason } => {
            tracing::warn!(reason, "a commit got no answer; everything is read again");
        }
        Persisted::Rewound => tracing::debug!("transactions of this leadership are missing"),
        Persisted::Fenced { term } => tracing::warn!(%term, "another leadership has raised the fence"),
    }
}

fn tried(attempt: &Attempt) {
    let Attempt {
        worker,
        level,
        outcome,
        asked,
        reason,
        detail,
        ..
    } = attempt;
    let (level, outcome) = (level.as_str(), outcome.as_str());
    if attempt.ended.is_some() {
        metrics::counter!(names::RECOVERIES, "level" => level, "outcome" => outcome).increment(1);
    }
    tracing::warn!(%worker, level, outcome, asked, reason, detail, "recovery of a worker");
}

fn migrated(notice: &Notice) {
    let Notice::Migrated {
        stream,
        from,
        to,
        reason,
        way,
        outcome,
        gap,
        overlap,
    } = notice
    else {
        return;
    };
    let (way, outcome, reason) = (way.as_str(), outcome.as_str(), reason.as_str());
    metrics::counter!(names::MIGRATIONS, "way" => way, "outcome" => outcome).increment(1);
    let times = [
        (names::MIGRATION_GAP_SECONDS, gap),
        (names::MIGRATION_OVERLAP_SECONDS, overlap),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            metrics::histogram!(name, "kind" => "planned").record(time.as_secs_f64());
        }
    }
    tracing::info!(%stream, %from, %to, reason, way, outcome, ?gap, ?overlap, "a move ended");
}
