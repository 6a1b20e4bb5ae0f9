//! How the machines' wishes are carried out. Whatever waits runs on the IO runtime and reports back as an event.

use std::sync::Arc;
use std::time::Duration;

use streamkeeper_core::coordinator::Event;
use streamkeeper_core::notice::Notice;
use streamkeeper_core::record::{Fence, WriteBatch};
use streamkeeper_core::recovery_manager;
use streamkeeper_core::router::Effect;
use streamkeeper_protocol::{Control, ControlKind, PROTOCOL_VERSION, SessionId, Term, WorkerId};

use super::mailbox::Mailbox;
use super::shell::{Ports, Shell};
use crate::telemetry::metrics as names;

/// Number of this orchestrator within its fleet: one, while leadership is a lock on the data folder.
const OWN_NUMBER: u32 = 0;

impl Shell {
    pub(super) fn perform(&self, effect: Effect) {
        match effect {
            Effect::TakeOver { above } => self.take_over(above),
            Effect::Persist { ticket, fence, batch } => self.persist(ticket, fence, batch),
            Effect::Assign(assign) => {
                // Lost while there is no connection: the next heartbeat is answered anew.
                match self.ports.bus.assign(&assign) {
                    Ok(()) => metrics::counter!(names::ACKS).increment(1),
                    Err(error) => tracing::debug!(worker = %assign.worker, %error, "answer not sent"),
                }
            }
            Effect::Reply { request, outcome } => self.replies.answer(request, outcome),
            Effect::Publish(cluster) => {
                self.cluster.send_replace(cluster);
            }
            Effect::PublishFindings(findings) => {
                self.findings.send_replace(findings);
            }
            Effect::Order {
                order,
                worker,
                session,
                kind,
                timeout,
            } => self.order(order, worker, session, kind, timeout),
            Effect::Notice(notice) => self.notice(&notice),
            Effect::Fire(alert) => self.alerts.fire(alert),
            Effect::Resolve(alert) => self.alerts.resolve(alert),
        }
    }

    fn notice(&self, notice: &Notice) {
        match notice {
            Notice::Assigned { reason, .. } => {
                metrics::counter!(names::MOVES, "reason" => reason.as_str()).increment(1);
            }
            Notice::FailedOver { after, .. } => {
                metrics::histogram!(names::FAILOVER_SECONDS).record(after.as_secs_f64());
            }
            _ => {}
        }
        let event = streamkeeper_protocol::Event {
            v: PROTOCOL_VERSION,
            kind: notice.kind().to_owned(),
            at: self.clock.wall(self.clock.now()).to_rfc3339(),
            term: self.cluster.borrow().leadership.term.get(),
            fields: notice.fields(),
        };
        tracing::debug!(kind = event.kind, fields = ?event.fields, "event");
        // Nobody may rely on events: whoever needs the state asks for it.
        let _ = self.ports.bus.event(&event);
    }

    fn take_over(&self, above: Term) {
        let (ports, coordinator) = (self.ports.clone(), self.mailboxes.coordinator.clone());
        let lease = self.settings.coordinator.lease;
        self.io.spawn(async move {
            let event = match take_over(&ports, above, lease).await {
                Ok(event) => event,
                Err(reason) => {
                    tracing::warn!(reason, "takeover failed; it is tried again");
                    Event::TakeOverFailed
                }
            };
            coordinator.deliver(event).await;
        });
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
        Persisted::Fenced { term } => tracing::warn!(%term, "another leadership has raised the fence"),
    }
}

/// Takes a term above every one that is remembered anywhere, raises the fence and reads everything (OWNERSHIP rules 5
/// and 6).
async fn take_over(ports: &Ports, above: Term, lease: Duration) -> Result<Event, String> {
    let stored = ports
        .store
        .stored_term()
        .await
        .map_err(|error| error.to_string())?;
    let remembered = ports.terms.load().map_err(|error| error.to_string())?;
    let highest = above.max(stored).max(remembered);
    let term = highest
        .next_for(OWN_NUMBER)
        .ok_or_else(|| format!("term {highest} is the last one there can be"))?;
    // Remembered before it is used, so that no failure in between makes it forgotten.
    ports.terms.save(term).map_err(|error| error.to_string())?;
    let fence = Fence {
        term,
        nonce: rand::random(),
    };
    let taken = ports
        .store
        .take_over(fence, lease)
        .await
        .map_err(|error| error.to_string())?;
    for row in &taken.bad_rows {
        tracing::error!(
            row,
            "a row cannot be read and is left out; it stays in the database"
        );
    }
    tracing::info!(
        %term,
        streams = taken.loaded.streams.len(),
        assignments = taken.loaded.assignments.len(),
        "leading"
    );
    Ok(Event::TookOver {
        fence,
        longest_lease: taken.longest_lease,
        loaded: taken.loaded,
    })
}
