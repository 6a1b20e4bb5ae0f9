//! S6 no-empty-plan: no failure ever unassigns what runs. A worker stops only what the user ended, what a leader moves
//! on purpose, what was durably given to somebody else, or what its lease does not cover any more.

use std::collections::{BTreeMap, BTreeSet};

use imbl::ordmap::DiffItem;
use streamkeeper_core::cluster::{ClusterState, Slot};
use streamkeeper_core::notice::Notice;
use streamkeeper_core::router::{Effect, Route};
use streamkeeper_protocol::{Epoch, SessionId, StreamId};

use crate::orchestrator::{Kind, Work};
use crate::world::World;

/// How long after the last fault a lease may still end for it: the lease itself, and what was begun before the fault ended.
const LEASE_MS: u64 = 25_000;

#[derive(Debug, Default)]
pub(super) struct Ends {
    /// The highest epoch that a stream's row ever had.
    highest: BTreeMap<StreamId, Epoch>,
    /// The highest epoch that a leader ever gave it, also for a copy beside the one that is stored.
    given: BTreeMap<StreamId, Epoch>,
    /// Up to which epoch a stream was ended on purpose.
    ended: BTreeMap<StreamId, Epoch>,
    /// Streams that a leader took out of a session's desired set on purpose.
    released: BTreeSet<(StreamId, SessionId)>,
}

impl Ends {
    pub(super) fn replaced(&mut self, stream: &StreamId, epoch: Epoch) {
        let highest = self.highest.entry(stream.clone()).or_default();
        *highest = epoch.max(*highest);
    }

    pub(super) fn ended(&mut self, stream: &StreamId, epoch: Epoch) {
        let ended = self.ended.entry(stream.clone()).or_default();
        *ended = epoch.max(*ended);
    }

    /// Whatever copies of it there are, the user has ended them; also where one of this name is declared or enabled anew.
    pub(super) fn ended_everywhere(&mut self, stream: &StreamId) {
        let at = |map: &BTreeMap<StreamId, Epoch>| map.get(stream).copied().unwrap_or_default();
        self.ended(stream, at(&self.highest).max(at(&self.given)));
    }

    fn explain(&self, stream: &StreamId, epoch: Epoch, session: SessionId) -> bool {
        let at = |map: &BTreeMap<StreamId, Epoch>| map.get(stream).copied().unwrap_or_default();
        let replaced = at(&self.highest) > epoch;
        let ended = at(&self.ended) >= epoch;
        replaced || ended || self.released.contains(&(stream.clone(), session))
    }
}

impl World {
    /// Notes what a leader gives to others or takes away on purpose, before anybody is told of it.
    pub(crate) fn note_releases(&mut self, index: usize, routes: &[Route]) {
        for route in routes {
            if let Route::Do(Effect::Notice(Notice::Assigned { stream, epoch, .. })) = route {
                self.watch.replaced(stream, *epoch);
            }
        }
        let Some(process) = self.orchestrators[index].process.as_ref() else {
            return;
        };
        let published = routes.iter().find_map(|route| match route {
            Route::Do(Effect::Publish(cluster)) => Some(cluster),
            _ => None,
        });
        let Some(cluster) = published else { return };
        for change in process.outliving.cluster.streams.diff(&cluster.streams) {
            let (DiffItem::Add(stream, record)
            | DiffItem::Update {
                new: (stream, record),
                ..
            }) = change
            else {
                continue;
            };
            for wanted in record.wanted() {
                let given = self.watch.ends.given.entry(stream.clone()).or_default();
                *given = wanted.epoch.max(*given);
            }
            // A move that is undone ends the copy that was begun for it; its source's runs on.
            if let Slot::Releasing { from: ends, .. } | Slot::Handing { to: ends, .. } = &record.slot {
                let key = (stream.clone(), ends.session);
                self.watch.ends.released.insert(key);
            }
        }
    }

    /// A new state is published: readers are woken.
    pub(crate) fn publish(&mut self, index: usize, cluster: ClusterState) {
        let Some(process) = self.orchestrators[index].process.as_mut() else {
            return;
        };
        process.outliving.cluster = cluster;
        let idle: Vec<Kind> = Kind::READERS
            .into_iter()
            .filter(|kind| !process.reading.contains(kind))
            .collect();
        process.reading.extend(idle.iter().copied());
        for kind in idle {
            let delay = self.network.between(0, 3);
            self.later(index, delay, Work::Read(kind));
        }
    }

    /// A worker is about to stop a stream.
    pub(crate) fn stopped(&mut self, index: usize, stream: &StreamId, epoch: Epoch) {
        let worker = &self.nodes[index].id;
        let text = format!("{worker} stops {stream} at {}.{}", epoch.term(), epoch.counter());
        self.trace(format_args!("{text}"));
        let node = &self.nodes[index];
        let off = self
            .database
            .streams()
            .get(stream)
            .is_none_or(|spec| !spec.enabled);
        // A newer copy that runs need not be stored yet: a leader found it, and stores it.
        let explained = self.watch.ends.explain(stream, epoch, node.session_id)
            || self.watch.copies.newer_runs(stream, epoch);
        let exclusive = node.children.get(stream).is_none_or(|child| child.exclusive);
        assert!(
            off || explained || node.leaving || (exclusive && node.lapsing),
            "S6 no-empty-plan: {} stops {stream} at {epoch:?}, which nobody has replaced: {:?}",
            node.id,
            self.orchestrators
                .iter()
                .filter_map(|orchestrator| orchestrator.cluster().streams.get(stream))
                .map(|record| (&record.slot, record.reason))
                .collect::<Vec<_>>()
        );
    }

    /// The lease of a session that nothing happened to does not lapse.
    pub(crate) fn check_lapse(&self, index: usize) {
        let node = &self.nodes[index];
        assert!(
            self.stormy || self.now <= self.touched.max(node.touched) + LEASE_MS,
            "S6 no-empty-plan: the lease of {} lapses, and nothing went wrong for {} ms",
            node.id,
            self.now - self.touched.max(node.touched)
        );
    }
}
