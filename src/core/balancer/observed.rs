//! What streams really use: measurements, smoothed over time, by stream, so that they survive moves.

use std::time::Duration;

use streamkeeper_protocol::Performance;

use crate::placement::{Index, Size};
use crate::time::Timestamp;

/// An old measurement counts half after this time.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// A smoothed value counts anew when it differs from the one that counts by more than this share: noise changes nothing.
const DEAD_BAND: f32 = 0.1;
/// Bytes of a unit of memory and of bandwidth: sizes stay small numbers, whose sums are exact.
pub(super) const UNIT_BYTES: f64 = 1_048_576.0;
/// Measurements count once so many of a hundred streams are measured: before that, workers whose streams were measured first
/// would look fuller than others.
const ENOUGH_PERCENT: usize = 90;

/// One stream.
#[derive(Debug, Clone, Copy, Default)]
struct Observation {
    smoothed: [f32; 3],
    at: Option<Timestamp>,
}

/// All streams, by their position.
#[derive(Debug, Clone, Default)]
pub(super) struct Observations {
    all: Vec<Observation>,
    measured: usize,
}

impl Observations {
    /// Takes in a measurement. Gives the new size of a stream if it changed for good.
    pub(super) fn note(
        &mut self,
        now: Timestamp,
        stream: Index,
        told: &Performance,
        size: Size,
    ) -> Option<Size> {
        let at = stream as usize;
        if self.all.len() <= at {
            self.all.resize(at + 1, Observation::default());
        }
        let bytes = |bytes: Option<u64>| bytes.map_or(0.0, |bytes| (bytes as f64 / UNIT_BYTES) as f32);
        let latest = [
            told.cpu_cores
                .filter(|cores| cores.is_finite())
                .unwrap_or(0.0)
                .max(0.0),
            bytes(told.memory_bytes),
            bytes(told.bytes_per_second),
        ];
        let observation = &mut self.all[at];
        match observation.at {
            None => {
                self.measured += 1;
                observation.smoothed = latest;
            }
            Some(before) => {
                let age = now.since(before).as_secs_f32() / HALF_LIFE.as_secs_f32();
                let kept = (-age).exp2();
                for (smoothed, latest) in observation.smoothed.iter_mut().zip(latest) {
                    *smoothed = latest + (*smoothed - latest) * kept;
                }
            }
        }
        observation.at = Some(now);
        let [cpu, memory, bandwidth] = observation.smoothed;
        let new = [size[0], cpu, memory, bandwidth];
        let differs = |(new, old): (&f32, &f32)| (new - old).abs() > DEAD_BAND * old.max(*new);
        new.iter().zip(&size).any(differs).then_some(new)
    }

    /// Forgets a stream.
    pub(super) fn forget(&mut self, stream: Index) {
        if let Some(observation) = self.all.get_mut(stream as usize)
            && observation.at.take().is_some()
        {
            self.measured -= 1;
        }
    }

    /// Whether enough of `streams` are measured.
    pub(super) const fn count(&self, streams: usize) -> bool {
        self.measured > 0 && self.measured * 100 >= streams * ENOUGH_PERCENT
    }
}
