//! Control groups of version 1: a tree for each controller. A cgroup may hold processes and cgroups at once, so nobody
//! has to step aside, and none of its processes is killed by one order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use super::{Folders, PERIOD_US, make, mount, place, write};
use crate::settings::Limits;

/// Says how often a process was killed because memory was used up.
pub(super) const KILLS_FILE: &str = "memory.oom_control";
const HOW: &str = "run the agent as a user who may change it, or in a container with a cgroup of its own";

/// Makes the cgroups `name` below those of this process, of the texts of `/proc/self/cgroup` and
/// `/proc/self/mountinfo`; none where a controller that is needed is not of version 1.
pub(super) fn prepare(
    own: &str,
    mounts: &str,
    name: &str,
    limits: Limits,
) -> Result<Option<Folders>, String> {
    let mut folders = Folders::default();
    for (wanted, controller, folder) in [
        (limits.memory_max.is_some(), "memory", &mut folders.memory),
        (limits.cpu_max.is_some(), "cpu", &mut folders.cpu),
    ] {
        if wanted {
            let Some(base) = locate(own, mounts, controller)? else {
                return Ok(None);
            };
            *folder = Some(base.join(name));
        }
    }
    for folder in folders.each() {
        make(folder).map_err(|error| format!("{}: cannot be made: {error}; {HOW}", folder.display()))?;
    }
    Ok(Some(folders))
}

/// The folder of the cgroup of this process for one controller.
fn locate(own: &str, mounts: &str, controller: &str) -> Result<Option<PathBuf>, String> {
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = fields.next().zip(fields.next())?;
        has(controllers).then_some(path)
    });
    let mounted = mount(mounts, |kind| {
        let mut fields = kind.split(' ');
        fields.next() == Some("cgroup") && fields.nth(1).is_some_and(has)
    });
    match path.zip(mounted) {
        Some((path, mounted)) => place(path, mounted, HOW).map(Some),
        None => Ok(None),
    }
}

pub(super) fn limit_memory(folder: &Path, bytes: u64) -> io::Result<()> {
    write(folder, "memory.limit_in_bytes", &bytes.to_string())?;
    // Not there on every kernel. Without it, a command swaps before it is killed.
    let _ = write(folder, "memory.memsw.limit_in_bytes", &bytes.to_string());
    Ok(())
}

pub(super) fn limit_cpu(folder: &Path, quota: String) -> io::Result<()> {
    write(folder, "cpu.cfs_period_us", &format!("{PERIOD_US:.0}"))?;
    write(folder, "cpu.cfs_quota_us", &quota)
}

/// Whether no process is in it; kills those that are, one by one. Who is quicker to fork is met again at the next look.
pub(super) fn clear(folder: &Path) -> bool {
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let found = processes
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?));
    for process in found {
        let _ = rustix::process::kill_process(process, Signal::KILL);
    }
    processes.is_empty()
}

#[cfg(test)]
#[path = "v1_tests.rs"]
mod tests;
