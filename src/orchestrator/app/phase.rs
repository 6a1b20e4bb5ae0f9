//! Phases of the start: each is logged with its time and shown by the probes, and one that fails says which it was.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::port::{Current, Phase, Start};

/// The start, as it goes on.
#[derive(Debug, Default)]
pub(super) struct Starting {
    start: watch::Sender<Start>,
}

impl Starting {
    /// For who wants to know how far it is.
    pub(super) fn watch(&self) -> watch::Receiver<Start> {
        self.start.subscribe()
    }

    /// Runs one phase.
    pub(super) fn phase<T, E: Into<anyhow::Error>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = anyhow::Result<T>> {
        self.found(name, work, |_| None)
    }

    /// Runs one phase that found something worth a word.
    pub(super) fn found<T, E: Into<anyhow::Error>>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, E>>,
        detail: impl FnOnce(&T) -> Option<String>,
    ) -> impl Future<Output = anyhow::Result<T>> {
        // Boxed, because these futures are large and the start holds them all.
        let work = Box::pin(work);
        async move {
            let since = Instant::now();
            self.start.send_modify(|start| {
                start.current = Some(Current {
                    name,
                    since,
                    waits_for: None,
                });
            });
            let outcome = work.await.map_err(Into::into);
            let took = since.elapsed();
            let ms = took.as_millis();
            let done = outcome.with_context(|| format!("start failed in phase \"{name}\" after {ms} ms"))?;
            self.done(name, took, detail(&done));
            Ok(done)
        }
    }

    /// Notes a phase that is through.
    pub(super) fn done(&self, name: &'static str, took: Duration, detail: Option<String>) {
        let ms = took.as_millis();
        tracing::info!(phase = name, ms, detail, "ready");
        self.start.send_modify(|start| {
            start.current = None;
            start.done.push(Phase { name, took, detail });
        });
    }

    /// Says what the present phase waits for.
    pub(super) fn waits_for(&self, what: &impl Display) {
        self.start.send_modify(|start| {
            if let Some(current) = &mut start.current {
                current.waits_for = Some(what.to_string());
            }
        });
    }

    /// All phases are through.
    pub(super) fn through(&self) {
        self.start.send_modify(|start| start.through = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_phase_that_it_is_in_is_seen_and_named_where_it_fails() {
        let starting = Starting::default();
        let seen = starting.watch();
        let second = Duration::from_secs(1);
        let work = async {
            starting.waits_for(&"a friend");
            tokio::time::sleep(second).await;
            let current = seen.borrow().current.clone().unwrap();
            assert_eq!((current.name, current.since.elapsed()), ("first", second));
            assert_eq!(current.waits_for.as_deref(), Some("a friend"));
            Ok::<_, std::io::Error>(7)
        };
        let found = starting.found("first", work, |found| Some(format!("{found} of them")));
        assert_eq!(found.await.unwrap(), 7);
        let done = Phase {
            name: "first",
            took: second,
            detail: Some("7 of them".to_owned()),
        };
        assert_eq!(seen.borrow().done, [done]);
        assert!(seen.borrow().current.is_none());

        let work = async { Err::<(), _>(std::io::Error::other("no friend; make one")) };
        let error = starting.phase("second", work).await.unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "start failed in phase \"second\" after 0 ms: no friend; make one"
        );
        assert!(!seen.borrow().through);
        starting.through();
        assert!(seen.borrow().through);
    }
}
