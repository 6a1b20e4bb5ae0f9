//! What commands use, with everything in their process groups: measured for all of them in one look at the machine's
//! processes, because a look for each would cost more than many of the commands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use streamkeeper_worker::{Meter, Performance};
use tokio::task::JoinHandle;

use crate::process::{self, GroupUsage};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(10);

/// The commands that are measured. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usage(Arc<Mutex<HashMap<i32, Measured>>>);

/// Ends the measuring of one command when it is dropped.
pub(crate) struct Watch {
    usage: Usage,
    group: i32,
}

#[derive(Debug)]
struct Measured {
    meter: Meter,
    at: Instant,
    cpu: Duration,
}

impl Usage {
    /// Measures until the handle is aborted.
    pub(crate) fn measure() -> (Self, JoinHandle<()>) {
        let usage = Self::default();
        let measuring = usage.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let usage = measuring.clone();
                // Thousands of small files.
                let looked = tokio::task::spawn_blocking(move || usage.look()).await;
                if let Err(error) = looked {
                    tracing::warn!(%error, "what commands use cannot be measured; it is tried again");
                }
            }
        });
        (usage, task)
    }

    /// Measures a command from its start on. `group` is the number of its process group, its own first process.
    pub(crate) fn watch(&self, group: i32, meter: Meter) -> Watch {
        let measured = Measured {
            meter,
            at: Instant::now(),
            cpu: Duration::ZERO,
        };
        self.commands().insert(group, measured);
        Watch {
            usage: self.clone(),
            group,
        }
    }

    fn look(&self) {
        if self.commands().is_empty() {
            return;
        }
        let groups = process::usage_of_groups();
        self.take(Instant::now(), &groups);
    }

    fn take(&self, now: Instant, groups: &HashMap<i32, GroupUsage>) {
        for (group, command) in self.commands().iter_mut() {
            // Without a process it ends just now.
            let Some(usage) = groups.get(group) else {
                continue;
            };
            let passed = now.saturating_duration_since(command.at).as_secs_f32();
            // A process that left the group took its time along.
            let used = usage.cpu.saturating_sub(command.cpu).as_secs_f32();
            command.meter.report(Performance {
                // More digits would only look exact.
                cpu_cores: (passed > 0.0).then(|| (used / passed * 1_000.0).round() / 1_000.0),
                memory_bytes: Some(usage.memory_bytes),
                ..Performance::default()
            });
            (command.at, command.cpu) = (now, usage.cpu);
        }
    }

    fn commands(&self) -> MutexGuard<'_, HashMap<i32, Measured>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.usage.commands().remove(&self.group);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// What the meter was told.
    fn told(meter: &Meter) -> Performance {
        meter.last().unwrap_or_default()
    }

    #[test]
    fn the_share_of_a_processor_is_that_of_the_time_between_two_looks() {
        let usage = Usage::default();
        let meter = Meter::default();
        let watch = usage.watch(7, meter.clone());
        let start = usage.commands()[&7].at;
        let at = |seconds: u64, cpu_ms: u64, memory_bytes: u64| {
            let cpu = Duration::from_millis(cpu_ms);
            let groups = HashMap::from([(7, GroupUsage { cpu, memory_bytes })]);
            usage.take(start + Duration::from_secs(seconds), &groups);
            (told(&meter).cpu_cores, told(&meter).memory_bytes)
        };
        assert_eq!(at(10, 5_000, 100), (Some(0.5), Some(100)));
        assert_eq!(at(20, 25_000, 300), (Some(2.0), Some(300)));
        assert_eq!(at(30, 20_000, 200), (Some(0.0), Some(200)), "one left");
        usage.take(start + Duration::from_secs(40), &HashMap::new());
        assert_eq!(told(&meter).memory_bytes, Some(200), "nothing new");
        drop(watch);
        assert!(usage.commands().is_empty());
    }

    #[test]
    fn a_group_is_measured_with_all_its_processes() {
        // One holds memory, one burns processor time, both in the group of the shell.
        let script = "head -c 40000000 /dev/zero | tail -c 40000000 | (sleep 1000; cat) & \
            while :; do :; done & wait";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = i32::try_from(child.id()).unwrap();
        let meter = Meter::default();
        let usage = Usage::default();
        let _watch = usage.watch(group, meter.clone());
        let start = Instant::now();
        let fits = loop {
            usage.look();
            let told = told(&meter);
            let works = told.cpu_cores.is_some_and(|cores| cores > 0.0);
            let fits = works && told.memory_bytes.is_some_and(|bytes| bytes > 35_000_000);
            if fits || start.elapsed() > Duration::from_secs(60) {
                break fits;
            }
            std::thread::yield_now();
        };
        process::signal_group(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::KILL,
        );
        child.wait().unwrap();
        assert!(fits, "{:?}", told(&meter));
    }
}
