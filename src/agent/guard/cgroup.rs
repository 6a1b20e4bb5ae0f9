//! Limits of commands, by the kernel's control groups (version 2): each command has a cgroup of its own below the
//! agent's.
//!
//! A cgroup that passes limits on to its children may hold no processes itself. So where the agent's own cgroup holds
//! nothing but the agent and this guard, as a systemd unit with `Delegate=yes` does, both step aside into a child.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use streamkeeper_worker::WorkerId;

use crate::settings::{Bytes, Limits};

/// What the name of the cgroup begins with that the agent and its guard step aside into.
const OWN_PREFIX: &str = "sk-agent-";
/// What the name of the cgroup begins with that holds a worker's commands.
const WORKER_PREFIX: &str = "sk-";
/// The kernel's period for processor time, in microseconds.
const PERIOD_US: f64 = 100_000.0;
/// Least processor time in a period that the kernel takes, in microseconds.
const LEAST_QUOTA_US: f64 = 1_000.0;
const HOW: &str =
    "run the agent as a systemd unit with Delegate=yes, or in a container with a cgroup of its own";

/// Makes a cgroup for each command.
#[derive(Debug)]
pub(super) struct Cgroups {
    folder: PathBuf,
    limits: Limits,
}

/// The cgroup of one command; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    memory_max: Option<u64>,
}

impl Cgroups {
    /// Makes the cgroup of the worker, empty of what its former life left. May move this process and its parent, the
    /// agent, into a cgroup of their own.
    pub(super) fn prepare(worker: &WorkerId, limits: Limits) -> Result<Self, String> {
        let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let own = locate(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)?;
        // A guard that replaces another finds the agent where that one put it.
        let stepped_aside = own
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(OWN_PREFIX));
        let base = own.parent().filter(|_| stepped_aside).unwrap_or(&own);
        let agent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let own_processes = [agent.unsigned_abs(), std::process::id()];
        Self::below(base, &own_processes, worker, limits)
    }

    fn below(base: &Path, own: &[u32], worker: &WorkerId, limits: Limits) -> Result<Self, String> {
        let wanted = controllers(&limits);
        let aside = base.join(format!("{OWN_PREFIX}{worker}"));
        enable(base, &wanted, |error| {
            if error.kind() == ErrorKind::ResourceBusy {
                step_aside(base, &aside, own)
            } else {
                Err(format!("{}: cannot be changed: {error}; {HOW}", base.display()))
            }
        })?;
        let folder = base.join(format!("{WORKER_PREFIX}{worker}"));
        make(&folder).map_err(|error| format!("{}: cannot be made: {error}; {HOW}", folder.display()))?;
        enable(&folder, &wanted, |error| {
            Err(format!("{}: cannot be changed: {error}", folder.display()))
        })?;
        remove_children(&folder);
        Ok(Self { folder, limits })
    }

    /// A cgroup for one command. Its name is one that none had before: a former one may be there still.
    pub(super) fn create(&self, name: &str, key: u64) -> Result<Cgroup, String> {
        let folder = self.folder.join(format!("{name}-{}-{key}", std::process::id()));
        let failed = |error| {
            format!(
                "cgroup {}: {error}; start the agent again, or without limits",
                folder.display()
            )
        };
        fs::create_dir(&folder).map_err(failed)?;
        let cgroup = Cgroup {
            folder: folder.clone(),
            memory_max: self.limits.memory_max,
        };
        if let Some(bytes) = self.limits.memory_max {
            cgroup.write("memory.max", &bytes.to_string()).map_err(failed)?;
            // Neither is there on every kernel. Without the first, a command swaps before it is killed; without the
            // second, one of its processes is killed instead of all.
            let _ = cgroup.write("memory.swap.max", "0");
            let _ = cgroup.write("memory.oom.group", "1");
        }
        if let Some(processors) = self.limits.cpu_max {
            cgroup.write("cpu.max", &quota(processors)).map_err(failed)?;
        }
        Ok(cgroup)
    }
}

impl Cgroup {
    /// For the process that joins it.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether no process is in it; orders the death of those that are. Not even a process that left its group, its
    /// parent and its environment leaves its cgroup.
    pub(super) fn clear(&self) -> bool {
        let populated = self.field("cgroup.events", "populated").unwrap_or(0) > 0;
        // Before Linux 5.14 there is no such order: then this proves nothing, and the guard's other looks have to do.
        !populated || self.write("cgroup.kill", "1").is_err()
    }

    /// That the kernel killed a process of it because its memory was used up.
    pub(super) fn out_of_memory(&self) -> Option<String> {
        let limit = Bytes(self.memory_max?);
        let kills = self.field("memory.events", "oom_kill")?;
        (kills > 0).then(|| format!("out of memory: more than {limit} (--memory-max) was needed"))
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.folder.join(file), text)
    }

    fn field(&self, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.parse().ok()
    }
}

impl Drop for Cgroup {
    /// What cannot be removed now is removed in the worker's next life.
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The folder of the cgroup of this process, of the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn locate(cgroup: &str, mounts: &str) -> Result<PathBuf, String> {
    let none = || "this system has no cgroup version 2".to_owned();
    let path = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(none)?;
    let mut roots = mounts.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let root_and_point = fields.next().zip(fields.next());
        root_and_point.filter(|_| kind.starts_with("cgroup2 "))
    });
    let (root, point) = roots.next().ok_or_else(none)?;
    let below = Path::new(path)
        .strip_prefix(root)
        .map_err(|_| format!("the cgroup {path} of this process is not below the mounted {root}; {HOW}"))?;
    Ok(Path::new(point).join(below))
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

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Those of a former life. One that cannot be removed does no harm.
fn remove_children(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn quota(processors: f64) -> String {
    let quota = (processors * PERIOD_US).round().max(LEAST_QUOTA_US);
    format!("{quota:.0} {PERIOD_US:.0}")
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
