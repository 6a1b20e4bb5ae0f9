//! Why a stream is where it is, in words.

use streamkeeper_core::cluster::{
    Availability, Awaited, ClusterState, MoveReason, Role, Slot, StreamRecord, StreamState, WorkerRecord,
};
use streamkeeper_protocol::WorkerId;

use super::super::mask::mask;
use super::Times;

/// Explains one stream.
pub(in super::super) fn stream(record: &StreamRecord, cluster: &ClusterState, times: Times<'_>) -> String {
    let mut text = state(record, times);
    let worker = record.slot.assignment().map(|assignment| &assignment.worker);
    if let Some(trouble) = worker.and_then(|worker| trouble(worker, cluster, times)) {
        text.push(' ');
        text.push_str(&trouble);
    }
    let waits =
        matches!(record.slot, Slot::Orphaned { .. }) && cluster.leadership.grace_until > times.0.now();
    if waits {
        let until = times.show(cluster.leadership.grace_until);
        text.push_str(&format!(
            " Until {until} it waits for word of its worker, because it may still run there."
        ));
    }
    if cluster.leadership.role != Role::Leading {
        text.push_str(" This orchestrator does not lead, so its knowledge may be old.");
    }
    text
}

fn state(record: &StreamRecord, times: Times<'_>) -> String {
    let since = times.show(record.since);
    let worker = record
        .slot
        .assignment()
        .map(|assignment| assignment.worker.as_str());
    let worker = worker.unwrap_or("no worker");
    let why = reason(record.reason);
    let observed = record.observed.as_ref();
    match record.state() {
        StreamState::Disabled => "It is switched off (enabled is false).".to_owned(),
        StreamState::Unplaced => {
            let reason = record.unplaced.map(|reason| reason.to_string());
            format!("It has no worker since {since}: {}.", reason.unwrap_or_default())
        }
        StreamState::Placing => match &record.slot {
            Slot::Committing { .. } => format!("{worker} was chosen {why}; the choice is being stored."),
            _ => "A worker is being chosen.".to_owned(),
        },
        StreamState::Starting => {
            format!("It was given to {worker} {why} at {since}; {worker} did not report it running yet.")
        }
        StreamState::Running => format!("It was given to {worker} {why} at {since}, and runs there."),
        StreamState::Failing => {
            let restarts = observed.map_or(0, |observed| observed.restarts);
            let last = observed.and_then(|observed| observed.reason.as_deref());
            let last = mask(last.unwrap_or("no reason was reported")).into_owned();
            format!(
                "It was given to {worker} {why}, which has restarted it {restarts} times in vain: {last}."
            )
        }
        StreamState::Moving => match &record.slot {
            Slot::Releasing { to: Some(to), .. } => {
                format!("It stops on {worker} since {since}, to start on {to} {why}.")
            }
            Slot::Handing { from, to } => format!(
                "It runs on {} until it runs on {}, which was told at {since} {why}.",
                from.worker, to.worker
            ),
            _ => format!("It moves to {worker} {why}; the choice is being stored."),
        },
        StreamState::Stopping => format!("It stops on {worker} since {since}."),
        StreamState::Waiting => {
            let (why, since) = record.awaits.unwrap_or((Awaited::Hold, record.since));
            let since = times.show(since);
            let until = match why {
                Awaited::Lease => "until that one's lease is over, because it is exclusive",
                Awaited::LostAfter => "for as long as its lost_after says",
                Awaited::Hold => {
                    "(on_owner_lost is hold) until that one is back or proven dead, or somebody releases the stream: \
                     `streamkeeper streams release`"
                }
            };
            format!("Its worker {worker} was lost at {since}; it waits {until}.")
        }
        StreamState::Orphaned => {
            format!("Its worker {worker} was lost at {since}; a new one is being chosen.")
        }
    }
}

const fn reason(reason: MoveReason) -> &'static str {
    match reason {
        MoveReason::Declared => "because it was declared or enabled",
        MoveReason::WorkerLost => "because the worker before was lost",
        MoveReason::Balance => "because load was uneven",
        MoveReason::Drain => "because the worker before is being drained",
        MoveReason::Adopted => "because it ran there when this orchestrator began to lead",
        MoveReason::Missing => "because the worker before ran it no more",
        MoveReason::Changed => "because its spec changed",
        MoveReason::Recovery => "because everything was taken from its worker, which was in trouble",
        MoveReason::Released => "because somebody released it from a lost worker",
        MoveReason::Restart => "because somebody asked for its restart",
        MoveReason::Asked => "because somebody asked for the move",
        MoveReason::Failing => "because it did not keep running on the worker before",
        MoveReason::RolledBack => "because it failed where it was moved to",
        MoveReason::Preempted => "because a stream of higher priority needed the room where it was",
    }
}

fn trouble(id: &WorkerId, cluster: &ClusterState, times: Times<'_>) -> Option<String> {
    let Some(worker) = cluster.workers.get(id) else {
        return Some(format!("Worker {id} is not known."));
    };
    let WorkerRecord { availability, .. } = &**worker;
    let last = times.known(worker.last_heard);
    let last = last.map_or_else(|| "never heard".to_owned(), |at| format!("last heard at {at}"));
    match availability {
        Availability::Alive => None,
        Availability::Warning => Some(format!("Worker {id} is late: {last}.")),
        Availability::Lost => Some(format!("Worker {id} is silent: {last}.")),
        Availability::Dead => Some(format!("Worker {id} is proven dead.")),
    }
}
