//! What has to be true: streams, workers and constraints, as dense arrays that small changes keep up to date.

use std::collections::BTreeMap;

use streamkeeper_protocol::{StreamId, WorkerId};

use super::class::Classes;
use super::group::Groups;
use super::mutant::{self, Mutant};
use super::worker::{WorkerFacts, Workers, to_index};
use super::{DIMENSIONS, Index, NONE, Placement, Size};
use crate::labels::Labels;

/// One stream, as a problem takes it.
#[derive(Debug, Clone, Copy)]
pub struct StreamFacts<'a> {
    /// What it takes.
    pub size: Size,
    /// Who yields when capacity lacks: lower ones first.
    pub priority: i32,
    /// Whether only guarded workers may run it.
    pub exclusive: bool,
    /// Labels that its worker must have.
    pub requires: &'a Labels,
    /// Labels that its worker should have.
    pub prefers: &'a Labels,
    /// Streams of the same key are on different workers, and in different zones where that is possible.
    pub spread: Option<&'a str>,
    /// The only worker that may run it.
    pub pin: Option<&'a WorkerId>,
    /// Whether it wants a worker at all.
    pub wanted: bool,
}

/// What few streams have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Exception {
    pub(super) pin: Option<WorkerId>,
    /// Workers on which it failed while others ran.
    pub(super) avoids: Vec<WorkerId>,
}

/// A placement problem.
#[derive(Debug, Clone, Default)]
pub struct Problem {
    pub(super) names: Vec<StreamId>,
    /// A number made of the name, by which ties are decided: cheaper to compare, and spread evenly over all names.
    tie: Vec<u32>,
    by_name: BTreeMap<StreamId, Index>,
    pub(super) size: Vec<Size>,
    pub(super) priority: Vec<i32>,
    pub(super) class: Vec<Index>,
    pub(super) group: Vec<Index>,
    pub(super) wanted: Vec<bool>,
    /// Whether the stream has an entry in `exceptions`.
    pub(super) special: Vec<bool>,
    pub(super) exceptions: BTreeMap<Index, Exception>,
    pub(super) workers: Workers,
    pub(super) classes: Classes,
    pub(super) groups: Groups,
    free: Vec<Index>,
    /// Streams lie in the order of their names.
    pub(super) in_order: bool,
}

impl Problem {
    /// A problem without streams and workers.
    #[must_use]
    pub fn new() -> Self {
        Self {
            in_order: true,
            ..Self::default()
        }
    }

    /// Where a stream is in the arrays.
    #[must_use]
    pub fn stream(&self, name: &StreamId) -> Option<Index> {
        self.by_name.get(name).copied()
    }

    /// Where a worker is in the arrays.
    #[must_use]
    pub fn worker(&self, id: &WorkerId) -> Option<Index> {
        self.workers.by_id.get(id).copied()
    }

    /// Name of a stream.
    #[must_use]
    pub fn name(&self, stream: Index) -> &StreamId {
        &self.names[stream as usize]
    }

    /// Id of a worker.
    #[must_use]
    pub fn id(&self, worker: Index) -> &WorkerId {
        &self.workers.ids[worker as usize]
    }

    /// What a stream takes.
    #[must_use]
    pub fn size(&self, stream: Index) -> Size {
        self.size[stream as usize]
    }

