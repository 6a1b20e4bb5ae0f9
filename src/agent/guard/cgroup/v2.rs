//! Control groups of version 2: one tree for all controllers.
//!
//! A cgroup that passes limits on to its children may hold no processes itself. So where the agent's own cgroup holds
//! nothing but the agent and its guard, as a systemd unit with `Delegate=yes` does, both step aside into a child.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use streamkeeper_worker::WorkerId;

use super::{Folders, PERIOD_US, field, make, mount, place, write};
use crate::settings::Limits;

/// What the name of the cgroup begins with that the agent and its guard step aside into.
const OWN_PREFIX: &str = "sk-agent-";
/// Says how often a process was killed because memory was used up.
pub(super) const KILLS_FILE: &str = "memory.events";
const HOW: &str =
    "run the agent as a systemd unit with Delegate=yes, or in a container with a cgroup of its own";

/// Makes the cgroup `name` below that of this process, of the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
/// May move this process and its parent, the agent, into a cgroup of their own.
pub(super) fn prepare(
    own: &str,
    mounts: &str,
    name: &str,
    worker: &WorkerId,
    limits: Limits,
) -> Result<Folders, String> {
    let own = locate(own, mounts)?;
    // A guard that replaces another finds the agent where that one put it.
    let stepped_aside = own
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(OWN_PREFIX));
    let base = own.parent().filter(|_| stepped_aside).unwrap_or(&own);
    let agent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let own_processes = [agent.unsigned_abs(), std::process::id()];
    let aside = base.join(format!("{OWN_PREFIX}{worker}"));
    below(base, &aside, &own_processes, name, limits)
}

fn below(base: &Path, aside: &Path, own: &[u32], name: &str, limits: Limits) -> Result<Folders, String> {
    let wanted = controllers(&limits);
    enable(base, &wanted, |error| {
        if error.kind() == ErrorKind::ResourceBusy {
            step_aside(base, aside, own)
        } else {
            Err(format!("{}: cannot be changed: {error}; {HOW}", base.display()))
        }
    })?;
    let folder = base.join(name);
    make(&folder).map_err(|error| format!("{}: cannot be made: {error}; {HOW}", folder.display()))?;
    enable(&folder, &wanted, |error| {
        Err(format!("{}: cannot be changed: {error}", folder.display()))
    })?;
    Ok(Folders {
        memory: limits.memory_max.map(|_| folder.clone()),
        cpu: limits.cpu_max.map(|_| folder),
    })
}

pub(super) fn limit_memory(folder: &Path, bytes: u64) -> io::Result<()> {
    write(folder, "memory.max", &bytes.to_string())?;
    // Neither is there on every kernel. Without the first, a command swaps before it is killed; without the second,
    // one of its processes is killed instead of all.
    let _ = write(folder, "memory.swap.max", "0");
    let _ = write(folder, "memory.oom.group", "1");
    Ok(())
}

pub(super) fn limit_cpu(folder: &Path, quota: String) -> io::Result<()> {
    write(folder, "cpu.max", &format!("{quota} {PERIOD_US:.0}"))
}

/// Whether no process is in it; orders the death of those that are.
pub(super) fn clear(folder: &Path) -> bool {
    let populated = field(folder, "cgroup.events", "populated").unwrap_or(0) > 0;
    // Before Linux 5.14 there is no such order: then this proves nothing, and the guard's other looks have to do.
    !populated || write(folder, "cgroup.kill", "1").is_err()
}

/// The folder of the cgroup of this process, of the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn locate(cgroup: &str, mounts: &str) -> Result<PathBuf, String> {
    let none = || "this system has no cgroup version 2".to_owned();
    let path = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(none)?;
    let mounted = mount(mounts, |kind| kind.starts_with("cgroup2 ")).ok_or_else(none)?;
    place(path, mounted, HOW)
}

fn controllers(limits: &Limits) -> Vec<&'static str> {
    let memory = limits.memory_max.map(|_| "memory");
    let cpu = limits.cpu_max.map(|_| "cpu");
    memory.into_iter().chain(cpu).collect()
}

/// Passes controllers on to the children of a cgroup; tries once more if `remedy` says that this may help.
fn enable(
    folder: &Path,
    wanted: &[&str],
    remedy: impl FnOnce(io::Error) -> Result<(), String>,
) -> Result<(), String> {
    let words = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
    let lacks = |text: &str| {
        let mut missing = wanted
            .iter()
            .filter(|name| !text.split_whitespace().any(|word| word == **name));
        missing.next().copied()
    };
    if let Some(missing) = lacks(&words("cgroup.controllers")) {
        let place = folder.display();
        return Err(format!("the cgroup {place} has no controller {missing:?}; {HOW}"));
    }
    let file = folder.join("cgroup.subtree_control");
    if lacks(&words("cgroup.subtree_control")).is_none() {
        return Ok(());
    }
    let order: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
    let order = order.join(" ");
    if let Err(error) = fs::write(&file, &order) {
        remedy(error)?;
        fs::write(&file, &order).map_err(|error| format!("{}: {error}; {HOW}", file.display()))?;
    }
    Ok(())
}

/// Moves the agent and its guard out of a cgroup, if they are alone in it.
fn step_aside(base: &Path, aside: &Path, own: &[u32]) -> Result<(), String> {
    let problem = |error| format!("{}: {error}; {HOW}", aside.display());
    let processes = fs::read_to_string(base.join("cgroup.procs")).map_err(problem)?;
    let mut strangers = processes
        .lines()
        .filter(|line| !line.parse().is_ok_and(|pid| own.contains(&pid)));
    if let Some(stranger) = strangers.next() {
        let base = base.display();
        return Err(format!(
            "the cgroup {base} is shared with process {stranger}; {HOW}"
        ));
    }
    make(aside).map_err(problem)?;
    for pid in own {
        fs::write(aside.join("cgroup.procs"), pid.to_string()).map_err(problem)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
