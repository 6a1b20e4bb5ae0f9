//! Tells as events where circuit breakers stand.

use std::sync::Arc;

use streamkeeper_core::notice::Notice;

use super::shell::Shell;

/// Tells every change. Of changes that follow each other quickly, the newest alone.
pub(super) async fn tell(shell: Arc<Shell>) {
    let mut watch = shell.ports.breakers.watch();
    let mut told = watch.borrow_and_update().clone();
    while watch.changed().await.is_ok() {
        let now = watch.borrow_and_update().clone();
        for (dependency, status) in &now {
            if told.get(dependency).map(|told| told.state) == Some(status.state) {
                continue;
            }
            shell.notice(&Notice::BreakerChanged {
                dependency,
                state: status.state.as_str(),
                reason: status.reason.clone().unwrap_or_default(),
            });
        }
        told = now;
    }
}
