//! What `streamkeeper bench` measures inside of this crate, on the same code path as a running orchestrator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use streamkeeper_core::record::{Assignment, AssignmentWrite, Fence, Persisted, StreamWrite, WriteBatch};
use streamkeeper_core::spec::StreamSpec;
use streamkeeper_protocol::{Epoch, SessionId, StreamId, Term, WorkerId};

use crate::adapter::store::{SeaStore, StoreOptions};
use crate::port::Store;

/// Streams that are stored for each that is changed.
const STORED_PER_CHANGED: u32 = 10;
/// Streams of one batch while the database is filled.
const BATCH: u32 = 20_000;
/// Workers that the streams are on.
const WORKERS: u32 = 1_000;
/// Bytes of a stream's source.
const SOURCE_BYTES: usize = 120;
/// As long as a lease is by default.
const LEASE: Duration = Duration::from_secs(15);

/// What the store did.
#[derive(Debug)]
pub struct StoreFigures {
    /// Streams that are stored.
    pub stored: u32,
    /// How long each transaction of `rows` changed assignments took, in their order.
    pub changes: Vec<Duration>,
    /// How long the takeover took that reads everything.
    pub take_over: Duration,
}

/// Streams on workers that run nothing: stream n is on worker n modulo their number.
#[derive(Debug, Clone, Copy)]
pub struct Fleet {
    /// How many streams are stored.
    pub streams: u32,
    /// How many workers they are on.
    pub workers: u32,
    /// The term under which all of them were granted.
    pub term: Term,
}

impl Fleet {
    /// The one life of a worker.
    #[must_use]
    pub fn session(&self, worker: u32) -> SessionId {
        SessionId::from_u128(u128::from(worker) + 1)
    }

    /// The streams of a worker and their epochs, sorted by name.
    pub fn of_worker(self, worker: u32) -> impl Iterator<Item = (StreamId, Epoch)> {
        let step = self.workers.max(1) as usize;
        (worker..self.streams)
            .step_by(step)
            .filter_map(move |number| Some((name(number).ok()?, Epoch::new(self.term, number + 1))))
    }
}

/// Stores streams with a long source and three labels, one of which few others have, and their assignments to workers.
///
/// # Errors
/// When the database cannot be opened or refuses something.
pub async fn fill(url: &str, options: &StoreOptions, streams: u32, workers: u32) -> anyhow::Result<Fleet> {
    let store = SeaStore::open(url, options).await?;
    let term = Term::new(store.stored_term().await?.get() + 1)?;
    let fence = Fence { term, nonce: 1 };
    let fleet = Fleet {
        streams,
        workers,
        term,
    };
    if streams > 0 {
        store.take_over(fence, LEASE).await?;
    }
    for first in (0..streams).step_by(BATCH as usize) {
        let numbers = first..streams.min(first.saturating_add(BATCH));
        let specs: anyhow::Result<Vec<_>> = numbers
            .clone()
            .map(|number| spec(number).map(StreamWrite::Put))
            .collect();
        let assignments: anyhow::Result<Vec<_>> = numbers.map(|number| granted(&fleet, number)).collect();
        let batch = WriteBatch {
            streams: specs?,
            assignments: assignments?,
            ..WriteBatch::default()
        };
        committed(store.persist(fence, &batch).await)?;
    }
    store.close().await?;
    Ok(fleet)
}

fn spec(number: u32) -> anyhow::Result<StreamSpec> {
    let source = format!("http://source-{number:07}.example.org/live/");
    let mut spec = StreamSpec::new(name(number)?, format!("{source:x<SOURCE_BYTES$}"));
    for (key, value) in [
        ("region", format!("region-{}", number % 8)),
        ("codec", format!("codec-{}", number % 4)),
        ("owner", format!("customer-{:06}", number / 10)),
    ] {
        spec.labels.insert(key.to_owned(), value);
    }
    Ok(spec)
}

