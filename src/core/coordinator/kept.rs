//! What the next leader is to know of moves and of streams in trouble. Acknowledged moves and quarantines are stored at
//! once: a move with the transaction that acknowledges it. Moves that ended go with the next transaction, or with the
//! check of an idle leader: they are for people, and a fleet that fails over has other things to store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use streamkeeper_protocol::StreamId;

use super::Coordinator;
use super::apply::Planned;
use crate::blame::Quarantine;
use crate::kept::{EndedMove, Kept, KeptQuarantine, KeptWrites, OpenMove};
use crate::migration::{MAX_RECENT, Migration};
use crate::notice::Notice;
use crate::time::Timestamp;

/// What waits to be stored.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    moves: BTreeMap<StreamId, Option<OpenMove>>,
    /// Streams of which the database holds an acknowledged move.
    stored: BTreeSet<StreamId>,
    ended: VecDeque<(i64, Arc<Migration>)>,
    /// What is on its way of it.
    flying: VecDeque<(i64, Arc<Migration>)>,
    quarantines: BTreeMap<StreamId, Option<KeptQuarantine>>,
    /// Moves that ended in this process.
    count: u32,
}

impl Keeping {
    /// Whether anything of it is worth a transaction of its own.
    pub(super) fn is_due(&self) -> bool {
        !self.moves.is_empty() || !self.quarantines.is_empty()
    }

    /// What goes with the next transaction, which carries these requests.
    pub(super) fn take(&mut self, now: Timestamp, planned: &[Planned]) -> KeptWrites {
        let mut moves = std::mem::take(&mut self.moves);
        for planned in planned {
            for step in &planned.applied.moves {
                let open = OpenMove {
                    stream: step.stream.clone(),
                    to: step.to.clone(),
                    reason: planned.move_reason,
                };
                moves.insert(step.stream.clone(), Some(open));
            }
        }
        self.flying.append(&mut self.ended);
        let ended = self
            .flying
            .iter()
            .map(|(id, migration)| ended(now, *id, migration));
        KeptWrites {
            moves,
            ended: ended.collect(),
            quarantines: std::mem::take(&mut self.quarantines),
        }
    }

    /// It is durable.
    pub(super) fn committed(&mut self, writes: &KeptWrites) {
        self.flying.clear();
        for (stream, write) in &writes.moves {
            if write.is_some() {
                self.stored.insert(stream.clone());
                // An end of the move before it, which came meanwhile, is not the end of this one.
                self.moves.remove(stream);
            } else {
                self.stored.remove(stream);
            }
        }
    }

    /// Nothing of it was stored: it goes into the next transaction, but for moves whose callers are told so.
    pub(super) fn failed(&mut self, writes: KeptWrites) {
        self.put_back();
        for (stream, write) in writes.moves.into_iter().filter(|(_, write)| write.is_none()) {
            self.moves.entry(stream).or_insert(write);
        }
        for (stream, write) in writes.quarantines {
            self.quarantines.entry(stream).or_insert(write);
        }
    }

    /// The term is over. What ended is told under the next one, once more where it was stored already.
    pub(super) fn drop_term(&mut self) {
        self.put_back();
        self.moves.clear();
        self.stored.clear();
        self.quarantines.clear();
    }

    /// Somebody else leads.
    pub(super) fn clear(&mut self) {
        self.drop_term();
        self.ended.clear();
    }

    fn put_back(&mut self) {
        self.flying.append(&mut self.ended);
        std::mem::swap(&mut self.flying, &mut self.ended);
        self.bound();
    }

    /// No more than is shown is stored.
    fn bound(&mut self) {
        let surplus = self.ended.len().saturating_sub(MAX_RECENT);
        self.ended.drain(..surplus);
    }
}

