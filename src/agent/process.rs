//! Processes as the kernel shows them: groups, children, reaping. No judgement, only calls.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Signal, WaitId, WaitIdOptions, WaitOptions, getrlimit, setrlimit};

/// Set in the environment of every command to a value of its own. A process that has left its group and lost its
/// parent is still recognized by it.
pub(crate) const RUN_VARIABLE: &str = "STREAMKEEPER_RUN";
/// Between two looks at processes that are being killed.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Two pipes per command: with the usual soft limit of 1,024 open files a guard would end at some 500 commands. Where
/// it may not be raised, a start that goes beyond it fails and says so.
pub(crate) fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Makes this process the parent of every descendant that loses its own.
pub(crate) fn become_subreaper() -> rustix::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Signals a whole group. One that is gone is as good as signalled.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    let _ = rustix::process::kill_process_group(leader, signal);
}

/// Whether no process of the group is left, zombies included.
pub(crate) fn group_is_empty(leader: Pid) -> bool {
    rustix::process::test_kill_process_group(leader) == Err(Errno::SRCH)
}

/// Whether a child has ended. It stays a zombie: its number, and so its group's, cannot be given away meanwhile.
pub(crate) fn has_ended(child: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(rustix::process::waitid(WaitId::Pid(child), options), Ok(Some(_)))
}

/// Reaps one child, if it has ended.
pub(crate) fn reap(child: Pid) -> Option<ExitStatus> {
    let (_, status) = rustix::process::waitpid(Some(child), WaitOptions::NOHANG).ok()??;
    Some(ExitStatus::from_raw(status.as_raw()))
}

/// Reaps any child that has ended.
pub(crate) fn reap_any() -> Option<(Pid, ExitStatus)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    Some((pid, ExitStatus::from_raw(status.as_raw())))
}

/// The children of this process. Not every kernel lists them, so this looks at all processes.
pub(crate) fn children() -> Vec<Pid> {
    let own = std::process::id().to_string();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| parent(*pid).as_deref() == Some(&own))
        .filter_map(Pid::from_raw)
        .collect()
}

fn parent(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it come the state and the parent.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1).map(str::to_owned)
}

/// What a process group uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GroupUsage {
    /// Processor time so far, with that of processes that ended and whose parents are in the group.
    pub(crate) cpu: Duration,
    /// Memory in use; what processes share counts for each of them.
    pub(crate) memory_bytes: u64,
}

/// What every process group of the machine uses.
pub(crate) fn usage_of_groups() -> HashMap<i32, GroupUsage> {
    let (page, second) = (
        u64::try_from(rustix::param::page_size()).unwrap_or(0),
        rustix::param::clock_ticks_per_second(),
    );
    let mut groups: HashMap<i32, GroupUsage> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((group, ticks, pages)) = group_and_usage(&stat) {
            let usage = groups.entry(group).or_default();
            usage.cpu += Duration::from_millis(ticks.saturating_mul(1_000) / second.max(1));
            usage.memory_bytes += pages * page;
        }
    }
    groups
}

/// Group, ticks of processor time, pages of memory, of the text of `/proc/PID/stat`.
fn group_and_usage(stat: &str) -> Option<(i32, u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // Counted from the state: its own time and that of the children that it reaped, each in user and in kernel mode.
    let ticks = [11, 12, 13, 14].map(|index| number(index).unwrap_or(0));
    let pages = number(21)?;
    Some((fields.get(2)?.parse().ok()?, ticks.iter().sum(), pages))
}

/// The value of [`RUN_VARIABLE`] in the environment that a process was started with.
pub(crate) fn run_marker(pid: Pid) -> std::io::Result<Option<String>> {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))?;
    let value = environment.split(|byte| *byte == 0).find_map(|entry| {
        entry
            .strip_prefix(RUN_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
    });
    Ok(value.and_then(|value| String::from_utf8(value.to_vec()).ok()))
}

/// Kills an orphan, with the group that it leads.
pub(crate) fn kill_orphan(pid: Pid) {
    if rustix::process::getpgid(Some(pid)) == Ok(pid) {
        signal_group(pid, Signal::KILL);
    }
    let _ = rustix::process::kill_process(pid, Signal::KILL);
}

/// Kills and reaps children until none is left but the spared ones. Whoever loses its parent on the way becomes a
/// child of this subreaper, and is found in the next round.
///
/// Ends only when it is true: a process that cannot be killed (it hangs in the kernel) is waited for.
pub(crate) async fn kill_children(spared: &HashSet<Pid>) {
    loop {
        let mut found = false;
        for child in children().into_iter().filter(|child| !spared.contains(child)) {
            found = true;
            kill_orphan(child);
            let _ = reap(child);
        }
        if !found {
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `exit status 1`, `killed by signal 9 (SIGKILL)`.
pub(crate) fn status_text(status: ExitStatus) -> String {
    let text = status.to_string().replacen(": ", " ", 1);
    if status.signal().is_some() {
        format!("killed by {text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_understood_whatever_the_name() {
        let stat = "4242 (a) b (c) S 1 77 77 0 -1 4194560 9 8 7 6 10 20 30 40 20 0 1 0 5 99999 123 18446744073709551615";
        assert_eq!(group_and_usage(stat), Some((77, 100, 123)));
        assert_eq!(group_and_usage("4242 (x) S 1"), None);
        assert_eq!(group_and_usage(""), None);
    }
}
