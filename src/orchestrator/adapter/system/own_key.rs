//! The leader's key of an orchestrator that has no rival, because it holds the lock of the data folder that every rival
//! would need: in memory, and gone with the process, as the lock is.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use streamkeeper_core::election::{Found, WriteOutcome};
use streamkeeper_protocol::LeaderRecord;

use crate::port::LeaderKey;

/// The key.
#[derive(Debug, Default)]
pub struct OwnKey {
    held: Mutex<Option<(u64, LeaderRecord)>>,
}

#[async_trait]
impl LeaderKey for OwnKey {
    async fn read(&self) -> Found {
        match &*self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((revision, record)) => Found::Record {
                revision: *revision,
                record: record.clone(),
            },
            None => Found::Absent { revision: 0 },
        }
    }

    async fn write(&self, record: &LeaderRecord, expect: u64) -> WriteOutcome {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let present = held.as_ref().map_or(0, |(revision, _)| *revision);
        if present != expect {
            return WriteOutcome::Conflict;
        }
        let revision = present + 1;
        *held = Some((revision, record.clone()));
        WriteOutcome::Stored { revision }
    }

    /// Nobody else writes it.
    async fn changed(&self) {
        std::future::pending().await
    }
}
