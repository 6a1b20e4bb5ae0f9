//! Moved streams are watched: until each has run for a moment where it went, and brought back where it fails there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use streamkeeper_protocol::{RunState, StreamId, WorkerId};

use super::Coordinator;
use crate::cluster::{MoveReason, Observed, Slot};
use crate::migration::{Due, Migration, State, Way};
use crate::notice::Notice;
use crate::time::Timestamp;

impl Coordinator {
    /// Ends a move and tells of it.
    pub(super) fn end_move(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        state: State,
        detail: Option<String>,
    ) {
        if let Some(migration) = self.migrations().finish(now, stream, state, detail) {
            self.ended(migration);
        }
    }

    /// A stream's slot is about to change: whatever does not belong to its move ends it.
    pub(super) fn follow_move(&mut self, now: Timestamp, stream: &StreamId, slot: &Slot) {
        let Some(migration) = self.cluster.migrations.of(stream) else {
            return;
        };
        if !migration.fits(slot) {
            return self.end_move(now, stream, State::Cancelled, None);
        }
        let state = match (migration.way, slot) {
            (Way::BreakBeforeMake, Slot::Committing { .. }) => State::Preparing,
            (Way::BreakBeforeMake, Slot::Held(_)) => State::Starting,
            (Way::BreakBeforeMake, Slot::Orphaned { .. }) => {
                self.migrations()
                    .update(stream, |migration| migration.mark = Some(now));
                return;
            }
            _ => return,
        };
        self.migrations()
            .update(stream, |migration| migration.turn(now, state));
    }

    /// What a moved stream's worker reports of it: the gap ends, and until it has run for a moment it may go back.
    pub(super) fn watch_moved(&mut self, now: Timestamp, stream: &StreamId, observed: &Observed) {
        let Some(migration) = self.cluster.migrations.of(stream) else {
            return;
        };
        let watched = matches!(
            migration.state,
            State::Starting | State::Verifying | State::Releasing
        );
        let failed = observed.state == RunState::Failing || (watched && observed.restarts > 0);
        let starts = migration.way == Way::BreakBeforeMake && migration.state == State::Starting;
        if failed && watched {
            let reason = observed.reason.as_deref().unwrap_or("no reason was reported");
            let detail = format!("it failed on {}: {reason}", migration.to);
            self.bring_back(now, stream, detail);
        } else if starts && observed.state == RunState::Running {
            self.migrations().update(stream, |migration| {
                migration.gap = migration.mark.map(|stopped| now.since(stopped));
                migration.turn(now, State::Verifying);
            });
        }
    }

    /// A stream fails where it was moved to: it is moved back, if its former worker takes it.
    fn bring_back(&mut self, now: Timestamp, stream: &StreamId, detail: String) {
        let Some(migration) = self.cluster.migrations.of(stream).cloned() else {
            return;
        };
        let config = self.config.migration;
        let Migration { from, to, reason, .. } = migration;
        self.blame.failed_on(stream, &to);
        self.migrations().bar(now, &config, stream.clone(), to);
        // What fails there too is nobody's fault but its own.
        let returned = matches!(reason, MoveReason::RolledBack | MoveReason::Failing);
        let state = if returned {
            State::Cancelled
        } else {
            State::RolledBack
        };
        self.end_move(now, stream, state, Some(detail));
        let Some(record) = self.cluster.streams.get(stream).cloned() else {
            return;
        };
        let worker = self.cluster.workers.get(&from);
        let takes = worker.is_some_and(|worker| {
            worker.takes_streams()
                && worker.may_run(record.is_exclusive())
                && worker.has_room(record.spec.weight)
        });
        if takes && !returned && self.database_is_well(now) {
            self.begin_move(now, &record, &from, MoveReason::RolledBack);
        }
    }

    /// When a move is due; none while a transaction is under way, which is waited for.
    pub(super) fn next_move_end(&self) -> Option<Timestamp> {
        let waits = self.doubtful || self.writes.deadline().is_some();
        let migrations = &self.cluster.migrations;
        migrations
            .next_deadline(&self.config.migration)
            .filter(|_| !waits)
    }

    /// Moves on what waited long enough.
    pub(super) fn end_moves(&mut self, now: Timestamp) {
        if self.doubtful {
            return;
        }
        for (stream, due) in self.cluster.migrations.due(now, &self.config.migration) {
            let Some(migration) = self.cluster.migrations.of(&stream) else {
                continue;
            };
            let handing = migration.way == Way::MakeBeforeBreak;
            match due {
                Due::Undo if handing => {
                    let detail = match migration.mark {
                        Some(_) => "the move was not stored within migration.overlap_limit".to_owned(),
                        None => format!("{} did not run it within migration.start_timeout", migration.to),
                    };
                    self.undo(now, &stream, detail);
                }
                Due::Undo => {
                    let detail = format!("{} did not run it within migration.start_timeout", migration.to);
                    self.bring_back(now, &stream, detail);
                }
                Due::Unconfirmed => {
                    let detail = format!("{} did not say that it stopped", migration.from);
                    self.migrations().update(&stream, |migration| {
                        migration.detail = Some(detail);
                        migration.turn(now, State::Verifying);
                    });
                }
                Due::Verified => {
                    let record = self.cluster.streams.get(&stream);
                    let stalls = record.and_then(|record| record.performance.as_ref()?.stalls);
                    if stalls.unwrap_or_default() > 0 {
                        let detail = format!("nothing came from its source on {}", migration.to);
                        self.bring_back(now, &stream, detail);
                    } else {
                        self.end_move(now, &stream, State::Done, None);
                    }
                }
            }
        }
    }

    /// What an inventory means for streams that leave its worker: whether the source of a move has stopped.
    pub(super) fn sources_report(&mut self, now: Timestamp, worker: &WorkerId, runs: &BTreeSet<&StreamId>) {
        let leaving = self.cluster.migrations.active().filter(|migration| {
            let releasing = migration.way == Way::MakeBeforeBreak && migration.state == State::Releasing;
            releasing && migration.from == *worker && !runs.contains(&migration.stream)
        });
        for stream in leaving
            .map(|migration| migration.stream.clone())
            .collect::<Vec<_>>()
        {
            self.migrations().update(&stream, |migration| {
                migration.overlap = migration.mark.map(|both| now.since(both));
                migration.turn(now, State::Verifying);
            });
            self.dirty = true;
        }
    }

    /// A stream that had lost its worker runs again.
    pub(super) fn failed_over(
        &mut self,
        now: Timestamp,
        stream: &StreamId,
        worker: WorkerId,
        after: Duration,
    ) {
        let mut from = None;
        self.update_stream(stream, |record| from = record.lost_from.take());
        if let Some(record) = self.cluster.streams.get(stream)
            && let Some(from) = from
        {
            let ends = (from, worker.clone());
            let spec = Arc::clone(&record.spec);
            let mut migration = Migration::new(now, spec, ends, record.reason, Way::Emergency);
            migration.turn(now, State::Done);
            migration.began = now - after;
            migration.gap = Some(after);
            let migration = Arc::new(migration);
            self.migrations().remember(Arc::clone(&migration));
            self.keep_ended(migration);
        }
        self.notices.push(Notice::FailedOver {
            stream: stream.clone(),
            worker,
            after,
        });
    }
}