    /// Length of the stream arrays.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.names.len()
    }

    /// Length of the worker arrays.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.ids.len()
    }

    /// Open workers.
    #[must_use]
    pub fn open_workers(&self) -> &[Index] {
        &self.workers.order
    }

    /// Makes room for so many streams.
    pub fn reserve(&mut self, streams: usize) {
        self.names.reserve(streams);
        self.tie.reserve(streams);
        self.size.reserve(streams);
        self.priority.reserve(streams);
        self.class.reserve(streams);
        self.group.reserve(streams);
        self.wanted.reserve(streams);
        self.special.reserve(streams);
    }

    /// Fills an empty problem with streams in the order of their names.
    pub fn fill<'a>(&mut self, streams: impl Iterator<Item = (&'a StreamId, StreamFacts<'a>)>) {
        debug_assert!(self.names.is_empty(), "only an empty problem is filled");
        for (name, facts) in streams {
            let index = self.push(name);
            self.describe(index, &facts);
        }
        let pairs = self.names.iter().enumerate();
        self.by_name = pairs.map(|(at, name)| (name.clone(), to_index(at))).collect();
    }

    /// Takes in a stream, new or changed. Where it is placed counts on with its new size.
    pub fn put_stream(
        &mut self,
        placement: &mut Placement,
        name: &StreamId,
        facts: &StreamFacts<'_>,
    ) -> Index {
        let Some(index) = self.stream(name) else {
            let index = match self.free.pop() {
                Some(index) => self.reuse(index, name),
                None => self.push(name),
            };
            self.in_order &= self.names.len() < 2;
            self.by_name.insert(name.clone(), index);
            self.describe(index, facts);
            return index;
        };
        let owner = placement.owner(index);
        placement.remove(self, index);
        self.forget(index);
        self.describe(index, facts);
        if owner != NONE {
            placement.place(self, index, owner);
        }
        index
    }

    /// Changes what a stream takes, where it is.
    pub fn resize(&mut self, placement: &mut Placement, stream: Index, size: Size) {
        let owner = placement.owner(stream);
        placement.remove(self, stream);
        self.size[stream as usize] = size;
        if owner != NONE {
            placement.place(self, stream, owner);
        }
    }

    /// Forgets a stream.
    pub fn remove_stream(&mut self, placement: &mut Placement, name: &StreamId) {
        if let Some(index) = self.by_name.remove(name) {
            placement.remove(self, index);
            self.forget(index);
            self.wanted[index as usize] = false;
            self.special[index as usize] = false;
            self.exceptions.remove(&index);
            self.free.push(index);
        }
    }

    /// Takes in a worker, new or changed.
    pub fn put_worker(&mut self, facts: WorkerFacts) -> Index {
        let (index, changed) = self.workers.put(facts);
        if changed {
            self.classes.look(&self.workers, index);
        }
        index
    }

    /// A worker takes no streams any more.
    pub fn close(&mut self, worker: Index) {
        self.workers.close(worker);
        self.classes.look(&self.workers, worker);
    }

    /// Forgets a worker that has no stream.
    pub fn remove_worker(&mut self, id: &WorkerId) {
        if let Some(index) = self.worker(id) {
            self.workers.remove(index);
            self.classes.look(&self.workers, index);
        }
    }

    /// Remembers that a stream failed on a worker: others are tried first.
    pub fn avoid(&mut self, stream: Index, worker: &WorkerId) {
        let exception = self.exceptions.entry(stream).or_default();
        if !exception.avoids.contains(worker) {
            exception.avoids.push(worker.clone());
        }
        self.special[stream as usize] = true;
    }

    /// Forgets on which workers a stream failed.
    pub fn forgive(&mut self, stream: Index) {
        if let Some(exception) = self.exceptions.get_mut(&stream) {
            exception.avoids.clear();
        }
    }

    /// To be called after changes and before [`super::solve`].
    pub fn settle(&mut self) {
        self.workers.settle();
    }

    /// How many streams have a spread key.
    #[must_use]
    pub fn spread_users(&self, key: &str) -> u32 {
        self.groups.users(key)
    }

    /// Decides between streams that are equal in everything else.
    pub(super) fn before(&self, one: Index, other: Index) -> bool {
        let (a, b) = (one as usize, other as usize);
        if mutant::on(Mutant::TiesByPosition) {
            return a < b;
        }
        (self.tie[a], &self.names[a]) < (self.tie[b], &self.names[b])
    }

    pub(super) fn exception(&self, stream: Index) -> Option<&Exception> {
        self.special[stream as usize]
            .then(|| self.exceptions.get(&stream))
            .flatten()
    }

    fn push(&mut self, name: &StreamId) -> Index {
        self.names.push(name.clone());
        self.tie.push(tie(name));
        self.size.push([0.0; DIMENSIONS]);
        self.priority.push(0);
        self.class.push(NONE);
        self.group.push(NONE);
        self.wanted.push(false);
        self.special.push(false);
        to_index(self.names.len() - 1)
    }

    fn reuse(&mut self, index: Index, name: &StreamId) -> Index {
        self.names[index as usize] = name.clone();
        self.tie[index as usize] = tie(name);
        index
    }

    fn describe(&mut self, index: Index, facts: &StreamFacts<'_>) {
        let at = index as usize;
        self.size[at] = facts.size;
        self.priority[at] = facts.priority;
        self.wanted[at] = facts.wanted;
        self.class[at] = self
            .classes
            .take(facts.exclusive, facts.requires, facts.prefers, &self.workers);
        self.group[at] = facts.spread.map_or(NONE, |key| self.groups.take(key));
        if facts.pin.is_some() || self.special[at] {
            let exception = self.exceptions.entry(index).or_default();
            exception.pin = facts.pin.filter(|_| !mutant::on(Mutant::PinIgnored)).cloned();
            self.special[at] = true;
        }
    }

    fn forget(&mut self, index: Index) {
        let at = index as usize;
        self.classes.release(self.class[at]);
        if self.group[at] != NONE {
            self.groups.release(self.group[at]);
            self.group[at] = NONE;
        }
    }
}

/// FNV-1a (Fowler, Noll, Vo).
fn tie(name: &StreamId) -> u32 {
    let bytes = name.as_str().bytes();
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
