//! Tests of limits by version 1, on folders that look like cgroups. `tests/guard/limits.rs` has real ones, where this
//! machine has.

use std::process::Command;

use super::super::{Cgroups, Version};
use super::*;

const LIMITS: Limits = Limits {
    memory_max: Some(64 << 20),
    cpu_max: Some(0.5),
    required: false,
};
const OWN: &str = "9:name=systemd:/\n4:memory:/unit/a:b\n2:cpuacct,cpu:/\n0::/\n";
const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
    32 31 0:29 / /c/cpu rw,relatime shared:4 - cgroup cgroup rw,cpuacct,cpu\n\
    33 31 0:32 /unit /c/memory rw,relatime - cgroup cgroup rw,memory\n\
    34 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw\n";

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}

#[test]
fn each_controller_is_found_in_its_tree() {
    let found = |controller| locate(OWN, MOUNTS, controller).unwrap();
    assert_eq!(found("memory"), Some("/c/memory/a:b".into()));
    assert_eq!(found("cpu"), Some("/c/cpu".into()));
    assert_eq!(found("io"), None, "not of version 1");
    assert_eq!(locate("4:memory:/\n", "", "memory"), Ok(None), "not mounted");
    assert_eq!(locate("0::/\n", MOUNTS, "memory"), Ok(None));
    let problem = locate("4:memory:/other\n", MOUNTS, "memory").unwrap_err();
    assert!(
        problem.contains("/other") && problem.contains("not below"),
        "{problem}"
    );
}

#[test]
fn a_tree_that_cannot_be_changed_is_named() {
    let problem = prepare(OWN, MOUNTS, "sk-w1", LIMITS).unwrap_err();
    assert!(
        problem.starts_with("/c/memory/a:b/sk-w1: cannot be made: ") && problem.contains("container"),
        "{problem}"
    );
}

#[test]
fn a_command_gets_its_limits_and_its_cgroups_go_with_it() {
    let base = tempfile::tempdir().unwrap();
    let mounts = MOUNTS.replace("/c/", &format!("{}/", base.path().display()));
    for folder in ["memory/a:b/sk-w1/radio-3-1", "cpu"] {
        fs::create_dir_all(base.path().join(folder)).unwrap();
    }
    let folders = prepare(OWN, &mounts, "sk-w1", LIMITS).unwrap().unwrap();
    let cgroups = Cgroups::at(Version::One, folders, LIMITS);
    assert!(
        !base.path().join("memory/a:b/sk-w1/radio-3-1").exists(),
        "a former life's"
    );
    let cgroup = cgroups.create("radio", 7).unwrap();
    let paths: Vec<PathBuf> = cgroup.folders().into_iter().map(Path::to_owned).collect();
    let [memory, cpu] = &paths[..] else {
        panic!("{paths:?}");
    };
    assert!(
        memory.starts_with(base.path().join("memory/a:b/sk-w1")),
        "{memory:?}"
    );
    assert_eq!(read(memory, "memory.limit_in_bytes"), "67108864");
    assert_eq!(read(memory, "memory.memsw.limit_in_bytes"), "67108864");
    assert_eq!(read(cpu, "cpu.cfs_period_us"), "100000");
    assert_eq!(read(cpu, "cpu.cfs_quota_us"), "50000");

    let oom = |kills: u32| {
        let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n");
        fs::write(memory.join(KILLS_FILE), text).unwrap();
        cgroup.out_of_memory()
    };
    assert_eq!(cgroup.out_of_memory(), None, "an old kernel does not tell");
    assert_eq!(oom(0), None);
    assert_eq!(
        oom(1).unwrap(),
        "killed: over its memory limit of 64 MiB (--memory-max)"
    );

    assert!(cgroup.clear());
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cpu.join("cgroup.procs"), format!("{}\n", child.id())).unwrap();
    assert!(!cgroup.clear(), "one is in it");
    assert!(!child.wait().unwrap().success(), "it is killed");
    for folder in &paths {
        for entry in fs::read_dir(folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    drop(cgroup);
    drop(cgroups);
    assert_eq!(fs::read_dir(base.path().join("cpu")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(base.path().join("memory/a:b")).unwrap().count(), 0);
}
