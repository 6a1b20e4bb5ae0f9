//! What one start of a stream uses and gives, told by whoever runs or measures it.

use std::sync::{Arc, Mutex, PoisonError};

use streamkeeper_protocol::Performance;

/// Where the performance of one start of a stream is told. Clones share it. The newest counts; the worker sends it along
/// with a heartbeat, at most every 10 seconds and only where it changed noticeably, so that it may be told often.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Option<Performance>>>);

impl Meter {
    /// Tells the newest performance, as a whole.
    ///
    /// ```
    /// use streamkeeper_worker::{Meter, Performance};
    ///
    /// let meter = Meter::default();
    /// meter.report(Performance { bytes_per_second: Some(16_000), ..Performance::default() });
    /// ```
    pub fn report(&self, performance: Performance) {
        // A number that is none would make the leader refuse the heartbeat.
        let cpu_cores = performance
            .cpu_cores
            .filter(|cores| cores.is_finite() && *cores >= 0.0);
        let sound = Performance {
            cpu_cores,
            ..performance
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sound);
    }

    /// What was told last.
    #[must_use]
    pub fn last(&self) -> Option<Performance> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
