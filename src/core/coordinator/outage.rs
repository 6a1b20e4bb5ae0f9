//! A database that does not take what is to be stored: readers see since when, and why.

use std::sync::Arc;

use super::Coordinator;
use crate::cluster::Outage;
use crate::time::Timestamp;

impl Coordinator {
    /// A transaction failed, or got no answer.
    pub(super) fn outage(&mut self, now: Timestamp, reason: &str) {
        let since = self.cluster.outage.as_ref().map_or(now, |outage| outage.since);
        let reason = reason.to_owned();
        self.cluster.outage = Some(Arc::new(Outage { since, reason }));
        self.dirty = true;
    }

    /// A transaction was stored.
    pub(super) fn outage_over(&mut self) {
        self.dirty |= self.cluster.outage.take().is_some();
    }
}
