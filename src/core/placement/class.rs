//! Streams with the same constraints are one class: which workers are able is worked out once for all of them.

use std::collections::BTreeMap;

use super::Index;
use super::mutant::{self, Mutant};
use super::worker::{Workers, to_index};
use crate::labels::Labels;

/// What a preferred label that lacks is worth: as much as this share of a worker's capacity.
pub(super) const PREFERENCE_COST: f64 = 0.1;

/// The constraints that a class stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct ClassKey {
    pub(super) exclusive: bool,
    pub(super) requires: Labels,
    pub(super) prefers: Labels,
}

/// One class.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    key: ClassKey,
    users: u32,
    /// One bit for each worker: whether it is open and able.
    able: Vec<u64>,
    /// What each worker lacks of the preferred labels, as relative load. Empty where nothing is preferred.
    cost: Vec<f64>,
    /// Open workers with the labels, guarded or not.
    labelled: u32,
    able_count: u32,
    label_bits: Vec<u64>,
}

impl Class {
    pub(super) fn is_able(&self, worker: Index) -> bool {
        bit(&self.able, worker)
    }

    pub(super) fn cost(&self, worker: Index) -> f64 {
        self.cost.get(worker as usize).copied().unwrap_or(0.0)
    }

    pub(super) const fn able_count(&self) -> u32 {
        self.able_count
    }

    pub(super) const fn labelled(&self) -> u32 {
        self.labelled
    }

    pub(super) fn requires(&self) -> &Labels {
        &self.key.requires
    }

    pub(super) const fn is_exclusive(&self) -> bool {
        self.key.exclusive
    }

    /// Looks at one worker again.
    fn look(&mut self, workers: &Workers, worker: Index) {
        let at = worker as usize;
        let labels = &workers.labels[at];
        let has = |(key, value): &(&str, &str)| labels.get(*key).is_some_and(|has| has == value);
        let labels_ignored = mutant::on(Mutant::LabelsIgnored);
        let labelled =
            workers.open[at] && (labels_ignored || self.key.requires.iter().all(|label| has(&label)));
        let able =
            labelled && (workers.guarded[at] || !self.key.exclusive || mutant::on(Mutant::GuardIgnored));
        self.labelled = recount(
            self.labelled,
            set(&mut self.label_bits, worker, labelled),
            labelled,
        );
        self.able_count = recount(self.able_count, set(&mut self.able, worker, able), able);
        let wanted = self.key.prefers.len();
        if wanted > 0 {
            let missing = wanted - self.key.prefers.iter().filter(has).count();
            if self.cost.len() <= at {
                self.cost.resize(at + 1, 0.0);
            }
            self.cost[at] = PREFERENCE_COST * missing as f64 / wanted as f64;
        }
    }
}

fn recount(count: u32, before: bool, after: bool) -> u32 {
    count + u32::from(after) - u32::from(before)
}

fn bit(bits: &[u64], index: Index) -> bool {
    bits.get(index as usize / 64)
        .is_some_and(|word| word >> (index % 64) & 1 == 1)
}

/// Says what the bit was before.
fn set(bits: &mut Vec<u64>, index: Index, value: bool) -> bool {
    let at = index as usize / 64;
    if bits.len() <= at {
        bits.resize(at + 1, 0);
    }
    let before = bits[at] >> (index % 64) & 1 == 1;
    bits[at] = bits[at] & !(1 << (index % 64)) | u64::from(value) << (index % 64);
    before
}

/// All classes.
#[derive(Debug, Clone, Default)]
pub(super) struct Classes {
    all: Vec<Class>,
    by_key: BTreeMap<ClassKey, Index>,
    /// Classes without constraints, available and exclusive: found without comparing texts.
    plain: [Option<Index>; 2],
    free: Vec<Index>,
}

impl Classes {
    pub(super) fn get(&self, class: Index) -> &Class {
        &self.all[class as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The class of these constraints, which has one user more.
    pub(super) fn take(
        &mut self,
        exclusive: bool,
        requires: &Labels,
        prefers: &Labels,
        workers: &Workers,
    ) -> Index {
        let plain = requires.is_empty() && prefers.is_empty();
        let known = if plain {
            self.plain[usize::from(exclusive)]
        } else {
            None
        };
        if let Some(index) = known {
            self.all[index as usize].users += 1;
            return index;
        }
        let key = ClassKey {
            exclusive,
            requires: requires.clone(),
            prefers: prefers.clone(),
        };
        let index = match self.by_key.get(&key) {
            Some(index) => *index,
            None => self.make(key, workers),
        };
        if plain {
            self.plain[usize::from(exclusive)] = Some(index);
        }
        self.all[index as usize].users += 1;
        index
    }

    fn make(&mut self, key: ClassKey, workers: &Workers) -> Index {
        let mut class = Class {
            key: key.clone(),
            ..Class::default()
        };
        for worker in workers.by_id.values() {
            class.look(workers, *worker);
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.all.push(Class::default());
            to_index(self.all.len() - 1)
        });
        self.all[index as usize] = class;
        self.by_key.insert(key, index);
        index
    }

    /// One user less; without users it is forgotten.
    pub(super) fn release(&mut self, index: Index) {
        let class = &mut self.all[index as usize];
        class.users -= 1;
        if class.users == 0 {
            self.by_key.remove(&class.key);
            for plain in &mut self.plain {
                plain.take_if(|known| *known == index);
            }
            self.free.push(index);
        }
    }

    /// A worker changed.
    pub(super) fn look(&mut self, workers: &Workers, worker: Index) {
        for class in self.all.iter_mut().filter(|class| class.users > 0) {
            class.look(workers, worker);
        }
    }
}
