//! The judge of a history: which promises were kept from one moment to another, and how long streams were away.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Life};

/// A sign of life counts for so long at the end of a trial; witnesses give one every 50 ms.
const FRESH_NS: u64 = 3_000_000_000;
const MS: u64 = 1_000_000;

/// What is judged: a part of the history, and what was done to the fleet meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Trial {
    /// When the fault began; everything ran.
    pub from: u64,
    /// When everything was to run again.
    pub to: u64,
    /// Streams that must never run twice.
    pub exclusive: BTreeSet<String>,
    /// Streams that may run twice, but not stop needlessly.
    pub available: BTreeSet<String>,
    /// Workers that something was done to; the streams of all others had no reason to move.
    pub hurt: BTreeSet<String>,
    /// Nobody answered for longer than a lease: exclusive streams had to end everywhere.
    pub lapse: bool,
}

/// The verdict on one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Which promise was broken, and how; nothing in a good trial.
    pub broken: Vec<String>,
    /// Streams that began anew for a reason: their worker was hurt.
    pub moves: usize,
    /// Streams that left a well worker for one that had at least two fewer: load is evened out.
    pub evened: usize,
    /// Streams that began anew though their worker was well throughout, and load was even.
    pub needless: usize,
    /// Longest time for which an exclusive stream ran twice.
    pub overlap_ms: u64,
    /// Longest time without an available stream, and without an exclusive one.
    pub gap_available_ms: u64,
    /// See there.
    pub gap_exclusive_ms: u64,
}

impl History {
    /// Judges one trial. S1 and S2 are judged over everything that was ever written.
    pub fn judge(&self, trial: &Trial) -> Verdict {
        let mut verdict = Verdict::default();
        for stream in &trial.exclusive {
            self.single_owner(stream, &mut verdict);
            self.epochs(stream, true, &mut verdict);
            self.moved(stream, trial, trial.lapse, &mut verdict);
            let gap = self.gap_ms(stream, trial);
            verdict.gap_exclusive_ms = verdict.gap_exclusive_ms.max(gap);
            self.runs(stream, trial, &mut verdict);
        }
        for stream in &trial.available {
            self.epochs(stream, false, &mut verdict);
            self.moved(stream, trial, false, &mut verdict);
            let gap = self.gap_ms(stream, trial);
            verdict.gap_available_ms = verdict.gap_available_ms.max(gap);
            self.runs(stream, trial, &mut verdict);
        }
        verdict
    }

    /// S1: no two lives at once, by their own words and by the kernel's.
    fn single_owner(&self, stream: &str, verdict: &mut Verdict) {
        let mut longest: Option<&Life> = None;
        for life in self.of(stream) {
            if let Some(before) = longest.filter(|before| before.last > life.begin) {
                let overlap_ms = (before.last.min(life.last) - life.begin) / MS;
                verdict.overlap_ms = verdict.overlap_ms.max(overlap_ms.max(1));
                verdict.broken.push(format!(
                    "S1 {stream} ran twice for {overlap_ms} ms: {before:?} and {life:?}"
                ));
            } else if life.crowded {
                verdict.overlap_ms = verdict.overlap_ms.max(1);
                verdict.broken.push(format!(
                    "S1 {stream}: another one still lived when this one began: {life:?}"
                ));
            }
            if longest.is_none_or(|before| before.last <= life.last) {
                longest = Some(life);
            }
        }
    }

    /// S2: epochs never go back, and one epoch names one worker. An available stream may be started once more under its
    /// old epoch by a worker that is cut off; on each worker they rise all the same.
    fn epochs(&self, stream: &str, exclusive: bool, verdict: &mut Verdict) {
        let mut highest: BTreeMap<&str, &Life> = BTreeMap::new();
        let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
        for life in self.of(stream) {
            let whose = if exclusive { "" } else { &life.worker };
            if let Some(before) = highest.get(whose).filter(|before| before.epoch > life.epoch) {
                verdict.broken.push(format!(
                    "S2 {stream}: the epoch went back: {before:?}, then {life:?}"
                ));
            } else {
                highest.insert(whose, life);
            }
            let owner = owners.entry(life.epoch).or_insert(&life.worker);
            if *owner != life.worker {
                verdict
                    .broken
                    .push(format!("S2 {stream}: {owner} had this epoch before: {life:?}"));
            }
        }
    }

    /// S5: who begins anew had a reason.
    fn moved(&self, stream: &str, trial: &Trial, excused: bool, verdict: &mut Verdict) {
        let lives = self.of(stream);
        for (index, life) in lives.iter().enumerate() {
            let Some(before) = index.checked_sub(1).and_then(|before| lives.get(before)) else {
                continue;
            };
            if life.begin <= trial.from || life.begin > trial.to {
                continue;
            }
            if excused || trial.hurt.contains(&before.worker) {
                verdict.moves += 1;
            } else if self.load(trial, &before.worker, life.begin)
                > self.load(trial, &life.worker, life.begin) + 1
            {
                verdict.evened += 1;
            } else {
                verdict.needless += 1;
                verdict.broken.push(format!(
                    "S5 {stream} began anew for nothing: {before:?}, then {life:?}"
                ));
            }
        }
    }

    /// How many streams a worker had just before `at`: those whose newest life was its.
    fn load(&self, trial: &Trial, worker: &str, at: u64) -> usize {
        let streams = trial.exclusive.iter().chain(&trial.available);
        let newest = streams.filter_map(|stream| self.of(stream).iter().rev().find(|life| life.begin < at));
        newest.filter(|life| life.worker == worker).count()
    }

    /// L1 and S6: it runs at the end, once.
    fn runs(&self, stream: &str, trial: &Trial, verdict: &mut Verdict) {
        let living = self.living(stream, trial.to, FRESH_NS);
        if living.len() != 1 {
            let newest = self.of(stream).last();
            verdict.broken.push(format!(
                "L1 {stream} runs {} times at the end; the newest: {newest:?}",
                living.len()
            ));
        }
    }

    /// The longest time within the trial for which no life covers it.
    fn gap_ms(&self, stream: &str, trial: &Trial) -> u64 {
        let mut covered = trial.from;
        let mut longest = 0;
        for life in self.of(stream).iter().filter(|life| life.begin <= trial.to) {
            longest = longest.max(life.begin.saturating_sub(covered));
            covered = covered.max(life.last);
        }
        if self.living(stream, trial.to, FRESH_NS).is_empty() {
            longest = longest.max(trial.to.saturating_sub(covered));
        }
        longest / MS
    }
}
