//! Who is at fault when a stream does not keep running. One that fails on a worker is tried on another; one that fails on
//! several has a broken source, and is left alone for a time that grows; a worker on which several streams failed that run
//! elsewhere is suspected itself.
//!
//! It knows only what heartbeats tell. Quarantines outlive the leader, so that a source that is broken for a day is not tried
//! on every worker again whenever the leader changes; all else a new one learns again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use streamkeeper_protocol::{RunState, StreamId, WorkerId};
use streamkeeper_resilience::Backoff;

use crate::kept::KeptQuarantine;
use crate::time::Timestamp;

/// Most streams in trouble that are watched.
const MAX_TROUBLES: usize = 10_000;
/// Most streams that are remembered against one worker.
const MAX_PROOFS: usize = 100;

/// When who is blamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Time between two looks.
    pub check_interval: Duration,
    /// A stream that did not run steadily for so long has failed on its worker.
    pub failing_after: Duration,
    /// A stream runs steadily when it did so for this time, without a restart.
    pub steady_for: Duration,
    /// A stream that failed on so many workers has a broken source.
    pub workers: usize,
    /// It is left alone for so long at first; the time doubles with each round.
    pub quarantine_for: Duration,
    /// The time never grows above this.
    pub max_quarantine: Duration,
    /// A worker is suspected when so many streams failed on it and run elsewhere.
    pub streams: usize,
    /// What happened longer ago does not count.
    pub memory: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(5),
            failing_after: Duration::from_secs(30),
            steady_for: Duration::from_secs(10),
            workers: 3,
            quarantine_for: Duration::from_secs(600),
            max_quarantine: Duration::from_secs(6 * 3_600),
            streams: 3,
            memory: Duration::from_secs(3_600),
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The stream is to be tried on another worker than these.
    Elsewhere {
        /// The stream.
        stream: StreamId,
        /// Where it failed.
        tried: BTreeSet<WorkerId>,
    },
    /// These streams failed on the worker and run elsewhere.
    Suspect {
        /// The worker.
        worker: WorkerId,
        /// The streams.
        streams: BTreeSet<StreamId>,
    },
}

/// A stream whose source is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantine {
    /// Where it failed.
    pub tried: BTreeSet<WorkerId>,
    /// Since when.
    pub since: Timestamp,
    /// When other workers are tried again.
    pub until: Timestamp,
}

/// A stream that does not keep running.
#[derive(Debug, Clone)]
struct Trouble {
    worker: WorkerId,
    /// Since when it is in trouble there.
    since: Timestamp,
    /// Since when it runs without a restart, with the count of restarts.
    running: Option<(Timestamp, u32)>,
    tried: BTreeSet<WorkerId>,
    /// Times that every worker was tried.
    rounds: u32,
}

/// The machine's memory.
#[derive(Debug, Default)]
pub struct Blame {
    troubles: BTreeMap<StreamId, Trouble>,
    quarantined: BTreeMap<StreamId, Quarantine>,
    /// Streams that failed on a worker and run elsewhere, and when that was known.
    proofs: BTreeMap<WorkerId, BTreeMap<StreamId, Timestamp>>,
    next_check: Option<Timestamp>,
}

impl Blame {
    /// When [`Self::check`] is due.
    #[must_use]
    pub const fn next_check(&self) -> Option<Timestamp> {
        self.next_check
    }

    /// Streams whose source is at fault.
    #[must_use]
    pub const fn quarantined(&self) -> &BTreeMap<StreamId, Quarantine> {
        &self.quarantined
    }

    /// How often a stream was left alone, this time included.
    #[must_use]
    pub fn rounds(&self, stream: &StreamId) -> u32 {
        self.troubles.get(stream).map_or(0, |trouble| trouble.rounds)
    }

    /// A leader before this one left a stream alone; `owner` has it now.
    pub fn restore(
        &mut self,
        now: Timestamp,
        config: &Config,
        kept: KeptQuarantine,
        owner: Option<WorkerId>,
    ) {
        let Some(worker) = owner.or_else(|| kept.tried.first().cloned()) else {
            return;
        };
        if self.troubles.len() >= MAX_TROUBLES {
            return;
        }
        let trouble = Trouble {
            worker,
            since: now,
            running: None,
            tried: kept.tried.clone(),
            rounds: kept.rounds,
        };
        let quarantine = Quarantine {
            tried: kept.tried,
            since: now,
            until: now + kept.left.min(config.max_quarantine),
        };
        self.troubles.insert(kept.stream.clone(), trouble);
        self.quarantined.insert(kept.stream, quarantine);
        self.next_check.get_or_insert(now + config.check_interval);
    }

