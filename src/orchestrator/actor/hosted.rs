//! How a machine is built for its actor: with its settings.

use streamkeeper_core::alert_manager::AlertManager;
use streamkeeper_core::balancer::Balancer;
use streamkeeper_core::consistency_checker::ConsistencyChecker;
use streamkeeper_core::coordinator::Coordinator;
use streamkeeper_core::election::Election;
use streamkeeper_core::heartbeat_tracker::HeartbeatTracker;
use streamkeeper_core::recovery_manager::RecoveryManager;
use streamkeeper_core::revive::Revive;

use super::shell::Shell;

/// A machine that an actor can host.
pub(super) trait Hosted: Revive<Event: Send + 'static> + Sized + Unpin + 'static {
    /// An empty machine.
    fn build(shell: &Shell) -> Self;
}

impl Hosted for Election {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.id.clone(), shell.settings.election, rand::random())
    }
}

impl Hosted for Coordinator {
    fn build(shell: &Shell) -> Self {
        // Who waited for an answer of the former one learns that nobody knows.
        shell.replies.forget_all();
        Self::new(shell.settings.coordinator)
    }
}

impl Hosted for HeartbeatTracker {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.settings.heartbeat_tracker)
    }
}

impl Hosted for Balancer {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.settings.balancer)
    }
}

impl Hosted for ConsistencyChecker {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.settings.consistency_checker)
    }
}

impl Hosted for RecoveryManager {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.settings.recovery_manager)
    }
}

impl Hosted for AlertManager {
    fn build(shell: &Shell) -> Self {
        Self::new(shell.settings.alert_manager)
    }
}