fn granted(fleet: &Fleet, number: u32) -> anyhow::Result<AssignmentWrite> {
    let worker = number % fleet.workers.max(1);
    Ok(AssignmentWrite::Put {
        stream: name(number)?,
        assignment: Assignment {
            worker: WorkerId::new(worker_name(worker))?,
            session: fleet.session(worker),
            epoch: Epoch::new(fleet.term, number + 1),
        },
    })
}

/// How a stream of a bench is called.
#[must_use]
pub fn stream_name(number: u32) -> String {
    format!("stream-{number:07}")
}

/// How a worker of a bench is called.
#[must_use]
pub fn worker_name(number: u32) -> String {
    format!("worker-{number:07}")
}

/// Stores ten times as many streams as `rows` in an empty database; then changes the assignments of `rows` of them, `runs`
/// times.
///
/// # Errors
/// When the database is not empty, or refuses something.
pub async fn store(url: &str, options: &StoreOptions, rows: u32, runs: u32) -> anyhow::Result<StoreFigures> {
    let store = SeaStore::open(url, options).await?;
    let term = Term::new(store.stored_term().await?.get() + 1)?;
    let fence = Fence { term, nonce: 1 };
    let found = store.take_over(fence, LEASE).await?;
    if !found.loaded.streams.is_empty() || !found.loaded.assignments.is_empty() {
        bail!("the database is in use already; name an empty one");
    }
    let stored = rows.saturating_mul(STORED_PER_CHANGED);
    for first in (0..stored).step_by(BATCH as usize) {
        let numbers = first..stored.min(first.saturating_add(BATCH));
        let streams: anyhow::Result<Vec<_>> = numbers
            .clone()
            .map(|number| {
                Ok(StreamWrite::Put(StreamSpec::new(
                    name(number)?,
                    "http://source/stream",
                )))
            })
            .collect();
        let batch = WriteBatch {
            streams: streams?,
            assignments: changed(numbers, 1, Epoch::new(term, 1))?,
            ..WriteBatch::default()
        };
        committed(store.persist(fence, &batch).await)?;
    }
    let mut changes = Vec::new();
    for run in 0..runs {
        // Spread over the table, another part each time.
        let numbers = (0..rows).map(|row| row * STORED_PER_CHANGED + run % STORED_PER_CHANGED);
        let batch = WriteBatch {
            assignments: changed(numbers, run + 2, Epoch::new(term, run + 2))?,
            ..WriteBatch::default()
        };
        let start = Instant::now();
        let outcome = store.persist(fence, &batch).await;
        changes.push(start.elapsed());
        committed(outcome)?;
    }
    let start = Instant::now();
    let next = Fence {
        term: Term::new(term.get() + 1)?,
        nonce: 2,
    };
    let read = store.take_over(next, LEASE).await?;
    let take_over = start.elapsed();
    let count = u32::try_from(read.loaded.assignments.len()).context("more assignments than were stored")?;
    if count != stored {
        bail!("{count} assignments are stored, not {stored}");
    }
    store.close().await?;
    Ok(StoreFigures {
        stored,
        changes,
        take_over,
    })
}

fn name(number: u32) -> anyhow::Result<StreamId> {
    Ok(StreamId::new(stream_name(number))?)
}

fn changed(
    numbers: impl Iterator<Item = u32>,
    shift: u32,
    epoch: Epoch,
) -> anyhow::Result<Vec<AssignmentWrite>> {
    numbers
        .map(|number| {
            let assignment = Assignment {
                worker: WorkerId::new(format!("worker-{}", (number + shift) % WORKERS))?,
                session: SessionId::from_u128(u128::from(shift)),
                epoch,
            };
            let stream = name(number)?;
            Ok(AssignmentWrite::Put { stream, assignment })
        })
        .collect()
}

fn committed(outcome: Persisted) -> anyhow::Result<()> {
    match outcome {
        Persisted::Committed { refused } if refused.is_empty() => Ok(()),
        other => bail!("the database did not store a batch: {other:?}"),
    }
}