fn ended(now: Timestamp, id: i64, migration: &Migration) -> EndedMove {
    EndedMove {
        id,
        stream: migration.stream.clone(),
        from: migration.from.clone(),
        to: migration.to.clone(),
        reason: migration.reason,
        way: migration.way,
        state: migration.state,
        began: now.since(migration.began),
        ended: now.since(migration.since),
        gap: migration.gap,
        overlap: migration.overlap,
        detail: migration.detail.clone(),
    }
}

impl Coordinator {
    /// A move ended: readers see it, and the next leader as well.
    pub(super) fn keep_ended(&mut self, migration: Arc<Migration>) {
        let term = i64::from(self.cluster.leadership.term.get());
        let keeping = &mut self.writes.keeping;
        keeping.count = keeping.count.wrapping_add(1);
        let id = term << 32 | i64::from(keeping.count);
        keeping.ended.push_back((id, Arc::clone(&migration)));
        keeping.bound();
        self.move_over(&migration.stream);
    }

    /// Whatever was asked for of the stream is done, or given up: no next leader is to begin it again.
    pub(super) fn move_over(&mut self, stream: &StreamId) {
        let planned = self.cluster.migrations.planned_of(stream).is_some();
        let keeping = &mut self.writes.keeping;
        if !planned && keeping.stored.contains(stream) {
            keeping.moves.insert(stream.clone(), None);
        }
    }

    /// What is left alone has changed.
    pub(super) fn keep_quarantines(&mut self, now: Timestamp, known: &BTreeMap<StreamId, Quarantine>) {
        let before = Arc::clone(&self.cluster.quarantined);
        let quarantines = &mut self.writes.keeping.quarantines;
        for stream in before.keys().filter(|stream| !known.contains_key(*stream)) {
            quarantines.insert(stream.clone(), None);
        }
        for (stream, quarantine) in known {
            if before.get(stream) != Some(quarantine) {
                let kept = KeptQuarantine {
                    stream: stream.clone(),
                    tried: quarantine.tried.clone(),
                    rounds: self.blame.rounds(stream),
                    left: quarantine.until.since(now),
                };
                quarantines.insert(stream.clone(), Some(kept));
            }
        }
    }

    /// What the leaders before knew. A move whose stream is gone, or without a worker, is over: it is placed anyway.
    pub(super) fn load_kept(&mut self, now: Timestamp, kept: Kept) {
        for OpenMove { stream, to, reason } in kept.moves {
            self.writes.keeping.stored.insert(stream.clone());
            let record = self.cluster.streams.get(&stream);
            let record = record.filter(|record| record.spec.enabled);
            let from = record.and_then(|record| record.slot.worker().filter(|from| **from != to));
            let Some((record, from)) = record.zip(from.cloned()) else {
                self.move_over(&stream);
                continue;
            };
            let way = self.way_of(record);
            let migration = Migration::new(now, Arc::clone(&record.spec), (from, to), reason, way);
            self.migrations().plan(migration.planned());
        }
        // A new term of the same process remembers more than it stored.
        if self.cluster.migrations.recent().next().is_none() {
            for ended in kept.ended {
                let migration = Migration::of_kept(now, ended);
                self.migrations().remember(Arc::new(migration));
            }
        }
        for quarantine in kept.quarantines {
            let known = self.cluster.streams.get(&quarantine.stream);
            let owner = known.and_then(|record| record.slot.worker().cloned());
            if known.is_some_and(|record| record.spec.enabled) {
                self.blame.restore(now, &self.config.blame, quarantine, owner);
            } else {
                let quarantines = &mut self.writes.keeping.quarantines;
                quarantines.insert(quarantine.stream, None);
            }
        }
        self.cluster.quarantined = Arc::new(self.blame.quarantined().clone());
        self.look_at_moves(now);
    }

    /// Tells of a move that ended.
    pub(super) fn ended(&mut self, migration: Arc<Migration>) {
        self.dirty = true;
        self.notices.push(Notice::migrated(&migration));
        self.keep_ended(migration);
    }
}
