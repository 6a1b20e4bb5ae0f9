//! A worker whose streams do what their source says, and what was seen of them.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_tests::wait::{GENEROUS, until};
use streamkeeper_worker::{
    Capacity, ConnectSource, Job, Lease, LogFd, Ownership, Performance, SessionConfig, StreamHandler, Worker,
    WorkerError, WorkerId, WorkerOptions, now,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One start of a stream: (stream, epoch counter, source, attempt).
pub(crate) type Start = (String, u32, String, u32);

/// A handler: `fail` ends at once, `panic` panics, `measured N` tells that it reads N bytes a second, anything else runs
/// until it is told to stop; `say …` writes a line for each word.
pub(crate) struct Streams {
    starts: Mutex<Vec<Start>>,
    running: Mutex<Vec<String>>,
    guarded: bool,
    pub(crate) lease: watch::Sender<Option<Lease>>,
    /// Starts of exclusive streams that came before their lease.
    pub(crate) unleased: AtomicU32,
}

/// Takes a stream off the list however its task ends.
struct Running<'a>(&'a Streams, String);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.lock().unwrap().retain(|name| *name != self.1);
    }
}

#[async_trait]
impl StreamHandler for Streams {
    async fn run(&self, job: Job) -> String {
        let (name, source) = (job.stream.to_string(), job.spec.source.clone());
        let start = (name.clone(), job.epoch.counter(), source.clone(), job.attempt);
        self.starts.lock().unwrap().push(start);
        self.running.lock().unwrap().push(name.clone());
        let _running = Running(self, name);
        let leased = self.lease.borrow().is_some_and(|lease| now() < lease.stop_at);
        if job.spec.ownership == Ownership::Exclusive && !leased {
            self.unleased.fetch_add(1, Ordering::Relaxed);
        }
        match source.as_str() {
            "fail" => return "eof".to_owned(),
            "panic" => panic!("boom"),
            _ => {}
        }
        if let Some(number) = source.strip_prefix("measured ") {
            job.meter.report(Performance {
                bytes_per_second: number.parse().ok(),
                ..Performance::default()
            });
        }
        for word in source.strip_prefix("say ").unwrap_or_default().split_whitespace() {
            job.log(LogFd::Stdout, word);
        }
        job.up().await;
        job.stop.cancelled().await;
        job.log(LogFd::Worker, "stopped");
        "stopped".to_owned()
    }

    fn guard(&self) -> Option<watch::Sender<Option<Lease>>> {
        self.guarded.then(|| self.lease.clone())
    }
}

impl Streams {
    pub(crate) fn starts(&self) -> Vec<Start> {
        self.starts.lock().unwrap().clone()
    }

    pub(crate) fn running(&self) -> Vec<String> {
        let mut running = self.running.lock().unwrap().clone();
        running.sort();
        running
    }

    /// Waits until exactly these run.
    pub(crate) async fn run_exactly(&self, names: &[&str]) {
        let reached = until(GENEROUS, async || match self.running() {
            running if running == names => Ok(()),
            running => Err(format!("{running:?} run, wanted are {names:?}")),
        });
        reached.await.unwrap();
    }
}

/// A worker that runs in this process.
pub(crate) struct TestWorker {
    pub(crate) streams: Arc<Streams>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), WorkerError>>,
    state_dir: Option<PathBuf>,
}

impl TestWorker {
    pub(crate) fn start(worker: &str, connect: ConnectSource, state_dir: Option<PathBuf>) -> Self {
        Self::start_with(worker, connect, state_dir, |_| {})
    }

    /// With settings that `change` has changed.
    pub(crate) fn start_with(
        worker: &str,
        connect: ConnectSource,
        state_dir: Option<PathBuf>,
        change: impl FnOnce(&mut SessionConfig),
    ) -> Self {
        let mut options = options(worker, connect, state_dir);
        change(&mut options.session);
        Self::run(options, true)
    }

    /// Whose streams nobody guards.
    pub(crate) fn start_unguarded(worker: &str, connect: ConnectSource) -> Self {
        Self::run(options(worker, connect, None), false)
    }

    fn run(options: WorkerOptions, guarded: bool) -> Self {
        let streams = Arc::new(Streams {
            starts: Mutex::default(),
            running: Mutex::default(),
            guarded,
            lease: watch::Sender::new(None),
            unleased: AtomicU32::new(0),
        });
        let shutdown = CancellationToken::new();
        let state_dir = options.state_dir.clone();
        let worker = Worker::new(options, streams.clone());
        let task = tokio::spawn(worker.run(shutdown.clone()));
        Self {
            streams,
            shutdown,
            task,
            state_dir,
        }
    }

    /// Waits for the end of `run`.
    pub(crate) async fn ended(self) -> Result<(), WorkerError> {
        tokio::time::timeout(GENEROUS, self.task).await.unwrap().unwrap()
    }

    /// Ends the worker as a crash would: without a word.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        // A write to the state folder that has begun cannot be aborted and holds its lock; a process would end with it.
        if let Some(folder) = &self.state_dir {
            let lock = File::open(folder.join("worker.lock")).unwrap();
            let free = until(GENEROUS, async || {
                lock.try_lock().map_err(|error| error.to_string())
            });
            free.await.unwrap();
        }
    }
}

/// A worker with short intervals, so that tests need not wait long.
fn options(worker: &str, connect: ConnectSource, state_dir: Option<PathBuf>) -> WorkerOptions {
    let capacity = Capacity {
        max_streams: 10,
        weight: 1.0,
    };
    let mut session = SessionConfig::new(WorkerId::new(worker).unwrap(), capacity);
    session.interval_ms = 100;
    session.backoff.base = Duration::from_millis(5);
    session.backoff.max = Duration::from_millis(20);
    WorkerOptions {
        session,
        connect,
        state_dir,
        session_id: None,
        host: None,
    }
}

pub(crate) fn urls(url: &str) -> ConnectSource {
    ConnectSource::Urls {
        urls: vec![url.to_owned()],
        prefix: "sk".to_owned(),
        access: Box::default(),
    }
}