    /// A worker reports a stream.
    pub fn observe(
        &mut self,
        now: Timestamp,
        config: &Config,
        stream: &StreamId,
        worker: &WorkerId,
        (state, restarts): (RunState, u32),
    ) {
        if state == RunState::Failing
            && !self.troubles.contains_key(stream)
            && self.troubles.len() < MAX_TROUBLES
        {
            let trouble = Trouble {
                worker: worker.clone(),
                since: now,
                running: None,
                tried: BTreeSet::new(),
                rounds: 0,
            };
            self.troubles.insert(stream.clone(), trouble);
            self.next_check.get_or_insert(now + config.check_interval);
        }
        let Some(trouble) = self.troubles.get_mut(stream) else {
            return;
        };
        if trouble.worker != *worker {
            trouble.worker = worker.clone();
            trouble.since = now;
            trouble.running = None;
        }
        match state {
            RunState::Running if trouble.running.is_none_or(|(_, before)| before != restarts) => {
                trouble.running = Some((now, restarts));
            }
            RunState::Running => {}
            RunState::Failing | RunState::Starting | RunState::Stopping => trouble.running = None,
        }
    }

    /// The stream failed on a worker to which it was moved, and was taken back at once.
    pub fn failed_on(&mut self, stream: &StreamId, worker: &WorkerId) {
        if let Some(trouble) = self.troubles.get_mut(stream) {
            trouble.tried.insert(worker.clone());
        }
    }

    /// Nobody is to run the stream any more.
    pub fn forget(&mut self, stream: &StreamId) {
        self.troubles.remove(stream);
        self.quarantined.remove(stream);
    }

    /// No other worker can take the stream: what failed on all of them is the source's fault as well.
    pub fn exhausted(&mut self, now: Timestamp, config: &Config, stream: &StreamId) {
        if let Some(trouble) = self.troubles.get_mut(stream) {
            let quarantine = quarantine(now, config, trouble);
            self.quarantined.entry(stream.clone()).or_insert(quarantine);
        }
    }

    /// An operator trusts the worker again.
    pub fn absolve(&mut self, worker: &WorkerId) {
        self.proofs.remove(worker);
    }

    /// Looks at everything in trouble.
    pub fn check(&mut self, now: Timestamp, config: &Config) -> Vec<Verdict> {
        if self.next_check.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut verdicts = Vec::new();
        let steady = |trouble: &Trouble| {
            trouble
                .running
                .is_some_and(|(since, _)| now.since(since) >= config.steady_for)
        };
        let well: Vec<StreamId> = self
            .troubles
            .iter()
            .filter(|(_, trouble)| steady(trouble))
            .map(|(stream, _)| stream.clone())
            .collect();
        for stream in well {
            self.recovered(now, &stream);
        }
        for (stream, trouble) in &mut self.troubles {
            if now.since(trouble.since) < config.failing_after {
                continue;
            }
            if let Some(quarantine) = self.quarantined.get(stream) {
                if quarantine.until > now {
                    continue;
                }
                // One more round: any worker may have become able to run it.
                self.quarantined.remove(stream);
                trouble.tried.clear();
            }
            trouble.tried.insert(trouble.worker.clone());
            if trouble.tried.len() >= config.workers {
                let quarantine = quarantine(now, config, trouble);
                self.quarantined.insert(stream.clone(), quarantine);
            } else {
                verdicts.push(Verdict::Elsewhere {
                    stream: stream.clone(),
                    tried: trouble.tried.clone(),
                });
            }
        }
        self.proofs.retain(|_, streams| {
            streams.retain(|_, at| now.since(*at) < config.memory);
            !streams.is_empty()
        });
        let suspects = self
            .proofs
            .iter()
            .filter(|(_, streams)| streams.len() >= config.streams);
        verdicts.extend(suspects.map(|(worker, streams)| Verdict::Suspect {
            worker: worker.clone(),
            streams: streams.keys().cloned().collect(),
        }));
        let idle = self.troubles.is_empty() && self.proofs.is_empty();
        self.next_check = (!idle).then_some(now + config.check_interval);
        verdicts
    }

    /// A stream runs steadily: the workers on which it failed are to blame, not its source.
    fn recovered(&mut self, now: Timestamp, stream: &StreamId) {
        self.quarantined.remove(stream);
        let Some(trouble) = self.troubles.remove(stream) else {
            return;
        };
        for worker in trouble
            .tried
            .into_iter()
            .filter(|worker| *worker != trouble.worker)
        {
            let streams = self.proofs.entry(worker).or_default();
            if streams.len() < MAX_PROOFS {
                streams.insert(stream.clone(), now);
            }
        }
    }
}

fn quarantine(now: Timestamp, config: &Config, trouble: &mut Trouble) -> Quarantine {
    let backoff = Backoff::new(config.quarantine_for, config.max_quarantine);
    let wait = backoff.window(trouble.rounds);
    trouble.rounds = trouble.rounds.saturating_add(1);
    trouble.since = now;
    Quarantine {
        tried: trouble.tried.clone(),
        since: now,
        until: now + wait,
    }
}
