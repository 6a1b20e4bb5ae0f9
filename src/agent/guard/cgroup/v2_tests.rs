//! Tests of limits by version 2, on folders that look like cgroups: what is read there and what is written.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::super::{Cgroups, Version};
use super::*;

const LIMITS: Limits = Limits {
    memory_max: Some(200 << 20),
    cpu_max: Some(0.5),
    required: false,
};
const OWN: [u32; 2] = [11, 12];

/// A base with the given controllers, some of them passed on already, and its worker's folder prepared alike.
fn base(controllers: &str, passed_on: &str) -> TempDir {
    let base = tempfile::tempdir().unwrap();
    for folder in [base.path().to_owned(), base.path().join("sk-w1")] {
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.controllers"), controllers).unwrap();
        fs::write(folder.join("cgroup.subtree_control"), passed_on).unwrap();
    }
    base
}

fn prepared(base: &TempDir, limits: Limits) -> Result<Cgroups, String> {
    let aside = base.path().join("sk-agent-w1");
    let folders = below(base.path(), &aside, &OWN, "sk-w1", limits)?;
    Ok(Cgroups::at(Version::Two, folders, limits))
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}

#[test]
fn the_own_cgroup_is_found_below_its_mount() {
    let mounts = "24 1 0:21 / /sys rw - sysfs sysfs rw\n\
                  31 24 0:26 /unit /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
    let found = locate("3:cpu:/x\n0::/unit/a.service\n", mounts);
    assert_eq!(found, Ok("/sys/fs/cgroup/a.service".into()));
    assert!(locate("0::/other\n", mounts).unwrap_err().contains("not below"));
    assert!(
        locate("3:cpu:/x\n", mounts)
            .unwrap_err()
            .contains("no cgroup version 2")
    );
    assert!(locate("0::/\n", "24 1 0:21 / /sys rw - sysfs sysfs rw\n").is_err());
}

#[test]
fn controllers_are_passed_on_where_they_are_not_yet() {
    let fresh = base("cpuset cpu memory pids", "");
    prepared(&fresh, LIMITS).unwrap();
    assert_eq!(read(fresh.path(), "cgroup.subtree_control"), "+memory +cpu");
    assert_eq!(
        read(&fresh.path().join("sk-w1"), "cgroup.subtree_control"),
        "+memory +cpu"
    );

    let passed_on = base("cpu memory", "cpu memory\n");
    prepared(&passed_on, LIMITS).unwrap();
    assert_eq!(
        read(passed_on.path(), "cgroup.subtree_control"),
        "cpu memory\n",
        "untouched"
    );
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let poor = base("cpu hugetlb memory_x", "");
    let problem = prepared(&poor, LIMITS).unwrap_err();
    assert!(
        problem.contains("no controller \"memory\"") && problem.contains("Delegate=yes"),
        "{problem}"
    );
    let only_cpu = Limits {
        memory_max: None,
        ..LIMITS
    };
    prepared(&poor, only_cpu).unwrap();
    assert_eq!(read(poor.path(), "cgroup.subtree_control"), "+cpu");
}

#[test]
fn agent_and_guard_step_aside_only_if_they_are_alone() {
    let base = base("cpu memory", "");
    let aside = base.path().join("sk-agent-w1");
    fs::write(base.path().join("cgroup.procs"), "11\n12\n13\n").unwrap();
    let problem = step_aside(base.path(), &aside, &OWN).unwrap_err();
    assert!(
        problem.contains("shared with process 13") && !aside.exists(),
        "{problem}"
    );
    fs::write(base.path().join("cgroup.procs"), "12\n11\n").unwrap();
    step_aside(base.path(), &aside, &OWN).unwrap();
    assert_eq!(
        read(&aside, "cgroup.procs"),
        "12",
        "one write for each, and 12 is the last"
    );
    step_aside(base.path(), &aside, &OWN).unwrap();
}

#[test]
fn a_command_gets_its_limits_and_its_cgroup_goes_with_it() {
    let base = base("cpu memory", "cpu memory");
    let worker = base.path().join("sk-w1");
    fs::create_dir(worker.join("radio-3-1")).unwrap();
    let cgroups = prepared(&base, LIMITS).unwrap();
    assert!(!worker.join("radio-3-1").exists(), "a former life's");

    let cgroup = cgroups.create("radio", 7).unwrap();
    let [folder] = cgroup.folders()[..] else {
        panic!("one tree");
    };
    let folder = folder.to_owned();
    assert!(folder.starts_with(&worker) && folder.to_string_lossy().ends_with("-7"));
    assert_eq!(read(&folder, "memory.max"), "209715200");
    assert_eq!(read(&folder, "memory.oom.group"), "1");
    assert_eq!(read(&folder, "cpu.max"), "50000 100000");
    assert!(cgroups.create("radio", 7).is_err(), "in use");
    for entry in fs::read_dir(&folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    drop(cgroup);
    assert!(!folder.exists());
}

#[test]
fn what_the_kernel_tells_is_understood() {
    let base = base("cpu memory", "cpu memory");
    let cgroups = prepared(&base, LIMITS).unwrap();
    let cgroup = cgroups.create("radio", 1).unwrap();
    let folder = cgroup.folders()[0].to_owned();
    assert!(
        cgroup.clear(),
        "without the file nothing is known, and the guard looks itself"
    );
    fs::write(folder.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
    assert!(!cgroup.clear());
    assert_eq!(read(&folder, "cgroup.kill"), "1");
    fs::write(folder.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
    assert!(cgroup.clear());

    assert_eq!(cgroup.out_of_memory(), None);
    fs::write(folder.join(KILLS_FILE), "low 0\noom 3\noom_kill 0\n").unwrap();
    assert_eq!(cgroup.out_of_memory(), None);
    fs::write(folder.join(KILLS_FILE), "low 0\noom 3\noom_kill 1\n").unwrap();
    let problem = cgroup.out_of_memory().unwrap();
    assert_eq!(problem, "killed: over its memory limit of 200 MiB (--memory-max)");
}

#[test]
fn a_place_that_cannot_be_changed_is_named() {
    let base = base("cpu memory", "");
    fs::remove_file(base.path().join("cgroup.subtree_control")).unwrap();
    // Not even root writes into a folder as if it were a file.
    fs::create_dir(base.path().join("cgroup.subtree_control")).unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let problem = prepared(&base, LIMITS).unwrap_err();
    assert!(
        problem.contains("cannot be changed") && problem.contains("Delegate=yes"),
        "{problem}"
    );
}
