//! What a user of the SDK writes: how one stream is run.

use std::sync::Arc;

use async_trait::async_trait;
use streamkeeper_protocol::{Epoch, LogFd, LogLine, RunSpec, StreamId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::driver::wall_ms;
use crate::logs::StreamLog;
use crate::meter::Meter;
use crate::session::Lease;

/// Runs streams. One handler serves all streams of a worker; `run` is called once per start, on its own task.
#[async_trait]
pub trait StreamHandler: Send + Sync + 'static {
    /// Runs one stream until it ends by itself or [`Job::stop`] is cancelled.
    ///
    /// When this returns, nothing of the stream may run any more: the return is what the leader takes as proof that the
    /// stream is free. A return without a cancelled `stop` is a failure of the stream; the text says why, and the
    /// session starts it again with backoff. A panic counts as a failure too.
    async fn run(&self, job: Job) -> String;

    /// Where the runner learns until when it may run `exclusive` streams; `None`, the default, says that it runs none.
    ///
    /// A leader gives an exclusive stream to another worker as soon as the lease of its owner has ended, heard or not. So
    /// whoever returns a sender promises that something *outside this process*, which may be frozen or killed at any
    /// moment, ends every stream whose [`Job::spec`] is exclusive: it orders the end at [`Lease::stop_at`], and at
    /// [`Lease::kill_at`] it kills what is left, on the clock of [`crate::now`]. A lease that was renewed too late helps
    /// nothing that was already ordered to end. A thread or a task is no guard: it is frozen with its process.
    ///
    /// The newest lease is always there before a [`StreamHandler::run`] that needs it is called.
    ///
    /// ```
    /// use async_trait::async_trait;
    /// use streamkeeper_worker::{Job, Lease, StreamHandler};
    /// use tokio::sync::watch;
    ///
    /// /// Runs streams by a helper process.
    /// struct Helper {
    ///     lease: watch::Sender<Option<Lease>>,
    /// }
    ///
    /// impl Helper {
    ///     /// Tells the helper each lease; it has a timer of its own.
    ///     fn start(mut stdin: impl tokio::io::AsyncWrite + Unpin + Send + 'static) -> Self {
    ///         use tokio::io::AsyncWriteExt;
    ///
    ///         let (lease, mut leases) = watch::channel(None::<Lease>);
    ///         tokio::spawn(async move {
    ///             while leases.changed().await.is_ok() {
    ///                 let newest = *leases.borrow_and_update();
    ///                 let Some(Lease { stop_at, kill_at }) = newest else { continue };
    ///                 let line = format!("lease {} {}\n", stop_at.0, kill_at.0);
    ///                 if stdin.write_all(line.as_bytes()).await.is_err() {
    ///                     return;
    ///                 }
    ///             }
    ///         });
    ///         Self { lease }
    ///     }
    /// }
    ///
    /// #[async_trait]
    /// impl StreamHandler for Helper {
    ///     async fn run(&self, job: Job) -> String {
    ///         # let _ = job;
    ///         // Orders the start, with the lease where the stream is exclusive, and waits for the end.
    ///         # "ended".to_owned()
    ///     }
    ///
    ///     fn guard(&self) -> Option<watch::Sender<Option<Lease>>> {
    ///         Some(self.lease.clone())
    ///     }
    /// }
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let helper = Helper::start(tokio::io::sink());
    /// assert!(helper.guard().is_some(), "this worker may be granted exclusive streams");
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn guard(&self) -> Option<watch::Sender<Option<Lease>>> {
        None
    }
}

/// One start of one stream.
#[derive(Debug)]
pub struct Job {
    /// The stream.
    pub stream: StreamId,
    /// The assignment under which it runs: hand it to the stream's sinks, so that they can refuse an older owner.
    pub epoch: Epoch,
    /// What to run.
    pub spec: RunSpec,
    /// How often it was restarted under this epoch.
    pub attempt: u32,
    /// Cancelled when the stream has to end.
    pub stop: CancellationToken,
    /// Where to tell what it uses and gives, if that is measured.
    pub meter: Meter,
    pub(crate) up: mpsc::Sender<(StreamId, Epoch)>,
    pub(crate) log: Arc<StreamLog>,
}

impl Job {
    /// Tells that the stream runs. Until then it counts as starting.
    pub async fn up(&self) {
        // The receiver is gone only when the whole worker ends.
        let _ = self.up.send((self.stream.clone(), self.epoch)).await;
    }

    /// Keeps what the stream wrote, for people who ask for it (`streamkeeper streams logs`). Never waits: of each stream
    /// only the newest lines are kept, also beyond the end of this run. Secrets should not be in it.
    ///
    /// ```no_run
    /// # fn example(job: &streamkeeper_worker::Job) {
    /// use streamkeeper_worker::LogFd;
    ///
    /// job.log(LogFd::Worker, "connected to 10.0.0.7");
    /// # }
    /// ```
    pub fn log(&self, fd: LogFd, text: &str) {
        for text in text.lines().filter(|text| !text.trim().is_empty()) {
            self.log.write(LogLine {
                number: 0,
                at_ms: wall_ms(),
                epoch: self.epoch,
                fd,
                text: text.to_owned(),
            });
        }
    }

    /// Counts lines that the stream wrote and that were lost before they came here: readers are told how many.
    pub fn log_dropped(&self, lines: u64) {
        self.log.skip(lines);
    }
}
