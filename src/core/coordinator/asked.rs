//! Moves that somebody asked for: refused at once where they are impossible, else remembered until they can begin.

use std::sync::Arc;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::{Coordinator, Proposal};
use crate::cluster::{MoveReason, Slot};
use crate::forecast::Step;
use crate::migration::{MAX_PLANNED, Migration, State};
use crate::request::ApplyError;
use crate::time::Timestamp;

impl Coordinator {
    /// Whether a stream can go there, and why not.
    pub(super) fn check_move(&self, stream: &StreamId, to: &WorkerId) -> Result<(), ApplyError> {
        let (Some(record), Some(worker)) = (self.cluster.streams.get(stream), self.cluster.workers.get(to))
        else {
            return Ok(());
        };
        let spec = &record.spec;
        let lacks = spec
            .requires
            .iter()
            .find(|(key, value)| worker.labels.get(*key).is_none_or(|has| has != value));
        let problem = if !matches!(record.slot, Slot::Held(_)) {
            "it is not held by a worker at present; wait until it is, `streamkeeper streams get` tells"
                .to_owned()
        } else if !worker.takes_streams() {
            format!("worker {to} takes no streams at present; `streamkeeper workers get {to}` tells why")
        } else if let Some((key, value)) = lacks {
            format!("worker {to} lacks the label {key}={value} that it requires")
        } else if !worker.may_run(record.is_exclusive()) {
            format!("it is exclusive, and worker {to} does not guard such streams")
        } else if record.slot.worker() != Some(to) && !worker.has_room(spec.weight) {
            format!("worker {to} has no room for its weight of {}", spec.weight)
        } else {
            return Ok(());
        };
        Err(ApplyError::Impossible(format!(
            "stream {stream} cannot move: {problem}"
        )))
    }

    /// There is a limit to what can wait.
    pub(super) fn check_planned(&self, more: usize) -> Result<(), ApplyError> {
        let waiting = self.cluster.migrations.planned().count();
        if more > 0 && waiting + more > MAX_PLANNED {
            let detail = format!(
                "{waiting} moves wait to begin, {more} more are asked for, and at most {MAX_PLANNED} can wait; \
                 ask again when some of them are done (`streamkeeper plan show`)"
            );
            return Err(ApplyError::Impossible(detail));
        }
        Ok(())
    }

    /// Streams that a user moves. There may be no room for one more move, or something of the stream may be on its way to
    /// the database: what was acknowledged is remembered, and begun when it can be.
    pub(super) fn move_asked(&mut self, now: Timestamp, moves: &[Step], reason: MoveReason) {
        for Step { stream, to, .. } in moves {
            let Some(record) = self.cluster.streams.get(stream) else {
                continue;
            };
            let Some(from) = record.slot.worker().filter(|from| *from != to) else {
                continue;
            };
            let ends = (from.clone(), to.clone());
            let way = self.way_of(record);
            let migration = Migration::new(now, Arc::clone(&record.spec), ends, reason, way);
            self.migrations().plan(migration.planned());
        }
        self.begin_planned(now);
    }

    /// Begins what was asked for and can begin now, the oldest first, and gives up what waited for too long.
    pub(super) fn begin_planned(&mut self, now: Timestamp) {
        let mut waiting: Vec<(Timestamp, StreamId)> = self
            .cluster
            .migrations
            .planned()
            .map(|migration| (migration.began, migration.stream.clone()))
            .collect();
        waiting.sort_unstable();
        for (asked, stream) in &waiting {
            self.begin_one(now, *asked, stream);
        }
        if self.cluster.migrations.planned().next().is_some() {
            self.look_at_moves(now);
        }
    }

    fn begin_one(&mut self, now: Timestamp, asked: Timestamp, stream: &StreamId) {
        let Some(planned) = self.cluster.migrations.planned_of(stream) else {
            return;
        };
        let (to, reason) = (planned.to.clone(), planned.reason);
        let record = self.cluster.streams.get(stream);
        let Some(record) = record.filter(|record| record.spec.enabled) else {
            return self.give_up(now, stream, "the stream is to run no more".to_owned());
        };
        let Slot::Held(from) = &record.slot else {
            // It starts anew, or has lost its worker: that comes first.
            return self.give_up_late(now, asked, stream, &to);
        };
        if from.worker == to {
            self.migrations().unplan(stream);
            self.move_over(stream);
            self.dirty = true;
            return;
        }
        let proposal = Proposal {
            stream: stream.clone(),
            planned_on: Some(from.epoch),
            to: to.clone(),
            reason,
        };
        if !self.cluster.migrations.is_full(&self.config.migration) {
            self.propose(now, &proposal);
        }
        let begun = self.cluster.streams.get(stream);
        if begun.is_some_and(|record| !matches!(record.slot, Slot::Held(_))) {
            self.migrations().unplan(stream);
        } else {
            self.give_up_late(now, asked, stream, &to);
        }
    }

    fn give_up_late(&mut self, now: Timestamp, asked: Timestamp, stream: &StreamId, to: &WorkerId) {
        let patience = self.config.migration.start_timeout;
        if now.since(asked) < patience {
            return;
        }
        let why = match self.check_move(stream, to) {
            Err(error) => error.to_string(),
            Ok(()) => "other moves, or the database, were in its way".to_owned(),
        };
        self.give_up(
            now,
            stream,
            format!("it could not begin within migration.start_timeout: {why}"),
        );
    }

    fn give_up(&mut self, now: Timestamp, stream: &StreamId, detail: String) {
        let Some(mut migration) = self.migrations().unplan(stream) else {
            return;
        };
        let ended = Arc::make_mut(&mut migration);
        ended.turn(now, State::Cancelled);
        ended.detail = Some(detail);
        self.migrations().remember(Arc::clone(&migration));
        self.ended(migration);
    }
}
