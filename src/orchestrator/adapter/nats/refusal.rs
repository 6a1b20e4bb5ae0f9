//! What is refused: counted always, logged rarely, because whoever sends garbage sends much of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics;

/// One log line per reason within this time.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Longest text of a problem in the log, in characters: it may quote what a stranger sent.
const MAX_PROBLEM: usize = 200;

/// Keeps the log of refused messages short.
#[derive(Default)]
pub(super) struct Refusals {
    /// By reason; reasons are few and fixed.
    windows: Mutex<BTreeMap<&'static str, Window>>,
}

struct Window {
    since: Instant,
    unlogged: u64,
}

impl Refusals {
    /// Counts a refused message and logs it, unless one of the same reason was logged just now.
    pub(super) fn refuse(
        &self,
        subject: &str,
        reason: &'static str,
        problem: &dyn std::error::Error,
        expected: &str,
    ) {
        ::metrics::counter!(metrics::REFUSED, "reason" => reason).increment(1);
        let Some(unlogged) = self.due(reason, Instant::now()) else {
            return;
        };
        let problem = chain(problem);
        tracing::warn!(
            subject,
            reason,
            unlogged,
            "message refused: {problem}; expected {expected}"
        );
    }

    /// How many of `reason` went unlogged since the last line, when it is time for one.
    fn due(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = windows.get_mut(reason) else {
            let window = Window {
                since: now,
                unlogged: 0,
            };
            windows.insert(reason, window);
            return Some(0);
        };
        if now.duration_since(window.since) < LOG_EVERY {
            window.unlogged += 1;
            return None;
        }
        window.since = now;
        Some(std::mem::take(&mut window.unlogged))
    }
}

/// The error and its causes, cut and without control characters.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(MAX_PROBLEM).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_reason_and_window() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.due("malformed", start), Some(0));
        assert_eq!(refusals.due("malformed", start), None);
        assert_eq!(refusals.due("spoofed", start), Some(0));
        assert_eq!(refusals.due("malformed", start + LOG_EVERY / 2), None);
        assert_eq!(refusals.due("malformed", start + LOG_EVERY), Some(2));
        assert_eq!(refusals.due("malformed", start + LOG_EVERY), None);
    }

    #[test]
    fn every_refused_message_is_counted() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let refusals = Refusals::default();
        ::metrics::with_local_recorder(&recorder, || {
            for _ in 0..3 {
                refusals.refuse("sk.v1.heartbeat.w", "malformed", &std::fmt::Error, "a heartbeat");
            }
        });
        let page = recorder.handle().render();
        let line = format!("{}{{reason=\"malformed\"}} 3", metrics::REFUSED);
        assert!(page.contains(&line), "{page}");
    }

    #[test]
    fn a_problem_is_cut_and_on_one_line() {
        let error = std::io::Error::other(format!("a\nb{}", "x".repeat(1_000)));
        let text = chain(&error);
        assert_eq!(text.chars().count(), MAX_PROBLEM);
        assert!(text.starts_with("a bx"));
    }
}
