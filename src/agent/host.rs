//! The load of the agent's machine, measured again and again beside everything else.

use std::time::Duration;

use streamkeeper_worker::HostMetrics;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Time between two measurements.
const INTERVAL: Duration = Duration::from_secs(5);

/// Measures until the handle is aborted; the receiver always has the newest measurement, none before the first.
pub(crate) fn measure() -> (watch::Receiver<Option<HostMetrics>>, JoinHandle<()>) {
    let (sender, receiver) = watch::channel(None);
    let task = tokio::spawn(async move {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let mut system = match System::new_with_specifics(kinds) {
            Ok(system) => system,
            Err(error) => {
                tracing::warn!(%error, "the load of this machine cannot be measured; heartbeats go without it");
                return;
            }
        };
        // A share of time needs two looks.
        let mut pause = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            pause = INTERVAL;
            system.refresh_specifics(kinds);
            sender.send_replace(read(&system));
        }
    });
    (receiver, task)
}

fn read(system: &System) -> Option<HostMetrics> {
    Some(HostMetrics {
        cpu_share: (system.global_cpu_usage() / 100.0).clamp(0.0, 1.0),
        memory_used_bytes: system.used_memory(),
        memory_total_bytes: system.total_memory(),
        load1: System::load_average().ok()?.one as f32,
        cores: u32::try_from(system.cpus().len()).ok().filter(|cores| *cores > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_machine_has_memory_and_uses_some() {
        let (mut metrics, task) = measure();
        metrics.changed().await.unwrap();
        let metrics = metrics.borrow().unwrap();
        task.abort();
        assert!(
            metrics.memory_total_bytes > metrics.memory_used_bytes,
            "{metrics:?}"
        );
        assert!(metrics.memory_used_bytes > 1_000_000, "{metrics:?}");
        assert!((0.0..=1.0).contains(&metrics.cpu_share), "{metrics:?}");
        assert!(metrics.load1 >= 0.0);
        assert!(metrics.cores.is_some(), "{metrics:?}");
    }
}
