//! The key that leading means to hold.

use async_trait::async_trait;
use streamkeeper_core::election::{Found, WriteOutcome};
use streamkeeper_protocol::LeaderRecord;

/// One key with compare-and-set. Every call ends in bounded time.
#[async_trait]
pub trait LeaderKey: Send + Sync + 'static {
    /// Looks at the key.
    async fn read(&self) -> Found;

    /// Writes the key if it has the expected revision; 0: there must never have been one.
    async fn write(&self, record: &LeaderRecord, expect: u64) -> WriteOutcome;

    /// Waits until the key may have changed, or can be reached again. May end without a reason.
    async fn changed(&self);
}
