//! The worker SDK: write how one stream is run, and the fleet's leader decides which streams run here.
//!
//! A [`Worker`] connects, tells the leader what it runs and carries out what it is told: each start calls
//! [`StreamHandler::run`] on a task of its own, each stop cancels [`Job::stop`], and what ends by itself is started
//! again with backoff. Streams go on while the leader or the message server is away; with a state folder
//! ([`WorkerOptions::state_dir`]) `available` ones also come back when the worker restarts meanwhile. What a handler
//! gives to [`Job::log`] is shown by `streamkeeper streams logs`.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use streamkeeper_worker::{
//!     Capacity, ConnectSource, Job, SessionConfig, StreamHandler, Worker, WorkerId, WorkerOptions,
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! /// Holds a connection to each source.
//! struct Listener;
//!
//! #[async_trait]
//! impl StreamHandler for Listener {
//!     async fn run(&self, job: Job) -> String {
//!         let connection = match tokio::net::TcpStream::connect(&job.spec.source).await {
//!             Ok(connection) => connection,
//!             Err(error) => return format!("{}: {error}", job.spec.source),
//!         };
//!         job.up().await;
//!         tokio::select! {
//!             () = job.stop.cancelled() => "stopped".to_owned(),
//!             ended = connection.readable() => format!("the source ended: {ended:?}"),
//!         }
//!     }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let capacity = Capacity { max_streams: 100, weight: 1.0 };
//! let options = WorkerOptions {
//!     session: SessionConfig::new(WorkerId::new("listener-1")?, capacity),
//!     connect: ConnectSource::Urls {
//!         urls: vec!["nats://127.0.0.1:4222".to_owned()],
//!         prefix: "sk".to_owned(),
//!         access: Box::default(),
//!     },
//!     state_dir: Some("state".into()),
//!     session_id: None,
//!     host: None,
//! };
//! let shutdown = CancellationToken::new();
//! Worker::new(options, Arc::new(Listener)).run(shutdown).await?;
//! # Ok(())
//! # }
//! ```

pub mod connect;
pub mod driver;
pub mod handler;
mod logs;
pub mod meter;
pub mod session;

pub use connect::{ConnectError, ConnectSource};
pub use driver::{Identity, Worker, WorkerError, WorkerOptions, now, send_farewell};
pub use handler::{Job, StreamHandler};
pub use meter::Meter;
pub use session::{Command, Event, Lease, Millis, SavedSet, SavedStream, Session, SessionConfig};
pub use streamkeeper_access::{Access, Naming};
pub use streamkeeper_protocol::{
    Capacity, Epoch, HostMetrics, IdError, LogFd, Ownership, Performance, RunSpec, SessionId, StreamId,
    WorkerId,
};
