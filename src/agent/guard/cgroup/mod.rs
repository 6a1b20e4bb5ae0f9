//! Limits of commands, by the kernel's control groups: each command has a cgroup of its own below the agent's.
//!
//! Version 2 has one tree for all controllers, version 1 one for each. A system may have both, with each controller in
//! one of them.

mod v1;
mod v2;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use streamkeeper_worker::WorkerId;

use crate::settings::{Bytes, Limits};

/// What the name of the cgroup begins with that holds a worker's commands.
const WORKER_PREFIX: &str = "sk-";
/// The kernel's period for processor time, in microseconds.
const PERIOD_US: f64 = 100_000.0;
/// Least processor time in a period that the kernel takes, in microseconds.
const LEAST_QUOTA_US: f64 = 1_000.0;

/// Where each controller that is needed has its cgroup; in version 2 it is the same for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Folders {
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Makes a cgroup for each command. When it is dropped, the worker's own is removed too.
#[derive(Debug)]
pub(super) struct Cgroups {
    version: Version,
    folders: Folders,
    limits: Limits,
}

/// The cgroup of one command; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    version: Version,
    folders: Folders,
    memory_max: Option<u64>,
}

impl Cgroups {
    /// Makes the cgroup of the worker, empty of what its former life left. In version 2 it may move this process and
    /// its parent, the agent, into a cgroup of their own.
    pub(super) fn prepare(worker: &WorkerId, limits: Limits) -> Result<Self, String> {
        let read = |file: &str| fs::read_to_string(file).map_err(|error| format!("{file}: {error}"));
        let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
        let name = format!("{WORKER_PREFIX}{worker}");
        let (version, folders) = match v2::prepare(&own, &mounts, &name, worker, limits) {
            Ok(folders) => (Version::Two, folders),
            // Where version 1 does not have the controllers either, version 2 is what should have them.
            Err(problem) => match v1::prepare(&own, &mounts, &name, limits)? {
                Some(folders) => (Version::One, folders),
                None => return Err(problem),
            },
        };
        Ok(Self::at(version, folders, limits))
    }

    fn at(version: Version, folders: Folders, limits: Limits) -> Self {
        for folder in folders.each() {
            remove_children(folder);
        }
        Self {
            version,
            folders,
            limits,
        }
    }

    /// A cgroup for one command. Its name is one that none had before: a former one may be there still.
    pub(super) fn create(&self, name: &str, key: u64) -> Result<Cgroup, String> {
        let name = format!("{name}-{}-{key}", std::process::id());
        let cgroup = Cgroup {
            version: self.version,
            folders: self.folders.map(|folder| folder.join(&name)),
            memory_max: self.limits.memory_max,
        };
        for folder in cgroup.folders.each() {
            fs::create_dir(folder).map_err(|error| unusable(folder, &error))?;
        }
        if let Some((folder, bytes)) = cgroup.folders.memory.as_deref().zip(self.limits.memory_max) {
            let limited = match self.version {
                Version::One => v1::limit_memory(folder, bytes),
                Version::Two => v2::limit_memory(folder, bytes),
            };
            limited.map_err(|error| unusable(folder, &error))?;
        }
        if let Some((folder, processors)) = cgroup.folders.cpu.as_deref().zip(self.limits.cpu_max) {
            let limited = match self.version {
                Version::One => v1::limit_cpu(folder, quota(processors)),
                Version::Two => v2::limit_cpu(folder, quota(processors)),
            };
            limited.map_err(|error| unusable(folder, &error))?;
        }
        Ok(cgroup)
    }
}

impl Drop for Cgroups {
    /// What still holds something is emptied in the worker's next life.
    fn drop(&mut self) {
        for folder in self.folders.each() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Cgroup {
    /// For the process that joins it.
    pub(super) fn folders(&self) -> Vec<&Path> {
        self.folders.each()
    }

    /// Whether no process is in it; orders the death of those that are. Not even a process that left its group, its
    /// parent and its environment leaves its cgroup.
    pub(super) fn clear(&self) -> bool {
        let cleared = |folder: &&Path| match self.version {
            Version::One => v1::clear(folder),
            Version::Two => v2::clear(folder),
        };
        // Each of them, also where one is not clear.
        self.folders
            .each()
            .iter()
            .map(cleared)
            .fold(true, |all, one| all & one)
    }

    /// That the kernel killed a process of it because its memory was used up.
    pub(super) fn out_of_memory(&self) -> Option<String> {
        let (folder, limit) = (self.folders.memory.as_deref()?, Bytes(self.memory_max?));
        let kills = match self.version {
            Version::One => field(folder, v1::KILLS_FILE, "oom_kill")?,
            Version::Two => field(folder, v2::KILLS_FILE, "oom_kill")?,
        };
        (kills > 0).then(|| format!("killed: over its memory limit of {limit} (--memory-max)"))
    }
}

impl Drop for Cgroup {
    /// What cannot be removed now is removed in the worker's next life.
    fn drop(&mut self) {
        for folder in self.folders.each() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Folders {
    /// Each folder once.
    fn each(&self) -> Vec<&Path> {
        let memory = self.memory.as_deref();
        let cpu = self.cpu.as_deref().filter(|cpu| Some(*cpu) != memory);
        memory.into_iter().chain(cpu).collect()
    }

    fn map(&self, change: impl Fn(&Path) -> PathBuf) -> Self {
        Self {
            memory: self.memory.as_deref().map(&change),
            cpu: self.cpu.as_deref().map(&change),
        }
    }
}

fn unusable(folder: &Path, error: &io::Error) -> String {
    format!(
        "cgroup {}: {error}; start the agent again, or without limits",
        folder.display()
    )
}

/// Where a cgroup is, of its path, and root and place of the mount.
fn place(path: &str, (root, point): (&str, &str), how: &str) -> Result<PathBuf, String> {
    let below = Path::new(path)
        .strip_prefix(root)
        .map_err(|_| format!("the cgroup {path} of this process is not below the mounted {root}; {how}"))?;
    Ok(Path::new(point).join(below))
}

/// Root and place of the first mount of the text of `/proc/self/mountinfo` whose kind fits.
fn mount(mounts: &str, fits: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let root_and_point = fields.next().zip(fields.next());
        root_and_point.filter(|_| fits(kind))
    })
}

fn write(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    fs::write(folder.join(file), text)
}

/// The number behind a name in a file of such lines.
fn field(folder: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.parse().ok()
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

/// Processor time within [`PERIOD_US`], in microseconds.
fn quota(processors: f64) -> String {
    let quota = (processors * PERIOD_US).round().max(LEAST_QUOTA_US);
    format!("{quota:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_processors_become_quotas() {
        for (processors, expected) in [(0.5, "50000"), (2.0, "200000"), (0.000_1, "1000")] {
            assert_eq!(quota(processors), expected);
        }
    }
}
