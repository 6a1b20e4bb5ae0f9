//! A tournament over workers: the least loaded that has room is found, and a changed load brought in, in logarithmic
//! time.
//!
//! Leaves lie in the order of capacity. So each subtree of the upper levels holds workers of about one size, and the
//! winners of a few of them are all candidates that matter, however heavy the stream is.

use super::Index;
use super::mutant::{self, Mutant};

/// How many subtrees give a candidate each.
pub(super) const CANDIDATES: usize = 8;
/// Deepest tree: no fleet has four thousand million workers.
const MAX_DEPTH: usize = 40;

/// Score and room of a worker, or the lowest score and the most room below a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) score: f64,
    pub(super) room: f64,
    /// The leaf with that score.
    leaf: u32,
}

const EMPTY: Node = Node {
    score: f64::INFINITY,
    room: -1.0,
    leaf: u32::MAX,
};

/// The tournament.
#[derive(Debug)]
pub(super) struct Tree {
    /// Node 1 is the root, node n has the children 2n and 2n+1, the leaves come last.
    nodes: Vec<Node>,
    /// Workers of the leaves.
    leaves: Vec<Index>,
    base: usize,
}

impl Tree {
    /// A tree over workers, whose state `look` tells.
    pub(super) fn new(leaves: Vec<Index>, look: impl Fn(Index) -> (f64, f64)) -> Self {
        let base = leaves.len().next_power_of_two();
        let mut nodes = vec![EMPTY; base * 2];
        for (leaf, worker) in leaves.iter().enumerate() {
            let (score, room) = look(*worker);
            nodes[base + leaf] = Node {
                score,
                room,
                leaf: super::worker::to_index(leaf),
            };
        }
        for node in (1..base).rev() {
            nodes[node] = better(&nodes[node * 2], &nodes[node * 2 + 1]);
        }
        Self { nodes, leaves, base }
    }

    /// Roots of the subtrees that give a candidate each.
    pub(super) fn roots(&self) -> std::ops::Range<usize> {
        let first = self.base.min(CANDIDATES);
        first..first * 2
    }

    /// Whether no worker of the tree has so much room.
    pub(super) fn is_full(&self, size: f64) -> bool {
        self.nodes.get(1).is_none_or(|root| root.room < size)
    }

    /// The least loaded worker below `root` that has room for `size` and that `skip` does not exclude. `look` tells how a
    /// worker is now: what the tree remembers may be older, and is brought up to date where it matters.
    pub(super) fn find(
        &mut self,
        root: usize,
        size: f64,
        look: &impl Fn(Index) -> (f64, f64),
        skip: &impl Fn(Index) -> bool,
    ) -> Option<Index> {
        // Most often the winner will do.
        while let Some(top) = self.nodes.get(root).copied().filter(|top| top.room >= size) {
            let worker = *self.leaves.get(top.leaf as usize)?;
            if self.refresh(top.leaf as usize, look(worker)) {
                continue;
            }
            let leaf = self.nodes[self.base + top.leaf as usize];
            if leaf.room >= size && !skip(worker) {
                return Some(worker);
            }
            return self.search(root, size, look, skip);
        }
        None
    }

    /// Looks through the subtree, best branch first, as long as a branch may hold a better one.
    fn search(
        &mut self,
        root: usize,
        size: f64,
        look: &impl Fn(Index) -> (f64, f64),
        skip: &impl Fn(Index) -> bool,
    ) -> Option<Index> {
        let mut best: Option<(f64, u32)> = None;
        let mut stack = [0_usize; MAX_DEPTH];
        let mut depth = 1;
        stack[0] = root;
        while depth > 0 {
            depth -= 1;
            let at = stack[depth];
            let node = self.nodes[at];
            if node.room < size || best.is_some_and(|best| (node.score, node.leaf) >= best) {
                continue;
            }
            if at < self.base {
                let (left, right) = (at * 2, at * 2 + 1);
                let left_first = self.nodes[left].score <= self.nodes[right].score;
                let (first, second) = if left_first { (left, right) } else { (right, left) };
                (stack[depth], stack[depth + 1]) = (second, first);
                depth += 2;
                continue;
            }
            let worker = self.leaves[node.leaf as usize];
            if skip(worker) {
                continue;
            }
            self.refresh(node.leaf as usize, look(worker));
            let node = self.nodes[at];
            if node.room >= size && best.is_none_or(|best| (node.score, node.leaf) < best) {
                best = Some((node.score, node.leaf));
            }
        }
        best.map(|(_, leaf)| self.leaves[leaf as usize])
    }

    /// Brings a leaf up to date; says whether it was not.
    fn refresh(&mut self, leaf: usize, (score, room): (f64, f64)) -> bool {
        let at = self.base + leaf;
        if mutant::on(Mutant::StaleTree) {
            return false;
        }
        let stale = self.nodes[at].score != score || self.nodes[at].room != room;
        if stale {
            self.nodes[at].score = score;
            self.nodes[at].room = room;
            let mut node = at / 2;
            while node > 0 {
                self.nodes[node] = better(&self.nodes[node * 2], &self.nodes[node * 2 + 1]);
                node /= 2;
            }
        }
        stale
    }

    /// Brings every leaf up to date: needed after loads have fallen, because a search trusts that they only rise.
    pub(super) fn refresh_all(&mut self, look: impl Fn(Index) -> (f64, f64)) {
        *self = Self::new(std::mem::take(&mut self.leaves), look);
    }
}

fn better(left: &Node, right: &Node) -> Node {
    let winner = if left.score <= right.score { left } else { right };
    Node {
        room: left.room.max(right.room),
        ..*winner
    }
}
