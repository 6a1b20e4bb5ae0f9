//! Which streams' performance goes along with a heartbeat: a few at a time, so that ten thousand streams neither make a
//! heartbeat large nor fall silent.

use std::collections::BTreeMap;

use streamkeeper_protocol::{Epoch, Performance, StreamId, StreamPerformance, Term};

use crate::meter::Meter;
use crate::session::Millis;

/// Most streams in one heartbeat. With names and numbers at their limits they have less than 100 KB.
const MAX_STREAMS: usize = 512;
/// Between two heartbeats that carry any: a burst of heartbeats carries it once.
const LOOK_GAP_MS: u64 = 1_000;
/// Between two of one stream, at least.
const CHANGED_GAP_MS: u64 = 10_000;
/// What did not change is told again after so long: a heartbeat may have been lost.
const REPEAT_MS: u64 = 60_000;
/// A change below this share is none.
const NOTABLE_SHARE: f64 = 0.2;
/// Changes below these are none, however large their share.
const NOTABLE_CORES: f64 = 0.01;
const NOTABLE_BYTES: f64 = 1024.0;

/// The performance of all streams that run.
#[derive(Debug, Default)]
pub(super) struct Performances {
    streams: BTreeMap<StreamId, Entry>,
    /// Where the next look begins, when the last one found too many.
    next: Option<StreamId>,
    looked_at: Option<Millis>,
    /// The leadership that was told.
    term: Term,
}

#[derive(Debug)]
struct Entry {
    epoch: Epoch,
    meter: Meter,
    told: Option<(Millis, Performance)>,
}

impl Performances {
    /// A stream was started.
    pub(super) fn started(&mut self, stream: StreamId, epoch: Epoch) -> Meter {
        let meter = Meter::default();
        let entry = Entry {
            epoch,
            meter: meter.clone(),
            told: None,
        };
        self.streams.insert(stream, entry);
        meter
    }

    /// Nothing of a stream runs any more.
    pub(super) fn ended(&mut self, stream: &StreamId) {
        self.streams.remove(stream);
    }

    /// What is to be told now to the leadership of `term`, and counts as told.
    pub(super) fn due(&mut self, now: Millis, term: Term) -> Vec<StreamPerformance> {
        let mut due = Vec::new();
        if term != self.term {
            // Another leader knows nothing yet.
            self.term = term;
            self.streams.values_mut().for_each(|entry| entry.told = None);
        } else if self.looked_at.is_some_and(|at| now.since(at) < LOOK_GAP_MS) {
            return due;
        }
        if term == Term::ZERO {
            return due;
        }
        self.looked_at = Some(now);
        self.next = match self.next.take() {
            None => take(self.streams.iter_mut(), now, &mut due),
            Some(from) => {
                let rest = take(self.streams.range_mut::<StreamId, _>(&from..), now, &mut due);
                rest.or_else(|| take(self.streams.range_mut::<StreamId, _>(..&from), now, &mut due))
            }
        };
        due
    }
}

/// Takes what is due as long as there is room; where there is none, the stream to begin with the next time.
fn take<'a>(
    streams: impl Iterator<Item = (&'a StreamId, &'a mut Entry)>,
    now: Millis,
    due: &mut Vec<StreamPerformance>,
) -> Option<StreamId> {
    for (stream, entry) in streams {
        let Some(measured) = entry.meter.last() else {
            continue;
        };
        if !is_due(entry.told, now, &measured) {
            continue;
        }
        if due.len() >= MAX_STREAMS {
            return Some(stream.clone());
        }
        entry.told = Some((now, measured));
        due.push(StreamPerformance {
            stream: stream.clone(),
            epoch: entry.epoch,
            measured,
        });
    }
    None
}

fn is_due(told: Option<(Millis, Performance)>, now: Millis, measured: &Performance) -> bool {
    told.is_none_or(|(at, before)| {
        let passed = now.since(at);
        passed >= REPEAT_MS || (passed >= CHANGED_GAP_MS && is_other(&before, measured))
    })
}

/// Whether somebody would call the two different.
fn is_other(one: &Performance, other: &Performance) -> bool {
    let cores = |performance: &Performance| performance.cpu_cores.map(f64::from);
    let memory = |performance: &Performance| performance.memory_bytes.map(|bytes| bytes as f64);
    let rate = |performance: &Performance| performance.bytes_per_second.map(|bytes| bytes as f64);
    (one.stalls, one.reconnects) != (other.stalls, other.reconnects)
        || differ(cores(one), cores(other), NOTABLE_CORES)
        || differ(memory(one), memory(other), NOTABLE_BYTES)
        || differ(rate(one), rate(other), NOTABLE_BYTES)
}

fn differ(one: Option<f64>, other: Option<f64>, least: f64) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() > least.max(NOTABLE_SHARE * one.max(other)),
        (one, other) => one.is_some() != other.is_some(),
    }
}

#[cfg(test)]
#[path = "performance_tests.rs"]
mod tests;
