//! The tasks that run streams. Dropping them ends them.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use streamkeeper_protocol::{Epoch, RunSpec, StreamId};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::performance::Performances;
use crate::handler::{Job, StreamHandler};
use crate::logs::LogBook;

/// Most reports "it runs" that wait for the driver.
pub(super) const MAX_REPORTS: usize = 256;

struct Running {
    epoch: Epoch,
    stop: CancellationToken,
    /// Told by the driver; a handler may cancel its token too, which proves nothing.
    stopping: bool,
}

/// A job that ended; nothing of it runs any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) stream: StreamId,
    pub(super) epoch: Epoch,
    /// Whether it had been told to stop.
    pub(super) stopping: bool,
    pub(super) reason: String,
}

/// All jobs of a worker, at most one for a stream.
pub(super) struct Jobs {
    handler: Arc<dyn StreamHandler>,
    up: mpsc::Sender<(StreamId, Epoch)>,
    tasks: JoinSet<String>,
    running: BTreeMap<StreamId, Running>,
    names: HashMap<Id, StreamId>,
    pub(super) performances: Performances,
    book: LogBook,
}

impl Jobs {
    /// What the jobs write goes into `book`.
    pub(super) fn new(
        handler: Arc<dyn StreamHandler>,
        up: mpsc::Sender<(StreamId, Epoch)>,
        book: LogBook,
    ) -> Self {
        Self {
            handler,
            up,
            book,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            names: HashMap::new(),
            performances: Performances::default(),
        }
    }

    /// Starts a stream that does not run.
    pub(super) fn start(&mut self, stream: StreamId, epoch: Epoch, spec: RunSpec, attempt: u32) {
        debug_assert!(!self.running.contains_key(&stream), "{stream} runs twice");
        let stop = CancellationToken::new();
        let job = Job {
            stream: stream.clone(),
            epoch,
            spec,
            attempt,
            stop: stop.clone(),
            meter: self.performances.started(stream.clone(), epoch),
            up: self.up.clone(),
            log: self.book.open(&stream),
        };
        let handler = self.handler.clone();
        let task = self.tasks.spawn(async move { handler.run(job).await });
        self.names.insert(task.id(), stream.clone());
        let running = Running {
            epoch,
            stop,
            stopping: false,
        };
        self.running.insert(stream, running);
    }

    /// Tells a stream to stop. False when it does not run.
    pub(super) fn stop(&mut self, stream: &StreamId, epoch: Epoch) -> bool {
        let found = self.running.get_mut(stream).filter(|job| job.epoch == epoch);
        let Some(running) = found else {
            return false;
        };
        running.stopping = true;
        running.stop.cancel();
        true
    }

    /// The next job that ends; none while nothing runs.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        loop {
            let (task, reason) = match self.tasks.join_next_with_id().await? {
                Ok(ended) => ended,
                Err(error) => (error.id(), failure(error)),
            };
            let Some(stream) = self.names.remove(&task) else {
                continue;
            };
            if let Some(Running { epoch, stopping, .. }) = self.running.remove(&stream) {
                self.performances.ended(&stream);
                self.book.close(&stream);
                return Some(Ended {
                    stream,
                    epoch,
                    stopping,
                    reason,
                });
            }
        }
    }
}

fn failure(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", text_of(panic.as_ref())),
        Err(error) => error.to_string(),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_trait::async_trait;
    use streamkeeper_protocol::{Ownership, Term};

    use super::*;

    /// Does what the stream's name says.
    struct ByName;

    #[async_trait]
    impl StreamHandler for ByName {
        async fn run(&self, job: Job) -> String {
            job.up().await;
            match job.stream.as_str() {
                "panics" => panic!("at {}", job.attempt),
                "ends" => "eof".to_owned(),
                "cancels" => {
                    job.stop.cancel();
                    "by itself".to_owned()
                }
                _ => {
                    job.stop.cancelled().await;
                    "told".to_owned()
                }
            }
        }
    }

    fn jobs() -> (Jobs, mpsc::Receiver<(StreamId, Epoch)>) {
        let (up, ups) = mpsc::channel(MAX_REPORTS);
        (Jobs::new(Arc::new(ByName), up, LogBook::default()), ups)
    }

    fn start(jobs: &mut Jobs, name: &str) -> (StreamId, Epoch) {
        let (stream, epoch) = (StreamId::new(name).unwrap(), Epoch::new(Term::ZERO, 5));
        let spec = RunSpec {
            source: String::new(),
            ownership: Ownership::Available,
            labels: BTreeMap::new(),
        };
        jobs.start(stream.clone(), epoch, spec, 3);
        (stream, epoch)
    }

    #[tokio::test]
    async fn every_way_to_end_is_reported_once() {
        let (mut jobs, mut ups) = jobs();
        assert_eq!(jobs.next().await, None);
        for (name, told, stopping, reason) in [
            ("ends", false, false, "eof"),
            ("panics", false, false, "panicked: at 3"),
            ("cancels", false, false, "by itself"),
            ("stays", true, true, "told"),
        ] {
            let (stream, epoch) = start(&mut jobs, name);
            assert_eq!(ups.recv().await, Some((stream.clone(), epoch)));
            if told {
                assert!(
                    !jobs.stop(&stream, Epoch::new(Term::ZERO, 4)),
                    "another epoch's stop"
                );
                assert!(jobs.stop(&stream, epoch));
            }
            let reason = reason.to_owned();
            let expected = Ended {
                stream: stream.clone(),
                epoch,
                stopping,
                reason,
            };
            assert_eq!(jobs.next().await, Some(expected));
            assert!(!jobs.stop(&stream, epoch), "it is gone");
            assert_eq!(jobs.next().await, None);
        }
    }

    #[tokio::test]
    async fn dropping_ends_every_job() {
        let (mut jobs, mut ups) = jobs();
        start(&mut jobs, "stays");
        ups.recv().await.unwrap();
        drop(jobs);
        assert_eq!(ups.recv().await, None, "the job's sender went with its task");
    }
}
