//! The end of exclusive commands with their worker's lease, whatever the agent does: it may be frozen or killed
//! (OWNERSHIP rule 2).

use std::time::Duration;

use rustix::process::Signal;
use streamkeeper_worker::{Lease, Millis, now};
use tokio::time::Instant;

use super::ward::{Ward, Wards};
use crate::process;

/// Timers stand still while the machine is suspended, the clock of leases does not: so late at most is a lease's end
/// seen after that.
const MAX_NAP: Duration = Duration::from_millis(100);

impl Wards {
    /// Until when exclusive commands may run, from now on. It comes too late for those whose lease ended before.
    pub(super) fn renew(&mut self, lease: Lease) {
        self.lapse();
        self.lease = Some(lease);
    }

    /// Whether an exclusive command may be started.
    pub(super) fn is_leased(&self) -> bool {
        self.lease.is_some_and(|lease| now() < lease.stop_at)
    }

    /// When to look next whether an exclusive command is to be ended.
    pub(super) fn next_lapse(&self, at: Instant) -> Option<Instant> {
        let stop_at = self.lease.map(|lease| lease.stop_at);
        let next = |ward: &Ward| match ward.lease_kill_at {
            Some(kill_at) => Some(kill_at).filter(|_| !ward.overdue),
            None => stop_at,
        };
        let exclusive = self
            .wards
            .values()
            .filter(|ward| ward.exclusive && ward.status.is_none());
        let left = exclusive.filter_map(next).min()?.since(now());
        Some(at + Duration::from_millis(left).min(MAX_NAP))
    }

    /// Orders exclusive commands to end whose lease has ended.
    pub(super) fn lapse(&mut self) {
        let ended = self.lease.filter(|lease| lease.stop_at <= now());
        let Some(Lease { kill_at, .. }) = ended else {
            return;
        };
        for ward in self.wards.values_mut().filter(|ward| ward.exclusive) {
            ward.lapse(kill_at);
        }
    }
}

impl Ward {
    /// Its lease has ended.
    fn lapse(&mut self, kill_at: Millis) {
        if self.status.is_some() || self.lease_kill_at.is_some() {
            return;
        }
        if self.kill_at.is_none() && !self.overdue {
            process::signal_group(self.leader, Signal::TERM);
        }
        self.lease_kill_at = Some(kill_at);
    }

    pub(super) fn is_due(&self, at: Instant) -> bool {
        let by_lease = self.lease_kill_at.is_some_and(|at| at <= now());
        self.kill_at.is_some_and(|kill_at| kill_at <= at) || (by_lease && !self.overdue)
    }
}
