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

/// Stores ten times as many streams as `rows` in an empty database; then changes the assignments of `rows` of them, `runs`
/// times.
///
/// # Errors
/// When the database is not empty, or refuses something.
pub async fn store(url: &str, options: &StoreOptions, rows: u32, runs: u32) -> anyhow::Result<StoreFigures> {
    let store = SeaStore::open(url, options).await?;
    let term = Term::new(store.stored_term().await?.get() + 1)?;
    let fence = Fence { term, nonce: 1 };
    let lease = Duration::from_secs(15);
    let found = store.take_over(fence, lease).await?;
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
    let read = store.take_over(next, lease).await?;
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
    Ok(StreamId::new(format!("stream-{number:07}"))?)
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
